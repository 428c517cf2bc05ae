"""The figure of the README and of the front page: what a longer text leaves of credit, exactly.

`python docs/figures/overview.py` writes docs/overview.png, which carries its numbers. Nothing is
sampled: the moments of each form of credit obey a recursion in time, in double precision.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
from kept import keep
from matplotlib.figure import Figure

import casim
from casim.figures import COLOR, label_ends, style
from casim.oracle.moments import (
    advantage,
    exact_scores,
    gae,
    hindsight,
    judged_gain,
    peer_baseline,
    recursion_moments,
    td_error,
    whole_return,
)
from casim.oracle.moments.forms import Form

HORIZONS = (8, 32, 128, 512, 2048, 8192)
GROUP = 8
"""Trajectories of a prompt."""
OUT = Path(__file__).parent.parent / "overview.png"

Numbers = dict[str, dict[str, float]]
"""A score by name of curve and horizon, which is a string as in JSON."""


class Curve(NamedTuple):
    """A form of credit and how it is drawn."""

    name: str
    form: Form
    family: str
    mark: str


CURVES = (
    Curve("exact advantage", advantage, "control", "s"),
    Curve("TD error, exact values", td_error, "temporal_difference", "o"),
    Curve("hindsight, exact", hindsight, "model_based", "D"),
    Curve("GAE, exact critic", gae(0.95), "temporal_difference", "^"),
    Curve("information gain, judge", judged_gain(0.9), "information_theoretic", "v"),
    Curve("RLOO", peer_baseline(), "monte_carlo", "o"),
    Curve("REINFORCE", whole_return(), "monte_carlo", "P"),
)


def main() -> None:
    """Computes, draws and saves."""
    numbers = measure(HORIZONS)
    keep(draw(numbers), OUT, numbers)


def measure(horizons: tuple[int, ...]) -> Numbers:
    """The score of each curve at each horizon."""
    return {
        curve.name: {str(horizon): snr(curve.form, horizon) for horizon in horizons}
        for curve in CURVES
    }


def draw(numbers: Numbers) -> Figure:
    """The aligned signal-to-noise ratio of the policy gradient against the horizon."""
    with style():
        figure, axes = plt.subplots(figsize=(3.6, 2.9))
        for curve in CURVES:
            score = numbers[curve.name]
            looks = {"color": COLOR[curve.family], "marker": curve.mark, "markersize": 4}
            axes.plot([*map(int, score)], [*score.values()], label=curve.name, **looks)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(HORIZONS, [f"{horizon:,}" for horizon in HORIZONS])
        axes.set_xlabel("steps, of which one decides")
        axes.set_ylabel("signal-to-noise ratio\nof the policy gradient")
        figure.draw_without_rendering()
        label_ends(axes, size=8)
    return figure


def snr(form: Form, horizon: int) -> float:
    """The aligned SNR of one group in the world of `casim demo`."""
    task = casim.Bifurcation(horizon=horizon, filler_entropy=0.5, noise=0.05)
    mdp = task.build()
    policy = casim.Softmax(scale=0.5).table(mdp)
    moments = recursion_moments(mdp, policy, form, GROUP)
    return exact_scores(mdp, policy, moments)["snr_aligned"]


if __name__ == "__main__":
    main()
