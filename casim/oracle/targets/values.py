"""Targets that are read off the values of the latent states."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.ops import run_sum, segment_broadcast, segment_sum
from casim.oracle.along import advantage_along, along
from casim.oracle.targets.given import Given
from casim.recurrence import affine_scan
from casim.targets import Advantage, LogGain, SegmentAdvantage, TdError, TrajectoryAdvantage


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
    unit = _unit(target, given)
    steps = unit.shape[0]
    size = given.num_segments if target.unit == "segment" else steps
    first = jnp.full(size, steps - 1).at[unit].min(jnp.arange(steps))
    weight = given.weight_since(first[unit])[None, :]
    gain = jnp.where(given.batch.live, weight * error, 0.0)
    # Agents may alternate; the other units are runs of steps.
    total = segment_sum if target.unit == "agent" else run_sum
    return segment_broadcast(total(gain, unit, size), unit)


def _unit(target: SegmentAdvantage, given: Given) -> Int[Array, " T"]:
    """The unit of each step, numbered below the number of steps."""
    if target.unit == "episode":
        return jnp.zeros_like(given.mdp.segment)
    unit = getattr(given.mdp, target.unit)
    if target.unit == "agent":
        # Agents may have any numbers.
        return jnp.unique(unit, return_inverse=True, size=unit.shape[0])[1]
    return unit
