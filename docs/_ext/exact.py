"""Sphinx extension: what kinds of credit are worth in one small world, computed by the build.

Nothing is sampled. Rules of groups are run on every group that there can be; what has a recursion
in time uses it; credit that meets its target is that target, read off every trajectory.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from recipes import directive

import casim
from casim import methods, targets
from casim.oracle import moments, path_target, solve
from casim.oracle.moments import Moments
from casim.oracle.moments.forms import Form
from casim.survey.page import plain_table
from casim.targets import Target
from casim.types import Trajectory

TASK = casim.Bifurcation(horizon=4, pivots=(0, 2), gap=0.6, recovery=0.5)
GROUP = 4
"""Trajectories of a group."""
SCORES = {
    "bias": "bias",
    "centred_bias": "centred bias",
    "variance": "variance",
    "gradient_slope": "slope",
    "gradient_cosine": "cosine",
    "snr_aligned": "aligned SNR",
}
"""Columns, by the name of the score."""
ROUNDING = 1e-12
"""What is smaller is 0."""


@functools.cache
def world() -> tuple[casim.MDP, Any]:
    """The process and the uniform policy."""
    mdp = TASK.build()
    return mdp, casim.Uniform().table(mdp)


@functools.cache
def half_the_values() -> np.ndarray:
    """V, half as large as it is."""
    return 0.5 * moments.precise_truth(*world()).value


@functools.cache
def half_the_actions() -> np.ndarray:
    """Q, half as large as it is."""
    return 0.5 * moments.precise_truth(*world()).q_value


class Exactly(NamedTuple):
    """Credit that is its target, as a rule of `group_moments`."""

    target: Target

    def credit(self, key: Any, world: casim.World, batch: Any) -> casim.Credit:
        """The target at every step of a batch of one prompt."""
        truth = solve(world.mdp, world.policy)
        group = Trajectory(*(getattr(batch, name)[0] for name in Trajectory._fields))
        value = path_target(self.target, world, truth, group)
        return methods.REINFORCE.credit(key, world, batch)._replace(value=value[None])


Kind = methods.Method | Target | Form


def found(kind: Kind) -> Moments:
    """Exact moments of a batch of one group."""
    if isinstance(kind, methods.Method):
        return moments.group_moments(*world(), kind, GROUP)
    if not isinstance(kind, Target):
        return moments.recursion_moments(*world(), kind, GROUP)
    alone = moments.group_moments(*world(), Exactly(kind), 1)
    # The trajectories of a group are independent, and so are their targets.
    return alone._replace(gradient_variance=alone.gradient_variance / GROUP)


def monte_carlo() -> dict[str, Kind]:
    """Rules of groups."""
    chosen = (
        methods.REINFORCE,
        methods.RLOO,
        methods.DR_GRPO,
        methods.GRPO,
        methods.MAXRL,
        methods.GIGPO,
        methods.TEMPO,
        methods.GRPO_LAMBDA,
    )
    return {method.name: method for method in chosen}


def temporal_difference() -> dict[str, Kind]:
    """Bootstrapping from values that are right, and from values that are not."""
    wrong = half_the_values()
    return {
        "TD error": moments.td_error,
        "GAE, lambda 0.5": moments.gae(0.5),
        "GAE, lambda 0.95": moments.gae(0.95),
        "return less V (lambda 1)": moments.value_baseline,
        "TD error, V half as large": moments.gae(0.0, wrong),
        "GAE 0.95, V half as large": moments.gae(0.95, wrong),
        "return less half of V": moments.gae(1.0, wrong),
    }


def model_based() -> dict[str, Kind]:
    """What a model says of steps."""
    wrong = half_the_actions()
    return {
        "hindsight, of the return": moments.hindsight,
        "redistributed return": targets.Redistribution(),
        "Q of all actions": moments.all_action(),
        "Q of all actions, half as large": moments.all_action(wrong),
        "control variate, Q half as large": moments.control_variate(wrong),
    }


def game_theoretic() -> dict[str, Kind]:
    """Games between steps, and what is lost without one."""
    return {
        "Shapley value, absent: policy": targets.Shapley("step"),
        "Shapley value, absent: action 1": targets.Shapley("step", null=1),
        "difference, absent: policy": targets.Difference("step"),
        "difference, absent: action 1": targets.Difference("step", null=1),
        "counterfactual, action 1": targets.Counterfactual(null=1),
    }


def information_theoretic() -> dict[str, Kind]:
    """Changes of what is known of the outcome."""
    return {
        "gain of probability": moments.judged_gain(1.0),
        "gain of probability, judge 0.9": moments.judged_gain(0.9),
        "gain of log-probability": targets.LogGain(),
        "gain of entropy": targets.EntropyGain(),
    }


FAMILIES = {
    family.__name__: family
    for family in (
        monte_carlo,
        temporal_difference,
        model_based,
        game_theoretic,
        information_theoretic,
    )
}


def table(family: str) -> str:
    """The scores of a family, those of exact advantages first."""
    kinds: Mapping[str, Kind] = {
        "exact advantage": moments.advantage,
        **FAMILIES[family](),
    }
    lines = [["credit", *SCORES.values()]]
    for name, kind in kinds.items():
        scores = moments.exact_scores(*world(), found(kind))
        lines.append([name, *(written(scores[score]) for score in SCORES)])
    return f'<div class="wide">{plain_table(lines)}</div>'


def written(number: float) -> str:
    """Three digits; a dash where there is no number."""
    if not math.isfinite(number):
        return "-"
    if abs(number) < ROUNDING:
        return "0"
    return f"{number:.3g}"


def setup(app):
    """Registers the directive."""
    app.add_directive("exact", directive(table, 1))
    # What JAX has begun does not survive a fork.
    return {"parallel_read_safe": False}
