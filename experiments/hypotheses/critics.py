"""Learned values against outcomes: where they cross, and what a label costs.

In maths, a critic V + e with independent errors e_t(s) of mean 0 and variance eps^2 gives the TD
error a bias that no number of trajectories takes away. On average over such critics, with
k(s') = d E[g] / d e(s') the share of an error that reaches the gradient,

    TD:       E|g - g*|^2 = B eps^2 + (D_TD + 2 Z eps^2 - B eps^2) / N,    B = sum |k|^2,
    outcomes: E|g - g*|^2 = (D_MC + Z eps^2) / N

(2 Z less the last step's, whose next value is 0), D the variance with exact values and
Z = sum_t E|z_t|^2, the logits of every step its own.

References:
    Derived for casim. The claims are of Zhang 2026, arXiv:2604.09459.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import casim
from casim import Task
from hypotheses import exact
from hypotheses.exact import World
from hypotheses.found import (
    Claim,
    Curve,
    Found,
    Numbers,
    Panel,
    crossing,
    curve,
    level,
    slope,
    total,
    verdict,
)
from hypotheses.worlds import Preferences, Votes

POLICY = Preferences()
GROUPS = (8, 64)
LABELLED = (4, 8, 16, 32, 64, 128)
TREE = 30
"""Turns at which the survey's tree changes methods."""
CRITICS = tuple(round(0.05 * step, 2) for step in range(1, 20))
"""Errors, in deviations of the return."""
EIGHTFOLD = 8.0
MANY = 8
"""K, where a turn is rolled out many times."""


class Family(NamedTuple):
    """Worlds of one kind and of several lengths."""

    name: str
    make: Callable[[int], Task]
    sizes: tuple[int, ...]


FAMILIES = (
    Family("tool", lambda turns: casim.ToolChain(turns, 1, 1), (4, 8, 16, 32, 64, 128)),
    Family("votes", Votes, (5, 9, 17, 33, 65)),
)


def error_reach(world: World) -> float:
    """B: how much of independent errors of a critic of unit variance reaches the mean gradient.

    An error of the state before the action does not: it is the same for all actions.
    """
    # The value after the last step is 0 and known.
    steps = np.flatnonzero(world.decides[:-1])
    return sum(_reach_of(world, step) for step in steps)


def _reach_of(world: World, step: int) -> float:
    """What reaches the logits of one step."""
    m = world.kernel[step]
    policy = world.policy[m][..., None]
    prob = world.prob[m]
    states, actions = world.q_value.shape[1:]
    # P(s' | s, a), as a table over all successors.
    moved = np.zeros((states, actions, states))
    here, action, _ = np.indices(prob.shape)
    np.add.at(moved, (here, action, world.successor[m]), prob)
    arrived = world.seen(step) @ moved.reshape(states, -1)
    reached = policy * arrived.reshape(-1, actions, states)
    among = policy * reached.sum(axis=1, keepdims=True)
    return total((reached - among) ** 2)


def crossing_errors(world: World) -> list[float]:
    """The deviation of a critic's errors at which TD and the whole return are equally good.

    In units of the return's deviation, one for each number of trajectories.
    """
    whole = exact.gradient(world, exact.value_baseline(world))
    bootstrapped = exact.gradient(world, exact.td_error(world))
    scores = exact.gradient(world, exact.ones(world))
    # The TD error holds the errors of two values, of which one is a baseline.
    extra = total(scores.square[:-1])
    reach = error_reach(world)
    gain = (whole.variance - bootstrapped.variance) / world.total_variance
    return [math.sqrt(gain / (reach * (num - 1) + extra)) for num in GROUPS]


@functools.cache
def crossings(family: Family) -> tuple[list[float], ...]:
    """`crossing_errors` of the worlds of a family, from the shortest on."""
    return tuple(crossing_errors(exact.solve(family.make(size), POLICY)) for size in family.sizes)


def td_or_outcome(_: bool) -> Found:
    """TD against Monte Carlo: where they cross, with horizon and with the critic's error."""
    curves: list[Curve] = []
    numbers: Numbers = {}
    for family in FAMILIES:
        for num, y in zip(GROUPS, zip(*crossings(family), strict=True), strict=True):
            name = f"{family.name}_{num}"
            numbers[f"{name}_short"] = y[0]
            numbers[f"{name}_long"] = y[-1]
            numbers[f"{name}_exponent"] = slope(family.sizes, y)
            curves.append(curve(f"{family.name}, N = {num}", family.sizes, y))
        few, many = (numbers[f"{family.name}_{num}_long"] for num in GROUPS)
        numbers[f"{family.name}_few"] = few / many
    exponents = [x for name, x in numbers.items() if name.endswith("exponent")]
    answer = verdict(holds=min(exponents) > 0.25, fails=max(exponents) < 0.1)
    panel = Panel(
        title="critic error at which TD meets outcomes",
        x="turns, or votes",
        y="error / sd(R)",
        curves=curves,
        log="x",
    )
    return Found(answer, numbers, panel)


def change(family: Family, place: int, error: float) -> float:
    """The length at which the best changes from outcomes to a critic that errs so; NaN if never.

    Args:
        family: the worlds.
        place: of the number of trajectories in `GROUPS`.
        error: of the critic, in deviations of the return.
    """
    above = [found[place] - error for found in crossings(family)]
    return math.exp(crossing(np.log(family.sizes).tolist(), above))


