"""Sums that are the same in any order, so on any number of devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PARTS = 2.0**32
"""Of 1, in which numbers are added up as integers."""


def exact_sum(
    x: Float[Array, "*shape"],
    axis: int | tuple[int, ...],
) -> Array:
    """Sums of multiples of 2^-32.

    In maths: 2^-32 sum round(2^32 x), in integers; totals must stay below 2^31.
    """
    with jax.enable_x64(True):
        double = x.astype(jnp.float64)
        parts = jnp.round(double * PARTS)
        whole = parts.astype(jnp.int64)
        total = jnp.sum(whole, axis=axis)
        double = total.astype(jnp.float64)
        result = double / PARTS
        return result.astype(x.dtype)


def with_count(
    x: Float[Array, "*shape N"],
) -> Float[Array, "*shape N 2"]:
    """Each entry and 1, twice 0 where it is NaN: sums of both make the mean of what is defined."""
    defined = jnp.isfinite(x)
    value = jnp.where(defined, x, 0.0)
    count = defined.astype(x.dtype)
    return jnp.stack([value, count], axis=-1)
