"""Targets that mark steps: 1 where something was lost, else 0."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.oracle.along import advantage_along, along, time_of
from casim.oracle.targets.given import Given
from casim.oracle.values import optimal
from casim.recurrence import affine_scan
from casim.targets import FirstError, FirstLoss, StepError


def first_error(target: FirstError, given: Given) -> Float[Array, "N T"]:
    """The first action that the best policy would not take."""
    best = optimal(given.mdp)
    regret = best.value[:-1, :, None] - best.q_value
    lost = regret[time_of(given.batch), given.batch.state, given.batch.action]
    return _first(given.decided & (lost > target.margin), lost)


def step_error(target: StepError, given: Given) -> Float[Array, "N T"]:
    """Every action that is worse than the policy's average."""
    advantage = advantage_along(given.truth, given.batch)
    worse = given.decided & (advantage < -target.margin)
    return worse.astype(advantage.dtype)


def first_loss(target: FirstLoss, given: Given) -> Float[Array, "N T"]:
    """The first step after which nothing was earned and nothing is expected."""
    _, _, later = along(given.truth, given.batch)
    expected = affine_scan(1.0, given.batch.reward) + later
    return _first(given.batch.live & (expected <= target.floor), expected)


def _first(here: Bool[Array, "N T"], like: Float[Array, "N T"]) -> Float[Array, "N T"]:
    """1 at the first True of each row."""
    first = here & (jnp.cumsum(here, axis=1) == 1)
    return first.astype(like.dtype)
