"""The taxonomy: which unit gets credit, by which family, and in which setting."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from casim import survey
from casim.figures import COLUMN, style
from casim.figures.style import dark
from casim.survey.record import REGIMES
from casim.vocabulary import GRANULARITIES
from pictures.picture import Picture, Table
from pictures.sheet import (
    GREY,
    LINE,
    METHODOLOGIES,
    SEVERAL,
    UNKNOWN,
    colour_of,
    inches,
    key,
    mark,
    named,
    of_the_survey,
    rule,
    sheet,
    spoken,
    write,
)

EDGE, RIM = 0.03, 0.01
"""Inches around a cell's names, and around its ground."""
HEAD, FOOT = 0.3, 0.32
"""Inches of the names of columns, and of remarks."""
DAGGER = "\N{DAGGER}"
"""Of what the survey has in another cell."""
HEADS = {
    "monte_carlo": "Monte\nCarlo",
    "temporal_difference": "temporal\ndifference",
    "model_based": "model-\nbased",
    "game_theoretic": "game\ntheory",
    "information_theoretic": "info.\ntheory",
}
"""Names of methodologies in narrow columns."""


def cells() -> Table:
    """A line for each cell of granularity x methodology, empty ones too.

    `methods` of the 47 are in it by their mechanism, `placed` of them by the survey itself, and
    `moved` are those in it that the survey has elsewhere.
    """
    pairs = itertools.product(GRANULARITIES, METHODOLOGIES)
    return [_cell(*pair) for pair in pairs]


def _cell(granularity: str, methodology: str) -> dict:
    found = survey.methods(granularity=granularity, methodology=methodology)
    here = of_the_survey(found)
    own = of_the_survey(survey.inventory())
    placed = [record for record in own if _place(record) == (granularity, methodology)]
    moved = [record for record in here if record not in placed]
    enablers = [record for record in here if record.kind == "enabler"]
    return {
        "granularity": granularity,
        "methodology": methodology,
        "methods": len(here),
        "placed": len(placed),
        "later": len(found) - len(here),
        "names": _joined(here),
        "enablers": _joined(enablers),
        "moved": _joined(moved),
    }


def _place(record: survey.Record) -> tuple[str | None, str | None]:
    """The cell that the survey has it in."""
    return record.placed.granularity, record.placed.methodology


def _joined(records: Sequence[survey.Record]) -> str:
    return SEVERAL.join(record.name for record in records)


def _split(text: str) -> list[str]:
    return text.split(SEVERAL) if text else []


def draw_grid(table: Table) -> Figure:
    """A cell for each pair, darker the more methods are in it, with their names."""
    found = {}
    for line in table:
        found[line["granularity"], line["methodology"]] = line
    rows = {unit: _lines(found, unit) for unit in GRANULARITIES}
    heights = {}
    for unit, number in rows.items():
        heights[unit] = LINE * number + 2 * EDGE
    most = max(line["methods"] for line in table)
    names = [inches(spoken(unit)) for unit in GRANULARITIES]
    left = max(names) + 2 * EDGE
    bottom = HEAD + sum(heights.values())
    with style():
        figure, axes = sheet(bottom + FOOT)
        x = left
        widths = _widths(table, COLUMN - left - EDGE)
        for word, width in widths.items():
            _head(axes, x, word)
            y = HEAD
            for unit, height in heights.items():
                line = found[unit, word]
                _shade(axes, (x, y), (width, height), line, most)
                _fill(axes, x + EDGE, y + EDGE + LINE / 2, line)
                y += height
            x += width
        y = HEAD
        for unit, height in heights.items():
            write(axes, EDGE, y + height / 2, spoken(unit))
            y += height
        middle = bottom + FOOT / 2
        write(axes, EDGE, middle, _remark(table), color=GREY)
    return figure


def _shade(
    axes: Axes,
    corner: tuple[float, float],
    size: tuple[float, float],
    line: dict,
    most: int,
) -> None:
    """The ground of a cell, darker the more methods are in it; none if nothing is said in it."""
    if not _said(line):
        return
    (x, y), (width, height) = corner, size
    share = line["methods"] / most
    ground = Rectangle(
        (x + RIM, y + RIM),
        width - 2 * RIM,
        height - 2 * RIM,
        facecolor=colour_of(line["methodology"]),
        alpha=0.08 + 0.3 * share,
        linewidth=0,
    )
    axes.add_patch(ground)


def _remark(table: Table) -> str:
    names = [_split(line["moved"]) for line in table]
    moved = sum(map(len, names))
    total = sum(line["methods"] for line in table)
    return (
        f"cells by mechanism; {DAGGER} the survey has it in another ({moved} of {total});\n"
        "italic: enabler; +n: later papers that are not among them"
    )


def _lines(found: dict, unit: str) -> int:
    """Lines of the fullest cell of a row, at least one."""
    cells = [found[unit, word] for word in METHODOLOGIES]
    numbers = map(len, map(_said, cells))
    return max(1, *numbers)


def _said(line: dict) -> list[tuple[str, str]]:
    """What a cell says: names with their style, and how many came later."""
    moved = _split(line["moved"])
    enablers = _split(line["enablers"])
    said = []
    for name in _split(line["names"]):
        dagger = DAGGER if name in moved else ""
        slant = "italic" if name in enablers else "normal"
        said.append((name + dagger, slant))
    if line["later"]:
        said.append((f"+{line['later']}", "normal"))
    return said


