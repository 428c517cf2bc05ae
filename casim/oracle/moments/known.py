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

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float

from casim.oracle.moments.forms import Form
from casim.oracle.moments.group import Moments
from casim.oracle.moments.paths import precise, precise_truth
from casim.oracle.moments.recursion import recursion_moments
from casim.types import MDP


@runtime_checkable
class Known(Protocol):
    """Something whose moments are known without samples at any horizon."""

    def moments(
        self,
        mdp: MDP,
        policy: Any,
        num: int,
    ) -> Moments:
        """Exact moments on groups of `num` independent trajectories of one prompt."""
        ...


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
class Recursion:
    """A form whose moments obey a recursion in time, times a share that depends on N.

    Attributes:
        form: see `casim.oracle.moments.forms`.
        share: from N to a factor.
    """

    form: Form
    share: Callable[[int], float] = whole

    def moments(
        self,
        mdp: MDP,
        policy: Any,
        num: int,
    ) -> Moments:
        """See `recursion_moments`.

        Raises:
            ValueError: as `recursion_moments`.
        """
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
class Shuffled:
    """The exact advantages of a trajectory, permuted over its steps."""

    def moments(
        self,
        mdp: MDP,
        policy: Any,
        num: int,
    ) -> Moments:
        """Exact moments in cells, and of the gradient its mean; its variance is NaN.

        Raises:
            ValueError: an episode that may end early, or a step that is no decision.
        """
        truth = precise_truth(mdp, policy)
        mdp, policy = precise(mdp, policy)
        steps = len(mdp.schedule)
        lives = truth.occupancy.sum(axis=1)
        if not (np.all(mdp.decision[mdp.schedule]) and np.allclose(lives, 1.0)):
            raise ValueError("every step of an episode must be a live decision, got others")
        past = _past(mdp, truth)
        met = truth.occupancy > 0
        before = np.divide(past, truth.occupancy, out=np.zeros_like(past), where=met)[..., None]
        mean = (before[0] + truth.advantage) / steps
        square = (before[1] + truth.advantage**2 + _later_square(mdp, truth)) / steps
        probability = truth.occupancy[..., None] * truth.state_policy[mdp.schedule]
        return Moments(
            probability=probability,
            expectation=np.where(probability > 0, mean, np.nan),
            variance=np.where(probability > 0, np.maximum(square - mean**2, 0.0), np.nan),
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
        earned = truth.occupancy[t][:, None] * np.stack([advantage, advantage**2])
        chosen = truth.state_policy[kernel] * (arrived[..., None] + earned)
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
        found[t] = np.sum(mdp.prob[kernel] * value[mdp.successor[kernel]], axis=-1)
        square = truth.advantage[t] ** 2 + found[t]
        value = np.sum(truth.state_policy[kernel] * square, axis=-1)
    return found
