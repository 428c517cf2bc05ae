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

Steps = Int[Array, "*#steps"] | int
"""One step, or many."""


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
    first: Steps,
    last: Steps,
) -> Float[Array, "..."]:
    """The product of the discounts of the steps first, first + 1, ... up to last - 1.

    Args:
        discount: of each step, or one for all.
        first: steps in [0, T - 1].
        last: steps in [first, T]; shapes broadcast. Where `last` is not above `first` the product
            is empty: 1.
    """
    start = jnp.asarray(first)
    apart = last - start
    number = jnp.maximum(apart, 0)
    if not isinstance(discount, jax.Array) or discount.ndim == 0:
        return discount**number
    end = jnp.maximum(first, last)
    first_discount = discount[0]
    equal = discount == first_discount
    all_equal = jnp.all(equal)
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
    steps = jnp.arange(num_steps)
    return product(discount, 0, steps)


def _products(factor: Float[Array, " T"]) -> _Product:
    """The products before each step, and after the last: `[T + 1]`."""
    limits = jnp.finfo(factor.dtype)
    smallest = limits.tiny
    none = factor < smallest
    some = jnp.where(none, 1.0, factor)
    one = jnp.ones_like(some[:1])
    each = jnp.concatenate([one, some])
    high, exponent = _split(each)
    zero = jnp.zeros(1, jnp.int32)
    counted = none.astype(jnp.int32)
    zeros = jnp.concatenate([zero, counted])
    number = each.shape[0]
    steps = jnp.arange(number)

    def double(
        power: Array,
        now: _Product,
    ) -> _Product:
        before = steps - 2**power
        there = before >= 0
        place = jnp.maximum(before, 0)
        earlier = _at(now, place)
        joined = _times(earlier, now)

        def chosen(x: Array, y: Array) -> Array:
            return jnp.where(there, x, y)

        return jax.tree.map(chosen, joined, now)

    number_of_factors = factor.shape[0]
    passes = number_of_factors.bit_length()
    low = jnp.zeros_like(high)
    alone = _Product(high, low, exponent, zeros)
    return jax.lax.fori_loop(0, passes, double, alone)


def _times(
    x: _Product,
    y: _Product,
) -> _Product:
    """The product of two products."""
    one = (x.high, x.low)
    other = (y.high, y.low)
    high, low = times(one, other)
    large = high >= 2
    scale = jnp.where(large, 0.5, 1.0)
    scale = scale.astype(high.dtype)
    exponent = x.exponent + y.exponent
    return _Product(
        high=high * scale,
        low=low * scale,
        exponent=exponent + large,
        zeros=x.zeros + y.zeros,
    )


def _quotient(
    found: _Product,
    first: Steps,
    last: Steps,
) -> Float[Array, "..."]:
    """The product before `last` over that before `first`."""
    over = _at(found, last)
    under = _at(found, first)
    high = over.high / under.high
    # Relative, of what `high` is.
    over_short = over.low / over.high
    under_short = under.low / under.high
    short = over_short - under_short
    # In two steps, because the power itself may be below the smallest float. What is below the
    # square of that is 0 anyhow.
    dtype = high.dtype
    _, _, bias = _format(dtype)
    exponent = over.exponent - under.exponent
    lowest = 2 * (1 - bias)
    exponent = jnp.maximum(exponent, lowest)
    half = exponent // 2
    other_half = exponent - half
    missing = high * short
    scaled = high + missing
    dtype = high.dtype
    scaled = scaled * _power(half, dtype)
    scaled = scaled * _power(other_half, dtype)
    has_zero = over.zeros > under.zeros
    return jnp.where(has_zero, 0.0, scaled)


def _at(
    found: _Product,
    step: Int[Array, "*steps"] | int,
) -> _Product:
    return jax.tree.map(lambda x: x[step], found)


def _split(x: Float[Array, " T"]) -> tuple[Float[Array, " T"], Int[Array, " T"]]:
    """Numbers in [1, 2) and the powers of two that multiply them to positive, normal floats."""
    kind, bits, bias = _format(x.dtype)
    word = jax.lax.bitcast_convert_type(x, kind)
    all_bits = (1 << bits) - 1
    fraction = word & all_bits
    biased = word >> bits
    exponent = biased - bias
    of_one = bias << bits
    significand = fraction | of_one
    high = jax.lax.bitcast_convert_type(significand, x.dtype)
    exponent = exponent.astype(jnp.int32)
    return high, exponent


def _power(
    exponent: Int[Array, "*steps"],
    dtype: jnp.dtype,
) -> Float[Array, "*steps"]:
    """2^exponent, exactly, of exponents of normal floats."""
    kind, bits, bias = _format(dtype)
    wide = exponent.astype(kind)
    biased = wide + bias
    word = biased << bits
    return jax.lax.bitcast_convert_type(word, dtype)


def _format(dtype: jnp.dtype) -> tuple[jnp.dtype, int, int]:
    """Of a type of floats: integers as wide, bits of its fraction, bias of its exponent."""
    info = jnp.finfo(dtype)
    name = f"int{info.bits}"
    kind = jnp.dtype(name)
    above = info.nexp - 1
    bias = 2**above - 1
    return kind, info.nmant, bias
