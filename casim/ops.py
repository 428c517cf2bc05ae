"""Small pure functions along the time axis: returns, GAE, segment sums, and what moves entries.

What centres and scales, by group or by class, is in `casim.centring` and is named here too. All are
JIT-compatible and take arrays `[..., T]`; values are not checked. Recurrences run in blocks, see
`casim.recurrence`: in single precision their largest error is below 16 eps times the largest sum of
absolute terms of the recursion, at 10^5 steps (tested).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from casim.centring import (
    class_mean,
    class_value,
    difference,
    group_advantage,
    leave_one_out,
    mean,
    whiten,
)
from casim.recurrence import affine_scan, anywhere, by_rows
from casim.sums import axis_sum, class_max, class_sum

__all__ = [
    "Discount",
    "class_max",
    "class_mean",
    "class_sum",
    "class_value",
    "difference",
    "expectation",
    "gae",
    "group_advantage",
    "lambda_returns",
    "last_live",
    "leave_one_out",
    "mean",
    "nearest_of",
    "permutation",
    "rest_of_entropy",
    "returns_to_go",
    "run_sum",
    "segment_broadcast",
    "segment_sum",
    "shift_left",
    "shift_right",
    "shuffle",
    "whiten",
]

Discount = float | Float[Array, ""] | Float[Array, "*#batch T"]
"""One for all steps, or of each step."""


def expectation(
    weight: Float[Array, "*shape K"],
    value: Float[Array, "*shape K"],
) -> Float[Array, "*shape"]:
    """Mean of `value` under the probabilities `weight`, over the last axis.

    In maths: v_0 + sum_k w_k (v_k - v_0), which reads the first weight as one minus the others. A
    constant comes out unchanged to the last bit, so that rounded rows that miss 1 by 1e-7 do not
    grow or shrink a value over a million steps of dynamic programming.
    """
    first = value[..., :1]
    others = value - first
    gain = jnp.sum(weight * others, axis=-1)
    return first[..., 0] + gain


def returns_to_go(
    reward: Float[Array, "*batch T"],
    discount: Discount,
    live: Bool[Array, "*batch T"],
) -> Float[Array, "*batch T"]:
    """Discounted sum of the rewards from each step on: G_t = r_t + discount_t G_{t+1}.

    Steps where `live` is False are skipped: they neither earn nor discount, and receive 0. The
    discount is one for all steps, or that of each step.
    """

    def rows(
        reward: Array,
        live: Array,
        factor: Array | float = discount,
    ) -> Array:
        total = affine_scan(factor, reward, live, reverse=True)
        return jnp.where(live, total, 0.0)

    factors = _each(discount, reward)
    return by_rows(rows, reward, live, *factors)


def _each(
    discount: Discount,
    like: Float[Array, "*batch T"],
) -> list[Float[Array, "*batch T"]]:
    """The discount at every entry where steps have their own, else nothing."""
    if jnp.ndim(discount) == 0:
        return []
    each = jnp.broadcast_to(discount, like.shape)
    return [each]


def rest_of_entropy(
    entropy: float,
    size: int,
) -> float:
    """The probability off one likely outcome at which `size` outcomes have the given entropy.

    In maths: the others share it alike, so it is the x in [0, 1 - 1 / size] with

        -(1 - x) ln(1 - x) - x ln(x / (size - 1)) = entropy,

    in nats, by bisection; the entropy rises with x.
    """
    if entropy == 0:
        return 0.0
    low = 0.0
    high = 1 - 1 / size
    for _ in range(60):
        middle = (low + high) / 2
        of_first = (1 - middle) * math.log(1 - middle)
        each = middle / (size - 1)
        of_rest = middle * math.log(each)
        reached = -of_first - of_rest
        if reached < entropy:
            low = middle
        else:
            high = middle
    return high


def gae(
    reward: Float[Array, "*batch T"],
    value: Float[Array, "*batch T"],
    live: Bool[Array, "*batch T"],
    discount: Discount,
    lambda_: float | Float[Array, ""],
) -> Float[Array, "*batch T"]:
    """Generalised advantage estimation, not whitened.

    In maths, over the live steps, with value 0 after the last of them:

        delta_t = r_t + discount_t v_{t+1} - v_t,
        A_t = delta_t + discount_t lambda A_{t+1}.

    The differences are taken first: the lambda-return less v_t, equal in exact arithmetic, would
    lose the digits of advantages far smaller than values. Masked steps are skipped: the recursion
    passes over them (their rewards do not count) and they get 0. The discount is one for all
    steps, or that of each step.

    References:
        Schulman et al. 2016, arXiv:1506.02438.
    """

    def general(
        reward: Array,
        value: Array,
        live: Array,
        factor: Array | float = discount,
    ) -> Array:
        later = affine_scan(0.0, value, live, reverse=True, exclusive=True)
        gain = factor * later - value
        delta = reward + gain
        trace = factor * lambda_
        total = affine_scan(trace, delta, live, reverse=True)
        return jnp.where(live, total, 0.0)

    def no_gaps(
        reward: Array,
        value: Array,
        live: Array,
        factor: Array | float = discount,
    ) -> Array:
        # The next value is one step away, and steps after the end add 0 to 0: no mask is needed.
        ends = ((0, 0), (0, 1))
        after = jnp.pad(live[:, 1:], ends)  # faster here than `shift_left`
        later = jnp.pad(value[:, 1:], ends)
        worth_later = jnp.where(after, later, 0.0)
        gain = factor * worth_later - value
        delta = reward + gain
        delta = jnp.where(live, delta, 0.0)
        trace = factor * lambda_
        return affine_scan(trace, delta, reverse=True)

    # Masked steps only follow the live ones where termination leaves them. Beyond a factor of 1
    # gradients may grow to infinity on the steps after the end, which a mask keeps out.
    ended = ~live[..., :-1]
    gap = live[..., 1:] & ended
    trace = jnp.asarray(discount) * lambda_
    grows = jnp.abs(trace) > 1
    given = (reward, value, live, *_each(discount, reward))
    return jax.lax.cond(
        anywhere(gap) | anywhere(grows),
        lambda: by_rows(general, *given),
        lambda: by_rows(no_gaps, *given),
    )


def lambda_returns(
    reward: Float[Array, "*batch T"],
    value: Float[Array, "*batch T"],
    live: Bool[Array, "*batch T"],
    discount: Discount,
    lambda_: float | Float[Array, ""],
) -> Float[Array, "*batch T"]:
    """Targets of TD(lambda), with value 0 after the last live step.

    In maths, over the live steps:

        G_t = r_t + discount_t ((1 - lambda) v_{t+1} + lambda G_{t+1}).

    With U_t = (1 - lambda) v_t + lambda G_t this is

        U_t = (1 - lambda) v_t + lambda r_t + discount_t lambda U_{t+1},
        G_t = r_t + discount_t U_{t+1}.

    Masked steps are skipped and get 0. The discount is one for all steps, or that of each step.

    References:
        Sutton 1988 (TD(lambda)). The recursion in U is derived here.
    """

    def rows(
        reward: Array,
        value: Array,
        live: Array,
        factor: Array | float = discount,
    ) -> Array:
        mixed = (1 - lambda_) * value + lambda_ * reward
        trace = factor * lambda_
        later = affine_scan(trace, mixed, live, reverse=True, exclusive=True)
        total = reward + factor * later
        return jnp.where(live, total, 0.0)

    factors = _each(discount, reward)
    return by_rows(rows, reward, value, live, *factors)


def segment_sum(
    x: Float[Array, "*batch T"],
    segment: Int[Array, " T"],
    num_segments: int,
) -> Float[Array, "*batch G"]:
    """Sums over the steps of each of `num_segments` segments; segment g's total is entry g.

    Segments may be in any order. For runs of steps, `run_sum` is faster.
    """
    return axis_sum(x, segment, num_segments, axis=-1)


def run_sum(
    x: Float[Array, "*batch T"],
    segment: Int[Array, " T"],
    num_segments: int,
) -> Float[Array, "*batch G"]:
    """`segment_sum` of segments in order of time, by a running sum that starts anew with each.

    The result is the last entry of the running sum in each segment. It is added up in blocks of
    steps and in a fixed order, so that long segments lose no digits and results repeat exactly. All
    entries must be finite: one that is not spoils the segments after its own.
    """
    same = segment == shift_right(segment, -1)
    goes_on = same.astype(x.dtype)
    factor = jnp.broadcast_to(goes_on, x.shape)
    running = affine_scan(factor, x)
    segments = jnp.arange(num_segments)
    after = jnp.searchsorted(segment, segments, side="right")
    end = after - 1
    there = (end >= 0) & (segment[end] == segments)
    return jnp.where(there, running[..., end], 0.0)


def segment_broadcast(
    y: Shaped[Array, "*batch G"],
    segment: Int[Array, " T"],
) -> Shaped[Array, "*batch T"]:
    """Gives every step the entry of its segment."""
    return y[..., segment]


def nearest_of(
    values: Float[Array, " U"],
    x: Float[Array, "*shape"],
) -> Int[Array, "*shape"]:
    """Which of some ascending values each number is nearest to."""
    sums = values[1:] + values[:-1]
    between = sums / 2
    place = jnp.searchsorted(between, x)
    return place.astype(jnp.int32)


def last_live(
    x: Array,
    live: Bool[Array, "*batch T"],
) -> Array:
    """The entry of `x` `[*batch, T]` at the last live step of each row, shape `[*batch]`."""
    backwards = live[..., ::-1]
    after = jnp.argmax(backwards, axis=-1)
    last_step = live.shape[-1] - 1
    index = last_step - after
    last = jnp.take_along_axis(x, index[..., None], axis=-1)
    return last[..., 0]


def shift_left(
    x: Array,
    fill: Array | float = 0.0,
) -> Array:
    """x_{t+1} at step t along the last axis, and `fill` at the last step."""
    first = x[..., :1]
    filled = jnp.full_like(first, fill)
    return jnp.concatenate([x[..., 1:], filled], axis=-1)


def shift_right(
    x: Array,
    fill: Array | float = 0.0,
) -> Array:
    """x_{t-1} at step t along the last axis, and `fill` at the first step."""
    first = x[..., :1]
    filled = jnp.full_like(first, fill)
    return jnp.concatenate([filled, x[..., :-1]], axis=-1)


def shuffle(
    key: Key[Array, ""],
    value: Float[Array, "N T"],
    where: Bool[Array, "N T"],
) -> Float[Array, "N T"]:
    """The values of each row permuted over the steps in `where`; the others stay."""
    order = permutation(key, where)
    return jnp.take_along_axis(value, order, axis=1)


def permutation(
    key: Key[Array, ""],
    where: Bool[Array, "N T"],
) -> Int[Array, "N T"]:
    """For each row a random order of the steps in `where`; the others stay."""
    rows, steps = jnp.indices(where.shape)
    # The steps in `where`, in order, then the others: what a stable sort gives, by counting.
    inside = jnp.cumsum(where, axis=1)
    number = jnp.sum(where, axis=1, keepdims=True)
    outside = number + jnp.cumsum(~where, axis=1)
    rank = jnp.where(where, inside, outside)
    nowhere = jnp.zeros_like(rank)
    place = nowhere.at[rows, rank - 1].set(steps, unique_indices=True)
    draw = jax.random.uniform(key, where.shape, jnp.float32)
    drawn = jnp.where(where, draw, 2.0)
    order = jnp.argsort(drawn, axis=1)
    is_inside = jnp.take_along_axis(where, place, axis=1)
    order = jnp.where(is_inside, order, place)
    nowhere = jnp.zeros_like(order)
    return nowhere.at[rows, place].set(order, unique_indices=True)
