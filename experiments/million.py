"""A million tokens: twelve estimators on 1,024 trajectories, scored against the exact truth.

Each trajectory has 1,000,000 steps. Run with `casim run experiments/million.py [--quick]`. The
world is the token chain of the horizon study at its far end: one pivotal step in a million decides
the outcome, and everything else is filler.
"""

from __future__ import annotations

import math

import casim
from casim.figures import PAGE, style, styles
from casim.figures.scales import score_caption
from casim.figures.style import dark

ESTIMATORS = (
    casim.methods.REINFORCE,
    casim.methods.REWARD_TO_GO,
    casim.methods.GRPO,
    casim.methods.DR_GRPO,
    casim.methods.RLOO,
    casim.Vine(),
    casim.Gae(),
    casim.GaeNetwork(),
    casim.Hindsight(),
    casim.ProcessReward(),
    casim.InformationGain(),
    casim.Shapley(),
)
NAMES = {
    "Vine": "VinePPO",
    "Gae": "GAE",
    "GaeNetwork": "GAE, network",
    "ProcessReward": "PRM, min",
    "InformationGain": "info gain",
}
"""What the literature calls the methods, short."""
SCORES = ("bias", "centred_bias", "snr_aligned", "sign_accuracy", "precision_at_k", "env_steps")
DECADES = 12
"""Most decades that a panel shows; what is smaller is said to be so."""


def study(name: str, horizon: int, replicates: int) -> casim.Study:
    return casim.Study(
        name=name,
        tasks=(casim.Bifurcation(horizon=horizon, filler_entropy=0.5, noise=0.05),),
        estimators=ESTIMATORS,
        policies=(casim.Softmax(scale=0.5),),
        judges={"judge": casim.Judge(fidelity=0.9)},
        num_trajectories=8,
        replicates=replicates,
    )


STUDY = study("million", 1_000_000, 128)
QUICK = study("million_quick", 2_000, 10)


def draw(rows: list[casim.Row]):
    """A line per method: is its gradient right, does it find the pivot, and what does it cost."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(
            1,
            3,
            figsize=(PAGE, 0.16 * len(rows) + 0.6),
            sharey=True,
            layout="constrained",
        )
        for axis, score, letter in zip(axes, ("snr_aligned", "precision_at_k"), "ab", strict=False):
            draw_score(axis, rows, score)
            axis.set_title(f"({letter}) {score_caption(score)}", loc="left")
        # The first row also pays for small programs that all rows share.
        draw_dots(axes[2], rows, [(row.wall_time,) * 3 for row in rows])
        axes[2].set_title("(c) time to run (seconds)", loc="left")
        names = [NAMES.get(row.label, row.label) for row in rows]
        axes[0].set_yticks(range(len(rows)), names)
        axes[0].set_ylim(len(rows) - 0.5, -0.5)
        looks = styles(rows)
        for tick, row in zip(axes[0].get_yticklabels(), rows, strict=True):
            tick.set_color(dark(looks[row.label]["color"]))
    return figure


def draw_score(axis, rows: list[casim.Row], score: str) -> None:
    """One score with its 95% interval; what a logarithmic axis cannot show is said in words."""
    draw_dots(axis, rows, [row.scores[score][:3] for row in rows])
    for place, row in enumerate(rows):
        value = row.scores[score].value
        if not value >= axis.get_xlim()[0]:
            said = "not defined" if math.isnan(value) else f"{value:.0g}"
            axis.text(
                0.02, place, said, transform=axis.get_yaxis_transform(), fontsize=6, va="center"
            )


def draw_dots(axis, rows: list[casim.Row], intervals: list[tuple[float, float, float]]) -> None:
    """Values with bars on a logarithmic axis, one below the other."""
    looks = styles(rows)
    largest = max(value for value, _, _ in intervals if value > 0)
    least = min(value for value, _, _ in intervals if value > largest / 10**DECADES)
    axis.set_xscale("log")
    axis.set_xlim(least / 3, largest * 3)
    for place, (row, (value, low, high)) in enumerate(zip(rows, intervals, strict=True)):
        look = looks[row.label]
        axis.hlines(place, max(low, least / 3), high, color=look["color"], linewidth=1.0)
        axis.plot(value, place, **{**look, "linestyle": "none"})
