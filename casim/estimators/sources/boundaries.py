"""Boundaries in trajectories: what is played on from there, and how values change between them.

References:
    See the sources that branch.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.discounts import product
from casim.estimators.base import time_of
from casim.ops import shift_left, shift_right
from casim.recurrence import affine_scan
from casim.simulate import World
from casim.types import Batch

UNITS = ("step", "segment", "turn")
"""Units of steps at whose boundaries estimators branch."""
Unit = Literal["step", "segment", "turn"]
"""One of `UNITS`."""


class Tails(NamedTuple):
    """Rollouts from one step of each trajectory, K of them."""

    value: Float[Array, "*rows K"]
    """Return from the step on."""
    total: Float[Array, "*rows K"]
    """Undiscounted sum of all rewards, those before the step included."""
    played: Float[Array, "*rows"]
    """Live steps that were played, by all K together."""


def play_on(
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    step: Int[Array, ""] | Int[Array, "*rows"],
    num: int,
    discount: Array | float,
) -> Tails:
    """Branches every trajectory at a step, one for all or one for each, and plays to the end."""
    branch = world.branch(key, batch, step, num)
    shape = batch.reward.shape
    steps = jnp.arange(shape[-1])
    since = jnp.asarray(step)[..., None]
    # One row for all, or one for each.
    rows = since.shape[:-1]
    time = jnp.broadcast_to(steps, (*rows, shape[-1]))
    ahead = time >= since
    weight = product(discount, since, time)
    weight = jnp.where(ahead, weight, 0.0)

    def for_branches(
        x: Array,
    ) -> Array:
        each = jnp.broadcast_to(x, shape)
        return each[..., None, :]

    worth = branch.reward * for_branches(weight)
    value = jnp.sum(worth, axis=-1)
    fresh = branch.live & for_branches(ahead)
    played = jnp.sum(fresh, axis=(-2, -1), dtype=jnp.float32)
    total = jnp.sum(branch.reward, axis=-1)
    return Tails(value, total, played)


def gains(
    batch: Batch,
    begins: Bool[Array, "P N T"],
    value: Float[Array, "P N T"],
    discount: Array | float,
) -> Float[Array, "P N T"]:
    """How each stretch of steps changed the value, on all its live steps; 0 before the first.

    In maths, for a stretch [b, e): sum_{b <= u < e} w(b, u) r_u + w(b, e) v_e - v_b, with v = 0
    after the end.

    Args:
        batch: the trajectories.
        begins: where stretches begin; each lasts until the next.
        value: read where stretches begin.
        discount: one for all steps, or of each.
    """
    each = jnp.broadcast_to(discount, batch.reward.shape)
    next_lives = shift_left(batch.live, False)
    goes_on = batch.live & next_lives
    ends = shift_left(begins, False)
    after = shift_left(value)
    later = jnp.where(ends & goes_on, after, 0.0)
    earned = batch.reward + each * later
    earned = jnp.where(batch.live, earned, 0.0)
    within = jnp.where(goes_on & ~ends, each, 0.0)
    to_end = affine_scan(within, earned, reverse=True)
    change = jnp.where(begins, to_end - value, 0.0)
    # From its first step to all others.
    kept = jnp.where(begins, 0.0, 1.0)
    credit = affine_scan(kept, change)
    return jnp.where(batch.live, credit, 0.0)


def over_stretch(
    x: Float[Array, "*rows T"],
    begins: Bool[Array, "*rows T"],
) -> Float[Array, "*rows T"]:
    """Sums over the steps from each beginning to the next, given to all of them."""
    ends = shift_left(begins, True)
    within = jnp.where(ends, 0.0, 1.0)
    to_end = affine_scan(within, x, reverse=True)
    first = jnp.where(begins, to_end, 0.0)
    # From its first step to all others.
    kept = jnp.where(begins, 0.0, 1.0)
    return affine_scan(kept, first)


def starts(
    unit: Int[Array, "*rows T"],
) -> Bool[Array, "*rows T"]:
    """The first step of each unit."""
    before = shift_right(unit, -1)
    return unit != before


def unit_of(
    batch: Batch,
    unit: Unit,
) -> Int[Array, "P N T"]:
    """The unit of each step of a batch."""
    if unit == "step":
        return time_of(batch)
    if unit == "segment":
        return batch.segment
    return batch.turn


def units(
    world: World,
    unit: Unit,
) -> tuple[Int[Array, " T"], int]:
    """The unit of each step of a world, and how many there are."""
    if unit == "step":
        steps = world.schedule.shape[0]
        return jnp.arange(steps), steps
    if unit == "segment":
        return world.segment, world.num_segments
    return world.turn, world.num_turns


def until_parting(
    batch: Batch,
) -> Int[Array, "P N N"]:
    """The first step at which two trajectories of a group have not seen and done the same; or T."""
    before = shift_right(batch.action, -1)
    steps = batch.action.shape[-1]

    def of_member(
        member: Int[Array, ""],
    ) -> Int[Array, "P N"]:
        differs = jnp.zeros(batch.action.shape, bool)
        for label in (batch.observation, before, batch.live):
            own = jnp.take(label, member, axis=1)
            other = label != own[:, None]
            differs = differs | other
        parts = jnp.any(differs, axis=-1)
        first = jnp.argmax(differs, axis=-1)
        return jnp.where(parts, first, steps)

    members = jnp.arange(batch.action.shape[1])
    found = jax.lax.map(of_member, members)
    return jnp.moveaxis(found, 0, 1)
