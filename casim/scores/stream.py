"""Sums per block of replicates, in double precision on the device.

Chunks are added in their order, so memory does not grow with the number of replicates and nothing
is copied to the host before the end.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from casim.scores.sums import Sums


class Blocks:
    """Sums per block of replicates, in float64 on the device."""

    def __init__(self, num_blocks: int):
        self._num_blocks = num_blocks
        self._sums: Sums | None = None

    def add(self, block: int, sums: Sums) -> None:
        """Adds one chunk's sums to a block, without waiting for them."""
        with jax.enable_x64(True):
            if self._sums is None:
                # Placed like what is added: the first addition and the others are one program.
                places = jax.tree.map(lambda x: x.sharding, sums)
                zeros = jax.jit(_zeros, static_argnums=0, out_shardings=places)
                before = zeros(self._num_blocks, sums)
            else:
                before = self._sums
            self._sums = _add(before, np.int32(block), sums)

    @property
    def sums(self) -> Sums:
        """Arrays with a leading block axis, on the device.

        Raises:
            ValueError: nothing was added yet.
        """
        if self._sums is None:
            raise ValueError("blocks must hold at least 1 chunk of sums, got 0")
        return self._sums


def _zeros(num_blocks: int, like: Sums) -> Sums:
    return jax.tree.map(lambda x: jnp.zeros((num_blocks, *x.shape), jnp.float64), like)


@functools.partial(jax.jit, donate_argnums=0)
def _add(total: Sums, block: Array, new: Sums) -> Sums:
    """Adds in place: the sums of a million steps are gigabytes."""

    def one(total: Array, new: Array) -> Array:
        before = jax.lax.dynamic_index_in_dim(total, block, keepdims=False)
        now = before + new.astype(jnp.float64)
        return jax.lax.dynamic_update_index_in_dim(total, now, block, axis=0)

    return jax.tree.map(one, total, new)
