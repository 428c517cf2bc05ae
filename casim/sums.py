"""The one way to sum by label, in single precision, each form by what suits the device.

    label_sum    [*rows, T], a label an entry     -> [*rows, L]  along the last axis
    axis_sum     [..., T, ...], a label a place   -> [..., L, ...]  all rows share the labels
    outcome_sum  [..., K], a label an entry       -> [..., L]  few entries, as a product
    class_sum    [N, T], a label an entry         -> [T, L]  over the rows, at each step
    cell_sums    [N, T, F], the same              -> [T, L, F]
    kernel_sums  [N, T], the same, and a schedule -> [M, L]  over the rows and a kernel's steps

A CPU scatters, which touches every entry once; other devices compare with every label, because
there scattering adds in an order that changes from run to run. Exceptions say why. What is summed
in double precision on the host (exact moments, contracts of tasks) is summed by NumPy.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.blocks import Blocks, ceil, cut

SUM_BLOCK = 1024
"""Steps that are added up one by one: a float that adds up a million of them loses digits."""
FEWEST_STEPS = 16
"""Steps per kernel that are worth a block of their own, whose sums take memory."""


def label_sum(
    x: Float[Array, "*rows T"],
    label: Int[Array, "*rows T"],
    size: int,
) -> Float[Array, "*rows L"]:
    """Sums over the steps of each row, apart for each of `size` labels."""

    def scatter(
        x: Array,
        label: Array,
    ) -> Array:
        values = x.reshape(-1, x.shape[-1])
        return _scatter(x, label, size, 0.0).add(values)

    def compare(
        x: Array,
        label: Array,
    ) -> Array:
        return jnp.sum(_apart(x, label, size, 0.0), axis=-1)

    return _by_platform(scatter, compare, x, label, size)


def label_max(
    x: Float[Array, "*rows T"],
    label: Int[Array, "*rows T"],
    size: int,
) -> Float[Array, "*rows L"]:
    """The largest of the steps of each row, apart for each of `size` labels; -inf without any."""

    def scatter(
        x: Array,
        label: Array,
    ) -> Array:
        values = x.reshape(-1, x.shape[-1])
        return _scatter(x, label, size, -jnp.inf).max(values)

    def compare(
        x: Array,
        label: Array,
    ) -> Array:
        return jnp.max(_apart(x, label, size, -jnp.inf), axis=-1)

    return _by_platform(scatter, compare, x, label, size)


def axis_sum(
    x: Float[Array, "..."],
    label: Int[Array, " T"],
    size: int,
    axis: int = 0,
) -> Float[Array, "..."]:
    """Sums along one axis, whose places have labels; that axis of the result are the labels.

    By scattering on every device: labels may be as many as places, and to compare each with each
    would be the square of their number.
    """
    axis = axis % x.ndim
    before = x.shape[:axis]
    after = x.shape[axis + 1 :]
    zero = jnp.zeros((*before, size, *after), x.dtype)
    rows = (slice(None),) * axis
    return zero.at[(*rows, label)].add(x)


def first_of(
    label: Int[Array, " T"],
    size: int,
) -> Int[Array, " L"]:
    """The first place of each label; the last of all places for a label that is nowhere."""
    (places,) = label.shape
    last = jnp.full(size, places - 1)
    return last.at[label].min(jnp.arange(places))


def outcome_sum(
    x: Float[Array, "*rows K"],
    label: Int[Array, "*rows K"],
    size: int,
) -> Float[Array, "*rows L"]:
    """Sums over few entries of very many rows, as one product with rows of 0 and 1.

    Tables of kernels are small and used at every step: the order is fixed, and nothing is
    scattered.
    """
    member = jax.nn.one_hot(label, size, dtype=x.dtype)
    return jnp.einsum("...k,...kl->...l", x, member, precision="highest")


def class_sum(
    x: Float[Array, "N T"],
    index: Int[Array, "N T"],
    size: int,
) -> Float[Array, "T C"]:
    """Sums over the trajectories at each step, apart for each of `size` classes.

    In a fixed order: trajectory by trajectory on a CPU, where no two numbers meet in one cell at
    once; elsewhere by comparing with every class, since a loop over many trajectories would be slow
    there.
    """
    if jax.default_backend() != "cpu":
        member = index[None] == jnp.arange(size)[:, None, None]
        return jnp.sum(jnp.where(member, x[None], 0.0), axis=1).T
    _, steps = x.shape
    time = jnp.arange(steps)

    def add(
        total: Array,
        now: tuple[Array, Array],
    ) -> tuple[Array, None]:
        value, at = now
        cell = total.at[time, at]
        new = cell.add(
            value,
            unique_indices=True,
            mode="promise_in_bounds",
        )
        return new, None

    zero = jnp.zeros((steps, size), x.dtype)
    total, _ = jax.lax.scan(add, zero, (x, index))
    return total


def class_max(
    x: Float[Array, "N T"],
    index: Int[Array, "N T"],
    size: int,
) -> Float[Array, "T C"]:
    """The largest of each class at each step, -inf in one without members."""
    if jax.default_backend() != "cpu":
        member = index[None] == jnp.arange(size)[:, None, None]
        return jnp.max(jnp.where(member, x[None], -jnp.inf), axis=1).T
    _, steps = x.shape
    time = jnp.broadcast_to(jnp.arange(steps)[None, :], x.shape)
    least = jnp.full((steps, size), -jnp.inf, x.dtype)
    return least.at[time, index].max(x)


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


def cells_by_scattering(
    x: Array,
    index: Array,
    size: int,
) -> Array:
    """See `cell_sums`."""
    _, steps, fields = x.shape
    time = jnp.arange(steps)[None, :]
    time = jnp.broadcast_to(time, index.shape)
    zero = jnp.zeros((steps, size, fields), x.dtype)
    return zero.at[time, index].add(x)


def cells_by_comparing(
    x: Array,
    index: Array,
    size: int,
) -> Array:
    """See `cell_sums`."""
    _, _, fields = x.shape
    sums = [class_sum(x[..., i], index, size) for i in range(fields)]
    return jnp.stack(sums, axis=-1)


def schedule_sum(
    x: Float[Array, "T *shape"],
    schedule: Int[Array, " T"],
    kernels: int,
) -> Float[Array, "M *shape"]:
    """Sums over the steps of each kernel, first within blocks of steps, then over blocks."""
    row, rows = _block_of_kernel(schedule, kernels, most=len(schedule) // kernels)
    total = axis_sum(x, row, rows)
    total = total.reshape(-1, kernels, *x.shape[1:])
    return jnp.sum(total, axis=0)


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
    most = len(schedule) // (FEWEST_STEPS * kernels)
    row, rows = _block_of_kernel(schedule, kernels, most)
    row = jnp.broadcast_to(row[None, :], index.shape)
    zero = jnp.zeros((rows, size), x.dtype)
    total = zero.at[row, index].add(x)
    total = total.reshape(-1, kernels, size)
    return jnp.sum(total, axis=0)


def kernels_by_comparing(
    x: Array,
    index: Array,
    schedule: Array,
    kernels: int,
    size: int,
) -> Array:
    """See `kernel_sums`."""
    steps = len(schedule)
    blocks = Blocks.of_number(steps, ceil(steps, 8 * SUM_BLOCK))

    def add(
        total: Array,
        block: tuple,
    ) -> tuple[Array, None]:
        x, index, schedule = block
        member = jax.nn.one_hot(schedule, kernels, dtype=x.dtype)
        of_step = class_sum(x, index, size)
        new = jnp.matmul(member.T, of_step, precision="highest")
        return total + new, None

    def split(x: Array) -> Array:
        """Blocks first; 0 fills up the last one."""
        return jnp.moveaxis(cut(x, blocks, axis=-1), -2, 0)

    parts = (split(x), split(index), split(schedule))
    zero = jnp.zeros((kernels, size), x.dtype)
    total, _ = jax.lax.scan(add, zero, parts)
    return total


def _block_of_kernel(
    schedule: Int[Array, " T"],
    kernels: int,
    most: int,
) -> tuple[Int[Array, " T"], int]:
    """A label of each step, apart for each block and kernel, and how many there are.

    Args:
        schedule: the kernel of each step.
        kernels: how many.
        most: blocks, at most.
    """
    steps = len(schedule)
    number = max(1, min(ceil(steps, SUM_BLOCK), most))
    blocks = Blocks.of_number(steps, number)
    return blocks.of_step * kernels + schedule, number * kernels


def _by_platform(
    scatter,
    compare,
    x: Array,
    label: Array,
    size: int,
) -> Array:
    found = jax.lax.platform_dependent(
        x,
        label,
        cpu=scatter,
        default=compare,
    )
    return found.reshape(*x.shape[:-1], size)


def _scatter(
    x: Array,
    label: Array,
    size: int,
    fill: float,
):
    """Where each entry goes in a table `[rows, L]`."""
    flat = label.reshape(-1, x.shape[-1])
    rows = jnp.arange(flat.shape[0])
    table = jnp.full((flat.shape[0], size), fill, x.dtype)
    return table.at[rows[:, None], flat]


def _apart(
    x: Array,
    label: Array,
    size: int,
    fill: float,
) -> Float[Array, "rows L T"]:
    """Each entry in the row of its label, `fill` in the others."""
    flat = label.reshape(-1, x.shape[-1])
    every = jnp.arange(size)
    member = flat[:, None, :] == every[None, :, None]
    values = x.reshape(-1, 1, x.shape[-1])
    return jnp.where(member, values, fill)
