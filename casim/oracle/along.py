"""Exact values read along trajectories."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.ops import shift_left
from casim.types import Trajectory, Truth


def along(
    truth: Truth, batch: Trajectory
) -> tuple[Float[Array, "N T"], Float[Array, "N T"], Float[Array, "N T"]]:
    """V_t(s_t), Q_t(s_t, a_t) and V_{t+1}(s_{t+1}) along each trajectory.

    The last is 0 where the episode has ended.
    """
    value = truth.value[time_of(batch), batch.state]
    goes_on = shift_left(batch.live, False)
    later = jnp.where(goes_on, shift_left(value), 0.0)
    return value, value + advantage_along(truth, batch), later


def advantage_along(truth: Truth, batch: Trajectory) -> Float[Array, "N T"]:
    """A_t(s_t, a_t) along each trajectory, as solved.

    Q less V would lose digits of small advantages.
    """
    return truth.advantage[time_of(batch), batch.state, batch.action]


def time_of(batch: Trajectory) -> Int[Array, "N T"]:
    """The step index of every entry of a batch."""
    steps = jnp.arange(batch.state.shape[-1])
    return jnp.broadcast_to(steps[None, :], batch.state.shape)
