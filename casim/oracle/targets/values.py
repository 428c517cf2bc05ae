"""Targets that are read off the values of the latent states."""

from __future__ import annotations

import jax.numpy as jnp

from casim.ops import run_sum, segment_broadcast, segment_sum, shift_left, shift_right
from casim.oracle.along import Path, advantage_along, along
from casim.oracle.prompts import start_values
from casim.oracle.targets.given import Given
from casim.recurrence import affine_scan
from casim.sums import first_of
from casim.targets import (
    Advantage,
    LogGain,
    Redistribution,
    SegmentAdvantage,
    TdError,
    TrajectoryAdvantage,
)


def advantage(target: Advantage, given: Given) -> Path:
    """A_t(s_t, a_t)."""
    return advantage_along(given.truth, given.batch)


def td_error(target: TdError, given: Given) -> Path:
    """r_t + discount_t V_{t+1}(s_{t+1}) - V_t(s_t)."""
    before, after = given.worth
    return after - before


def log_gain(target: LogGain, given: Given) -> Path:
    """The change of the logarithm of what the prefix is worth."""
    before, after = given.worth
    low = jnp.maximum(before, target.floor)
    high = jnp.maximum(after, target.floor)
    return jnp.log(high) - jnp.log(low)


def trajectory_advantage(target: TrajectoryAdvantage, given: Given) -> Path:
    """Rewards so far, and Q from here on, less the expected return from the prompt."""
    truth, batch = given.truth, given.batch
    _, q_value, _ = along(truth, batch)
    weight = given.weight[None, :]
    paid = weight * batch.reward
    earned = affine_scan(1.0, paid, exclusive=True)
    expected = earned + weight * q_value
    worth = start_values(given.mdp, truth)
    start = batch.state[:, :1]
    return expected - worth[start]


def segment_advantage(target: SegmentAdvantage, given: Given) -> Path:
    """The TD errors of the step's unit, discounted to its first step and added up."""
    error = td_error(TdError(), given)
    if target.unit == "step":
        return error
    unit = given.unit(target.unit)
    size = given.count(target.unit)
    first = first_of(unit, size)
    weight = given.weight_since(first[unit])
    weighted = weight[None, :] * error
    live = given.batch.live
    gain = jnp.where(live, weighted, 0.0)
    # Agents may alternate; the other units are runs of steps.
    total = segment_sum if target.unit == "agent" else run_sum
    whole = total(gain, unit, size)
    return segment_broadcast(whole, unit)


def redistribution(target: Redistribution, given: Given) -> Path:
    """The change of the expected return from one action to the next, and what is left at the end.

    In maths: g_t - g_{t-1} = w_{t-1} luck_{t-1} + w_t A_t, with the weights w of the steps and
    luck_t = r_t + discount_t V_{t+1} - Q_t. This form loses no digits where Q is large.
    """
    live = given.batch.live
    skill = advantage_along(given.truth, given.batch)
    before, after = given.worth
    weight = jnp.where(live, given.weight[None, :], 0.0)
    gain = after - before
    luck = weight * (gain - skill)
    since = shift_right(luck)
    change = since + weight * skill
    prompt = before[:, 0]
    change = change.at[:, 0].add(prompt)
    goes_on = shift_left(live, False)
    left = jnp.where(goes_on, 0.0, luck)
    return change + left
