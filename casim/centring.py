"""Numbers less what others have: advantages within groups, whitening, means of classes.

All are JIT-compatible and take arrays `[..., N]` or `[N, T]`; values are not checked. Means are of
differences from the largest number, so equal numbers less their mean are exactly 0.
"""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.sums import class_max, class_sum


def group_advantage(
    returns: Float[Array, "*batch N"],
    scale: Literal["none", "group", "batch"] = "none",
    ddof: int = 1,
    epsilon: float = 1e-6,
    where: Bool[Array, "*batch N"] | None = None,
) -> Float[Array, "*batch N"]:
    """Returns centred by the mean of their group (the last axis), and scaled if asked.

    In maths: A_i = (R_i - mean R) / (std R + epsilon), with std over the group ("group"), over all
    groups ("batch"), or no division at all ("none", Dr. GRPO). The standard deviation divides by
    n - ddof; members of a group too small for that get 0. Entries outside `where` count
    nowhere and get 0. Equal returns get exactly 0, whatever their number and value.

    References:
        Shao et al. 2024, arXiv:2402.03300 (GRPO); Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).
    """
    if scale not in ("none", "group", "batch"):
        raise ValueError(f"scale must be one of ('none', 'group', 'batch'), got {scale!r}")
    if where is None:
        where = _everywhere(returns)
    centred = _centred(returns, where, axis=-1)
    if scale == "none":
        return centred
    within = scale == "group"
    axis = -1 if within else None
    spread = centred if within else _centred(returns, where, axis)
    deviation = _deviation(spread, where, ddof, axis)
    divisor = deviation + epsilon
    count = _count(where, axis)
    defined = (count > ddof) & (divisor > 0)
    return _quotient(centred, divisor, defined)


def leave_one_out(
    returns: Float[Array, "*batch N"],
    where: Bool[Array, "*batch N"] | None = None,
) -> Float[Array, "*batch N"]:
    """Each return minus the mean of the others of its group; one without others keeps its return.

    Entries outside `where` count nowhere and get 0. Equal returns, of more than one member, get
    exactly 0, whatever their number and value.

    References:
        Kool et al. 2019; Ahmadian et al. 2024, arXiv:2402.14740 (RLOO).
    """
    if where is None:
        where = _everywhere(returns)
    others = _count(where, axis=-1) - 1
    gap, _ = _from_origin(returns, where, axis=-1)
    total = jnp.sum(gap, axis=-1, keepdims=True)
    rest = total - gap
    mean_of_others = rest / jnp.maximum(others, 1)
    above = gap - mean_of_others
    credit = jnp.where(others > 0, above, returns)
    return jnp.where(where, credit, 0.0)


def whiten(
    x: Float[Array, "*shape"],
    where: Bool[Array, "*shape"],
    ddof: int = 1,
    epsilon: float = 1e-8,
) -> Float[Array, "*shape"]:
    """(x - mean) / sqrt(variance + epsilon) over the entries in `where`; the others get 0.

    The variance divides by n - ddof; entries too few for that get 0. Equal entries get exactly 0.
    """
    centred = _centred(x, where)
    divisor = _deviation(centred, where, ddof, floor=epsilon)
    return _quotient(centred, divisor, divisor > 0)


def mean(
    x: Float[Array, "*shape"],
    axis: int | None = None,
    where: Bool[Array, "*shape"] | None = None,
) -> Float[Array, "*kept"]:
    """Mean over the entries in `where`, which keeps the axis at size 1; 0 if there are none.

    In maths: o + mean(x - o) with o one of the entries, so that the mean of equal entries is
    exactly what they are, and what is left when it is subtracted from them is exactly 0.
    """
    if where is None:
        where = _everywhere(x)
    gap, origin = _from_origin(x, where, axis)
    count = _count(where, axis)
    total = jnp.sum(gap, axis=axis, keepdims=True)
    shift = total / jnp.maximum(count, 1)
    shifted = origin + shift
    return jnp.where(count > 0, shifted, 0.0)