def threshold(_: bool) -> Found:
    """H29: at which length the best changes, by the critic's error."""
    numbers: Numbers = {}
    curves = []
    for family in FAMILIES:
        for place, num in enumerate(GROUPS):
            name = f"{family.name}_{num}"
            lengths = [change(family, place, error) for error in CRITICS]
            found = {
                error: length
                for error, length in zip(CRITICS, lengths, strict=True)
                if not math.isnan(length)
            }
            for error, length in found.items():
                numbers[f"{name}_{100 * error:.0f}"] = length
            # The error for which the tree is right.
            errors = [one[place] for one in crossings(family)]
            numbers[f"{name}_error"] = float(np.interp(np.log(TREE), np.log(family.sizes), errors))
            curves.append(curve(f"{family.name}, N = {num}", list(found), list(found.values())))
    panel = Panel(
        title="length from which a critic is best",
        x="critic's error / sd(R)",
        y="turns, or votes",
        curves=[*curves, level("the tree", [CRITICS[0], CRITICS[-1]], TREE)],
        log="y",
    )
    changes = [length for found in curves for length in found.y]
    near = [TREE / 2 <= length <= 2 * TREE for length in changes]
    return Found(verdict(holds=all(near), fails=not any(near)), numbers, panel)


def label_cost(turns: int, rollouts: int) -> float:
    """Steps of labels by K rollouts from each turn, over those of labels of equal variance.

    One trajectory and K rollouts of what is left of it at each turn make a label of each turn with
    a K-th of the variance; a trajectory alone makes one of all of it, so K are needed.
    """
    rolled = rollouts * turns * (turns + 1) / 2
    return (turns + rolled) / (rollouts * turns)


def labels(_: bool) -> Found:
    """H09: what a label of a value costs, by re-rolling each turn or from the trajectories."""
    numbers = {f"at_{turns}": label_cost(turns, MANY) for turns in LABELLED}
    # 1 / K + (T + 1) / 2 = 8.
    numbers["eightfold"] = 2 * (EIGHTFOLD - 1 / MANY) - 1
    known = [("K = 1", 1), (f"K = {MANY}", MANY)]
    curves = [
        curve(name, LABELLED, [label_cost(turns, rollouts) for turns in LABELLED])
        for name, rollouts in known
    ]
    panel = Panel(
        title="steps of re-rolled labels over read-off ones",
        x="turns",
        y="environment steps, ratio",
        curves=curves,
        log="xy",
    )
    ratios = [numbers[f"at_{turns}"] for turns in LABELLED]
    answer = verdict(holds=min(ratios) >= EIGHTFOLD, fails=max(ratios) < EIGHTFOLD)
    return Found(answer, numbers, panel)


CLAIMS = (
    Claim(
        name="td_or_outcome",
        hypothesis="H14",
        says="bootstrapping overtakes outcomes as the horizon grows",
        answer="With 64 trajectories bootstrapping beats outcomes while the critic errs by less "
        "than {tool_64_short:.2f} standard deviations of the return at 4 turns of a tool and "
        "{tool_64_long:.2f} at 128; where votes decide, {votes_64_short:.2f} at 5 and "
        "{votes_64_long:.2f} at 65. This tolerance rises as T^{tool_64_exponent:.2f} and "
        "T^{votes_64_exponent:.2f}",
        flips="the critic's error, far more than the horizon; with 8 trajectories instead of 64 "
        "the tolerance at the longest is {tool_few:.1f} (tool) and {votes_few:.1f} times as large "
        "(votes, whose actions move the state further)",
        exact=True,
        measure=td_or_outcome,
    ),
    Claim(
        name="threshold",
        hypothesis="H29",
        says="the best method changes at about 30 turns",
        answer="With 64 trajectories a critic that errs by 0.6 deviations of the return is best "
        "from {tool_64_60:.0f} turns of a tool on, by 0.7 from {tool_64_70:.0f}, by 0.75 from "
        "{tool_64_75:.0f}, and by 0.8 at no length up to 128; where votes decide, by 0.2 from "
        "{votes_64_20:.0f} steps on, by 0.3 from {votes_64_30:.0f}, by 0.35 from "
        "{votes_64_35:.0f}",
        flips="the critic's error: a threshold of 30 is right for one of "
        "{tool_64_error:.2f} (tool) and {votes_64_error:.2f} (votes), and with 8 "
        "trajectories of {tool_8_error:.2f} and "
        "{votes_8_error:.2f}; published methods about the thresholds are in choose.md",
        exact=True,
        measure=threshold,
    ),
    Claim(
        name="labels",
        hypothesis="H09",
        says="labels by TD are 8 times as sample-efficient as by Monte Carlo",
        answer="Labels of equal variance from K rollouts a turn cost 1 / K + (T + 1) / 2 times "
        "the steps of labels read off the trajectories: {at_4:.1f} at 4 turns, {at_16:.1f} at "
        "16, {at_128:.0f} at 128, before anything is learned",
        flips="the number of turns: 8 times at {eightfold:.1f}; K hardly matters, and "
        "bootstrapping is not what saves",
        exact=True,
        measure=labels,
    ),
)
