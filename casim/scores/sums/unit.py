"""The unit in which credit, advantages and gradients of a task are measured."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.types import Truth


def unit_of(truth: Truth) -> Float[Array, ""]:
    """The power of two next below the largest |V| of a task, 1 if all values are 0.

    Dividing by it is exact.
    """
    size = jnp.abs(truth.value)
    largest = jnp.max(size)
    _, exponent = jnp.frexp(largest)
    one = jnp.ones_like(largest)
    power = jnp.ldexp(one, exponent - 1)
    return jnp.where(largest > 0, power, 1.0)
