"""What each estimator aims at, exactly, along given trajectories.

In maths, with A, Q, V of the policy, J its expected return, the discount of the world, and r_u the
rewards of the trajectory itself:
- advantage: A_t(s_t, a_t)
- td_error, and information_gain: r_t + discount V_{t+1}(s_{t+1}) - V_t(s_t)
- log_information_gain: log(r_t + discount V_{t+1}(s_{t+1})) - log V_t(s_t), probabilities floored
- trajectory_advantage: sum_{u<t} discount^u r_u + discount^t Q_t(s_t, a_t) - J
- segment_advantage: the discounted sum of the td_errors of the step's segment, from its first step
- shapley: the Shapley value of the step's segment, see `casim.oracle.shapley`

A setting of an estimator that changes what is meant, and not how well it is met, is part of its
`Target`: the floor of a logarithm is, a discount of its own is not.

References:
    The vocabulary of targets follows Zhang 2026, arXiv:2604.09459; the formulas are standard.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.doors import door
from casim.ops import run_sum, segment_broadcast, shift_left
from casim.oracle.shapley import MAX_PLAYERS, shapley
from casim.recurrence import affine_scan
from casim.targets import Target
from casim.types import MDP, Trajectory, Truth


def along(
    truth: Truth, batch: Trajectory
) -> tuple[Float[Array, "N T"], Float[Array, "N T"], Float[Array, "N T"]]:
    """V_t(s_t), Q_t(s_t, a_t) and V_{t+1}(s_{t+1}) along each trajectory.

    The last is 0 where the episode has ended.
    """
    value = truth.value[_time(batch), batch.state]
    goes_on = shift_left(batch.live, False)
    later = jnp.where(goes_on, shift_left(value), 0.0)
    return value, value + advantage_along(truth, batch), later


def advantage_along(truth: Truth, batch: Trajectory) -> Float[Array, "N T"]:
    """A_t(s_t, a_t) along each trajectory, as solved.

    Q less V would lose digits of small advantages.
    """
    return truth.advantage[_time(batch), batch.state, batch.action]


@door
def path_target(
    target: Target,
    mdp: MDP,
    policy: Float[Array, "M O A"],
    truth: Truth,
    batch: Trajectory,
    num_segments: int,
) -> Float[Array, "N T"] | None:
    """The target at every step of a batch, 0 where not live; None if it has no exact value here."""
    found = _FORMULAS[target.name](_Setting(target, mdp, policy, truth, batch, num_segments))
    return None if found is None else jnp.where(batch.live, found, 0.0)


class _Setting(NamedTuple):
    """The arguments of `path_target`."""

    target: Target
    mdp: MDP
    policy: Float[Array, "M O A"]
    truth: Truth
    batch: Trajectory
    num_segments: int

    @property
    def worth(self) -> tuple[Array, Array]:
        """What a prefix is worth before a step and after it.

        In maths: V_t(s_t), and r_t + discount V_{t+1}(s_{t+1}).
        """
        value, _, later = along(self.truth, self.batch)
        return value, self.batch.reward + self.mdp.discount * later


def _advantage(given: _Setting) -> Array:
    return advantage_along(given.truth, given.batch)


def _td_error(given: _Setting) -> Array:
    before, after = given.worth
    return after - before


def _log_gain(given: _Setting) -> Array:
    before, after = (jnp.maximum(p, given.target.floor) for p in given.worth)
    return jnp.log(after) - jnp.log(before)


def _trajectory_advantage(given: _Setting) -> Array:
    _, q_value, _ = along(given.truth, given.batch)
    steps = jnp.arange(given.batch.state.shape[-1])
    scaling = (given.mdp.discount**steps)[None, :]
    earned = affine_scan(1.0, scaling * given.batch.reward, exclusive=True)
    return earned + scaling * q_value - given.truth.expected_return


def _segment_advantage(given: _Setting) -> Array:
    segment, count = given.mdp.segment, given.num_segments
    first = jnp.searchsorted(segment, jnp.arange(count))
    steps = jnp.arange(given.batch.state.shape[-1])
    within = given.mdp.discount ** (steps - first[segment])
    error = within[None, :] * _td_error(given)
    error = jnp.where(given.batch.live, error, 0.0)
    return segment_broadcast(run_sum(error, segment, count), segment)


def _shapley(given: _Setting) -> Array | None:
    if given.num_segments > MAX_PLAYERS:
        return None
    value = shapley(given.mdp, given.policy, given.batch, given.num_segments)
    return segment_broadcast(value, given.mdp.segment)


_FORMULAS: dict[str, Callable[[_Setting], Array | None]] = {
    "advantage": _advantage,
    "trajectory_advantage": _trajectory_advantage,
    "td_error": _td_error,
    "segment_advantage": _segment_advantage,
    "shapley": _shapley,
    "information_gain": _td_error,
    "log_information_gain": _log_gain,
    "subgoal": lambda _: None,  # not defined yet
}


def _time(batch: Trajectory) -> Array:
    steps = jnp.arange(batch.state.shape[-1])
    return jnp.broadcast_to(steps[None, :], batch.state.shape)
