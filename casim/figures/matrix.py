"""Methods by worlds: a coloured cell for each pair, so that what breaks which method is seen."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from casim.checks import check_integer, check_range
from casim.figures.ladder import rows_in_order, write_names
from casim.figures.style import PAGE, style

ROW = 0.15
"""Inches of a row."""
HEAD, FOOT = 0.75, 0.6
"""Inches above and below all rows."""
DIVERGING, RISING = "RdBu", "Greys"
"""Colours of what has a neutral value, better is blue, and of what has none."""
SIZE = 6.0
"""Of what is written at the axes, in points."""


class Panel(NamedTuple):
    """A matrix of the figure.

    Attributes:
        title: below its bar of colours, with the unit.
        values: by label of the method, then by name of the column; NaN or nothing is a cross.
        limits: of the colours; what is beyond them has the colour of the limit.
        neutral: the value in white, where lower is worse; None if there is none: then more is
            darker.
        log: whether colours go by the logarithm.
        unsure: pairs of label and column that get a dot, as where nothing was told apart.
    """

    title: str
    values: Mapping[str, Mapping[str, float]]
    limits: tuple[float, float]
    neutral: float | None = None
    log: bool = False
    unsure: Container[tuple[str, str]] = ()


def matrix(
    panels: Sequence[Panel],
    methodologies: Mapping[str, str],
    columns: Sequence[str],
    names: Mapping[str, str] | None = None,
    width: float = PAGE,
) -> Figure:
    """Draws methods by columns, a matrix for each number, rows grouped by methodology.

    Args:
        panels: at least one.
        methodologies: by label, in the order of the rows within each methodology.
        columns: their names, at least one.
        names: short names of labels and of columns.
        width: of the figure in inches.

    Raises:
        ValueError: no panel, method or column, or a width below 2 inches.
    """
    check_integer("number of panels", len(panels), 1)
    check_integer("number of methods", len(methodologies), 1)
    check_integer("number of columns", len(columns), 1)
    check_range("width", width, 2.0, 100.0)
    short = names or {}
    order = rows_in_order(methodologies)
    height = HEAD + ROW * len(order) + FOOT
    with style():
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, panel in zip(grid, panels, strict=True):
            image = _cells(axes, panel, order, columns)
            _bar(figure, axes, image, panel)
            _dress(axes, order, [short.get(name, name) for name in columns], methodologies)
        write_names(grid[0], order, methodologies, short)
    return figure


def _cells(
    axes: Axes,
    panel: Panel,
    order: Sequence[str],
    columns: Sequence[str],
) -> AxesImage:
    """The coloured cells, with a cross where there is no number and a dot where it is unsure."""
    found = np.full((len(order), len(columns)), np.nan)
    for row, label in enumerate(order):
        values = panel.values.get(label, {})
        for place, column in enumerate(columns):
            found[row, place] = values.get(column, np.nan)
            at = (place, row)
            if not np.isfinite(found[row, place]):
                axes.plot(*at, "x", color="#888888", markersize=2.5, markeredgewidth=0.6)
            elif (label, column) in panel.unsure:
                axes.plot(*at, ".", color="black", markersize=1.6)
    colours = RISING if panel.neutral is None else DIVERGING
    return axes.imshow(_scaled(found, panel), colours, norm=_norm(panel), aspect="auto")


def _scaled(
    x: Float[np.ndarray, "..."],
    panel: Panel,
) -> Float[np.ndarray, "..."]:
    """Numbers as their colours go: within the limits, as logarithms if so."""
    within = np.clip(x, *panel.limits)
    return np.log10(within) if panel.log else within


def _norm(panel: Panel) -> Normalize:
    """Colours with the neutral value in the middle."""
    low, high = _scaled(np.array(panel.limits), panel)
    if panel.neutral is None:
        return Normalize(low, high)
    middle = float(_scaled(np.array(panel.neutral), panel))
    return TwoSlopeNorm(middle, low, high)


def _bar(
    figure: Figure,
    axes: Axes,
    image: AxesImage,
    panel: Panel,
) -> None:
    """The bar of colours below a matrix, in the numbers themselves."""
    bar = figure.colorbar(image, ax=axes, orientation="horizontal", fraction=0.05, pad=0.02)
    bar.set_label(panel.title, fontsize=7)
    bar.locator = MaxNLocator(4, integer=panel.log)
    if panel.log:
        bar.formatter = FuncFormatter(lambda x, _: f"{10.0**x:g}")
    bar.update_ticks()
    bar.ax.tick_params(labelsize=SIZE)


def _dress(
    axes: Axes,
    order: Sequence[str],
    columns: Sequence[str],
    methodologies: Mapping[str, str],
) -> None:
    """Names of columns above, lines between methodologies."""
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=SIZE)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    for row in range(1, len(order)):
        if methodologies[order[row]] != methodologies[order[row - 1]]:
            axes.axhline(row - 0.5, color="white", linewidth=2.0)
