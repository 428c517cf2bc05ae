"""What is known of a method's credit at any horizon: its form, and the share that it takes of it.

In maths, c_t = share(N) form_t, so means are times the share and variances times its square.

Credit that is shuffled within a trajectory of T decisions has no form, but its moments in cells
obey recursions too: with A_u the exact advantages along the trajectory,

    E[c_t^j | s_t, a_t] = (1/T) sum_u E[A_u^j | s_t, a_t]    for j = 1, 2,

and its gradient is 1/T of the exact one, because advantages and scores of different steps do not
correlate.

References:
    Derived for casim; `tests/oracle/test_moments_known.py` checks it against enumeration.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, final

import numpy as np
from jaxtyping import Float

from casim.oracle.moments.forms import Form
from casim.oracle.moments.group import Moments
from casim.oracle.moments.paths import precise, precise_truth
from casim.oracle.moments.recursion import recursion_moments
from casim.types import MDP


class Known(abc.ABC):
    """Something whose moments are known without samples at any horizon."""

    @abc.abstractmethod
    def moments(
        self,
        mdp: MDP,
        policy: Any,
        num: int,
    ) -> Moments:
        """Exact moments on groups of `num` independent trajectories of one prompt.

        Raises:
            ValueError: a process or a policy in which it does not hold.
        """


def from_squares(
    probability: Float[np.ndarray, "T S A"],
    mean: Float[np.ndarray, "T S A"],
    square: Float[np.ndarray, "T S A"],
    gradient: Float[np.ndarray, "M O A"],
    gradient_variance: Float[np.ndarray, "M O A"],
) -> Moments:
    """Moments from the mean and the mean square of the credit of each cell."""
    met = probability > 0
    variance = np.maximum(square - mean**2, 0.0)
    return Moments(
        probability=probability,
        expectation=np.where(met, mean, np.nan),
        variance=np.where(met, variance, np.nan),
        gradient=gradient,
        gradient_variance=gradient_variance,
    )


def whole(_: int) -> float:
    """All of the form, whatever the size of the group."""
    return 1.0


def nothing(_: int) -> float:
    """Nothing of it."""
    return 0.0


def share_of_others(num: int) -> float:
    """(N - 1) / N: what a mean over a group with oneself leaves of the distance to the others."""
    return (num - 1) / num


@final
@dataclasses.dataclass(frozen=True)
class Recursion(Known):
    """A form whose moments obey a recursion in time, times a share that depends on N.

    Attributes:
        form: see `casim.oracle.moments.forms`.
        share: from N to a factor.
    """

    form: Form
    share: Callable[[int], float] = whole

    def moments(self, mdp, policy, num):
        share = self.share(num)
        found = recursion_moments(mdp, policy, self.form, num)
        return found._replace(
            expectation=share * found.expectation,
            variance=share**2 * found.variance,
            gradient=share * found.gradient,
            gradient_variance=share**2 * found.gradient_variance,
        )


@final
@dataclasses.dataclass(frozen=True)
class Shuffled(Known):
    """The exact advantages of a trajectory, permuted over its steps.

    Of the gradient the mean is known; its variance is NaN. An episode that may end early, or a step
    that is no decision, is refused.
    """

    def moments(self, mdp, policy, num):
        truth = precise_truth(mdp, policy)
        mdp, policy = precise(mdp, policy)
        steps = len(mdp.schedule)
        lives = truth.occupancy.sum(axis=1)
        decides = mdp.decision[mdp.schedule]
        if not (np.all(decides) and np.allclose(lives, 1.0)):
            raise ValueError("every step of an episode must be a live decision, got others")
        past = _past(mdp, truth)
        never = np.zeros_like(past)
        met = truth.occupancy > 0
        before = np.divide(past, truth.occupancy, out=never, where=met)[..., None]
        total = before[0] + truth.advantage
        squares = before[1] + truth.advantage**2 + _later_square(mdp, truth)
        acting = truth.state_policy[mdp.schedule]
        return from_squares(
            probability=truth.occupancy[..., None] * acting,
            mean=total / steps,
            square=squares / steps,
            gradient=truth.gradient / steps,
            gradient_variance=np.full_like(truth.gradient, np.nan),
        )


def _past(
    mdp: Any,
    truth: Any,
) -> Float[np.ndarray, "2 T S"]:
    """E[sum_{u < t} A_u^j 1{s_t = s}] for j = 1, 2."""
    states = len(mdp.start)
    arrived = np.zeros((2, states))
    found = np.zeros((2, *truth.occupancy.shape))
    for t, kernel in enumerate(mdp.schedule):
        found[:, t] = arrived
        advantage = truth.advantage[t]
        powers = np.stack([advantage, advantage**2])
        earned = truth.occupancy[t][:, None] * powers
        so_far = arrived[..., None] + earned
        chosen = truth.state_policy[kernel] * so_far
        moved = chosen[..., None] * mdp.prob[kernel]
        target = mdp.successor[kernel].ravel()
        each = [np.bincount(target, x.ravel(), minlength=states) for x in moved]
        arrived = np.stack(each)
    return found


def _later_square(
    mdp: Any,
    truth: Any,
) -> Float[np.ndarray, "T S A"]:
    """E[sum_{u > t} A_u^2 | s_t, a_t]; the same of A_u itself is 0."""
    found = np.zeros_like(truth.advantage)
    value = np.zeros(len(mdp.start))
    for t in reversed(range(len(mdp.schedule))):
        kernel = mdp.schedule[t]
        later = value[mdp.successor[kernel]]
        found[t] = np.sum(mdp.prob[kernel] * later, axis=-1)
        square = truth.advantage[t] ** 2 + found[t]
        chosen = truth.state_policy[kernel] * square
        value = np.sum(chosen, axis=-1)
    return found
