"""Targets that are read off the values of the latent states."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.ops import run_sum, segment_broadcast, segment_sum, shift_left, shift_right
from casim.oracle.along import advantage_along, along
from casim.oracle.targets.given import Given
from casim.recurrence import affine_scan
from casim.targets import (
    Advantage,
    LogGain,
    Redistribution,
    SegmentAdvantage,
    TdError,
    TrajectoryAdvantage,
)


def advantage(target: Advantage, given: Given) -> Float[Array, "N T"]:
    """A_t(s_t, a_t)."""
    return advantage_along(given.truth, given.batch)


def td_error(target: TdError, given: Given) -> Float[Array, "N T"]:
    """r_t + discount V_{t+1}(s_{t+1}) - V_t(s_t)."""
    before, after = given.worth
    return after - before


def log_gain(target: LogGain, given: Given) -> Float[Array, "N T"]:
    """The change of the logarithm of what the prefix is worth."""
    before, after = (jnp.maximum(p, target.floor) for p in given.worth)
    return jnp.log(after) - jnp.log(before)


def trajectory_advantage(target: TrajectoryAdvantage, given: Given) -> Float[Array, "N T"]:
    """Rewards so far, and Q from here on, less the expected return."""
    _, q_value, _ = along(given.truth, given.batch)
    weight = given.weight[None, :]
    earned = affine_scan(1.0, weight * given.batch.reward, exclusive=True)
    return earned + weight * q_value - given.truth.expected_return


def segment_advantage(target: SegmentAdvantage, given: Given) -> Float[Array, "N T"]:
    """The TD errors of the step's unit, discounted to its first step and added up."""
    error = td_error(TdError(), given)
    if target.unit == "step":
        return error
    unit, size = given.unit(target.unit), given.count(target.unit)
    steps = unit.shape[0]
    first = jnp.full(size, steps - 1).at[unit].min(jnp.arange(steps))
    weight = given.weight_since(first[unit])[None, :]
    gain = jnp.where(given.batch.live, weight * error, 0.0)
    # Agents may alternate; the other units are runs of steps.
    total = segment_sum if target.unit == "agent" else run_sum
    return segment_broadcast(total(gain, unit, size), unit)


def redistribution(target: Redistribution, given: Given) -> Float[Array, "N T"]:
    """The change of the expected return from one action to the next, and what is left at the end.

    In maths: g_t - g_{t-1} = w_{t-1} luck_{t-1} + w_t A_t, with the weights w of the steps and
    luck_t = r_t + discount V_{t+1} - Q_t. This form loses no digits where Q is large.
    """
    skill = advantage_along(given.truth, given.batch)
    before, after = given.worth
    weight = jnp.where(given.batch.live, given.weight[None, :], 0.0)
    luck = weight * (after - before - skill)
    change = weight * skill + shift_right(luck)
    change = change.at[:, 0].add(before[:, 0])
    ends = given.batch.live & ~shift_left(given.batch.live, False)
    return change + jnp.where(ends, luck, 0.0)
