"""Small pure functions along the time axis: returns, GAE, group scaling, whitening, segment sums.

All are JIT-compatible and take arrays `[..., T]` or `[..., N]`; values are not checked. Recurrences
run in blocks, see `casim.recurrence`: in single precision their largest error is below 16 eps times
the largest sum of absolute terms of the recursion, at 10^5 steps (tested).
"""

from __future__ import annotations

import math
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from casim.recurrence import affine_scan, anywhere, by_rows
from casim.sums import axis_sum, class_max, class_sum

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
