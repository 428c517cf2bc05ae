"""What each estimator aims at, exactly, along given trajectories.

In maths, with A, Q, V of the policy, J its expected return, and r_u the rewards of the trajectory itself:
- advantage: A_t(s_t, a_t)
- td_error, and information_gain: r_t + discount V_{t+1}(s_{t+1}) - V_t(s_t)
- log_information_gain: log(r_t + discount V_{t+1}(s_{t+1})) - log V_t(s_t), probabilities floored
- trajectory_advantage: sum_{u<t} discount^u r_u + discount^t Q_t(s_t, a_t) - J
- segment_advantage: the discounted sum of the td_errors of the step's segment, from its first step
- shapley: the Shapley value of the step's segment, see `casim.oracle.shapley`

References:
    The vocabulary of targets follows Zhang 2026, arXiv:2604.09459; the formulas are standard.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.ops import run_sum, segment_broadcast, shift_left
from casim.oracle.shapley import MAX_PLAYERS, shapley
from casim.recurrence import affine_scan
from casim.types import MDP, Trajectory, Truth

LOG_FLOOR = 1e-2


def along(truth: Truth, batch: Trajectory) -> tuple[Float[Array, "N T"], Float[Array, "N T"], Float[Array, "N T"]]:
    """V_t(s_t), Q_t(s_t, a_t) and V_{t+1}(s_{t+1}) along each trajectory, the last 0 where the episode has ended."""
    time = jnp.broadcast_to(jnp.arange(batch.state.shape[-1])[None, :], batch.state.shape)
    value = truth.value[time, batch.state]
    later = jnp.where(shift_left(batch.live, False), shift_left(value), 0.0)
    return value, value + advantage_along(truth, batch), later


def advantage_along(truth: Truth, batch: Trajectory) -> Float[Array, "N T"]:
    """A_t(s_t, a_t) along each trajectory, as solved: Q less V would lose digits of small advantages."""
    time = jnp.broadcast_to(jnp.arange(batch.state.shape[-1])[None, :], batch.state.shape)
    return truth.advantage[time, batch.state, batch.action]


def path_target(
    name: str, mdp: MDP, policy: Float[Array, "M O A"], truth: Truth, batch: Trajectory, num_segments: int
) -> Float[Array, "N T"] | None:
    """The named target at every step of a batch, 0 where not live; None if it has no exact value here."""
    value, q_value, later = along(truth, batch)
    td_error = batch.reward + mdp.discount * later - value
    scaling = (mdp.discount ** jnp.arange(batch.state.shape[-1]))[None, :]
    if name == "advantage":
        target = advantage_along(truth, batch)
    elif name in ("td_error", "information_gain"):
        target = td_error
    elif name == "log_information_gain":
        after, before = (jnp.maximum(p, LOG_FLOOR) for p in (batch.reward + mdp.discount * later, value))
        target = jnp.log(after) - jnp.log(before)
    elif name == "trajectory_advantage":
        earned = scaling * batch.reward
        target = affine_scan(1.0, earned, exclusive=True) + scaling * q_value - truth.expected_return
    elif name == "segment_advantage":
        first = jnp.searchsorted(mdp.segment, jnp.arange(num_segments))
        within = mdp.discount ** (jnp.arange(batch.state.shape[-1]) - first[mdp.segment])
        live_error = jnp.where(batch.live, within[None, :] * td_error, 0.0)
        target = segment_broadcast(run_sum(live_error, mdp.segment, num_segments), mdp.segment)
    elif name == "shapley" and num_segments <= MAX_PLAYERS:
        target = segment_broadcast(shapley(mdp, policy, batch, num_segments), mdp.segment)
    else:
        return None
    return jnp.where(batch.live, target, 0.0)
