"""The scores of rows: a table to sort and filter, what figures are drawn from, and definitions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from casim.figures.scales import SHARES, score_caption
from casim.markup import Markup, element, joined
from casim.report import Row
from casim.scores import NAMES, Score
from casim.scores.definitions import COST, DEFINITIONS, GRADIENT, IDENTIFICATION, READING
from casim.tables import known_scores, setting_cells, telling
from casim.webpages.assets import kind_class
from casim.webpages.numbers import DASH, kept, shown

FAMILIES = {
    "right": IDENTIFICATION,
    "trains": GRADIENT,
    "cost": COST,
}
"""Of scores, by the words that scripts know them by."""
OTHER = "cost"
"""Where a score is shown that casim does not know."""
HEADS = {"label": "method"}


def columns(rows: Sequence[Row]) -> list[str]:
    """The settings of the table: the method first, then what else tells rows apart."""
    others = [name for name in telling(rows) if name != "label"]
    return ["label", "methodology", *others]


def scores_of(rows: Sequence[Row]) -> list[str]:
    """The scores that rows have, in the order of their families, unknown ones last."""
    found = known_scores(rows)
    known = [name for name in NAMES if name in found]
    others = [name for name in found if name not in NAMES]
    return [*known, *others]


def family_of(score: str) -> str:
    """The word of its family."""
    definition = DEFINITIONS.get(score)
    if definition is None:
        return OTHER
    (word,) = [word for word, family in FAMILIES.items() if family == definition.family]
    return word


def table_of(rows: Sequence[Row]) -> Markup:
    """A line for each row; a cell is the score, its interval, and what is exact."""
    names, scores = columns(rows), scores_of(rows)
    heads = [_head(name) for name in names]
    heads += [_score_head(score) for score in scores]
    lines = []
    for place, row in enumerate(rows):
        settings = _setting_cells(row, names)
        numbers = [_cell(row, score) for score in scores]
        lines.append(element("tr", *settings, *numbers, data_row=place))
    head = element("thead", element("tr", *heads))
    body = element("tbody", Markup("\n".join(["", *lines, ""])))
    return element("table", head, body, id="scores-table", data_family="right")


def _head(name: str) -> Markup:
    """The head of a setting, which sorts."""
    button = element("button", HEADS.get(name, name), type="button")
    return element("th", button, scope="col", aria_sort="none")


def _score_head(score: str) -> Markup:
    """The head of a score: it sorts, and a link leads to what the score is."""
    button = element("button", score, type="button")
    link = None
    if score in DEFINITIONS:
        said = f"definition of {score}"
        link = element("a", "?", href=f"#define-{score}", class_="define", aria_label=said)
    family = family_of(score)
    return element("th", button, link, scope="col", aria_sort="none", data_of=family)


def _setting_cells(row: Row, names: Sequence[str]) -> list[Markup]:
    """The method heads its line."""
    own, *others = setting_cells(row, names)
    cells = [element("th", own, scope="row")]
    for text in others:
        said = text.replace("_", " ")
        cells.append(element("td", said))
    return cells


def _cell(row: Row, score: str) -> Markup:
    """A score; where it is missing the note says why."""
    family = family_of(score)
    found = row.scores.get(score)
    if found is None or math.isnan(found.value):
        return element("td", DASH, title=row.notes.get(score), data_of=family)
    return element(
        "td",
        shown(found.value),
        _interval(found),
        _exact(row, score),
        data_of=family,
        data_value=kept(found.value, 7),
    )


def _exact(row: Row, score: str) -> Markup | None:
    expected = row.expected or {}
    if score not in expected:
        return None
    said = shown(expected[score])
    return element("small", f"exact {said}")


def _interval(score: Score) -> Markup | None:
    if math.isnan(score.low) or score.low == score.high:
        return None
    return element("small", f"{shown(score.low)} to {shown(score.high)}")


def missing(rows: Sequence[Row]) -> Markup | None:
    """Why scores are missing, and of how many rows."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for score, note in row.notes.items():
            counts[score, note] += 1
    if not counts:
        return None
    lines = []
    for (score, note), number in counts.items():
        said = f" in {number} rows: {note}"
        lines.append(element("li", element("b", score), said))
    summary = element("summary", "Notes: what is missing, and why")
    return element("details", summary, element("ul", *lines))


def figure_data(rows: Sequence[Row], colours: Mapping[str, str]) -> dict[str, Any]:
    """What figures, filters and comparisons are drawn from.

    Returns:
        `settings`, names of settings, of which `rows` hold the values in this order, beside
        `scores` as [value, low, high] and, where it is known, the exact number.
    """
    names, scores = columns(rows), scores_of(rows)
    found = []
    for row in rows:
        cells = setting_cells(row, names)
        numbers = [_numbers(row, name) for name in scores]
        found.append({"settings": list(map(_value, cells)), "scores": numbers})
    return {
        "settings": [HEADS.get(name, name) for name in names],
        "kinds": {name: kind_class(name, colours) for name in colours},
        "scores": list(map(_described, scores)),
        "rows": found,
    }


def _described(score: str) -> dict[str, Any]:
    """What scripts know of a score."""
    return {
        "name": score,
        "caption": score_caption(score),
        "share": score in SHARES,
    }


def _value(text: str) -> float | str:
    """A setting as a number, if it is one."""
    try:
        number = float(text)
    except ValueError:
        return text
    known = kept(number, 12)
    return text if known is None else known


def _numbers(row: Row, name: str) -> list[float | None] | None:
    score = row.scores.get(name)
    expected = row.expected or {}
    exact = kept(expected.get(name))
    if score is None or math.isnan(score.value):
        return None if exact is None else [None, None, None, exact]
    found = [kept(score.value), kept(score.low), kept(score.high)]
    return found if exact is None else [*found, exact]


def definitions(scores: Sequence[str]) -> Markup:
    """What each of these scores is."""
    parts = []
    for family, reading in READING.items():
        own = [name for name in scores if _is_of(name, family)]
        if not own:
            continue
        lines = []
        for name in own:
            term = element("dt", element("code", name), id=f"define-{name}", tabindex=-1)
            lines += [term, element("dd", DEFINITIONS[name].full)]
        parts += [element("h3", family), element("p", reading), element("dl", *lines)]
    return joined(parts)


def _is_of(name: str, family: str) -> bool:
    return name in DEFINITIONS and DEFINITIONS[name].family == family
