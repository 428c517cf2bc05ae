"""Many methods below each other: a row a method, a column a number, a dot for each place of x.

Where a figure of lines holds eight methods a panel, this one holds a whole column of a survey, and
each is found by its name.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator

from casim.checks import check_integer, check_range
from casim.figures.style import PAGE, colours, dark, shade, style

Number = tuple[float, float, float]
"""A value and its 95% interval."""

ROW = 0.145
"""Inches of a method's row."""
HEAD, FOOT = 0.55, 0.45
"""Inches above and below all rows."""
SPREAD = 0.5
"""Share of a row over which the dots of one method are spread."""
DECADES = 2
"""Most powers of ten that are written on one side of 0."""
SIZE = 6.0
"""Of the methods' names, in points."""


class Column(NamedTuple):
    """What a column of the figure shows.

    Attributes:
        title: written below the axis, with its unit.
        values: by label of the method, then by place of x; NaN or nothing where there is none.
        scale: of the axis.
        neutral: where a thin line stands, as at no difference; None draws none.
        threshold: where "symlog" turns linear.
        limits: of the axis; None fits what is drawn.
        hollow: pairs of label and place whose dot is hollow, as where nothing was told apart.
    """

    title: str
    values: Mapping[str, Mapping[str, Number]]
    scale: Literal["linear", "log", "symlog"] = "linear"
    neutral: float | None = None
    threshold: float = 1.0
    limits: tuple[float | None, float | None] = (None, None)
    hollow: Container[tuple[str, str]] = ()


def ladder(
    columns: Sequence[Column],
    methodologies: Mapping[str, str],
    places: Sequence[str],
    names: Mapping[str, str] | None = None,
    width: float = PAGE,
) -> Figure:
    """Draws numbers of many methods, a row each, grouped by methodology.

    Args:
        columns: at least one.
        methodologies: by label, in the order of the rows within each methodology.
        places: the places of x, as they are to be called, first the darkest.
        names: short names by label.
        width: of the figure in inches.

    Raises:
        ValueError: no column, no method, no place, or a width below 2 inches.
    """
    check_integer("number of columns", len(columns), 1)
    check_integer("number of methods", len(methodologies), 1)
    check_integer("number of places", len(places), 1)
    check_range("width", width, 2.0, 100.0)
    order = rows_in_order(methodologies)
    colour_of = colours(methodologies.values())
    height = HEAD + ROW * len(order) + FOOT
    with style():
        figure = Figure(figsize=(width, height), layout="constrained")
        grid = figure.subplots(1, len(columns), sharey=True, squeeze=False)
        panels = grid[0]
        for axes, column in zip(panels, columns, strict=True):
            for row, label in enumerate(order):
                colour = colour_of[methodologies[label]]
                _dots(axes, row, label, column, colour, places)
            _dress(axes, column, order, methodologies)
        shown = names or {}
        write_names(panels[0], order, methodologies, shown)
        if len(places) > 1:
            figure.legend(
                handles=_key(places),
                loc="outside upper center",
                ncols=len(places),
            )
    return figure


def rows_in_order(methodologies: Mapping[str, str]) -> list[str]:
    """The labels, those of a methodology together, methodologies as they come first."""
    by_kind = dict.fromkeys(methodologies.values())
    kinds = list(by_kind)

    def kind(label: str) -> int:
        return kinds.index(methodologies[label])

    return sorted(methodologies, key=kind)


def _dots(
    axes: Axes,
    row: int,
    label: str,
    column: Column,
    colour: str,
    places: Sequence[str],
) -> None:
    """The dots of one method in one column, the first place on top."""
    values = column.values.get(label, {})
    number = len(places)
    reach = SPREAD / 2 if number > 1 else 0.0
    shifts = np.linspace(-reach, reach, number)
    missing = (np.nan, np.nan, np.nan)
    for place, (name, shift) in enumerate(zip(places, shifts, strict=True)):
        value, low, high = values.get(name, missing)
        if not np.isfinite(value):
            continue
        at = row + shift
        tone = shade(colour, place, number)
        interval = [low, high]
        axes.plot(interval, [at, at], color=tone, linewidth=0.8)
        is_hollow = (label, name) in column.hollow
        fill = "white" if is_hollow else tone
        mark = {"markersize": 2.0, "markeredgewidth": 0.5, "markerfacecolor": fill}
        axes.plot([value], [at], "o", color=tone, **mark)


def _dress(
    axes: Axes,
    column: Column,
    order: Sequence[str],
    methodologies: Mapping[str, str],
) -> None:
    """The axis of a column, and lines between methodologies."""
    symmetric = column.scale == "symlog"
    wide = {"linthresh": column.threshold} if symmetric else {}
    axes.set_xscale(column.scale, **wide)
    axes.set_xlim(*column.limits)
    if column.scale == "symlog":
        ticks = _decades(axes, column.threshold)
        axes.xaxis.set_major_locator(FixedLocator(ticks))
    if column.scale == "linear":
        axes.xaxis.set_major_locator(MaxNLocator(4))
    if column.neutral is not None:
        axes.axvline(column.neutral, color="black", linewidth=0.6)
    kinds = [methodologies[label] for label in order]
    for row in range(1, len(order)):
        if kinds[row] != kinds[row - 1]:
            between = row - 0.5
            axes.axhline(between, color="#bbbbbb", linewidth=0.5)
    lowest = len(order) - 0.4
    axes.set_ylim(lowest, -0.6)
    axes.set_xlabel(column.title, fontsize=7)
    axes.tick_params(axis="x", labelsize=6)
    axes.grid(axis="y", visible=False)


def _decades(
    axes: Axes,
    threshold: float,
) -> list[float]:
    """0 and few powers of ten on both sides, between the limits of the axis."""
    low, high = axes.get_xlim()
    smallest = math.log10(threshold)
    first = math.ceil(smallest)
    largest = max(high, -low, 10 * threshold)
    last = math.floor(math.log10(largest))
    number = last - first + 1
    steps = math.ceil(number / DECADES)
    apart = max(1, steps)
    exponents = range(last, first - 1, -apart)
    powers = [10.0**exponent for exponent in exponents]
    below = [-power for power in powers]
    ticks = [*below, 0.0, *powers]
    return [tick for tick in ticks if low <= tick <= high]


def write_names(
    axes: Axes,
    order: Sequence[str],
    methodologies: Mapping[str, str],
    names: Mapping[str, str],
) -> None:
    """The names of the methods at their rows, in the colours of their methodologies."""
    colour_of = colours(methodologies.values())
    shown = [names.get(label, label) for label in order]
    rows = range(len(order))
    axes.set_yticks(rows, shown)
    axes.tick_params(axis="y", labelsize=SIZE, length=0)
    for text, label in zip(axes.get_yticklabels(), order, strict=True):
        colour = colour_of[methodologies[label]]
        text.set_color(dark(colour))


def _key(places: Sequence[str]) -> list[Line2D]:
    """Which shade is which place, in grey."""
    keys = []
    for place, name in enumerate(places):
        tone = shade("#777777", place, len(places))
        key = Line2D([], [], color=tone, marker="o", linewidth=0.8, label=name)
        keys.append(key)
    return keys
