"""Sums by label, in single precision, by the way that suits the platform.

On a CPU by scattering, which touches every entry once; elsewhere by comparing with every class,
because there scattering adds in an order that changes from run to run.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.ops import class_sum

SUM_BLOCK = 1024
"""Steps that are added up one by one: a float that adds up a million of them loses digits."""
FEWEST_STEPS = 16
"""Steps per kernel that are worth a block of their own, whose sums take memory."""


def cell_sums(
    x: Float[Array, "N T F"],
    index: Int[Array, "N T"],
    size: int,
) -> Float[Array, "T C F"]:
    """Sums of F fields over the trajectories at each step, apart for each of `size` classes."""
    scattering = functools.partial(cells_by_scattering, size=size)
    comparing = functools.partial(cells_by_comparing, size=size)
    return jax.lax.platform_dependent(
        x,
        index,
        cpu=scattering,
        default=comparing,
    )


def cells_by_scattering(x: Array, index: Array, size: int) -> Array:
    """See `cell_sums`."""
    _, steps, fields = x.shape
    time = jnp.arange(steps)[None, :]
    time = jnp.broadcast_to(time, index.shape)
    zero = jnp.zeros((steps, size, fields), x.dtype)
    return zero.at[time, index].add(x)


def cells_by_comparing(x: Array, index: Array, size: int) -> Array:
    """See `cell_sums`."""
    _, _, fields = x.shape
    sums = [class_sum(x[..., i], index, size) for i in range(fields)]
    return jnp.stack(sums, axis=-1)


def kernel_sums(
    x: Float[Array, "N T"],
    index: Int[Array, "N T"],
    schedule: Int[Array, " T"],
    kernels: int,
    size: int,
) -> Float[Array, "M C"]:
    """Sums over trajectories and over the steps of each kernel, apart for each of `size` classes.

    First within blocks of steps, then over blocks.
    """
    sizes = {"kernels": kernels, "size": size}
    scattering = functools.partial(kernels_by_scattering, **sizes)
    comparing = functools.partial(kernels_by_comparing, **sizes)
    return jax.lax.platform_dependent(
        x,
        index,
        schedule,
        cpu=scattering,
        default=comparing,
    )


def kernels_by_scattering(
    x: Array,
    index: Array,
    schedule: Array,
    kernels: int,
    size: int,
) -> Array:
    """See `kernel_sums`."""
    (steps,) = schedule.shape
    most = steps // (FEWEST_STEPS * kernels)
    blocks = max(1, min(_blocks(steps, SUM_BLOCK), most))
    width = _blocks(steps, blocks)
    block = jnp.arange(steps) // width
    row = (block * kernels + schedule)[None, :]
    row = jnp.broadcast_to(row, index.shape)
    zero = jnp.zeros((blocks * kernels, size), x.dtype)
    total = zero.at[row, index].add(x)
    total = total.reshape(blocks, kernels, size)
    return jnp.sum(total, axis=0)


def kernels_by_comparing(
    x: Array,
    index: Array,
    schedule: Array,
    kernels: int,
    size: int,
) -> Array:
    """See `kernel_sums`."""
    (steps,) = schedule.shape
    blocks = _blocks(steps, 8 * SUM_BLOCK)

    def add(total: Array, block: tuple) -> tuple[Array, None]:
        x, index, schedule = block
        member = jax.nn.one_hot(schedule, kernels, dtype=x.dtype)
        of_step = class_sum(x, index, size)
        new = jnp.matmul(member.T, of_step, precision="highest")
        return total + new, None

    parts = (_split(x, blocks), _split(index, blocks), _split(schedule, blocks))
    zero = jnp.zeros((kernels, size), x.dtype)
    total, _ = jax.lax.scan(add, zero, parts)
    return total


def _blocks(steps: int, width: int) -> int:
    """How many blocks of at most `width` steps hold all of them."""
    return -(-steps // width)


def _split(x: Array, blocks: int) -> Array:
    """The steps, along the last axis, in blocks along the first; 0 fills the last block."""
    *batch, steps = x.shape
    width = _blocks(steps, blocks)
    missing = blocks * width - steps
    padding = [(0, 0)] * len(batch)
    x = jnp.pad(x, [*padding, (0, missing)])
    x = x.reshape(*batch, blocks, width)
    return jnp.moveaxis(x, -2, 0)
