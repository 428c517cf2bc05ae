"""Sizes of groups' credit, by their exponents.

Small credit may be rounding; what is small shows only when all groups are known, so sums are kept
apart by the size of the group's credit.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.scores.sums.exact import exact_sum
from casim.scores.sums.steps import Steps

CREDIT_BITS = 20
"""Credit below 2^-20 (1e-6) of the largest counts as 0 in signs and leakage: it may be rounding."""
EXPONENTS = 256
"""How many exponents a number in single precision can have; that of 0 is 0."""
MANTISSA_BITS = 23
"""Of a number in single precision; above them stands its exponent."""
EXPONENT_BIAS = 127
"""The exponent that stands in the number 1."""


def largest_exponent(steps: Steps) -> Int[Array, " C"]:
    """The exponent of the largest |c| of each group, 0 if it gave no credit."""
    size = jnp.abs(steps.value)
    size = jnp.where(steps.decided, size, 0.0)
    size = size.astype(jnp.float32)
    largest = jnp.max(size, axis=(1, 2))
    bits = jax.lax.bitcast_convert_type(largest, jnp.int32)
    return bits >> MANTISSA_BITS


def counted(
    steps: Steps,
    exponent: Int[Array, " C"],
) -> Float[Array, "C N T"]:
    """Credit at decisions, 0 where it is less than 2^-CREDIT_BITS of the largest of its group."""
    power = exponent - EXPONENT_BIAS
    least_power = power - CREDIT_BITS
    one = jnp.float32(1.0)
    least = jnp.ldexp(one, least_power)
    size = jnp.abs(steps.value)
    enough = size >= least[:, None, None]
    return jnp.where(
        steps.decided & enough,
        steps.value,
        0.0,
    )


def by_exponent(
    exponent: Int[Array, " C"],
    x: Float[Array, "C F"],
) -> Float[Array, "E F"]:
    """Sums over groups, apart for each exponent of their credit."""
    every = jnp.arange(EXPONENTS)
    member = exponent[None, :] == every[:, None]
    of_member = jnp.where(
        member[..., None],
        x[None],
        0.0,
    )
    return exact_sum(of_member, axis=1)
