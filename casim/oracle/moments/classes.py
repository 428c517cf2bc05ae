"""Trajectory classes: what an estimator cannot tell apart is counted once.

A rule that sees a trajectory only through some statistic u(tau), its length and return for
instance, gives every member of a class {tau: u(tau) = u} the same credit. So groups are enumerated
over classes. Of the members only these moments matter, with z_t = w_t grad log pi(a_t | o_t), w_t
the product of the discounts of the steps before, at decisions and 0 elsewhere: P(u),
P(s_t, a_t | u), E[z_t | u], and Cov(z_t, z_t' | u) per parameter.

References:
    Derived for casim; `tests/oracle/test_moments_group.py` checks it against the enumeration of
    ordered groups.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import numpy as np
from jaxtyping import Float, Int

from casim.oracle.moments.paths import Enumeration, discounting, weights
from casim.types import MDP, Trajectory

View = Callable[[Any], np.ndarray]
"""From trajectories `[num, T]` (NumPy) to what of them an estimator sees, `[num, F]`."""

CHUNK = 10_000
"""Members that are read at once."""
DIGITS = 10
"""What is seen is compared after rounding to this many decimals.

Sums of the same rewards differ in their last bits.
"""


class Classes(NamedTuple):
    """Classes of trajectories (axis C), with the moments of their members; P = M O A parameters."""

    probability: Float[np.ndarray, " C"]
    member: Any
    """All trajectories, class by class: a `Trajectory` of NumPy arrays `[num, T]`."""
    first: Int[np.ndarray, " C"]
    """Index of the first member of each class."""
    size: Int[np.ndarray, " C"]
    """Number of members of each class."""
    cell: Float[np.ndarray, "C T S A"]
    """P(s_t = s, a_t = a, the policy decides | class)."""
    score: Float[np.ndarray, "C T P"]
    """E[w_t grad log pi(a_t | o_t) | class]."""
    covariance: Float[np.ndarray, "C P T T"]
    """Covariance of these scores over the steps, for each parameter, within the class."""


def whole(
    batch: Trajectory,
) -> np.ndarray:
    """Everything: each trajectory is its own class."""
    columns = [np.asarray(x, np.float64) for x in batch]
    return np.concatenate(columns, axis=1)


def by_reward(
    batch: Trajectory,
) -> np.ndarray:
    """The rewards of the steps, and the length.

    That is enough for group baselines, per trajectory or per step.
    """
    reward = np.asarray(batch.reward, np.float64)
    live = np.asarray(batch.live, np.float64)
    return np.concatenate([reward, live], axis=1)


def by_anchor(
    batch: Trajectory,
) -> np.ndarray:
    """Observations, rewards and the length, not the actions.

    That is enough for groups of equal anchor observations.
    """
    seen = np.where(batch.live, batch.observation, -1)
    return np.concatenate([by_reward(batch), seen], axis=1)


def by_return(
    discount: float | Float[np.ndarray, " T"] = 1.0,
) -> View:
    """The discounted return and the length: enough for a baseline of whole trajectories.

    Args:
        discount: of each step, or one for all.
    """

    def view(
        batch: Trajectory,
    ) -> np.ndarray:
        steps = batch.reward.shape[1]
        returns = batch.reward @ weights(discount, steps)
        live = np.asarray(batch.live, np.float64)
        return np.concatenate([returns[:, None], live], axis=1)

    return view


def make_classes(
    mdp: MDP,
    policy: np.ndarray,
    paths: Enumeration,
    sees: View,
) -> Classes:
    """Groups enumerated trajectories by what is seen of them.

    Args:
        mdp: the process, from `precise`.
        policy: the table, from `precise`.
        paths: from `enumerate_trajectories`.
        sees: what of a trajectory the estimator sees; it must tell apart trajectories of different
            length.
    """
    seen = np.round(sees(paths.trajectory), DIGITS)
    _, label = np.unique(seen, axis=0, return_inverse=True)
    label = label.ravel()
    order = np.argsort(label, kind="stable")
    size = np.bincount(label)
    first = np.cumsum(size) - size
    sorted_ = [np.asarray(x)[order] for x in paths.trajectory]
    member = Trajectory(*cast(Any, sorted_))
    weight = paths.probability[order]
    total = np.add.reduceat(weight, first)
    share = weight / np.repeat(total, size)
    each = [
        _moments(mdp, policy, member, share, slice(begin, begin + number))
        for begin, number in zip(first, size, strict=True)
    ]
    columns = zip(*each, strict=True)
    cell, mean, covariance = (np.stack(x) for x in columns)
    return Classes(
        total,
        member,
        first,
        size,
        cell,
        score=mean,
        covariance=covariance,
    )


def _moments(
    mdp: MDP,
    policy: np.ndarray,
    member: Trajectory,
    share: np.ndarray,
    rows: slice,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of one class: its visits of each cell, and mean and covariance of its scores."""
    steps = member.action.shape[1]
    states = mdp.start.shape[0]
    actions = policy.shape[2]
    cell = np.zeros((steps, states, actions))
    mean = np.zeros((steps, policy.size))
    square = np.zeros((policy.size, steps, steps))
    for begin in range(rows.start, rows.stop, CHUNK):
        end = min(begin + CHUNK, rows.stop)
        some = slice(begin, end)
        part = Trajectory(*(x[some] for x in member))
        decision = mdp.decision[mdp.schedule]
        decided = part.live & decision[None, :]
        times = np.arange(steps)
        time = np.broadcast_to(times, part.state.shape)
        where = (time, part.state, part.action)
        weight = share[some, None]
        np.add.at(cell, where, weight * decided)
        score = _scores(mdp, policy, part)
        own = share[some]
        mean += np.einsum("n,ntp->tp", own, score)
        square += np.einsum(
            "n,ntp,nup->ptu",
            own,
            score,
            score,
            optimize=True,
        )
    by_parameter = mean.T
    now = by_parameter[:, :, None]
    then = by_parameter[:, None, :]
    covariance = square - now * then
    return cell, mean, covariance


def _scores(
    mdp: MDP,
    policy: np.ndarray,
    batch: Trajectory,
) -> np.ndarray:
    """w_t grad log pi(a_t | o_t) of every trajectory `[num, T, P]`.

    0 where the policy decides nothing.
    """
    num, steps = batch.action.shape
    schedule = np.asarray(mdp.schedule)[None, :]
    kernel = np.broadcast_to(schedule, (num, steps))
    decided = batch.live & mdp.decision[kernel]
    discount = discounting(mdp)[None, :]
    scaling = np.where(decided, discount, 0.0)[..., None]
    actions = np.arange(policy.shape[2])
    action = batch.action[..., None]
    taken = actions[None, None, :] == action
    chance = policy[kernel, batch.observation]
    row, time = np.indices((num, steps))
    score = np.zeros((num, steps, *policy.shape))
    where = (row, time, kernel, batch.observation)
    score[where] = scaling * (taken - chance)
    return score.reshape(num, steps, -1)
