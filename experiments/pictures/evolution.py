"""How the literature grew: papers by half-year, by family and by unit."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from casim import survey
from casim.figures import COLUMN, label_ends, style
from casim.survey.audit import audit
from casim.vocabulary import GRANULARITIES
from pictures.picture import Picture, Table
from pictures.sheet import (
    GREY,
    INK,
    LINE,
    METHODOLOGIES,
    SIZE,
    UNKNOWN,
    key,
    mark,
    rule,
    sheet,
    spoken,
    write,
)

ABREAST = 3
"""Marks beside each other in a column."""
STEP = 0.125
"""Inches from mark to mark."""
EDGE = 0.05
HEAD, KEY, PANEL, FOOT = 0.35, 0.56, 1.5, 0.3
"""Inches of titles, of marks and their names, of the lower panel, and of its axis."""
DASHES = {
    "token": "-",
    "segment": "--",
    "step": "-.",
    "turn": ":",
    "trajectory": (0, (5, 1, 1, 1, 1, 1)),
    "multi_agent": (0, (1, 1)),
}
"""Of units, which have no colour: colours are for families."""


def half_year(record: survey.Record) -> str | None:
    """Of the first posting, by the id on arXiv; None where there is no id."""
    if record.arxiv is None:
        return None
    year = record.arxiv[:2]
    month = record.arxiv[2:4]
    half = 1 if int(month) <= 6 else 2
    return f"20{year}H{half}"


def growth() -> Table:
    """A line for each half-year and word of either axis, and one for all papers.

    `survey` are of the 47, `later` came later, `total` are both up to then, and `revision` is what
    the revision of the survey counts, where it was counted: for all papers.
    """
    records = survey.inventory()
    dates = sorted({date for date in map(half_year, records) if date})
    words = {
        "all": ["all"],
        "methodology": [*METHODOLOGIES, UNKNOWN],
        "granularity": [*GRANULARITIES, UNKNOWN],
    }
    table: Table = []
    for axis, own in words.items():
        for word in own:
            kept = [record for record in records if _is(record, axis, word)]
            table += _counts(kept, dates, axis, word)
    return table


def _is(record: survey.Record, axis: str, word: str) -> bool:
    return word == "all" or (getattr(record, axis) or UNKNOWN) == word


def _counts(
    records: Sequence[survey.Record],
    dates: Sequence[str],
    axis: str,
    word: str,
) -> Iterator[dict]:
    """A line for each half-year."""
    total = 0
    for date in dates:
        new = [record for record in records if half_year(record) == date]
        later = sum(record.kind == "later" for record in new)
        total += len(new)
        yield {
            "half_year": date,
            "axis": axis,
            "word": word,
            "survey": len(new) - later,
            "later": later,
            "total": total,
            "revision": audit().half_years[date] if axis == "all" else "",
        }


def draw(table: Table) -> Figure:
    """Above, a mark for each paper; below, how many there are by unit."""
    every = [line for line in table if line["axis"] == "all"]
    dates = [line["half_year"] for line in every]
    stacks = [math.ceil(_new(line) / ABREAST) for line in every]
    floor = HEAD + STEP * max(stacks)
    height = floor + KEY + PANEL + FOOT
    lane = (COLUMN - EDGE) / len(dates)
    with style():
        figure, axes = sheet(height)
        title = "papers by half-year of the first posting"
        write(axes, EDGE, 0.08, title, fontweight="bold")
        revised = sum(line["revision"] for line in every)
        said = f"in brackets: the revision of the survey, {revised} papers"
        write(axes, EDGE, 0.08 + LINE, said, color=GREY)
        for place, line in enumerate(every):
            x = 2 * EDGE + lane * place
            _column(axes, x, floor, _papers(table, line["half_year"]))
            top = floor - STEP * stacks[place] - 0.04
            write(axes, x, top, str(_new(line)), fontweight="bold")
            counted = f"({line['revision']})"
            write(axes, x + 0.17, top, counted, color=GREY)
            write(axes, x, floor + 0.1, line["half_year"])
        rule(axes, (EDGE, floor), (COLUMN - 0.02, floor), color=INK)
        words = [*METHODOLOGIES, UNKNOWN]
        y = key(axes, EDGE, floor + 0.25, COLUMN, words)
        remark = f"filled: among the 47; hollow: later; {_undated()} without a date left out"
        write(axes, EDGE, y + LINE, remark, color=GREY)
        tall = PANEL - 0.2
        panel = figure.add_axes((0.11, FOOT / height, 0.6, tall / height))
        _units(panel, table, dates)
        figure.draw_without_rendering()
        label_ends(panel, size=SIZE)
    return figure


def _new(line: dict) -> int:
    return line["survey"] + line["later"]


def _undated() -> int:
    dates = map(half_year, survey.inventory())
    return sum(date is None for date in dates)


def _papers(table: Table, date: str) -> list[tuple[str, bool]]:
    """Family, and whether it is of the 47, of each paper of a half-year."""
    found: list[tuple[str, bool]] = []
    for line in table:
        if line["axis"] == "methodology" and line["half_year"] == date:
            found += [(line["word"], True)] * line["survey"]
            found += [(line["word"], False)] * line["later"]
    return found


def _column(axes: Axes, x: float, floor: float, papers: Iterable[tuple[str, bool]]) -> None:
    """Marks from the floor up."""
    for place, (methodology, filled) in enumerate(papers):
        up, across = divmod(place, ABREAST)
        left = x + 0.04 + STEP * across
        middle = floor - STEP * (up + 0.5)
        mark(axes, left, middle, methodology, filled, size=4.0)


def _units(panel: Axes, table: Table, dates: Sequence[str]) -> None:
    """Papers so far, a line for each unit."""
    places = range(len(dates))
    lines = [line for line in table if line["axis"] == "granularity"]
    for word, dashes in DASHES.items():
        totals = [line["total"] for line in lines if line["word"] == word]
        panel.plot(
            places,
            totals,
            color=INK,
            linestyle=dashes,
            label=spoken(word),
        )
    names = [date.replace("H", "\nH") for date in dates]
    panel.set_xticks(places, names)
    panel.set_ylabel("papers so far", fontsize=SIZE)
    panel.set_title(
        "by the unit that gets credit, where it is known",
        loc="left",
        fontsize=SIZE,
        fontweight="bold",
    )
    panel.tick_params(labelsize=SIZE)
    panel.set_ylim(bottom=0)


PICTURES = (
    Picture(
        "evolution",
        "papers by half-year: families, and units so far",
        growth,
        draw,
    ),
)
