"""Scores against the horizon: one panel per score, one line per estimator, intervals as bands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from casim.figures.style import COLOR, MARKERS
from casim.report import Row


def horizon_panel(
    axes: Axes,
    rows: Sequence[Row],
    score: str,
    title: str,
    scale: str = "linear",
    linthresh: float | None = None,
    exact: Mapping[str, Mapping[int, float]] | None = None,
) -> None:
    """Draws one score of every estimator against the number of steps.

    Args:
        axes: where to draw.
        rows: of one task family; several seeds are averaged, their intervals combined as independent.
        score: which score.
        title: of the panel.
        scale: "linear", "log" or "symlog" for the vertical axis.
        linthresh: where "symlog" becomes linear.
        exact: exact values by label and number of steps, drawn dashed in black.
    """
    for label, style in styles(rows).items():
        steps, value, low, high = series(rows, label, score)
        if np.isfinite(value).any():
            axes.plot(steps, value, label=label, **style)
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.15, linewidth=0)
        if exact is not None and label in exact:
            points = sorted(exact[label].items())
            axes.plot(*zip(*points, strict=True), color="black", linestyle="--", linewidth=0.6, zorder=4)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(lambda steps, _: f"{steps:,.0f}")
    if scale == "symlog":
        axes.set_yscale("symlog", linthresh=linthresh)
    else:
        axes.set_yscale(scale)
    axes.set_title(title, loc="left")


def series(rows: Iterable[Row], label: str, score: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Steps, value and interval of one estimator, seeds averaged."""
    groups: dict[int, list] = {}
    for row in rows:
        if row.label == label:
            groups.setdefault(row.num_steps, []).append(row.scores[score])
    steps = sorted(groups)
    value = [np.mean([s.value for s in groups[step]]) for step in steps]
    half = [np.sqrt(np.sum([((s.high - s.low) / 2) ** 2 for s in groups[step]])) / len(groups[step]) for step in steps]
    value, half = np.array(value), np.array(half)
    return np.array(steps), value, value - half, value + half


def styles(rows: Iterable[Row]) -> dict[str, dict]:
    """Colour by methodology, mark by place within it; controls are grey and thin."""
    out: dict[str, dict] = {}
    used: dict[str, int] = {}
    for row in rows:
        if row.label not in out:
            place = used[row.methodology] = used.get(row.methodology, -1) + 1
            control = row.methodology == "control"
            out[row.label] = {
                "color": COLOR[row.methodology],
                "marker": MARKERS[place % len(MARKERS)],
                "linestyle": ":" if control else "-",
                "linewidth": 0.8 if control else 1.1,
            }
    return out
