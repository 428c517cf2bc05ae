"""The scores of rows: a table to sort and filter, what figures are drawn from, and definitions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from casim.figures.scales import SHARES, score_caption
from casim.markup import Markup, breakable, element, joined
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
    said = {"label"}
    recipes = {row.task["recipe"] for row in rows}
    if len(recipes) == 1:
        said.add("task")
    others = [name for name in telling(rows) if name not in said]
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
    words = {family: word for word, family in FAMILIES.items()}
    return words[definition.family]


def table_of(rows: Sequence[Row]) -> Markup:
    """A line for each row; a cell is the score, its interval, and what is exact."""
    names = columns(rows)
    scores = scores_of(rows)
    heads = [_head(name) for name in names]
    heads += [_score_head(score) for score in scores]
    lines = []
    for place, row in enumerate(rows):
        settings = _setting_cells(row, names)
        numbers = [_cell(row, score) for score in scores]
        lines.append(element("tr", *settings, *numbers, data_row=place))
    head = element("thead", element("tr", *heads))
    each_on_its_own = Markup("\n".join(["", *lines, ""]))
    body = element("tbody", each_on_its_own)
    return element("table", head, body, id="scores-table", data_family="right")


def _head(name: str) -> Markup:
    """The head of a setting, which sorts."""
    button = element("button", HEADS.get(name, name), type="button")
    return element(
        "th",
        button,
        scope="col",
        aria_sort="none",
        class_=_class_of(name),
    )


def _class_of(name: str) -> str | None:
    """What is left out where a page is narrow: the figures say it too."""
    return "spare" if name == "methodology" else None


def _score_head(score: str) -> Markup:
    """The head of a score: it sorts, and a link leads to what the score is."""
    button = element("button", score, type="button")
    link = None
    if score in DEFINITIONS:
        place = f"#define-{score}"
        said = f"definition of {score}"
        link = element("a", "?", href=place, class_="define", aria_label=said)
    return element(
        "th",
        button,
        link,
        scope="col",
        aria_sort="none",
        data_of=family_of(score),
    )


def _setting_cells(row: Row, names: Sequence[str]) -> list[Markup]:
    """The method heads its line."""
    own, *others = setting_cells(row, names)
    cells = [element("th", breakable(own), scope="row")]
    for name, text in zip(names[1:], others, strict=True):
        said = text.replace("_", " ")
        cells.append(element("td", said, class_=_class_of(name)))
    return cells


def _cell(row: Row, score: str) -> Markup:
    """A score; where it is missing the note says why."""
    family = family_of(score)
    found = row.scores.get(score)
    if found is None or math.isnan(found.value):
        note = row.notes.get(score)
        return element("td", DASH, title=note, data_of=family)
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
    low = shown(score.low)
    high = shown(score.high)
    return element("small", f"{low} to {high}")


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
        name = element("b", score)
        said = f" in {number} rows: {note}"
        lines.append(element("li", name, said))
    summary = element("summary", "Notes: what is missing, and why")
    items = element("ul", *lines)
    return element("details", summary, items)


def figure_data(rows: Sequence[Row], colours: Mapping[str, str]) -> dict[str, Any]:
    """What figures, filters and comparisons are drawn from.

    Returns:
        `settings`, names of settings, of which `rows` hold the values in this order, beside
        `scores` as [value, low, high] and, where it is known, the exact number.
    """
    names = columns(rows)
    heads = [HEADS.get(name, name) for name in names]
    scores = scores_of(rows)
    found = []
    for row in rows:
        cells = setting_cells(row, names)
        values = [_value(cell) for cell in cells]
        numbers = [_numbers(row, name) for name in scores]
        found.append({"settings": values, "scores": numbers})
    kinds = {name: kind_class(name, colours) for name in colours}
    described = [_described(score) for score in scores]
    return {
        "settings": heads,
        "kinds": kinds,
        "scores": described,
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
    last = [] if exact is None else [exact]
    if score is not None and not math.isnan(score.value):
        low = kept(score.low)
        high = kept(score.high)
        return [kept(score.value), low, high, *last]
    return [None, None, None, *last] if last else None


def definitions(scores: Sequence[str]) -> Markup:
    """What each of these scores is."""
    parts = []
    for family, reading in READING.items():
        own = [name for name in scores if _is_of(name, family)]
        if not own:
            continue
        lines = [line for name in own for line in _definition(name)]
        parts.append(element("h3", family))
        parts.append(element("p", reading))
        parts.append(element("dl", *lines))
    return joined(parts)


def _definition(name: str) -> list[Markup]:
    """A term that links lead to, and what it is."""
    word = element("code", name)
    term = element("dt", word, id=f"define-{name}", tabindex=-1)
    return [term, element("dd", DEFINITIONS[name].full)]


def _is_of(name: str, family: str) -> bool:
    return name in DEFINITIONS and DEFINITIONS[name].family == family
