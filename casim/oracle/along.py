"""Exact values read along trajectories."""

from __future__ import annotations

from typing import TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.ops import shift_left
from casim.types import Trajectory, Truth

Path: TypeAlias = Float[Array, "*rows T"]
"""A number for every step of every trajectory."""


def along(truth: Truth, batch: Trajectory) -> tuple[Path, Path, Path]:
    """V_t(s_t), Q_t(s_t, a_t) and V_{t+1}(s_{t+1}) along each trajectory.

    The last is 0 where the episode has ended.
    """
    time = time_of(batch)
    state = batch.state
    value = truth.value[time, state]
    q_value = value + advantage_along(truth, batch)
    following = shift_left(value)
    live = batch.live
    goes_on = shift_left(live, False)
    later = jnp.where(goes_on, following, 0.0)
    return value, q_value, later


def advantage_along(truth: Truth, batch: Trajectory) -> Path:
    """A_t(s_t, a_t) along each trajectory, as solved.

    Q less V would lose digits of small advantages.
    """
    time = time_of(batch)
    return truth.advantage[time, batch.state, batch.action]


def time_of(batch: Trajectory) -> Int[Array, "*rows T"]:
    """The step index of every entry of a batch."""
    shape = batch.state.shape
    num_steps = shape[-1]
    steps = jnp.arange(num_steps)
    return jnp.broadcast_to(steps, shape)
