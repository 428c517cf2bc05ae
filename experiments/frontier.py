"""A fixed budget of environment steps: more rollouts with coarse credit, or fewer with fine credit?

Run with `casim run experiments/frontier.py [--quick]`. A batch is one group of eight rollouts of a
`casim.ToolChain`. Coarse credit costs nothing more. Methods that play on from points of a rollout
pay for it, K times from each: with the same budget they see fewer groups. A dot is one method at
one K. To the right, what its credit costs: all environment steps over those of the rollouts. Above,
the aligned signal-to-noise ratio of the policy gradient for each environment step, over that of
RLOO, which spends all steps on rollouts: above 1, fine credit is worth its price. What a budget
buys without bias is in proportion to it.

`exact` has the true advantage at no cost, which nobody has. docs/agentic-methods.md says what
follows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import casim
from casim import methods
from casim.estimators import Alternatives, Vine
from casim.figures import PAGE, style

AGAINST = "RLOO"
BRANCHES = (1, 2, 4, 8, 16)
"""K, from each point."""
SIBLINGS = (2, 4, 8, 16)
"""K of C3, which compares siblings: at least two."""
FREE = (methods.RLOO, methods.GIGPO, methods.GAE, methods.TURN_PPO)
FINE = (
    *(Vine(k, unit="turn") for k in BRANCHES),
    *(Vine(k, unit="step") for k in BRANCHES),
    *(Alternatives(k, unit="turn") for k in SIBLINGS),
)
ALIGNED = "snr_aligned"
SCORES = (ALIGNED, "gradient_slope", "env_steps", "batch_steps")
TURNS = (4, 16, 64)
NAMES = {
    ("Vine", "turn"): "VinePPO by turn",
    ("Vine", "step"): "VinePPO by step",
    ("Alternatives", "turn"): "C3 by turn",
}
"""Of what plays on, by its recipe and where from."""
COLOURS = dict(
    zip(
        (*NAMES.values(), "GAE", "Turn-PPO", "GiGPO", "exact", "shuffled"),
        ("#0072B2", "#56B4E9", "#CC79A7", "#D55E00", "#E69F00", "#009E73", "#000000", "#999999"),
        strict=True,
    )
)
MARKS = dict(zip(COLOURS, "osD^vP*X", strict=True))
LEAST = 1e-3
"""Of a ratio that is drawn."""


class Point(NamedTuple):
    """Where a row stands."""

    cost: float
    """All environment steps over those of the rollouts."""
    value: float
    low: float
    high: float
    """SNR for each step, with its interval, over that of RLOO."""


def study(name: str, turns: tuple[int, ...], replicates: int) -> casim.Study:
    """Chains of these turns."""
    tasks = tuple(casim.ToolChain(num, tokens_per_turn=3, output_tokens=2) for num in turns)
    return casim.Study(
        name=name,
        tasks=tasks,
        estimators=(*FREE, *FINE),
        policies=(casim.Softmax(scale=0.5),),
        num_trajectories=8,
        replicates=replicates,
        controls=("exact", "shuffled"),
    )


STUDY = study("frontier", TURNS, 1000)
QUICK = study("frontier_quick", (2, 4), 40)


def draw(rows: list[casim.Row], width: float = PAGE) -> Figure:
    """A panel for each number of turns: what a step buys, by what the credit of a group costs."""
    turns = sorted({row.task["num_turns"] for row in rows})
    with style():
        figure = Figure(figsize=(width, 0.46 * width), layout="constrained")
        panels = figure.subplots(1, len(turns), sharex=True, sharey=True, squeeze=False)[0]
        for axes, num in zip(panels, turns, strict=True):
            draw_panel(axes, [row for row in rows if row.task["num_turns"] == num])
            axes.set_title(f"{num} turns")
        panels[0].set_ylabel(f"aligned SNR per environment\nstep, over that of {AGAINST}")
        handles, names = panels[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def draw_panel(axes: Axes, rows: list[casim.Row]) -> None:
    reference = next(row for row in rows if row.label == AGAINST)
    one = reference.scores[ALIGNED].value
    series: dict[str, list[Point]] = {}
    for row in rows:
        if row is not reference:
            series.setdefault(name_of(row), []).append(point_of(row, one))
    axes.axhline(1.0, color="black", linewidth=0.6)
    for name, points in series.items():
        cost, value, low, high = np.array(sorted(points)).T
        errors = [value - low, high - value]
        line = "-" if len(points) > 1 else "none"
        axes.errorbar(
            cost,
            value,
            errors,
            color=COLOURS[name],
            marker=MARKS[name],
            linestyle=line,
            label=name,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("environment steps\nper step of the rollouts")


def name_of(row: casim.Row) -> str:
    """The name of what plays on from a recipe's points, or the row's own."""
    key = (row.estimator["recipe"], row.estimator.get("unit", ""))
    return NAMES.get(key, row.label)


def point_of(row: casim.Row, one: float) -> Point:
    """Where a row stands.

    Args:
        row: of a method or a control.
        one: the aligned SNR of `AGAINST`, whose credit costs nothing.
    """
    cost = 1 + row.scores["env_steps"].value / row.scores["batch_steps"].value
    per_step = [number / cost for number in row.scores[ALIGNED][:3]]
    return Point(cost, *(max(number / one, LEAST) for number in per_step))
