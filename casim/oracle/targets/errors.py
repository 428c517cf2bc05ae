"""Targets that mark steps: 1 where something was lost, else 0."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool

from casim.oracle.along import Path, advantage_along, along, time_of
from casim.oracle.targets.given import Given
from casim.oracle.values import optimal
from casim.recurrence import affine_scan
from casim.targets import FirstError, FirstLoss, StepError


def first_error(
    target: FirstError,
    given: Given,
) -> Path:
    """The first action that the best policy would not take."""
    batch = given.batch
    best = optimal(given.mdp)
    value = best.value[:-1, :, None]
    regret = value - best.q_value
    time = time_of(batch)
    state, action = batch.state, batch.action
    lost = regret[time, state, action]
    worse = lost > target.margin
    first = _first(given.decided & worse)
    return first.astype(lost.dtype)


def step_error(
    target: StepError,
    given: Given,
) -> Path:
    """Every action that is worse than the policy's average."""
    truth, batch = given.truth, given.batch
    advantage = advantage_along(truth, batch)
    least = -target.margin
    worse = advantage < least
    wrong = given.decided & worse
    return wrong.astype(advantage.dtype)


def first_loss(
    target: FirstLoss,
    given: Given,
) -> Path:
    """The first step after which nothing was earned and nothing is expected."""
    batch = given.batch
    _, _, later = along(given.truth, batch)
    earned = affine_scan(1.0, batch.reward)
    expected = earned + later
    hopeless = expected <= target.floor
    first = _first(batch.live & hopeless)
    return first.astype(expected.dtype)


def _first(here: Bool[Array, "N T"]) -> Bool[Array, "N T"]:
    """The first True of each row."""
    so_far = jnp.cumsum(here, axis=1)
    return here & (so_far == 1)
