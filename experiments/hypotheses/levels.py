"""Two levels of credit: a critic of turns, with what is learned of a turn given to its tokens.

In maths, a trajectory of T steps is cut into units; all steps of a unit from i to j are credited

    c = V_j(s_j) + e_j(s_j) - V_i(s_i) - e_i(s_i),        and R in place of what is after the end,

with independent errors e of mean 0 and variance eps^2. With k(s') = d E[g] / d e(s') the share of
an error that reaches the gradient, B = sum |k|^2, and Z = sum_t E|z_t|^2 of as many errors as the
credit of step t holds, on average over critics and N trajectories

    E|g - g*|^2 = B eps^2 + (D + Z eps^2 - B eps^2) / N,

D the variance with exact values. Units of one step are a critic of tokens, one unit is the outcome.

References:
    Zhou et al. 2024, arXiv:2402.19446 (ArCHer, turns and tokens); Zhang 2026, arXiv:2604.09459 (the
    claim). The moments are derived for casim.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from hypotheses import exact
from hypotheses.exact import Cells, World
from hypotheses.found import Claim, Curve, Found, Numbers, Panel, curve, total, verdict
from hypotheses.worlds import Preferences, Votes

POLICY = Preferences()
TURNS = 5
TOKENS = (3, 5, 9, 21)
"""Of a turn."""
LONGEST = TURNS * TOKENS[-1]
UNITS = (1, 3, 5, 7, 15, 21, 35, 105)
"""Cuts of the longest trajectory."""
NUM = 64
"""Trajectories."""
ERRORS = (0.1, 0.3, 1.0)
"""Of the critic, in deviations of the return."""

States = Float[np.ndarray, " S"]
Arrivals = Float[np.ndarray, "S A S"]


class Unit(NamedTuple):
    """Steps from `first` up to and without `end`, credited together."""

    first: int
    end: int


class Moments(NamedTuple):
    """What the mean square error of a gradient is made of."""

    noise: float
    """D."""
    reach: float
    """B."""
    errors: float
    """Z."""

    def at(
        self,
        variance: float,
        num: int = NUM,
    ) -> float:
        """E|g - g*|^2, with critics whose errors have this variance."""
        bias = self.reach * variance
        spread = self.noise + self.errors * variance - bias
        return bias + spread / num


def units(steps: int, length: int) -> list[Unit]:
    """Cuts into units of one length.

    Raises:
        ValueError: a length that does not divide the number of steps.
    """
    if steps % length:
        raise ValueError(f"length must divide {steps} steps, got {length}")
    firsts = range(0, steps, length)
    return [Unit(first, first + length) for first in firsts]


def arrivals(
    world: World,
    unit: Unit,
) -> Iterator[tuple[int, Arrivals]]:
    """P(s_end | s_t, a_t), for the steps of a unit, the last first."""
    states = world.occupancy.shape[1]
    later = np.eye(states)
    for step in reversed(range(unit.first, unit.end)):
        m = world.kernel[step]
        moved = later[world.successor[m]]
        table = np.einsum("sak,sakx->sax", world.prob[m], moved)
        yield step, table
        later = np.einsum("sa,sax->sx", world.acting[m], table)


def begins(
    world: World,
    unit: Unit,
    power: int,
) -> list[States]:
    """E[V_first^power | s_t], for the steps of a unit."""
    raised = world.value[unit.first] ** power
    weight = world.occupancy[unit.first] * raised
    rows = []
    for step in range(unit.first, unit.end):
        there = world.occupancy[step]
        chance = np.where(there > 0, there, 1.0)
        rows.append(weight / chance)
        weight = world.onward(step, weight)
    return rows


def credited(
    world: World,
    cut: Sequence[Unit],
) -> tuple[Cells, float]:
    """Moments of the credit with exact values, and B."""
    mean = np.zeros_like(world.q_value)
    square = np.zeros_like(mean)
    reach = 0.0
    for unit in cut:
        value = begins(world, unit, 1)
        value_square = begins(world, unit, 2)
        for step, table in arrivals(world, unit):
            late, late_square = _late(world, unit, step, table)
            if unit.end < world.num_steps:
                reach += _reach(world, step, table)
            # What was before and what comes after are independent, given state and action.
            place = step - unit.first
            begin = value[place][:, None]
            begin_square = value_square[place][:, None]
            mean[step] = late - begin
            square[step] = late_square - 2 * late * begin + begin_square
    return Cells(mean, square), reach


def _late(
    world: World,
    unit: Unit,
    step: int,
    table: Arrivals,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and mean square of what is after a unit, in the cells of one of its steps."""
    if unit.end == world.num_steps:
        mean = world.q_value[step]
        return mean, world.return_variance[step] + mean**2
    value = world.value[unit.end]
    return table @ value, table @ value**2


