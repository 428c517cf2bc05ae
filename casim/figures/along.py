"""Truths along one trajectory: one panel per kind, one line of steps for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from casim.figures.style import MARKERS, PAGE

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of the curves of a panel, in order; then again from the first, with another mark."""
MOST_STEMS = 40
"""Steps that are drawn as stems; more are a line."""
APART = 0.18
"""Of a step: how far the stems of two curves stand from each other."""


def truth_figure(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    decision: np.ndarray,
    title: str,
) -> Figure:
    """Draws named curves over the steps of one trajectory.

    Args:
        panels: curves `[T]` by name, by kind of truth; NaN is left out.
        decision: `[T]`, False where the environment writes, which is shaded.
        title: above the figure.
    """
    number = len(panels)
    height = 0.7 + 1.25 * number
    figure, rows = plt.subplots(
        number,
        1,
        figsize=(PAGE, height),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    column = rows[:, 0]
    for axes, (kind, curves) in zip(column, panels.items(), strict=True):
        axes.axhline(0, color="black", linewidth=0.5)
        written = _runs(~decision)
        for first, last in written:
            _shade(axes, first, last)
        _draw(axes, curves)
        axes.set_ylabel(kind)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    lowest = column[-1]
    whole_steps = MaxNLocator(integer=True)
    lowest.xaxis.set_major_locator(whole_steps)
    lowest.set_xlabel("step (grey: written by the environment)")
    figure.suptitle(title, fontsize=8)
    return figure


def _shade(axes: Axes, first: int, last: int) -> None:
    """Greys the steps that the environment writes."""
    left = first - 0.5
    right = last + 0.5
    axes.axvspan(left, right, color="#e8e8e8", linewidth=0, zorder=0)


def _draw(axes: Axes, curves: Mapping[str, np.ndarray]) -> None:
    """The curves of a panel: stems side by side where there is room, else lines."""
    last = len(curves) - 1
    middle = last / 2
    for place, (name, curve) in enumerate(curves.items()):
        steps = np.arange(len(curve))
        colour = COLOURS[place % len(COLOURS)]
        mark = MARKERS[place % len(MARKERS)]
        defined = np.isfinite(curve).any()
        label = name if defined else f"{name}: not defined here"
        look: dict[str, Any] = {"color": colour, "label": label}
        if len(steps) > MOST_STEMS:
            axes.plot(steps, curve, linewidth=0.9, **look)
            continue
        shift = APART * (place - middle)
        at = steps + shift
        axes.vlines(at, 0, curve, color=colour, linewidth=1.0)
        axes.plot(at, curve, mark, markersize=2.6, **look)


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    off = [False]
    within = np.concatenate([off, mask, off])
    changes = np.diff(within.astype(int))
    edges = np.flatnonzero(changes)
    pairs = edges.reshape(-1, 2).tolist()
    return [(first, after - 1) for first, after in pairs]
