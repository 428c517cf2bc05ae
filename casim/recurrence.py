"""Recurrences along the time axis, cut into blocks of steps that run side by side.

In maths: x_t = f_t x_{t-1} + c_t, from x = 0 before the first step. A run of steps is the map x -> F x + X, so each
block of B steps is first made one map (F, X); the maps of all blocks are a recurrence of the same kind, B times
shorter, solved by the same rule; and each block then starts from what the blocks before it left. Depth: about
2 B log T / log B steps instead of T. Work: two passes over the entries instead of one.

Accuracy: a term passes through O(B log T) roundings instead of O(T). The largest error over the largest sum of absolute
contributions, in single precision, is below 4 eps at 10^5 steps with a factor of 1 and terms of both signs (tested);
a scan step by step has more than four times that there (tested).

References:
    Blelloch 1990 (prefix sums and their applications: linear recurrences). The blocks are casim's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

BLOCK = 16
"""Steps to a block: as many single-precision numbers as a cache line holds."""
SHORT = {"cpu": 512}
"""Sequences up to this length are scanned step by step: a CPU loses little by each step of a loop, others much."""
SHORT_ELSEWHERE = 64
CACHE = 2**17
"""Entries of an array that a CPU works on at once, few enough to stay in its cache."""


def affine_scan(
    factor: float | Float[Array, ""] | Float[Array, "*batch T"],
    term: Float[Array, "*batch T"],
    live: Bool[Array, "*batch T"] | None = None,
    reverse: bool = False,
    exclusive: bool = False,
) -> Float[Array, "*batch T"]:
    """x_t = factor_t x_{t-1} + term_t along the last axis, with x = 0 before the first step.

    Differentiable. The product of the factors of a block is cut at the largest float, so that 0 times infinity does not
    arise unless it does so step by step.

    Args:
        factor: of each step, or one for all, which costs less.
        term: what each step adds.
        live: where False, the step is passed over: x_t = x_{t-1}, whatever its factor and term; None is all steps.
        reverse: run from the last step to the first: x_t = factor_t x_{t+1} + term_t (static under jit).
        exclusive: return what each step starts from instead of what it makes of it: x_{t-1}, or x_{t+1} if `reverse`
            (static under jit).
    """
    term = term.astype(jnp.result_type(term.dtype, float))
    factor = jnp.asarray(factor, term.dtype)
    given = [x for x in (term, live, factor if factor.ndim > 0 else None) if x is not None]

    def scan(term: Array, *more: Array) -> Array:
        mask = more[0] if live is not None else None
        each = more[-1] if factor.ndim > 0 else factor
        return _scan(_Steps(each, term, mask), reverse, exclusive)

    return by_rows(scan, *given)


def by_rows(function: Callable[..., Array], *array: Array) -> Array:
    """`function` of arrays `[*batch, T]`, which treats rows alike and keeps the shape, in pieces that fit in cache.

    Only a CPU gains by that; elsewhere it is one call on arrays `[rows, T]`.
    """
    shape = array[0].shape
    array = tuple(x.reshape(-1, shape[-1]) for x in array)
    rows = array[0].shape[0]
    size = max(1, CACHE // max(shape[-1], 1))
    if rows <= size or jax.default_backend() != "cpu":
        return function(*array).reshape(shape)

    def piece(out: Array, index: Array) -> tuple[Array, None]:
        at = jnp.minimum(index * size, rows - size)  # the last piece may repeat rows of the one before
        part = function(*(jax.lax.dynamic_slice_in_dim(x, at, size) for x in array))
        return jax.lax.dynamic_update_slice_in_dim(out, part, at, 0), None

    like = jax.eval_shape(function, *(x[:size] for x in array))
    return jax.lax.scan(piece, jnp.zeros((rows, shape[-1]), like.dtype), jnp.arange(-(-rows // size)))[0].reshape(shape)


class _Steps(NamedTuple):
    """Steps of a recurrence, `[N, T]` or, in blocks side by side, `[B, L]`; one factor for all is a scalar."""

    factor: Array
    term: Array
    live: Array | None

    def arrange(self, function: Callable[[Array], Array]) -> _Steps:
        """The same steps in another order."""
        factor = self.factor if self.factor.ndim == 0 else function(self.factor)
        return _Steps(factor, function(self.term), None if self.live is None else function(self.live))


def _scan(steps: _Steps, reverse: bool, exclusive: bool) -> Array:
    """`affine_scan` of arrays `[N, T]`."""
    rows, length = steps.term.shape
    if length <= SHORT.get(jax.default_backend(), SHORT_ELSEWHERE):
        start = jnp.zeros_like(steps.term[:, 0])
        return _run(steps.arrange(jnp.transpose), start, reverse, exclusive).T
    blocks = -(-length // BLOCK)

    def side_by_side(x: Array) -> Array:
        """Steps within a block on the first axis, all blocks of all rows on the second."""
        return jnp.pad(x, ((0, 0), (0, blocks * BLOCK - length))).reshape(-1, BLOCK).T

    lanes = steps.arrange(side_by_side)
    factor, term = (x.reshape(rows, blocks) for x in _fold(lanes, reverse))
    start = _scan(_Steps(factor, term, None), reverse, True)
    return _run(lanes, start.reshape(-1), reverse, exclusive).T.reshape(rows, -1)[:, :length]


def _fold(lanes: _Steps, reverse: bool) -> tuple[Array, Array]:
    """Each block as one map: its factor and its term."""
    largest = jnp.finfo(lanes.term.dtype).max

    def step(block: tuple[Array, Array], now: _Steps) -> tuple[tuple[Array, Array], None]:
        factor, term = block
        product = jnp.clip(now.factor * factor, -largest, largest)
        return (_where(now.live, product, factor), _where(now.live, now.factor * term + now.term, term)), None

    one = jnp.ones_like(lanes.term[0])
    return _over(step, (one, jnp.zeros_like(one)), lanes, reverse)[0]


def _run(lanes: _Steps, start: Array, reverse: bool, exclusive: bool) -> Array:
    """Step by step from `start`."""

    def step(x: Array, now: _Steps) -> tuple[Array, Array]:
        after = _where(now.live, now.factor * x + now.term, x)
        return after, x if exclusive else after

    return _over(step, start, lanes, reverse)[1]


def _over(step, init, lanes: _Steps, reverse: bool):
    """Scans over the first axis."""
    if lanes.factor.ndim > 0:
        return jax.lax.scan(step, init, lanes, reverse=reverse)

    def one(carry, now):
        return step(carry, _Steps(lanes.factor, *now))

    return jax.lax.scan(one, init, (lanes.term, lanes.live), reverse=reverse)


def _where(live: Array | None, new: Array, old: Array) -> Array:
    return new if live is None else jnp.where(live, new, old)
