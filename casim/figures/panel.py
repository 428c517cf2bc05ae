"""One score of several methods against any field of the rows, in one panel."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from casim.figures.fields import caption
from casim.figures.labels import note
from casim.figures.lines import Line, coincident, read_lines, styles
from casim.figures.places import Places, find_places
from casim.figures.scales import (
    Scale,
    finish_x,
    finish_y,
    fit_scale,
    fit_span,
)
from casim.report import Row

BEHIND = {
    "color": "#d4d4d4",
    "linewidth": 0.6,
    "zorder": 1,
    "label": "_behind",
}
"""How lines are drawn that are there for comparison alone."""

EXACT = {
    "color": "black",
    "linestyle": "--",
    "linewidth": 0.7,
    "zorder": 4,
    "label": "_exact",
}
"""How exact values are drawn."""

DODGE = 0.7
"""Share of the room between two words on the x axis over which methods are spread."""

Exact = Mapping[str, Mapping[float, float]]
"""Exact values by label and x."""
Span = tuple[float, float]
"""The least and the largest number to show."""


class Look(NamedTuple):
    """How methods are drawn.

    Attributes:
        styles: settings of a matplotlib line, by label.
        names: what to call methods, by label; those left out are called by their labels.
    """

    styles: Mapping[str, dict]
    names: Mapping[str, str]

    def name(self, label: str) -> str:
        """What to call a method."""
        return self.names.get(label, label)

    def join(self, lines: Sequence[Line]) -> str:
        """What to call methods that coincide."""
        return " = ".join(self.name(line.label) for line in lines)


class View(NamedTuple):
    """One score of all methods, and the axes that show it.

    Attributes:
        lines: of all methods.
        places: where rows lie along x.
        scale: of the vertical axis.
        span: its least and its largest number.
        exact: exact values, drawn dashed.
        reasons: why values are missing.
    """

    lines: list[Line]
    places: Places
    scale: Scale
    span: Span
    exact: Exact
    reasons: list[str]

    @classmethod
    def make(
        cls,
        rows: Sequence[Row],
        score: str,
        places: Places,
        exact: Exact,
        span: Span | None,
    ) -> View:
        """Reads the lines and chooses an axis that fits them."""
        lines = read_lines(rows, score, places)
        scale, span = fit_axis(lines, score, places, exact, span)
        reasons = {row.notes[score]: None for row in rows if score in row.notes}
        return cls(lines, places, scale, span, exact, list(reasons))


def fit_axis(
    lines: Sequence[Line],
    score: str,
    places: Places,
    exact: Exact,
    span: Span | None,
) -> tuple[Scale, Span]:
    """A scale that shows all lines, and the span, which is what fits if none is given."""
    scale = fit_scale(lines, score)
    if span is None:
        dashed = []
        for by_x in exact.values():
            dashed += places.along(by_x)[1]
        return scale, fit_span(lines, scale, dashed)
    if span[0] > 0 and scale.kind == "symlog":
        return Scale("log"), span
    return scale, span


def panel(
    axes: Axes,
    rows: Sequence[Row],
    score: str,
    x: str = "num_steps",
    names: Mapping[str, str] | None = None,
    exact: Exact | None = None,
    span: Span | None = None,
) -> None:
    """Draws one score of every method against one field of the rows.

    A line per method, its 95% interval as a band; methods whose values agree share a line "A = B".
    `casim.figures.label_ends(axes)` or `axes.legend()` names them.

    Args:
        axes: where to draw.
        rows: of one setting but for method, x and seed; several seeds are averaged, their intervals
            combined as independent.
        score: which score; where it is missing the line has a gap.
        x: a field such as "task.horizon", "judge.fidelity", "estimator.lambda_",
            "num_trajectories". A method without this setting gets a level line.
        names: short names by label.
        exact: exact values by label and x, drawn dashed.
        span: the least and the largest number to show; what fits, if left out.

    Raises:
        ValueError: no rows, an unknown x or score, or two rows of one line at one x that differ in
            anything but the seed.
    """
    check_rows(rows)
    view = View.make(rows, score, find_places(rows, x), exact or {}, span)
    look = Look(styles(rows, x), names or {})
    draw_view(axes, view, look, look.styles)
    axes.set_xlabel(caption(x))


def check_rows(rows: Sequence[Row]) -> None:
    """Raises `ValueError` unless there are rows."""
    if len(rows) == 0:
        raise ValueError("rows must hold at least one row, got none")


def draw_view(
    axes: Axes,
    view: View,
    look: Look,
    shown: Collection[str],
    say: bool = False,
) -> None:
    """Draws some methods in colour, and the others grey behind them.

    Args:
        axes: where to draw.
        view: what to draw.
        look: how.
        shown: labels of the methods in colour.
        say: whether the panel itself says which lines coincide, for want of names at the lines.
    """
    view.scale.apply(axes)
    axes.set_ylim(view.span)
    finish_x(axes, view.places)
    front = [line for line in view.lines if line.label in shown]
    for line in view.lines:
        if line.label not in shown:
            axes.plot(line.x, line.value, **BEHIND)
    groups = coincident(line for line in front if line.defined)
    for place, group in enumerate(groups):
        share = (place + 0.5) / len(groups)
        shift = DODGE * (share - 0.5) if view.places.words else 0.0
        _draw_line(axes, view, look, group, shift)
    for label, by_x in view.exact.items():
        if label in shown:
            axes.plot(*view.places.along(by_x), **EXACT)
    if groups:
        signed = any((line.value < 0).any() for line in view.lines)
        finish_y(axes, view.scale, signed)
    else:
        axes.set_yticks([])
        axes.grid(visible=False)
    remarks = _remarks(view, look, front, groups, say)
    if remarks:
        note(axes, "\n".join(remarks))


def _draw_line(
    axes: Axes,
    view: View,
    look: Look,
    group: Sequence[Line],
    shift: float,
) -> None:
    """One line for methods that coincide."""
    line = group[0]
    own = look.styles[line.label]
    label = look.join(group)
    x = line.x + shift
    if line.flat:
        level = {**own, "marker": "", "linestyle": "-."}
        axes.plot(x, line.value, label=label, **level)
        return
    if view.places.words is None:
        axes.fill_between(
            x,
            line.low,
            line.high,
            color=own["color"],
            alpha=0.13,
            linewidth=0,
        )
        axes.plot(x, line.value, label=label, **own)
        return
    # Between words there is nothing: marks with bars, and a faint line that leads the eye.
    marks = {**own, "linestyle": "none"}
    faint = {"color": own["color"], "linewidth": 0.4, "alpha": 0.5}
    axes.plot(x, line.value, label="_eye", **faint)
    axes.vlines(x, line.low, line.high, color=own["color"], linewidth=0.9)
    axes.plot(x, line.value, label=label, **marks)


def _remarks(
    view: View,
    look: Look,
    front: Sequence[Line],
    groups: Sequence[Sequence[Line]],
    say: bool,
) -> list[str]:
    """Which lines coincide, which lie outside, and which are missing."""
    if not groups:
        return ["not defined here", *view.reasons[:1]]
    remarks, outside = [], []
    low, high = view.span
    for group in groups:
        if say and len(group) > 1:
            remarks.append(look.join(group))
        value = group[0].value
        inside = (value >= low) & (value <= high)
        if not inside.any():
            outside.append(look.join(group))
    if outside:
        remarks.append(f"outside: {', '.join(outside)}")
    missing = [look.name(line.label) for line in front if not line.defined]
    if missing:
        remarks.append(f"not defined: {', '.join(missing)}")
    return remarks
