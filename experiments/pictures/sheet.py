"""A sheet as wide as a column, measured in inches from its upper left corner, and marks on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from casim.figures import COLOR, COLUMN
from casim.figures.style import MARK, dark
from casim.survey.record import Record

POINTS = 72.0
"""Points in an inch."""
SIZE = 6.0
"""Of letters, in points."""
LINE = 0.102
"""Inches of a line of such letters."""
GAP = 0.055
"""Inches between a mark and its name."""
CAPITAL = 0.73 * SIZE / POINTS
"""Inches of a capital letter."""
SEVERAL = "; "
"""Between names in one cell of a table."""
GREY, INK = "#777777", "#222222"
Point = tuple[float, float]
"""Inches from the left and from above."""
SHORT = ("llm", "prm", "gpu")
"""Words that are in capitals."""
UNKNOWN = "not known"
"""In place of a word of the taxonomy where a record has none."""
METHODOLOGIES = {
    "monte_carlo": "Monte Carlo",
    "temporal_difference": "temporal difference",
    "model_based": "model-based",
    "game_theoretic": "game-theoretic",
    "information_theoretic": "information-theoretic",
}
"""As they are written, in the order of columns."""


def sheet(height: float, width: float = COLUMN) -> tuple[Figure, Axes]:
    """A figure with nothing on it; x and y are inches, y grows downwards."""
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_axis_off()
    return figure, axes


def spoken(word: str) -> str:
    """A word of the inventory as it is written in a figure."""
    said = METHODOLOGIES.get(word, word).replace("multi_agent", "multi-agent")
    words = said.replace("_", " ").split()
    return " ".join(each.upper() if each in SHORT else each for each in words)


def write(axes: Axes, x: float, y: float, text: str, **changes: Any) -> None:
    """Small letters whose capitals, or whose lines, have their middle at y."""
    look = {"fontsize": SIZE, "color": INK, "linespacing": 1.05}
    if "\n" in text:
        axes.text(x, y, text, **{**look, "va": "center", **changes})
    else:
        # The middle of capitals, whatever hangs below the line, so that neighbours stand level.
        axes.text(x, y + CAPITAL / 2, text, **{**look, "va": "baseline", **changes})


def rule(
    axes: Axes,
    start: Point,
    end: Point,
    color: str = GREY,
    linewidth: float = 0.6,
    **changes: Any,
) -> None:
    """A straight line."""
    look = {"color": color, "linewidth": linewidth, **changes}
    axes.plot(*zip(start, end, strict=True), **look)


def inches(text: str, size: float = SIZE, **font: Any) -> float:
    """How wide a text is, by the widths of its letters."""
    properties = FontProperties(size=size, **font)
    return max(_points(line, properties) for line in text.split("\n")) / POINTS


def _points(line: str, properties: FontProperties) -> float:
    width, _, _ = text_to_path.get_text_width_height_descent(line, properties, ismath=False)
    return width


def colour_of(methodology: str) -> str:
    return COLOR.get(methodology, GREY)


def mark(
    axes: Axes,
    x: float | Sequence[float],
    y: float | Sequence[float],
    methodology: str,
    filled: bool = True,
    size: float = 3.0,
) -> None:
    """The mark of a methodology in its colour, or several of them."""
    colour = colour_of(methodology)
    axes.plot(
        x,
        y,
        linestyle="none",
        marker=MARK.get(methodology, "x"),
        markersize=size,
        color=colour,
        markerfacecolor=colour if filled else "white",
        markeredgewidth=0.7,
        clip_on=False,
    )


def named(
    axes: Axes,
    x: float,
    y: float,
    name: str,
    methodology: str,
    filled: bool = True,
    slant: str = "normal",
) -> float:
    """A mark and a name in the colour of the methodology; where the name ends."""
    start = x + GAP + 0.02
    mark(axes, x + 0.02, y, methodology, filled)
    write(axes, start, y, name, color=dark(colour_of(methodology)), style=slant)
    return start + inches(name, style=slant)


def key(axes: Axes, left: float, y: float, right: float, words: Iterable[str]) -> float:
    """Which mark is which methodology, in lines between left and right; where the last line is."""
    x = left
    for word in words:
        width = GAP + 0.02 + inches(spoken(word))
        if x > left and x + width > right:
            x, y = left, y + LINE
        x = named(axes, x, y, spoken(word), word) + 0.1
    return y


def of_the_survey(records: Iterable[Record]) -> list[Record]:
    """Those of the 47 methods."""
    return [record for record in records if record.kind != "later"]
