"""The survey's tree of decisions: what it asks, and the methods that it leads to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from casim import survey
from casim.figures import COLUMN, style
from casim.methods import named_methods
from casim.survey.tree import LEAVES, Leaf
from pictures.picture import Picture, Table
from pictures.sheet import (
    GREY,
    LINE,
    METHODOLOGIES,
    UNKNOWN,
    inches,
    key,
    named,
    rule,
    sheet,
    write,
)

BETWEEN = ", "
"""Between the conditions of a leaf."""
INDENT = 0.16
"""Inches from one condition to those under it."""
RISE = 0.13
"""Inches from line to line."""


def proposals() -> Table:
    """A line for each method that a leaf proposes; `condition` is all that leads to the leaf."""
    records = {record.id: record for record in survey.inventory()}
    table = []
    for leaf in LEAVES.values():
        for name in leaf.baselines:
            method = named_methods()[name]
            table.append(_line(leaf, method.name, method.methodology, name))
        for name in leaf.records:
            record = records[name]
            table.append(_line(leaf, record.name, record.methodology, record.main))
    return table


def _line(leaf: Leaf, method: str, methodology: str | None, recipe: str | None) -> dict:
    return {
        "leaf": leaf.name,
        "condition": leaf.condition,
        "method": method,
        "methodology": methodology or UNKNOWN,
        "recipe": recipe or "",
    }


class Step(NamedTuple):
    """A line of the figure: a condition, or methods."""

    depth: int
    condition: str
    leaf: str
    methods: tuple[dict, ...]


def steps(table: Table) -> Iterator[Step]:
    """Conditions in the order of the table, each once, and the methods below the last of them."""
    before: list[str] = []
    leaves: dict[str, Table] = {}
    for line in table:
        leaves.setdefault(line["leaf"], []).append(line)
    for leaf, lines in leaves.items():
        path = lines[0]["condition"].split(BETWEEN)
        same = _shared(before, path)
        for depth in range(same, len(path)):
            last = depth == len(path) - 1
            yield Step(depth, path[depth], leaf if last else "", ())
        for part in _flow(lines, _left(len(path))):
            yield Step(len(path), "", "", tuple(part))
        before = path


def _shared(one: list[str], two: list[str]) -> int:
    """How many conditions two paths begin with alike."""
    shared = 0
    while shared < min(len(one), len(two)) and one[shared] == two[shared]:
        shared += 1
    return shared


def _left(depth: int) -> float:
    return 0.05 + INDENT * depth


def _flow(lines: Table, left: float) -> list[Table]:
    """Methods in lines that fit the sheet."""
    flow: list[Table] = [[]]
    x = left
    for line in lines:
        if flow[-1] and x + _width(line) > COLUMN:
            flow.append([])
            x = left
        flow[-1].append(line)
        x += _width(line)
    return flow


def _width(line: dict) -> float:
    return inches(line["method"]) + 0.17


def draw(table: Table) -> Figure:
    """Conditions, one under the other and indented, and what each leaf proposes."""
    found = list(steps(table))
    with style():
        figure, axes = sheet(RISE * len(found) + 0.5)
        heights = [0.08 + RISE * place for place in range(len(found))]
        _lines(axes, found, heights)
        for step, y in zip(found, heights, strict=True):
            x = _left(step.depth)
            if step.condition:
                weight = "bold" if step.depth == 0 else "normal"
                write(axes, x, y, step.condition, fontweight=weight)
            if step.leaf:
                end = x + inches(step.condition, weight="bold") + 0.08
                box = {"facecolor": "#eeeeee", "edgecolor": GREY, "linewidth": 0.4, "pad": 1.2}
                write(axes, end, y, step.leaf, bbox=box)
            for method in step.methods:
                slant = "normal" if method["recipe"] else "italic"
                named(axes, x, y, method["method"], method["methodology"], slant=slant)
                x += _width(method)
        y = key(axes, 0.03, heights[-1] + 0.18, COLUMN, [*METHODOLOGIES, UNKNOWN])
        said = "in a box: the leaf; italic: casim has no recipe of it"
        write(axes, 0.03, y + LINE, said, color=GREY)
    return figure


def _lines(axes: Axes, found: list[Step], heights: list[float]) -> None:
    """From each condition down to those that stand right under it."""
    for place, step in enumerate(found):
        if not step.condition or step.depth == 0:
            continue
        x = _left(step.depth) - INDENT + 0.05
        above = _parent(found, place)
        y = heights[place]
        rule(axes, (x, heights[above] + 0.06), (x, y))
        rule(axes, (x, y), (x + 0.08, y))


def _parent(found: list[Step], place: int) -> int:
    """The condition that another stands under."""
    depth = found[place].depth
    above = range(place - 1, -1, -1)
    return next(k for k in above if found[k].condition and found[k].depth < depth)


PICTURES = (
    Picture(
        "decision_tree",
        "what the survey's tree asks, and what its leaves propose",
        proposals,
        draw,
    ),
)
