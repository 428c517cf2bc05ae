"""What steps weigh: products of discounts that may differ from step to step.

In maths: w(f, t) = prod_{f <= u < t} discount_u, from products p_t of all steps before t as w(f, t)
= p_t / p_f. Each p_t is held as (high + low) 2^exponent with two floats, and discounts of 0 are
counted apart. So a quotient is right where p_t itself is below the smallest float, and where it is
0. All p_t are found at once by doubling: after pass i, a product is over 2^i steps. Depth: log2 T
passes, O(T log T) work.

Accuracy: within 2 eps of the exact product of the discounts as given, at 10^6 steps (tested);
products of discounts of 1 are exactly 1. Where all discounts are equal it is their power, at the
cost of a power.

References:
    Dekker 1971 (products of two floats); Hillis and Steele 1986 (doubling).
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.recurrence import times


class _Product(NamedTuple):
    """The products of the factors before each step, (high + low) 2^exponent."""

    high: Float[Array, " T"]
    """In [1, 2)."""
    low: Float[Array, " T"]
    exponent: Int[Array, " T"]
    zeros: Int[Array, " T"]
    """How many factors were 0, or no normal floats; these are not in the product."""


def product(
    discount: float | Float[Array, ""] | Float[Array, " T"],
    first: Int[Array, "*#steps"] | int,
    last: Int[Array, "*#steps"] | int,
) -> Float[Array, "..."]:
    """The product of the discounts of the steps first, first + 1, ... up to last - 1.

    Args:
        discount: of each step, or one for all.
        first: steps in [0, T - 1].
        last: steps in [first, T]; shapes broadcast. Where `last` is not above `first` the product
            is empty: 1.
    """
    number = jnp.maximum(last - jnp.asarray(first), 0)
    if not isinstance(discount, jax.Array) or discount.ndim == 0:
        return discount**number
    end = jnp.maximum(first, last)
    all_equal = jnp.all(discount == discount[0])
    return jax.lax.cond(
        all_equal,
        lambda: discount[0] ** number,
        lambda: _quotient(_products(discount), first, end),
    )


@functools.partial(jax.jit, static_argnums=1)  # else each of its operations is one more program
def weights(
    discount: float | Float[Array, ""] | Float[Array, " T"],
    num_steps: int,
) -> Float[Array, " T"]:
    """The weight of each step: the product of the discounts of the steps before it."""
    return product(discount, 0, jnp.arange(num_steps))


def _products(factor: Float[Array, " T"]) -> _Product:
    """The products before each step, and after the last: `[T + 1]`."""
    none = factor < jnp.finfo(factor.dtype).tiny
    some = jnp.where(none, 1.0, factor)
    each = jnp.concatenate([jnp.ones_like(some[:1]), some])
    high, exponent = _split(each)
    zeros = jnp.concatenate([jnp.zeros(1, jnp.int32), none.astype(jnp.int32)])
    steps = jnp.arange(each.shape[0])

    def double(
        power: Array,
        now: _Product,
    ) -> _Product:
        before = steps - 2**power
        there = before >= 0
        earlier = _at(now, jnp.maximum(before, 0))
        joined = _times(earlier, now)
        return _Product(*(jnp.where(there, x, y) for x, y in zip(joined, now, strict=True)))

    passes = factor.shape[0].bit_length()
    alone = _Product(high, jnp.zeros_like(high), exponent, zeros)
    return jax.lax.fori_loop(0, passes, double, alone)


def _times(
    x: _Product,
    y: _Product,
) -> _Product:
    """The product of two products."""
    high, low = times((x.high, x.low), (y.high, y.low))
    large = high >= 2
    scale = jnp.where(large, 0.5, 1.0).astype(high.dtype)
    exponent = x.exponent + y.exponent + large
    return _Product(high * scale, low * scale, exponent, x.zeros + y.zeros)


def _quotient(
    found: _Product,
    first: Int[Array, "*#steps"] | int,
    last: Int[Array, "*#steps"] | int,
) -> Float[Array, "..."]:
    """The product before `last` over that before `first`."""
    over, under = _at(found, last), _at(found, first)
    high = over.high / under.high
    short = over.low / over.high - under.low / under.high  # relative, of what `high` is
    # In two steps, because the power itself may be below the smallest float. What is below the
    # square of that is 0 anyhow.
    _, _, bias = _format(high.dtype)
    exponent = over.exponent - under.exponent
    exponent = jnp.maximum(exponent, 2 * (1 - bias))
    half = exponent // 2
    scaled = high + high * short
    scaled = scaled * _power(half, high.dtype)
    scaled = scaled * _power(exponent - half, high.dtype)
    return jnp.where(over.zeros > under.zeros, 0.0, scaled)


def _at(
    found: _Product,
    step: Int[Array, "*steps"] | int,
) -> _Product:
    return _Product(*(x[step] for x in found))


def _split(x: Float[Array, " T"]) -> tuple[Float[Array, " T"], Int[Array, " T"]]:
    """Numbers in [1, 2) and the powers of two that multiply them to positive, normal floats."""
    kind, bits, bias = _format(x.dtype)
    word = jax.lax.bitcast_convert_type(x, kind)
    fraction = word & ((1 << bits) - 1)
    exponent = (word >> bits) - bias
    high = jax.lax.bitcast_convert_type(fraction | (bias << bits), x.dtype)
    return high, exponent.astype(jnp.int32)


def _power(
    exponent: Int[Array, "*steps"],
    dtype: jnp.dtype,
) -> Float[Array, "*steps"]:
    """2^exponent, exactly, of exponents of normal floats."""
    kind, bits, bias = _format(dtype)
    biased = exponent.astype(kind) + bias
    return jax.lax.bitcast_convert_type(biased << bits, dtype)


def _format(dtype: jnp.dtype) -> tuple[jnp.dtype, int, int]:
    """Of a type of floats: integers as wide, bits of its fraction, bias of its exponent."""
    info = jnp.finfo(dtype)
    kind = jnp.dtype(f"int{info.bits}")
    return kind, info.nmant, 2 ** (info.nexp - 1) - 1
