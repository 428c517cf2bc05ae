"""Sums by label, along the last axis.

On a CPU by scattering, which touches every entry once; elsewhere by comparing with every label,
because there scattering adds in an order that changes from run to run.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def label_sum(
    x: Float[Array, "*rows T"], label: Int[Array, "*rows T"], size: int
) -> Float[Array, "*rows L"]:
    """Sums over the steps of each row, apart for each of `size` labels."""

    def scatter(x: Array, label: Array) -> Array:
        return _scatter(x, label, size, 0.0).add(x.reshape(-1, x.shape[-1]))

    def compare(x: Array, label: Array) -> Array:
        return jnp.sum(_apart(x, label, size, 0.0), axis=-1)

    return _by_platform(scatter, compare, x, label, size)


def label_max(
    x: Float[Array, "*rows T"], label: Int[Array, "*rows T"], size: int
) -> Float[Array, "*rows L"]:
    """The largest of the steps of each row, apart for each of `size` labels; -inf without any."""

    def scatter(x: Array, label: Array) -> Array:
        return _scatter(x, label, size, -jnp.inf).max(x.reshape(-1, x.shape[-1]))

    def compare(x: Array, label: Array) -> Array:
        return jnp.max(_apart(x, label, size, -jnp.inf), axis=-1)

    return _by_platform(scatter, compare, x, label, size)


def _by_platform(scatter, compare, x: Array, label: Array, size: int) -> Array:
    found = jax.lax.platform_dependent(x, label, cpu=scatter, default=compare)
    return found.reshape(*x.shape[:-1], size)


def _scatter(x: Array, label: Array, size: int, fill: float):
    """Where each entry goes in a table `[rows, L]`."""
    flat = label.reshape(-1, x.shape[-1])
    table = jnp.full((flat.shape[0], size), fill, x.dtype)
    return table.at[jnp.arange(flat.shape[0])[:, None], flat]


def _apart(x: Array, label: Array, size: int, fill: float) -> Float[Array, "rows L T"]:
    """Each entry in the row of its label, `fill` in the others."""
    flat = label.reshape(-1, x.shape[-1])
    member = flat[:, None, :] == jnp.arange(size)[None, :, None]
    return jnp.where(member, x.reshape(-1, 1, x.shape[-1]), fill)
