"""The kernels of the fused engine, written for the 128 lanes of one program; `casim.simulate.fused` calls them.

One finds paths. The other finds the map of every chunk of steps: it carries all start states side by side only until
they have met, which they soon do where the process forgets, and never where its state is a memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jaxtyping import Array, Int

from casim.simulate.noise import threefry_together
from casim.simulate.tables import Now, Path, Script, Sizes, Tables, path_types, step

LANES = 128
"""Lanes of a program: four warps, one lane to a thread."""
GROUP = 4
"""Steps whose noise is hashed together: independent work for a thread that would wait."""
LINE = 16
"""Steps between two stores: of bytes, as many as one thread stores at once."""
LOOK = 16
"""Steps between two looks at whether the start states have met."""


class Inputs(NamedTuple):
    """What a kernel reads: arrays outside, references to them inside."""

    tables: Tables
    schedule: Int[Array, " L"]
    words: Array
    episode: Int[Array, " N"]
    state: Int[Array, " lanes"]
    script: Script | None


class Shape(NamedTuple):
    """What a kernel knows when it is compiled."""

    sizes: Sizes
    noisy_emission: bool
    num: int
    chunks: int
    lines: int
    """Of steps, in a chunk."""

    @property
    def length(self) -> int:
        """Steps in a chunk."""
        return self.lines * LINE

    @property
    def lanes(self) -> int:
        """One lane per chunk and episode; episodes vary fastest."""
        return self.num * self.chunks


class _Lane(NamedTuple):
    """Where each lane of a program is, vectors of `LANES`."""

    lane: Array
    row: Array
    first: Array | int  # its first step
    words: tuple[Array, Array]
    episode: Array
    fixed: tuple[Array, Array, Array, Array] | None  # start, begin, observation, action of the script


def _lanes(shape: Shape, inputs: Inputs) -> _Lane:
    # Lanes beyond the last repeat the last one, and write what it writes.
    lane = jnp.minimum(pl.program_id(0) * LANES + jnp.arange(LANES), shape.lanes - 1)
    row = lane % shape.num
    fixed = None
    if inputs.script is not None:
        begin, observation, first = (ref[row] for ref in inputs.script[:3])
        fixed = (inputs.state[row], begin, observation, first)
    words = (inputs.words[0], inputs.words[1])
    first = 0 if shape.chunks == 1 else lane // shape.num * shape.length  # one number for all lanes is cheaper
    return _Lane(lane, row, first, words, inputs.episode[row].astype(jnp.uint32), fixed)


def _movers(shape: Shape, inputs: Inputs, at: _Lane, times: list[Array]) -> list[Callable[[Array], tuple[Array, Path]]]:
    """Steps of all lanes, as functions of their states: whatever the states, they meet the same noise."""
    counters = [jnp.broadcast_to(2 * time, (LANES,)).astype(jnp.uint32) for time in times]
    if shape.noisy_emission:
        counters += [counter + np.uint32(1) for counter in counters]
    hashes = threefry_together(at.words, [(at.episode, counter) for counter in counters])
    seen = [_grid(x) for x, _ in hashes[len(times) :]] or [None] * len(times)
    noises = [(_grid(x), _grid(y), z) for (x, y), z in zip(hashes, seen, strict=False)]
    kernels = [inputs.schedule[time] for time in times]

    def move(kernel: Array, noise: tuple, time: Array, state: Array) -> tuple[Array, Path]:
        now = None
        if inputs.script is not None and at.fixed is not None:
            imposed = inputs.script.action
            if imposed is not None:
                imposed = imposed[at.row * (shape.chunks * shape.length) + time]
            now = Now(time, *at.fixed, imposed)
        return step(inputs.tables, shape.sizes, kernel, noise, state, now, _read, descend)

    return [functools.partial(move, *given) for given in zip(kernels, noises, times, strict=True)]


def _grid(bits: Array) -> Array:
    return (bits >> 8).astype(jnp.int32)


def _read(table: Any, index: Array) -> Array:
    return table[index]


def descend(levels: tuple[Any, ...], width: int, row: Array, noise: Array) -> Array:
    """How many of the thresholds of each row were reached, from the root of its tree to a leaf."""
    node = row
    for level in levels:
        branches = level.shape[1] + 1
        reached = [(noise >= level[node, j]).astype(jnp.int32) for j in range(branches - 1)]
        node = branches * node + sum(reached)
    return node - row * (width + 1)


def path_kernel(shape: Shape, inputs: Inputs, observation_ref: Any, outcome_ref: Any) -> None:
    """Writes the paths of a program's lanes, each as words in the layout of a trajectory."""
    at, kinds = _lanes(shape, inputs), path_types(shape.sizes)

    def line(index: Array, state: Array) -> Array:
        def group(part: Array, carry: tuple[Array, list[list[Array]]]) -> tuple[Array, list[list[Array]]]:
            state, lines = carry
            first, steps = at.first + index * LINE + part * GROUP, []
            for move in _movers(shape, inputs, at, [first + offset for offset in range(GROUP)]):
                state, path = move(state)
                steps.append(path)
            fresh = [_pack(values, kind) for values, kind in zip(zip(*steps, strict=True), kinds, strict=True)]
            return state, [_put(words, new, part) for words, new in zip(lines, fresh, strict=True)]

        zero = jnp.zeros((LANES,), jnp.uint32)
        empty = [[zero] * (LINE * kind.itemsize // 4) for kind in kinds]
        state, lines = jax.lax.fori_loop(0, LINE // GROUP, group, (state, empty))
        place = at.row * (shape.chunks * shape.lines) + at.first // LINE + index
        for ref, words in zip((observation_ref, outcome_ref), lines, strict=True):
            _store(ref, place * len(words), words)
        return state

    jax.lax.fori_loop(0, shape.lines, line, inputs.state[at.lane])


def _put(words: list[Array], new: list[Array], part: Array) -> list[Array]:
    """The words of a line with those of one group in their place. What lives in registers cannot be indexed."""
    return [jnp.where(part == i // len(new), new[i % len(new)], word) for i, word in enumerate(words)]


def _store(ref: Any, place: Array, words: list[Array]) -> None:
    """Writes the words of each lane from its place on, four at once: a whole 16 bytes from each thread."""
    column = jnp.arange(4)[None, :]
    for first in range(0, len(words), 4):
        tile = jnp.broadcast_to(words[first][:, None], (LANES, 4))
        for i in range(1, 4):
            tile = jnp.where(column == i, words[first + i][:, None], tile)
        ref[(place + first)[:, None] + column] = tile


def _pack(values: tuple[Array, ...], kind: np.dtype) -> list[Array]:
    """The values of a group of steps as 32-bit words, the first in the lowest bits."""
    bits, per_word = 8 * kind.itemsize, 4 // kind.itemsize
    words = []
    for i in range(0, GROUP, per_word):
        word = values[i].astype(jnp.uint32)
        for j in range(1, per_word):
            word = word | (values[i + j].astype(jnp.uint32) << np.uint32(bits * j))
        words.append(word)
    return words


def map_kernel(shape: Shape, inputs: Inputs, map_ref: Any) -> None:
    """Writes the state after its chunk from every state before it, for a program's lanes: `[S, lanes]`."""
    at, packing = _lanes(shape, inputs), Packing.make(shape.sizes.states)

    def one(index: Array, words: list[Array]) -> list[Array]:
        """A step from every state. States are packed in words and met one by one, so that the kernel stays short."""
        (move,) = _movers(shape, inputs, at, [at.first + index])

        def each(word: Array) -> Array:
            def field(i: Array, moved: Array) -> Array:
                return moved | packing.put(move(packing.get(word, i))[0], i)

            return jax.lax.fori_loop(0, packing.fields, field, jnp.zeros_like(word))

        return [each(word) for word in words]

    def apart(carry: tuple[Array, list[Array]]) -> Array:
        index, words = carry
        met = packing.repeat(packing.get(words[0], 0))
        differ = functools.reduce(jnp.bitwise_or, [word ^ met for word in words])
        return (index < shape.length) & (jnp.max((differ != 0).astype(jnp.int32)) > 0)

    def onward(carry: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
        index, words = carry
        end = jnp.minimum(index + LOOK, shape.length)
        return end, jax.lax.fori_loop(index, end, one, words)

    index, words = jax.lax.while_loop(apart, onward, (jnp.int32(0), packing.every(shape.sizes.states)))
    # Either they have met, or the chunk is over and nothing is left to do.
    over = index >= shape.length
    met = jax.lax.fori_loop(
        index, shape.length, lambda i, s: _movers(shape, inputs, at, [at.first + i])[0](s)[0], packing.get(words[0], 0)
    )
    for s in range(shape.sizes.states):
        word, field = divmod(s, packing.fields)
        map_ref[s, at.lane] = jnp.where(over, packing.get(words[word], field), met)


class Packing(NamedTuple):
    """Several states of a lane in words of 32 bits, the first in the lowest bits."""

    bits: int
    words: int

    @classmethod
    def make(cls, states: int) -> Packing:
        bits = 4 if states <= 16 else 8
        return cls(bits, -(-states * bits // 32))

    @property
    def fields(self) -> int:
        """States in a word."""
        return 32 // self.bits

    def get(self, word: Array, field: Array | int) -> Array:
        return (word >> self._shift(field) & np.uint32((1 << self.bits) - 1)).astype(jnp.int32)

    def put(self, state: Array, field: Array | int) -> Array:
        return state.astype(jnp.uint32) << self._shift(field)

    def repeat(self, state: Array) -> Array:
        """A word with the state in every field."""
        return state.astype(jnp.uint32) * np.uint32(sum(1 << self.bits * i for i in range(self.fields)))

    def every(self, states: int) -> list[Array]:
        """Each state once; fields that are left over hold state 0 again."""
        fields = [s if s < states else 0 for s in range(self.words * self.fields)]
        words = [fields[i : i + self.fields] for i in range(0, len(fields), self.fields)]
        packed = [sum(s << self.bits * i for i, s in enumerate(word)) for word in words]
        return [jnp.full((LANES,), word, jnp.uint32) for word in packed]

    def _shift(self, field: Array | int) -> Array | np.uint32:
        shift = field * self.bits
        return np.uint32(shift) if isinstance(shift, int) else shift.astype(jnp.uint32)
