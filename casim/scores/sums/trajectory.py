"""Is credit at the right steps? In each trajectory alone, over its decisions."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.scores.sums.order import (
    LAST,
    Floats,
    Integers,
    double_ranks,
    sort_pairs,
    sortable,
)

Mask = Bool[Array, " T"]
Number = Float[Array, ""]
Whole = Int[Array, ""]


def rank_correlation(
    value: Floats,
    truth: Floats,
    where: Mask,
) -> Number:
    """Spearman's correlation over the steps in `where`, ties at their mean rank.

    NaN if either is constant. Two sorts in all: by the truth, which takes the values along, and by
    the value, which takes the truth's ranks.
    """
    num = jnp.sum(where)
    truth_key = _key(truth, where)
    value_key = _key(value, where)
    truth_key, value_key = sort_pairs(truth_key, value_key)
    truth_rank = double_ranks(truth_key)
    value_key, truth_rank = sort_pairs(value_key, truth_rank)
    value_rank = double_ranks(value_key)
    return _correlation(
        _centred(truth_rank, num),
        _centred(value_rank, num),
        value.dtype,
    )


def precision_at_k(
    value: Floats,
    pivotal: Mask,
    where: Mask,
) -> Number:
    """Share of pivotal steps among the k steps of largest |credit|.

    k is the number of pivotal steps. Steps that tie for the last places share them, so a constant
    credit scores chance level.
    """
    key = sortable(jnp.abs(value))
    size = jnp.where(where, key, -1)
    wanted = pivotal & where
    k = jnp.sum(wanted)
    cut = _kth_largest(size, k)
    above = size > cut
    tied = size == cut
    places = k - jnp.sum(above)
    num_tied = jnp.sum(tied)
    share = places / jnp.maximum(num_tied, 1)
    chosen = above + tied * share
    found = jnp.where(wanted, chosen, 0.0)
    precision = jnp.sum(found) / jnp.maximum(k, 1)
    return jnp.where(k > 0, precision, jnp.nan)


def leakage(
    value: Floats,
    matters: Mask,
    where: Mask,
) -> Number:
    """Share of the absolute credit on steps that do not matter; NaN if there is no credit."""
    size = jnp.abs(value)
    size = jnp.where(where, size, 0.0)
    leaked = jnp.where(matters, 0.0, size)
    return _share(
        jnp.sum(leaked),
        jnp.sum(size),
    )


def _key(x: Floats, where: Mask) -> Integers:
    """Integers in the order of x; the steps that do not count come last."""
    key = sortable(x)
    return jnp.where(where, key, LAST)


def _centred(rank: Integers, num: Whole) -> Integers:
    """Twice the ranks of the first `num` steps, less their mean; 0 for the other steps."""
    (steps,) = rank.shape
    inside = jnp.arange(steps) < num
    # Twice a mean rank is an integer, and its mean is num - 1.
    centred = rank - (num - 1)
    return jnp.where(inside, centred, 0)


def _correlation(
    x: Integers,
    y: Integers,
    dtype: Any,
) -> Number:
    """The correlation of centred integers.

    Their products are added up as integers, whose sum does not depend on the order: so it is the
    same on any number of devices.
    """
    with jax.enable_x64(True):
        both = _dot(x, y)
        own = _dot(x, x)
        other = _dot(y, y)
        spread = jnp.sqrt(own * other)
        correlation = _share(both, spread)
        return correlation.astype(dtype)


def _kth_largest(size: Integers, k: Whole) -> Whole:
    """The largest number that k entries reach, found bit by bit, without sorting; at least 0."""

    def bit(i: Array, cut: Array) -> Array:
        place = (30 - i).astype(jnp.int32)
        one = jnp.int32(1)
        trial = cut | jnp.left_shift(one, place)
        reached = jnp.sum(size >= trial)
        return jnp.where(reached >= k, trial, cut)

    zero = jnp.zeros((), jnp.int32)
    return jax.lax.fori_loop(0, 31, bit, zero)


def _dot(x: Integers, y: Integers) -> Number:
    """The product of two vectors, added up in integers of 64 bits."""
    products = x.astype(jnp.int64) * y
    total = jnp.sum(products)
    return total.astype(jnp.float64)


def _share(part: Number, whole: Number) -> Number:
    """The part over the whole, NaN where the whole is 0."""
    defined = whole > 0
    safe = jnp.where(defined, whole, 1.0)
    share = part / safe
    return jnp.where(defined, share, jnp.nan)