def class_mean(
    x: Float[Array, "N T"],
    index: Int[Array, "N T"],
    where: Bool[Array, "N T"],
    size: int,
) -> Float[Array, "T C"]:
    """`mean` over the trajectories at each step, apart for each of `size` classes.

    A class that holds no entry in `where` gets the mean of its step.
    """
    x = jax.lax.optimization_barrier(x)
    counted = jnp.where(where, x, -jnp.inf)
    largest = class_max(counted, index, size)
    origin = jax.lax.stop_gradient(largest)
    away = difference(x, class_value(origin, index))
    gap = jnp.where(where, away, 0.0)
    count = class_sum(where.astype(x.dtype), index, size)
    total = class_sum(gap, index, size)
    shift = total / jnp.maximum(count, 1)
    of_all = mean(x, axis=0, where=where)
    shifted = origin + shift
    return jnp.where(count > 0, shifted, of_all.T)


def class_value(
    table: Float[Array, "T C"],
    index: Int[Array, "*rows T"],
) -> Float[Array, "*rows T"]:
    """The entry of each step's row of a table that the class of each trajectory picks."""
    steps = jnp.arange(table.shape[0])
    return table[steps, index]


def _everywhere(x: Array) -> Array:
    return jnp.ones_like(x, bool)


def _count(
    where: Array,
    axis: int | None,
) -> Array:
    return jnp.sum(where, axis=axis, keepdims=True)


def _from_origin(
    x: Array,
    where: Array,
    axis: int | None,
) -> tuple[Array, Array]:
    """The entries in `where` less the largest of them, 0 elsewhere; and that largest one.

    Differences to a member are exactly 0 where all are equal, and keep the digits that a mean of
    large numbers would round off. The origin cancels in all that is made of them: no gradient.
    """
    # What x is made of must not be computed twice, rounded in two ways.
    x = jax.lax.optimization_barrier(x)
    counted = jnp.where(where, x, -jnp.inf)
    largest = jnp.max(counted, axis=axis, keepdims=True)
    origin = jax.lax.stop_gradient(largest)
    gap = difference(x, origin)
    return jnp.where(where, gap, 0.0), origin


def difference(
    x: Float[Array, "*shape"],
    origin: Float[Array, "*#shape"],
) -> Float[Array, "*shape"]:
    """X less a constant, exactly 0 where they are equal."""
    gap = x - origin
    # Where a compiler fuses a product into the difference, equal numbers differ by its rounding.
    residue = jnp.where(x == origin, gap, 0.0)
    return gap - jax.lax.stop_gradient(residue)


def _centred(
    x: Array,
    where: Array,
    axis: int | None = None,
) -> Array:
    """The entries in `where` less their mean, 0 elsewhere."""
    gap, _ = _from_origin(x, where, axis)
    total = jnp.sum(gap, axis=axis, keepdims=True)
    count = _count(where, axis)
    shift = total / jnp.maximum(count, 1)
    return jnp.where(where, gap - shift, 0.0)


def _quotient(
    x: Array,
    divisor: Array,
    defined: Array,
) -> Array:
    """0 where it is not defined, and its derivative too."""
    safe = jnp.where(defined, divisor, 1.0)
    return jnp.where(defined, x / safe, 0.0)


def _deviation(
    centred: Array,
    where: Array,
    ddof: int,
    axis: int | None = None,
    floor: float = 0.0,
) -> Array:
    """sqrt(variance + floor) of centred entries, 0 with gradient 0 where it is undefined or 0.

    Squares are in units of the largest entry, or of sqrt(floor), so that they cannot overflow.
    """
    size = jnp.abs(centred)
    largest = jnp.max(size, axis=axis, keepdims=True)
    largest = jax.lax.stop_gradient(largest)
    unit = jnp.maximum(largest, floor**0.5)
    unit = jnp.where(unit > 0, unit, 1.0)
    free = _count(where, axis) - ddof
    squares = (centred / unit) ** 2
    total = jnp.sum(squares, axis=axis, keepdims=True)
    square = total / jnp.maximum(free, 1)
    shift = floor / unit / unit
    raised = square + shift
    square = jnp.where(free > 0, raised, 0.0)
    positive = square > 0
    safe = jnp.where(positive, square, 1.0)
    return jnp.where(positive, unit * jnp.sqrt(safe), 0.0)
