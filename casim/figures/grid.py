"""A grid of small panels: a row per score, a column per group of methods with their names above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from casim.figures.fields import caption
from casim.figures.labels import LETTER_WIDTH, LINE_HEIGHT, POINTS, wrap
from casim.figures.panel import Look, View, draw_view
from casim.figures.scales import score_caption
from casim.figures.style import dark

NARROW, HEIGHT = 0.88, 0.95
"""Least width and height in inches of a panel."""
BETWEEN = 0.13
"""Inches between panels."""
LEFT, RIGHT, BOTTOM = 0.66, 0.08, 0.12
"""Inches beside and below all panels."""
WORDS = 0.13
"""Inches for what is written at the ticks below a block of panels."""
SIZE = 6.0
"""Of the letters above panels, in points."""
LINE = SIZE * LINE_HEIGHT / POINTS
LETTER = SIZE * LETTER_WIDTH / POINTS
"""Inches of a line and of a letter."""
KEY = 4
"""Letters that the mark before a name takes."""


class Column(NamedTuple):
    """A column of panels.

    Attributes:
        title: what is written above.
        colour: of the title.
        names: of the methods in colour, by label; others are grey and behind.
        views: the lines by score.
    """

    title: str
    colour: str
    names: Mapping[str, str]
    views: Mapping[str, View]


class Box(NamedTuple):
    """A place on the figure, in inches from its lower left corner."""

    left: float
    bottom: float
    width: float
    height: float


def draw_grid(columns: Sequence[Column], look: Look, width: float) -> Figure:
    """Draws a row of panels per score and the columns, in as many blocks as the width asks for."""
    room = width - LEFT - RIGHT + BETWEEN
    fitting = max(1, int(room / (NARROW + BETWEEN)))
    number = -(-len(columns) // fitting)
    size = -(-len(columns) // number)
    across = room / size - BETWEEN
    letters = int(across / LETTER)
    starts = range(0, len(columns), size)
    blocks = [columns[start : start + size] for start in starts]
    scores = list(columns[0].views)
    panels = len(scores) * (HEIGHT + BETWEEN) + WORDS
    heads = [_head(block, look, letters) for block in blocks]
    height = sum(map(sum, heads)) + len(blocks) * panels + BOTTOM
    figure = Figure(figsize=(width, height))
    top = height
    for block, (title, keys) in zip(blocks, heads, strict=True):
        for place, column in enumerate(block):
            left = LEFT + place * (across + BETWEEN)
            _write_head(figure, column, look, (left, top - title), letters)
            box = Box(left, top - title - keys - HEIGHT, across, HEIGHT)
            _draw_column(figure, column, look, box, first=place == 0)
        top -= title + keys + panels
    x_name = caption(columns[0].views[scores[0]].places.field)
    figure.text((LEFT + room / 2) / width, 0.02 / height, x_name, ha="center")
    if len(scores) == 1:
        y_name = score_caption(scores[0])
        figure.text(0.04 / width, 0.5, y_name, rotation=90, va="center")
    return figure


def _draw_column(
    figure: Figure,
    column: Column,
    look: Look,
    box: Box,
    first: bool,
) -> None:
    """The panels of a column, from a box downwards; the first column names the scores."""
    width, height = figure.get_size_inches()
    last = len(column.views) - 1
    for row, (score, view) in enumerate(column.views.items()):
        bottom = box.bottom - row * (box.height + BETWEEN)
        share = (
            box.left / width,
            bottom / height,
            box.width / width,
            box.height / height,
        )
        axes = figure.add_axes(share)
        draw_view(axes, view, look, column.names, say=True)
        axes.tick_params(
            labelsize=SIZE,
            labelleft=first,
            labelbottom=row == last,
            pad=1.5,
            length=2,
        )
        for line in axes.get_lines():
            line.set_markersize(0.75 * line.get_markersize())
        if first and last > 0:
            letter = chr(ord("a") + row)
            name = wrap(f"({letter}) {score_caption(score)}", 20)
            figure.text(
                0.04 / width,
                (bottom + box.height / 2) / height,
                "\n".join(name),
                rotation=90,
                va="center",
                ha="left",
                multialignment="center",
                fontsize=6.5,
            )


def _write_head(
    figure: Figure,
    column: Column,
    look: Look,
    corner: tuple[float, float],
    letters: int,
) -> None:
    """The title of a column above a corner, in inches, and the names of its methods below."""
    width, height = figure.get_size_inches()
    left, middle = corner
    figure.text(
        left / width,
        middle / height,
        _title(column, letters),
        va="bottom",
        fontsize=6.5,
        fontweight="bold",
        color=dark(column.colour),
        linespacing=1.05,
    )
    legend = figure.legend(
        handles=_keys(column, look, letters),
        loc="upper left",
        bbox_to_anchor=(left / width, (middle - 0.03) / height),
        fontsize=SIZE,
        handlelength=1.5,
        handletextpad=0.4,
        labelspacing=0.2,
        borderaxespad=0,
        borderpad=0,
    )
    for text in legend.get_texts():
        text.set_linespacing(1.0)


def _head(block: Sequence[Column], look: Look, letters: int) -> tuple[float, float]:
    """Inches that titles and names above a block of columns take."""
    titles, keys = [], []
    for column in block:
        titles.append(_lines(_title(column, letters)))
        names = [key.get_label() for key in _keys(column, look, letters)]
        keys.append(sum(_lines(str(name)) for name in names))
    return LINE * max(titles), LINE * (max(keys) + 0.6)


def _keys(column: Column, look: Look, letters: int) -> list[Line2D]:
    """What a legend shows of a column."""
    keys = []
    for label, name in column.names.items():
        broken = _broken(name, letters - KEY)
        keys.append(Line2D([], [], label=broken, **look.styles[label]))
    return keys


def _title(column: Column, letters: int) -> str:
    """The title in lines; bold letters are wider."""
    return _broken(column.title, int(0.8 * letters))


def _broken(name: str, letters: int) -> str:
    """The name in lines of so many letters."""
    return "\n".join(wrap(name, letters))


def _lines(text: str) -> int:
    """How many lines a text has."""
    return 1 + text.count("\n")
