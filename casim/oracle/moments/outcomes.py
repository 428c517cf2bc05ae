"""Credit of groups whose outcomes are 0 or 1, whatever a method makes of them, at any horizon.

In maths, for returns G in {0, 1}, Z = sum_t grad log pi, p = P(G = 1), and W the wins of a group of
N: credit that is f(G_i, W) on all steps of trajectory i has

    E[c | s, a] = Q m_1 + (1 - Q) m_0,          m_g = E f(g, g + K),  K ~ Binomial(N - 1, p),
    E[g] = m_1 E[G Z] + m_0 E[(1 - G) Z],
    Var(g) = [sum_g E f(g, g + K)^2 E[1{G = g} Z^2] + (N - 1) pair] / N - E[g]^2,
    pair = sum_{g, h} E[f(g, g + h + K') f(h, g + h + K')] E[1{G = g} Z] E[1{G = h} Z],

with K' ~ Binomial(N - 2, p), because the trajectories of a group are independent.

References:
    Derived for casim; `tests/oracle/test_moments_outcomes.py` checks it against the enumeration of
    all groups.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, final

import numpy as np
from jaxtyping import Float

from casim.checks import check_integer, check_range
from casim.oracle.moments.forms import whole_return
from casim.oracle.moments.group import Moments
from casim.oracle.moments.known import Known, from_squares
from casim.oracle.moments.paths import precise, precise_truth
from casim.oracle.moments.recursion import check_one_prompt, recursion_moments

LOST, WON = 0, 1


OfOutcomes: TypeAlias = Callable[[int, int, int], float]
"""From an outcome, the wins of the group and its size to the credit of a trajectory."""


@final
@dataclasses.dataclass(frozen=True)
class Normalised:
    """(G - mean) / (deviation + epsilon) over the group, 0 where all outcomes are equal.

    Attributes:
        epsilon: added to the deviation.
        ddof: N - ddof is in the variance.
        floor: the least that the deviation is taken to be.
        raw: a group of one gets G / (1 + epsilon), not 0.
    """

    epsilon: float = 1e-6
    ddof: int = 1
    floor: float = 0.0
    raw: bool = False

    def __call__(self, outcome: int, wins: int, num: int) -> float:
        if num == 1 and self.raw:
            return outcome / (1 + self.epsilon)
        losses = num - wins
        if wins == 0 or losses == 0:
            return 0.0
        variance = wins * losses / (num * (num - self.ddof))
        deviation = max(math.sqrt(variance), self.floor)
        return (outcome - wins / num) / (deviation + self.epsilon)


@final
@dataclasses.dataclass(frozen=True)
class OverWins:
    """(G - mean) / (mean + epsilon) over the group, 0 where nobody has won.

    Attributes:
        epsilon: added to the mean.
        raw: a group of one gets G, not 0.
    """

    epsilon: float = 0.0
    raw: bool = False

    def __call__(self, outcome: int, wins: int, num: int) -> float:
        if num == 1 and self.raw:
            return float(outcome)
        if wins == 0:
            return 0.0
        mean = wins / num
        return (outcome - mean) / (mean + self.epsilon)


@final
@dataclasses.dataclass(frozen=True)
class OnlyWin:
    """1 / (deviation + epsilon) for whoever is the only one to win; all others get 0.

    Attributes:
        epsilon: added to the deviation, with N - 1 in the variance.
    """

    epsilon: float = 1e-6

    def __call__(self, outcome: int, wins: int, num: int) -> float:
        if num == 1 or wins != 1 or outcome == LOST:
            return 0.0
        deviation = math.sqrt(1 / num)
        return 1 / (deviation + self.epsilon)


@final
@dataclasses.dataclass(frozen=True)
class OutcomeGroup(Known):
    """The same credit on all steps of a trajectory, a function of its outcome and the group's wins.

    Refused are discounts other than 1, several prompts, and processes with an episode whose rewards
    add up to anything but 0 or 1.

    Attributes:
        rule: the function.
    """

    rule: OfOutcomes

    def moments(self, mdp, policy, num):
        check_integer("num", num, 1)
        truth = precise_truth(mdp, policy)
        process, _ = precise(mdp, policy)
        check_one_prompt(process)
        check_outcomes(process, truth)
        start = np.asarray(mdp.start, np.float64)
        success = float(truth.value[0] @ start)
        # The return less 0 is 1 if won and else 0; less 1 it is -1 if lost and else 0.
        won = recursion_moments(mdp, policy, whole_return(0.0))
        lost = recursion_moments(mdp, policy, whole_return(1.0))
        first = ByOutcome(-lost.gradient, won.gradient)
        second = ByOutcome(_square(lost), _square(won))
        chance = ByOutcome(1 - truth.q_value, truth.q_value)
        mean, square = self._alone(success, num)

        gradient = _mixed(mean, first)
        own = _mixed(square, second)
        pair = np.zeros_like(own)
        for one in (LOST, WON):
            for other in (LOST, WON):
                both = self._together(one, other, success, num)
                pair += both * first[one] * first[other]
        whole = (own + (num - 1) * pair) / num
        spread = whole - gradient**2
        return from_squares(
            probability=won.probability,
            mean=_mixed(mean, chance),
            square=_mixed(square, chance),
            gradient=gradient,
            gradient_variance=np.maximum(spread, 0.0),
        )

    def _alone(
        self,
        success: float,
        num: int,
    ) -> tuple[ByOutcome, ByOutcome]:
        """Mean and mean square of the credit of a trajectory, by its outcome."""
        mean, square = [], []
        for outcome in (LOST, WON):
            first = second = 0.0
            for wins, chance in enumerate(binomial(num - 1, success)):
                credit = self.rule(outcome, outcome + wins, num)
                first += chance * credit
                second += chance * credit**2
            mean.append(first)
            square.append(second)
        return ByOutcome(*mean), ByOutcome(*square)

    def _together(
        self,
        one: int,
        other: int,
        success: float,
        num: int,
    ) -> float:
        """The mean product of the credits of two trajectories, by their outcomes."""
        total = 0.0
        for wins, chance in enumerate(binomial(num - 2, success)):
            everyone = one + other + wins
            first = self.rule(one, everyone, num)
            second = self.rule(other, everyone, num)
            total += chance * first * second
        return total


class ByOutcome(NamedTuple):
    """Something of the trajectories that lose, and of those that win."""

    lost: Any
    won: Any


def _square(found: Moments) -> Float[np.ndarray, "M O A"]:
    """E[X^2] of the gradient X of one trajectory."""
    return found.gradient_variance + found.gradient**2


def _mixed(
    weight: ByOutcome,
    x: ByOutcome,
) -> np.ndarray:
    """Of lost and won, weighed."""
    return weight.lost * x.lost + weight.won * x.won


def binomial(
    number: int,
    chance: float,
) -> list[float]:
    """P(so many of a number succeed)."""
    found = []
    for wins in range(number + 1):
        losses = number - wins
        ways = math.comb(number, wins)
        found.append(ways * chance**wins * (1 - chance) ** losses)
    return found


def check_outcomes(
    mdp: Any,
    truth: Any,
) -> None:
    """Checks that discounts are 1 and that the rewards of every episode add up to 0 or 1.

    What was earned so far is followed beside the state: which of the two, not how likely.
    """
    check_range("discount of every kernel", float(np.min(mdp.discount)), 1.0, 1.0)
    reached = np.zeros((2, len(mdp.start)), bool)
    reached[LOST] = mdp.start > 0
    for kernel in mdp.schedule:
        chosen = truth.state_policy[kernel] > 0
        happens = chosen[..., None] & (mdp.prob[kernel] > 0)
        happens = happens & ~mdp.terminal[:, None, None]
        after = np.zeros_like(reached)
        for earned in (LOST, WON):
            now = happens & reached[earned][:, None, None]
            total = earned + mdp.reward[kernel][now]
            if not np.isin(total, (LOST, WON)).all():
                raise ValueError("rewards of an episode must add up to 0 or 1, got another sum")
            target = mdp.successor[kernel][now]
            after[total.astype(int), target] = True
        reached = after
