"""Several states of a lane in a few 32-bit words.

So a kernel can keep them in registers and loop over them.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


class Packing(NamedTuple):
    """Room in a list of words for as many states as there are, up to 256.

    Place 0 is in the lowest bits of the first word. Places and states may be scalars or lanes.
    """

    states: int

    @property
    def bits(self) -> int:
        """Of a state."""
        return 4 if self.states <= 16 else 8

    @property
    def fields(self) -> int:
        """States in a word."""
        return 32 // self.bits

    @property
    def words(self) -> int:
        """Words."""
        return -(-self.states // self.fields)

    def get(
        self,
        words: list[Array],
        place: Array | int,
    ) -> Array:
        """The state in a place."""
        word = words[0]
        for w in range(1, self.words):
            word = jnp.where(self._word(place) == w, words[w], word)
        mask = np.uint32((1 << self.bits) - 1)
        state = word >> self._shift(place) & mask
        return state.astype(jnp.int32)

    def put(
        self,
        words: list[Array],
        place: Array | int,
        state: Array,
    ) -> list[Array]:
        """The words with a state in a place that was 0."""
        field = state.astype(jnp.uint32) << self._shift(place)
        if self.words == 1:
            return [words[0] | field]
        return [
            word | jnp.where(self._word(place) == w, field, np.uint32(0))
            for w, word in enumerate(words)
        ]

    def every(
        self,
        lanes: int,
    ) -> list[Array]:
        """Each state in its own place, for many lanes."""
        words = [self._each(places) for places in self._places()]
        return [jnp.full((lanes,), np.uint32(word)) for word in words]

    def _each(
        self,
        places: range,
    ) -> int:
        """A word with each state in its own place."""
        states = [place << self._shift(place) for place in places]
        return sum(states)

    def empty(
        self,
        lanes: int,
    ) -> list[Array]:
        """State 0 in every place."""
        return [jnp.zeros((lanes,), jnp.uint32)] * self.words

    def met(
        self,
        words: list[Array],
    ) -> Array:
        """Whether all places hold the same state, per lane."""
        first = self.get(words, 0).astype(jnp.uint32)
        ones = [self._ones(places) for places in self._places()]
        pairs = zip(words, ones, strict=True)
        differ = [word ^ first * one for word, one in pairs]
        return functools.reduce(jnp.bitwise_or, differ) == 0

    def _ones(
        self,
        places: range,
    ) -> np.uint32:
        """A word with a 1 in every place."""
        bits = [1 << self._shift(place) for place in places]
        return np.uint32(sum(bits))

    def _places(self) -> list[range]:
        """Of each word."""
        return [
            range(i, min(i + self.fields, self.states)) for i in range(0, self.states, self.fields)
        ]

    def _word(
        self,
        place: Array | int,
    ) -> Array | int:
        return place >> self.fields.bit_length() - 1

    def _shift(
        self,
        place: Array | int,
    ) -> Any:
        shift = (place & self.fields - 1) * self.bits
        return shift if isinstance(shift, int) else shift.astype(jnp.uint32)


def ones_below(
    bits: Array,
    place: Array,
) -> Array:
    """How many of the bits below a place are set."""
    below = (jnp.uint32(1) << place.astype(jnp.uint32)) - np.uint32(1)
    return count_ones(bits & below)


def lowest_one(bits: Array) -> Array:
    """The place of the lowest bit that is set; 32 where none is."""
    return count_ones(~bits & (bits - np.uint32(1)))


def count_ones(bits: Array) -> Array:
    """How many bits are set."""
    return jax.lax.population_count(bits.astype(jnp.int32))
