"""Truths along one trajectory: one panel per kind, one line of steps for all."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from casim.figures.style import MARKERS, PAGE

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Of the curves of a panel, in order; then again from the first, with another mark."""


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
    figure, rows = plt.subplots(
        len(panels),
        1,
        figsize=(PAGE, 0.7 + 1.25 * len(panels)),
        sharex=True,
        squeeze=False,
        layout="constrained",
    )
    steps = np.arange(len(decision))
    for axes, (kind, curves) in zip(rows[:, 0], panels.items(), strict=True):
        axes.axhline(0, color="black", linewidth=0.5)
        for first, last in _runs(~decision):
            axes.axvspan(first - 0.5, last + 0.5, color="#e8e8e8", linewidth=0, zorder=0)
        shift = 0.18 if len(steps) <= 40 else 0.0
        for place, (name, curve) in enumerate(curves.items()):
            at = steps + shift * (place - (len(curves) - 1) / 2)
            colour = COLOURS[place % len(COLOURS)]
            mark = MARKERS[place % len(MARKERS)]
            label = name if np.isfinite(curve).any() else f"{name}: not defined here"
            look = {"color": colour, "label": label}
            if len(steps) <= 40:
                axes.vlines(at, 0, curve, color=colour, linewidth=1.0)
                axes.plot(at, curve, mark, markersize=2.6, **look)
            else:
                axes.plot(at, curve, linewidth=0.9, **look)
        axes.set_ylabel(kind)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    rows[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
    rows[-1, 0].set_xlabel("step (grey: written by the environment)")
    figure.suptitle(title, fontsize=8)
    return figure


def _runs(mask: np.ndarray) -> list[tuple[int, int]]:
    """First and last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(int)))
    return [(int(first), int(after) - 1) for first, after in edges.reshape(-1, 2)]
