"""Exact moments that the explorer adds: of normalised groups, of branches, of a blind critic.

In maths, for returns G in {0, 1} paid at the end, Z = sum_t grad log pi, p = P(G = 1), and W the
wins of a group of N: credit that is f(G_i, W) on all steps of trajectory i has

    E[c | s, a] = Q m_1 + (1 - Q) m_0,          m_g = E f(g, g + K),  K ~ Binomial(N - 1, p),
    E[g] = m_1 E[G Z] + m_0 E[(1 - G) Z],
    Var(g) = [sum_g E f(g, g + K)^2 E[1{G = g} Z^2] + (N - 1) pair] / N - E[g]^2,
    pair = sum_{g, h} E[f(g, g + h + K') f(h, g + h + K')] E[1{G = g} Z] E[1{G = h} Z],

with K' ~ Binomial(N - 2, p), because the trajectories of a group are independent.

Credit c_t = r_t + Vhat_{t+1} - Vhat_t, with Vhat the mean of K fresh outcomes, is the TD error of
the exact critic and errors of variance nu = V (1 - V) / K, one at each step and independent. That
of step t is in c_{t-1} and, less, in c_t; scores of different steps do not correlate given the
state between them, so Var(g) gains (1/N) sum_t E[nu_t(s_t) (z_{t-1}^2 + z_t^2)].

References:
    Derived for casim; `tests/explorer/test_known.py` checks the first against enumeration and the
    second against a study.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from jaxtyping import Float

from casim.oracle.moments import (
    Moments,
    Trace,
    gae,
    precise,
    precise_truth,
    recursion_moments,
    td_error,
    whole_return,
)
from casim.types import MDP

EPSILON = 1e-6
"""Added to the deviation of a group, as `casim.methods.GRPO` does."""
LOST, WON = 0, 1


@final
@dataclasses.dataclass(frozen=True)
class NormalisedGroup:
    """(G - mean) / (deviation + epsilon) over the group, for returns in {0, 1}."""

    def moments(self, mdp: MDP, policy: Any, num: int) -> Moments:
        """Exact moments on groups of `num` independent trajectories of one prompt."""
        truth = precise_truth(mdp, policy)
        start = np.asarray(mdp.start, np.float64)
        success = float(truth.value[0] @ start)
        # The return less 0 is 1 if won and else 0; less 1 it is -1 if lost and else 0.
        won = recursion_moments(mdp, policy, whole_return(0.0))
        lost = recursion_moments(mdp, policy, whole_return(1.0))
        first = [-lost.gradient, won.gradient]
        second = [_square(lost), _square(won)]
        mean, square = self._alone(success, num)
        chances = [1 - truth.q_value, truth.q_value]

        gradient = _mixed(mean, first)
        own = _mixed(square, second)
        pair = np.zeros_like(own)
        for one, other in np.ndindex(2, 2):
            both = self._together(one, other, success, num)
            pair += both * first[one] * first[other]
        whole = (own + (num - 1) * pair) / num
        expectation = _mixed(mean, chances)
        squared = _mixed(square, chances)
        spread = np.maximum(squared - expectation**2, 0.0)
        met = won.probability > 0
        return Moments(
            probability=won.probability,
            expectation=np.where(met, expectation, np.nan),
            variance=np.where(met, spread, np.nan),
            gradient=gradient,
            gradient_variance=np.maximum(whole - gradient**2, 0.0),
        )

    def _alone(self, success: float, num: int) -> tuple[list[float], list[float]]:
        """Mean and mean square of the credit of a trajectory, by its outcome."""
        mean, square = [], []
        for outcome in (LOST, WON):
            first = second = 0.0
            for wins, chance in enumerate(binomial(num - 1, success)):
                credit = normalised(outcome, outcome + wins, num)
                first += chance * credit
                second += chance * credit**2
            mean.append(first)
            square.append(second)
        return mean, square

    def _together(self, one: int, other: int, success: float, num: int) -> float:
        """The mean product of the credits of two trajectories, by their outcomes."""
        total = 0.0
        for wins, chance in enumerate(binomial(num - 2, success)):
            everyone = one + other + wins
            first = normalised(one, everyone, num)
            second = normalised(other, everyone, num)
            total += chance * first * second
        return total


def _square(found: Moments) -> np.ndarray:
    """E[X^2] of the gradient X of one trajectory."""
    return found.gradient_variance + found.gradient**2


def _mixed(
    weight: Sequence[float],
    x: Sequence[np.ndarray],
) -> np.ndarray:
    """Of lost and won, weighed."""
    lost, won = x
    return weight[LOST] * lost + weight[WON] * won


def binomial(number: int, chance: float) -> list[float]:
    """P(so many of a number succeed)."""
    found = []
    for wins in range(number + 1):
        losses = number - wins
        ways = math.comb(number, wins)
        found.append(ways * chance**wins * (1 - chance) ** losses)
    return found


def normalised(outcome: int, wins: int, num: int) -> float:
    """The credit of an outcome in a group with so many wins."""
    losses = num - wins
    if wins == 0 or losses == 0:
        return 0.0
    deviation = math.sqrt(wins * losses / (num * (num - 1)))
    return (outcome - wins / num) / (deviation + EPSILON)


@final
@dataclasses.dataclass(frozen=True)
class StepBranches:
    """c_t = r_t + Vhat_{t+1} - Vhat_t, each Vhat by fresh rollouts: `Vine(unit="step")`.

    Attributes:
        num_branches: K, rollouts at each step.
    """

    num_branches: int

    def moments(self, mdp: MDP, policy: Any, num: int) -> Moments:
        """Exact moments on groups of `num` independent trajectories of one prompt."""
        exact = recursion_moments(mdp, policy, td_error, num)
        truth = precise_truth(mdp, policy)
        process, table = precise(mdp, policy)
        error = truth.value * (1 - truth.value) / self.num_branches
        later = expected_next(process, error)
        noise = later + error[:-1, :, None]
        extra = np.zeros_like(exact.gradient)
        for t, kernel in enumerate(process.schedule):
            if process.decision[kernel]:
                extra[kernel] += _of_step(truth.occupancy[t], process, table, kernel, noise[t])
        return exact._replace(
            variance=exact.variance + noise,
            gradient_variance=exact.gradient_variance + extra / num,
        )


def expected_next(
    mdp: Any,
    x: Float[np.ndarray, "times S"],
) -> Float[np.ndarray, "T S A"]:
    """E[x_{t+1}(s_{t+1}) | s_t, a_t]."""
    found = []
    for t, kernel in enumerate(mdp.schedule):
        after = x[t + 1][mdp.successor[kernel]]
        found.append(np.sum(mdp.prob[kernel] * after, axis=-1))
    return np.array(found)


def _of_step(
    occupancy: Float[np.ndarray, " S"],
    mdp: Any,
    table: Float[np.ndarray, "M O A"],
    kernel: int,
    noise: Float[np.ndarray, "S A"],
) -> Float[np.ndarray, "O A"]:
    """E[noise(s, a) z^2] of one step: z_b = 1{a = b} - pi(b | o) in the logits of what is seen."""
    policy = table[kernel]
    actions = policy.shape[-1]
    score = np.eye(actions)[None] - policy[:, None]
    seen = occupancy[:, None] * mdp.emission[kernel]
    by_action = seen.T @ noise
    chosen = policy * by_action
    # Over the actions that may be taken.
    return np.einsum("oa,oab->ob", chosen, score**2)


def seen_critic(
    mdp: Any,
    truth: Any,
) -> Float[np.ndarray, "times S"]:
    """What a critic says that knows the time and what is seen, and nothing hidden: E[V | t, o]."""
    critic = np.zeros_like(truth.value)
    for t, kernel in enumerate(mdp.schedule):
        emission = np.asarray(mdp.emission[kernel])
        weight = truth.occupancy[t][:, None] * emission
        total = weight.sum(axis=0)
        earned = truth.value[t] @ weight
        value = np.divide(earned, total, out=np.zeros_like(earned), where=total > 0)
        critic[t] = emission @ value
    return critic


def blind_gae(lambda_: float) -> Any:
    """GAE over the critic of `seen_critic`, as a form of `casim.oracle.moments`."""

    def form(mdp: Any, truth: Any) -> Trace:
        return gae(lambda_, seen_critic(mdp, truth))(mdp, truth)

    return form


def all_advantages(_: Any, truth: Any) -> Trace:
    """A_t(s_t, a) for every action, whichever was taken."""
    zero = np.zeros_like(truth.q_value)
    value = truth.value[:-1, :, None]
    return Trace(
        reward=0.0,
        decay=0.0,
        after=np.zeros_like(truth.value),
        before=zero,
        every=truth.q_value - value,
    )
