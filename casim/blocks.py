"""The one way to cut time: T steps in blocks of equal length, of which the last is filled up.

    cut    [..., T, ...] -> [..., B, L, ...]
    fold   [B, L, ...] -> [B, ...]: what each block makes of its start, all blocks side by side
    starts [B, ...] -> [B, ...]: what each block starts from, one block after the other
    join   [..., B, L, ...] -> [..., T, ...]: what filled up the last block is gone

A loop over T steps whose steps are maps that compose runs so in about L + B steps: `fold` makes one
map of each block, `starts` runs through these, and then every block runs from its own start.

References:
    Blelloch 1990 (prefix sums and their applications).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

Carry = TypeVar("Carry")


class Blocks(NamedTuple):
    """How T steps are cut."""

    steps: int
    """T."""
    number: int
    """B; the last ones may hold nothing but what fills them up."""
    length: int
    """L, in steps."""

    @classmethod
    def of_length(
        cls,
        steps: int,
        length: int,
    ) -> Blocks:
        """As many blocks of `length` steps as hold all of them."""
        return cls(steps, ceil(steps, length), length)

    @classmethod
    def of_number(
        cls,
        steps: int,
        number: int,
    ) -> Blocks:
        """So many blocks, as short as hold all steps."""
        return cls(steps, number, ceil(steps, number))

    @classmethod
    def roots(
        cls,
        steps: int,
    ) -> Blocks:
        """About sqrt(T) blocks of about sqrt(T) steps: the least depth of a fold and a loop."""
        return cls.of_number(steps, math.isqrt(steps))

    @property
    def missing(self) -> int:
        """How many steps fill up the last block."""
        return self.number * self.length - self.steps

    @property
    def of_step(self) -> Int[Array, " T"]:
        """The block of each step."""
        return jnp.arange(self.steps) // self.length


def ceil(
    steps: int,
    length: int,
) -> int:
    """How many runs of `length` steps hold all of them."""
    return -(-steps // length)


def cut(
    x: Array,
    blocks: Blocks,
    axis: int = 0,
    fill: int = 0,
) -> Array:
    """The axis of steps as two, blocks and steps in a block; `fill` fills up the last block."""
    axis = axis % x.ndim
    padding = [(0, 0)] * x.ndim
    padding[axis] = (0, blocks.missing)
    padded = jnp.pad(x, padding, constant_values=fill)
    before = x.shape[:axis]
    after = x.shape[axis + 1 :]
    return padded.reshape(
        *before,
        blocks.number,
        blocks.length,
        *after,
    )


def join(
    x: Array,
    blocks: Blocks,
    axis: int = 0,
) -> Array:
    """The steps of `cut` again; `axis` is that of the blocks, the next one that of their steps."""
    axis = axis % x.ndim
    before = x.shape[:axis]
    after = x.shape[axis + 2 :]
    steps = blocks.number * blocks.length
    whole = x.reshape(*before, steps, *after)
    return jax.lax.slice_in_dim(
        whole,
        0,
        blocks.steps,
        axis=axis,
    )


def fold(
    step: Callable[[Carry, Any], Carry],
    start: Carry,
    parts: Any,
    reverse: bool = False,
) -> Carry:
    """What each block makes of its start, step by step, all blocks side by side.

    Args:
        step: what one step of one block makes of the carry.
        start: of each block, arrays `[B, ...]`.
        parts: what the steps read, arrays `[B, L, ...]`.
        reverse: from the last step of a block to its first.
    """

    def of_block(
        start: Carry,
        part: Any,
    ) -> Carry:
        def one(
            carry: Carry,
            now: Any,
        ) -> tuple[Carry, None]:
            return step(carry, now), None

        last, _ = jax.lax.scan(
            one,
            start,
            part,
            reverse=reverse,
        )
        return last

    return jax.vmap(of_block)(start, parts)


def starts(
    through: Callable[[Array, Any], Array],
    first: Array,
    maps: Any,
    reverse: bool = False,
) -> Array:
    """What each block starts from, `[B, ...]`: `first`, and then what the block before leaves.

    Args:
        through: what a block's map makes of its start.
        first: what the first block starts from, the last one if `reverse`.
        maps: of the blocks, arrays `[B, ...]`.
        reverse: from the last block to the first.
    """

    def one(
        start: Array,
        map_: Any,
    ) -> tuple[Array, Array]:
        return through(start, map_), start

    _, found = jax.lax.scan(
        one,
        first,
        maps,
        reverse=reverse,
    )
    return found
