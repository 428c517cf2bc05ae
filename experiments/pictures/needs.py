"""What each method asks for: models of its paper, and doors of the world that its recipe uses."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from casim import survey
from casim.figures import COLUMN, style
from casim.figures.style import dark
from casim.methods import named_methods
from casim.survey.record import COMPUTE, MODELS
from casim.vocabulary import NEEDS
from pictures.picture import Picture, Table
from pictures.sheet import (
    GREY,
    INK,
    LINE,
    METHODOLOGIES,
    SIZE,
    UNKNOWN,
    colour_of,
    key,
    mark,
    named,
    of_the_survey,
    rule,
    sheet,
    spoken,
    write,
)

YES, SOME = "yes", "some variants"
COST = "compute"
MODEL, RECIPE = "paper: ", "recipe: "
"""Before the names of columns."""


def needs() -> Table:
    """A line for each of the 47 methods, by family.

    Columns of the paper say whether it needs this model beside the policy and a frozen reference,
    those of the recipe whether the main recipe of `casim.methods` needs this beyond its batch.
    """
    recipes = named_methods()
    order = (*METHODOLOGIES, None)
    records = of_the_survey(survey.inventory())
    table = []
    records.sort(key=lambda record: order.index(record.methodology))
    for record in records:
        line = {
            "number": record.number,
            "name": record.name,
            "methodology": record.methodology or UNKNOWN,
            "recipe": record.main or "",
            "compute": record.compute.level or "",
        }
        for model in MODELS:
            line[MODEL + model] = _asked(record, model)
        asked = recipes[record.main].needs if record.main else frozenset()
        for need in NEEDS:
            line[RECIPE + need] = YES if need in asked else ""
        table.append(line)
    return table


def _asked(record: survey.Record, model: str) -> str:
    if model in record.models:
        return YES
    return SOME if f"{model}?" in record.models else ""


LEFT = 0.86
"""Inches of the names of methods."""
HEAD, ROW, FOOT = 0.95, 0.113, 0.48
"""Inches of the names of columns, of a method, and of what marks mean."""
BORDER = {"color": GREY, "linewidth": 0.5}
FAINT = {"color": "#e8e8e8", "linewidth": 0.4, "zorder": 0}
"""Of lines between families, and of those that lead the eye."""
APART = 0.1
"""Inches between the columns of papers, those of recipes, and the cost."""


def draw(table: Table) -> Figure:
    """Methods by needs: a mark where one is needed, a hollow one where some variants need it."""
    asked = []
    for name in table[0]:
        found = [line[name] for line in table]
        if any(found):
            asked.append(name)
    models = [name for name in asked if name.startswith(MODEL)]
    doors = [name for name in asked if name.startswith(RECIPE)]
    x = _across([models, doors, [COST]])
    bottom = HEAD + ROW * len(table)
    with style():
        figure, axes = sheet(bottom + FOOT)
        groups = {"model of the paper": models, "need of the recipe": doors}
        _heads(axes, x, groups)
        for place in x.values():
            rule(axes, (place, HEAD), (place, bottom), **FAINT)
        y, before = HEAD, table[0]["methodology"]
        for line in table:
            look = FAINT if line["methodology"] == before else BORDER
            rule(axes, (0.02, y), (COLUMN - 0.02, y), **look)
            _row(axes, x, y + ROW / 2, line)
            y, before = y + ROW, line["methodology"]
        y = key(axes, 0.03, bottom + 0.12, COLUMN, METHODOLOGIES)
        said = f"hollow: some variants; bars: {', '.join(COMPUTE)}"
        write(axes, 0.03, y + LINE, said, color=GREY)
    return figure


def _across(groups: list[list[str]]) -> dict[str, float]:
    """Where columns stand, their groups apart."""
    number = sum(map(len, groups))
    gaps = APART * (len(groups) - 1)
    lane = (COLUMN - LEFT - gaps) / number
    x, places = LEFT, {}
    for group in groups:
        for name in group:
            places[name] = x + lane / 2
            x += lane
        x += APART
    return places


def _row(axes: Axes, x: dict[str, float], y: float, line: dict) -> None:
    """The name of a method, and what it needs."""
    family = line["methodology"]
    named(axes, 0.03, y, line["name"], family)
    for name, place in x.items():
        said = line[name]
        if said and name != COST:
            mark(axes, place, y, family, filled=said == YES)
    if line[COST]:
        _bars(axes, x[COST], y, line)


def _heads(axes: Axes, x: dict[str, float], groups: dict[str, list[str]]) -> None:
    """Names of columns upright, and of their groups above."""
    for title, names in groups.items():
        places = [x[name] for name in names]
        left = min(places) - 0.04
        right = max(places) + 0.04
        middle = (left + right) / 2
        write(axes, middle, 0.07, title, ha="center", fontweight="bold")
        rule(axes, (left, 0.14), (right, 0.14), color=INK)
    for name, place in x.items():
        said = spoken(name.removeprefix(MODEL).removeprefix(RECIPE))
        axes.text(
            place,
            HEAD - 0.04,
            said,
            rotation=90,
            ha="center",
            va="bottom",
            fontsize=SIZE,
            color=INK,
        )


def _bars(axes: Axes, x: float, y: float, line: dict) -> None:
    """One, two or three bars."""
    colour = dark(colour_of(line["methodology"]))
    for place in range(COMPUTE.index(line[COST]) + 1):
        across = x + 0.025 * (place - 1)
        foot, top = (across, y + 0.03), (across, y - 0.03)
        rule(axes, foot, top, color=colour, linewidth=1.0)


PICTURES = (
    Picture(
        "needs",
        "the 47 methods by the models of their papers and the needs of their recipes",
        needs,
        draw,
    ),
)