def _reach(
    world: World,
    step: int,
    table: Arrivals,
) -> float:
    """How much of errors of values at the end reaches the logits of a step."""
    policy = world.policy[world.kernel[step]][..., None]
    arrived = np.einsum("os,sax->oax", world.seen(step), table)
    reached = policy * arrived
    among = policy * reached.sum(axis=1, keepdims=True)
    missed = reached - among
    return total(missed**2)


def moments(
    world: World,
    cut: Sequence[Unit],
) -> Moments:
    """Of the gradient of one trajectory, cut so."""
    cells, reach = credited(world, cut)
    noise = exact.gradient(world, cells).variance
    ones = exact.ones(world)
    scores = exact.gradient(world, ones).square
    # Two values have errors; after the end the return is known.
    last = cut[-1].first
    twice = total(scores[:last])
    once = total(scores[last:])
    return Moments(noise, reach, 2 * twice + once)


def tolerance(
    world: World,
    fine: Moments,
    coarse: Moments,
) -> float:
    """The critic's error, in deviations of the return, from which on coarse units are better."""
    bias = (fine.reach - coarse.reach) * (NUM - 1)
    errors = fine.errors - coarse.errors
    gain = coarse.noise - fine.noise
    variance = gain / (bias + errors)
    return math.sqrt(variance / world.total_variance)


def levels(_: bool) -> Found:
    """H23: tokens, turns, or the outcome, as turns have more tokens."""
    numbers: Numbers = {}
    gains = []
    for tokens in TOKENS:
        world = _voted(tokens)
        token = moments(world, units(world.num_steps, 1))
        turn = moments(world, units(world.num_steps, tokens))
        whole = moments(world, units(world.num_steps, world.num_steps))
        variance = world.total_variance * ERRORS[1] ** 2
        gain = token.at(variance) / turn.at(variance)
        numbers[f"turn_{tokens}"] = tolerance(world, token, turn)
        numbers[f"whole_{tokens}"] = tolerance(world, turn, whole)
        numbers[f"gain_{tokens}"] = gain
        gains.append(gain)
    cut, curves = _cut()
    panel = Panel(
        title="105 steps, credited in units",
        x="steps of a unit",
        y="squared error",
        curves=curves,
        log="xy",
    )
    least, *_, most = TOKENS
    easier = numbers[f"turn_{most}"] < numbers[f"turn_{least}"]
    answer = verdict(holds=easier, fails=max(gains) < 1)
    return Found(answer, numbers | cut, panel)


def _voted(tokens: int) -> World:
    """A world in which all tokens vote, so many in a turn."""
    return exact.solve(Votes(TURNS * tokens), POLICY)


def _cut() -> tuple[Numbers, list[Curve]]:
    """The longest trajectory in units of every length, at every error of the critic."""
    numbers: Numbers = {}
    curves = []
    world = _voted(TOKENS[-1])
    cuts = [moments(world, units(LONGEST, length)) for length in UNITS]
    turn = UNITS.index(TOKENS[-1])
    for error in ERRORS:
        variance = world.total_variance * error**2
        missed = [one.at(variance) for one in cuts]
        best = int(np.argmin(missed))
        name = f"{10 * error:.0f}"
        numbers[f"best_{name}"] = UNITS[best]
        numbers[f"turn_over_best_{name}"] = missed[turn] / missed[best]
        line = curve(f"critic's error {error:g} sd(R)", UNITS, missed)
        curves.append(line)
    return numbers, curves


CLAIMS = (
    Claim(
        name="levels",
        hypothesis="H23",
        says="a critic of turns beats one of tokens, the more so the more tokens a turn has",
        answer="Where every token votes and critics err by 0.3 sd(R), one of tokens has "
        "{gain_3:.2f} times the squared error of one of turns in 5 turns of 3 tokens, and "
        "{gain_21:.2f} times in 5 turns of 21; the one of turns is better from an error of "
        "{turn_3:.2f} sd(R) on with 3 tokens, and from {turn_21:.2f} with 21",
        flips="the critic's error: below that tokens win, and above {whole_3:.2f} (3 tokens) to "
        "{whole_21:.2f} (21) the outcome. The best unit of 105 steps has {best_1:.0f}, "
        "{best_3:.0f} and {best_10:.0f} at errors of 0.1, 0.3 and 1, and need not be a turn: at "
        "0.3 turns have {turn_over_best_3:.2f} times its squared error",
        exact=True,
        measure=levels,
    ),
)
