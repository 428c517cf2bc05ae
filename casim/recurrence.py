"""Recurrences along the time axis, cut into blocks of steps that run side by side.

In maths: x_t = f_t x_{t-1} + c_t, from x = 0 before the first step. A run of steps is the map
x -> F x + X, so each block of B steps is first made one map (F, X); the maps of all blocks are a
recurrence of the same kind, B times shorter, solved by the same rule; and each block then starts
from what the blocks before it left. Depth: about 2 B log T / log B steps instead of T. Work: two
passes over the entries instead of one.

Factors of blocks are carried as two floats: the power of one factor is rounded once, and a single
float would put the same error into every block.

Accuracy: a term passes through O(B log T) roundings instead of O(T). The largest error over the
largest sum of absolute contributions, in single precision, is below 16 eps at 10^5 steps, for
factors from 0.9 to 1 and terms of one or both signs (tested); a scan step by step had 27 to 86
where terms had one sign and the factor was 1.

References:
    Blelloch 1990 (prefix sums and their applications: linear recurrences). The blocks are
    casim's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.blocks import Blocks, ceil, cut, join
from casim.platforms import numbers

BLOCK = 16
"""Steps to a block: as many single-precision numbers as a cache line holds."""


def affine_scan(
    factor: float | Float[Array, ""] | Float[Array, "*batch T"],
    term: Float[Array, "*batch T"],
    live: Bool[Array, "*batch T"] | None = None,
    reverse: bool = False,
    exclusive: bool = False,
) -> Float[Array, "*batch T"]:
    """x_t = factor_t x_{t-1} + term_t along the last axis, with x = 0 before the first step.

    Differentiable. The product of the factors of a block is cut at the largest float, so that 0
    times infinity does not arise unless it does so step by step.

    Args:
        factor: of each step, or one for all, which costs less.
        term: what each step adds.
        live: where False, the step is passed over: x_t = x_{t-1}, whatever its factor and term;
            None is all steps.
        reverse: run from the last step to the first: x_t = factor_t x_{t+1} + term_t (static
            under jit).
        exclusive: return what each step starts from instead of what it makes of it: x_{t-1}, or
            x_{t+1} if `reverse` (static under jit).
    """
    term = term.astype(jnp.result_type(term.dtype, float))
    factor = jnp.asarray(factor, term.dtype)
    own = factor.ndim > 0
    given = [term]
    if live is not None:
        given.append(live)
    if own:
        given.append(factor)

    def scan(
        term: Array,
        *more: Array,
    ) -> Array:
        mask = None if live is None else more[0]
        each = more[-1] if own else factor
        steps = _Steps(each, term, mask)
        return _scan(steps, reverse, exclusive)

    return by_rows(scan, *given)


@jax.custom_batching.custom_vmap
def anywhere(flag: Bool[Array, "..."]) -> Bool[Array, ""]:
    """Whether any is True, among all rows that `vmap` adds too.

    So a `cond` on it runs one branch, as it does without `vmap`.
    """
    return jnp.max(flag.astype(jnp.int8), initial=0) > 0  # faster than jnp.any on a CPU


@anywhere.def_vmap
def _(
    axis_size: int,
    in_batched: list[bool],
    flag: Array,
) -> tuple[Array, bool]:
    del axis_size, in_batched
    return anywhere(flag), False


def by_rows(
    function: Callable[..., Array],
    *array: Array,
) -> Array:
    """`function` of arrays `[*batch, T]`, in pieces that fit in cache.

    The function treats rows alike and keeps the shape. Only a CPU gains by that; elsewhere it is
    one call on arrays `[rows, T]`.
    """
    shape = array[0].shape
    length = shape[-1]
    rows = math.prod(shape[:-1])
    array = tuple(x.reshape(rows, length) for x in array)
    entries = numbers().piece
    if rows * length <= entries or rows <= 1:
        return function(*array).reshape(shape)
    size = max(1, int(entries) // length)

    def rows_from(
        x: Array,
        at: Array,
    ) -> Array:
        if x.size >= 2**31:  # more than an index of 32 bits counts
            return jax.lax.dynamic_slice_in_dim(x, at, size)
        # A slice of the flat array is faster.
        flat = x.reshape(-1)
        part = jax.lax.dynamic_slice_in_dim(
            flat,
            at * length,
            size * length,
        )
        return part.reshape(size, length)

    def piece(
        out: Array,
        index: Array,
    ) -> tuple[Array, None]:
        # The last piece may repeat rows of the one before.
        at = jnp.minimum(index * size, rows - size)
        part = function(*(rows_from(x, at) for x in array))
        written = jax.lax.dynamic_update_slice_in_dim(out, part, at, 0)
        return written, None

    like = jax.eval_shape(function, *(x[:size] for x in array))
    empty = jnp.zeros((rows, length), like.dtype)
    every = jnp.arange(ceil(rows, size))
    out, _ = jax.lax.scan(piece, empty, every)
    return out.reshape(shape)


class _Steps(NamedTuple):
    """Steps of a recurrence, `[N, T]` or, in blocks side by side, `[B, L]`.

    One factor for all is a scalar.
    """

    factor: Array
    term: Array
    live: Array | None
    low: Array | None = None
    """What the factor is short of, in its shape; None is nothing."""

    def arrange(
        self,
        function: Callable[[Array], Array],
    ) -> _Steps:
        """The same steps in another order."""
        return jax.tree.map(lambda x: x if x.ndim == 0 else function(x), self)

    def after(
        self,
        x: Array,
    ) -> Array:
        """What the step makes of x."""
        term = self.term
        if self.low is not None:
            # Beside infinity it counts nothing.
            finite = jnp.isfinite(x)
            term += jnp.where(finite, self.low * x, 0.0)
        after = self.factor * x + term
        return _where(self.live, after, x)


def _scan(
    steps: _Steps,
    reverse: bool,
    exclusive: bool,
) -> Array:
    """`affine_scan` of arrays `[N, T]`."""
    rows, length = steps.term.shape
    if length <= numbers().scanned:
        start = jnp.zeros((rows,), steps.term.dtype)
        by_step = steps.arrange(jnp.transpose)
        return _run(by_step, start, reverse, exclusive).T
    blocks = Blocks.of_length(length, BLOCK)

    def side_by_side(x: Array) -> Array:
        """Steps within a block on the first axis, all blocks of all rows on the second."""
        parts = cut(x, blocks, axis=1)
        return parts.reshape(-1, BLOCK).T

    def by_row(x: Array) -> Array:
        return x if x.ndim == 0 else x.reshape(rows, blocks.number)

    lanes = steps.arrange(side_by_side)
    factor, term, low = map(by_row, _fold(lanes, reverse))
    maps = _Steps(factor, term, None, low)
    start = _scan(maps, reverse, True)
    out = _run(lanes, start.reshape(-1), reverse, exclusive)
    parts = out.T.reshape(rows, blocks.number, BLOCK)
    return join(parts, blocks, axis=1)


def _fold(
    lanes: _Steps,
    reverse: bool,
) -> tuple[Array, Array, Array]:
    """Each block as one map: its factor, its term, and what the factor is short of."""
    one = jnp.ones_like(lanes.term[0])
    zero = jnp.zeros_like(one)
    if lanes.factor.ndim == 0:
        short = lanes.low
        if short is None:
            short = jnp.zeros_like(lanes.factor)
        high, low = powers(lanes.factor, short, BLOCK)
        count = BLOCK
        if lanes.live is not None:
            count = jnp.sum(lanes.live, axis=0, dtype=jnp.int32)

        def add(x: Array, now: _Steps) -> tuple[Array, None]:
            return now.after(x), None

        term, _ = _over(add, zero, lanes, reverse)
        return high[count], term, low[count]

    def step(
        block: tuple[Array, Array, Array],
        now: _Steps,
    ) -> tuple[tuple[Array, Array, Array], None]:
        factor, term, low = block
        short = zero if now.low is None else now.low
        high, rest = times((factor, low), (now.factor, short))
        factor = _where(now.live, high, factor)
        low = _where(now.live, rest, low)
        return (factor, now.after(term), low), None

    maps, _ = _over(step, (one, zero, zero), lanes, reverse)
    return maps


def _run(
    lanes: _Steps,
    start: Array,
    reverse: bool,
    exclusive: bool,
) -> Array:
    """Step by step from `start`."""

    def step(
        x: Array,
        now: _Steps,
    ) -> tuple[Array, Array]:
        after = now.after(x)
        return after, x if exclusive else after

    _, found = _over(step, start, lanes, reverse)
    return found


def _over(
    step,
    init,
    lanes: _Steps,
    reverse: bool,
):
    """Scans over the first axis."""
    if lanes.factor.ndim > 0:
        return jax.lax.scan(step, init, lanes, reverse=reverse)

    def one(
        carry,
        now,
    ):
        term, live = now
        return step(carry, _Steps(lanes.factor, term, live, lanes.low))

    return jax.lax.scan(one, init, (lanes.term, lanes.live), reverse=reverse)


def powers(
    factor: Float[Array, ""],
    low: Float[Array, ""],
    number: int,
) -> tuple[Array, Array]:
    """Powers 0 to `number`, a power of two, of factor + low: floats, and what each is short of."""
    base = factor, low
    high = jnp.ones_like(factor)[None]
    rest = jnp.zeros_like(factor)[None]
    while high.shape[0] < number:
        more, short = times((high, rest), base)
        high = jnp.concatenate([high, more])
        rest = jnp.concatenate([rest, short])
        base = times(base, base)
    return jnp.append(high, base[0]), jnp.append(rest, base[1])


def times(
    x: tuple[Array, Array],
    y: tuple[Array, Array],
) -> tuple[Array, Array]:
    """The product of two numbers, each the sum of two floats; cut at the largest float."""
    x_high, x_low = x
    y_high, y_low = y
    half = jnp.finfo(x_high.dtype)
    x_upper, x_lower = _halves(x_high)
    y_upper, y_lower = _halves(y_high)
    high = x_high * y_high
    # Products of halves are exact, so this is what the product was rounded by (Dekker 1971).
    error = x_upper * y_upper - high
    error = error + x_upper * y_lower + x_lower * y_upper
    error = error + x_lower * y_lower
    crossed = x_high * y_low + x_low * y_high
    rest = _finite(error + crossed)
    total = high + rest
    cut_off = jnp.clip(total, -half.max, half.max)
    return cut_off, _finite(rest - (total - high))


def _halves(x: Array) -> tuple[Array, Array]:
    """Two numbers of half the digits whose sum it is."""
    half = jnp.finfo(x.dtype)
    upper = jax.lax.reduce_precision(
        x,
        half.nexp,
        (half.nmant - 1) // 2,
    )
    return upper, x - upper


def _finite(low: Array) -> Array:
    """What a float is short of, nothing beside infinity; too little to have a gradient."""
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(low), low, 0.0))


def _where(
    live: Array | None,
    new: Array,
    old: Array,
) -> Array:
    return new if live is None else jnp.where(live, new, old)