def _widths(table: Table, room: float) -> dict[str, float]:
    """Inches of each column: what its longest name needs, and a share of what is left."""
    needed = {}
    for word, head in HEADS.items():
        widest = inches(head) + 0.1
        for line in table:
            if line["methodology"] == word:
                names = [inches(name, style=slant) for name, slant in _said(line)]
                widest = max([widest, *names])
        needed[word] = widest + 2 * EDGE
    spare = (room - sum(needed.values())) / len(needed)
    return {word: width + spare for word, width in needed.items()}


def _head(axes: Axes, x: float, word: str) -> None:
    mark(axes, x + EDGE + 0.02, HEAD / 2, word)
    colour = dark(colour_of(word))
    start = x + EDGE + 0.08
    write(axes, start, HEAD / 2, HEADS[word], color=colour)


def _fill(axes: Axes, x: float, y: float, line: dict) -> None:
    """The names of a cell below each other."""
    own = dark(colour_of(line["methodology"]))
    for name, slant in _said(line):
        colour = GREY if name.startswith("+") else own
        write(axes, x, y, name, color=colour, style=slant)
        y += LINE


def branches() -> Table:
    """A line for each of the 47 methods, ordered as the tree branches."""
    table: Table = []
    for regime, granularity in itertools.product(REGIMES, (*GRANULARITIES, None)):
        found = of_the_survey(survey.methods(regime=regime))
        own = [record for record in found if record.granularity == granularity]
        table += map(_leaf, sorted(own, key=_family))
    return table


def _leaf(record: survey.Record) -> dict:
    return {
        "regime": record.regime,
        "granularity": record.granularity or UNKNOWN,
        "number": record.number,
        "name": record.name,
        "kind": record.kind,
        "methodology": record.methodology or UNKNOWN,
    }


def _family(record: survey.Record) -> int:
    """The place of its family among the others."""
    order = (*METHODOLOGIES, None)
    return order.index(record.methodology)


SETTING, UNIT, METHODS = 0.03, 0.7, 1.38
"""Where the setting, the unit and the methods stand, in inches."""
TOP, BETWEEN, TWIG = 0.05, 0.06, 0.06
"""Inches above the first unit, between units, and left of what hangs on a line."""


def draw_tree(table: Table) -> Figure:
    """From the setting to the unit to the methods, each with the mark of its family."""
    trees: dict[str, dict[str, Table]] = {}
    for line in table:
        units = trees.setdefault(line["regime"], {})
        units.setdefault(line["granularity"], []).append(line)
    height = 0.0
    for units in trees.values():
        for own in units.values():
            height += LINE * len(_flow(own)) + BETWEEN
    with style():
        figure, axes = sheet(height + 0.48)
        y = TOP
        for regime, units in trees.items():
            if y > TOP:
                border = y - BETWEEN / 2
                rule(axes, (0, border), (COLUMN, border), color="#dddddd")
            y = _tree(axes, y, regime, units)
        y = key(axes, SETTING, y + 0.1, COLUMN, METHODOLOGIES)
        write(axes, SETTING, y + LINE, "italic: enabler; numbers: methods", color=GREY)
    return figure


def _tree(axes: Axes, y: float, regime: str, units: dict[str, Table]) -> float:
    """A setting with its units, from y down; where it ends."""
    ends = []
    for unit, own in units.items():
        flow = _flow(own)
        tall = LINE * len(flow)
        middle = y + tall / 2
        name = f"{spoken(unit)} {len(own)}"
        write(axes, UNIT, middle, name)
        _bracket(axes, METHODS - TWIG, y, tall)
        _leaves(axes, y + LINE / 2, flow)
        ends.append(middle)
        y += tall + BETWEEN
    members = sum(map(len, units.values()))
    middle = (ends[0] + ends[-1]) / 2
    name = f"{spoken(regime)}\n{members}"
    write(axes, SETTING, middle, name, fontweight="bold")
    trunk = UNIT - TWIG
    rule(axes, (trunk, ends[0]), (trunk, ends[-1]))
    for end in ends:
        rule(axes, (trunk, end), (trunk + 0.04, end))
    return y


def _bracket(axes: Axes, x: float, y: float, tall: float) -> None:
    gap = 0.015
    top, bottom = y + gap, y + tall - gap
    rule(axes, (x, top), (x, bottom))


def _flow(lines: Sequence[dict]) -> list[list[dict]]:
    """Methods in lines that fit the sheet."""
    flow: list[list[dict]] = [[]]
    x = METHODS
    for line in lines:
        width = _width(line)
        if flow[-1] and x + width > COLUMN:
            flow.append([])
            x = METHODS
        flow[-1].append(line)
        x += width
    return flow


def _width(line: dict) -> float:
    return inches(line["name"]) + 0.17


def _leaves(axes: Axes, y: float, flow: Sequence[Sequence[dict]]) -> None:
    for line in flow:
        x = METHODS
        for method in line:
            slant = "italic" if method["kind"] == "enabler" else "normal"
            name, family = method["name"], method["methodology"]
            named(axes, x, y, name, family, slant=slant)
            x += _width(method)
        y += LINE


PICTURES = (
    Picture(
        "taxonomy_grid",
        "the 47 methods by the unit that gets credit and the family of the mechanism",
        cells,
        draw_grid,
    ),
    Picture(
        "taxonomy_tree",
        "the 47 methods by setting and unit, marked by family",
        branches,
        draw_tree,
    ),
)
