"""The routines of the fused engine, written for the 128 lanes of one program.

`casim.simulate.fused` calls them.

One writes paths. Where the steps are cut in blocks, another goes first and finds the map of every
block: it carries all start states side by side, fewer as they meet, and when one is left it writes
the rest of the path itself. States soon meet where the process forgets, and never where its state
is a memory.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import pallas as pl
from jaxtyping import Array, Int

from casim.simulate.noise import threefry_together
from casim.simulate.packing import Packing, count_ones, lowest_one, ones_below
from casim.simulate.tables import Now, Path, Script, Sizes, Tables, path_types, step

LANES = 128
"""Lanes of a program: four warps, one lane to a thread."""
GROUP = 4
"""Steps whose noise is hashed together: independent work for a thread that would wait."""
LINE = 16
"""Steps between two stores: of bytes, as many as one thread stores at once.

They are also the steps between two looks at who has met.
"""


class Inputs(NamedTuple):
    """What a routine reads: arrays outside, references to them inside."""

    tables: Tables
    schedule: Int[Array, " L"]
    words: Array
    episode: Int[Array, " N"]
    state: Int[Array, " lanes"]
    script: Script | None
    open: Int[Array, " programs"] | None = None
    """Lines that `map_routine` has not written, at the start of every block of a program.

    None stands for all lines.
    """


class Shape(NamedTuple):
    """What a routine knows when it is compiled."""

    sizes: Sizes
    noisy_emission: bool
    num: int
    blocks: int
    lines: int
    """Of steps, in a block."""

    @property
    def length(self) -> int:
        """Steps in a block."""
        return self.lines * LINE

    @property
    def lanes(self) -> int:
        """One lane per block and episode; episodes vary fastest."""
        return self.num * self.blocks

    @property
    def programs(self) -> int:
        """Programs of `LANES` lanes; the last may have some to spare."""
        return -(-self.lanes // LANES)


class _Lane(NamedTuple):
    """Where each lane of a program is, vectors of `LANES`."""

    lane: Array
    row: Array
    first: Array | int  # its first step
    words: tuple[Array, Array]
    episode: Array
    fixed: tuple[Array, Array, Array, Array] | None
    """Start, begin, observation and action of the script."""


def _lanes(
    shape: Shape,
    inputs: Inputs,
) -> _Lane:
    # Lanes beyond the last repeat the last one, and write what it writes.
    program = pl.program_id(0) * LANES
    number = program + jnp.arange(LANES)
    lane = jnp.minimum(number, shape.lanes - 1)
    row = lane % shape.num
    fixed = None
    if inputs.script is not None:
        begin, observation, first = (ref[row] for ref in inputs.script[:3])
        fixed = (inputs.state[row], begin, observation, first)
    words = (inputs.words[0], inputs.words[1])
    # Of one block it is one number for all lanes, which is cheaper.
    first = 0
    if shape.blocks > 1:
        block = lane // shape.num
        first = block * shape.length
    episode = inputs.episode[row]
    return _Lane(
        lane=lane,
        row=row,
        first=first,
        words=words,
        episode=episode.astype(jnp.uint32),
        fixed=fixed,
    )


def _movers(
    shape: Shape,
    inputs: Inputs,
    at: _Lane,
    times: list[Array],
) -> list[Callable[[Array], tuple[Array, Path]]]:
    """Steps of all lanes, as functions of their states.

    Whatever the states, they meet the same noise.
    """
    counters = [_counter(time) for time in times]
    if shape.noisy_emission:
        counters += [counter + np.uint32(1) for counter in counters]
    addresses = [(at.episode, counter) for counter in counters]
    hashes = threefry_together(at.words, addresses)
    drawn, of_observation = hashes[: len(times)], hashes[len(times) :]
    seen = [_grid(x) for x, _ in of_observation] or [None] * len(times)
    uniforms = [(_grid(x), _grid(y)) for x, y in drawn]
    noises = [(*both, z) for both, z in zip(uniforms, seen, strict=True)]
    kernels = [inputs.schedule[time] for time in times]
    steps = shape.blocks * shape.length

    def move(
        kernel: Array,
        noise: tuple,
        time: Array,
        state: Array,
    ) -> tuple[Array, Path]:
        now = None
        if inputs.script is not None and at.fixed is not None:
            imposed = inputs.script.action
            if imposed is not None:
                place = at.row * steps + time
                imposed = imposed[place]
            now = Now(time, *at.fixed, imposed)
        return step(inputs.tables, shape.sizes, kernel, noise, state, now, _read, descend)

    given = zip(kernels, noises, times, strict=True)
    return [functools.partial(move, *each) for each in given]


def _counter(time: Array) -> Array:
    """Of a step's first hash, in every lane."""
    first = 2 * time
    lanes = jnp.broadcast_to(first, (LANES,))
    return lanes.astype(jnp.uint32)


def _grid(bits: Array) -> Array:
    place = bits >> 8
    return place.astype(jnp.int32)


def _read(
    table: Any,
    index: Array,
) -> Array:
    return table[index]


def descend(
    levels: tuple[Any, ...],
    width: int,
    row: Array,
    noise: Array,
) -> Array:
    """How many of the thresholds of each row were reached, from the root of its tree to a leaf.

    Lanes are `[LANES]`.
    """
    node = row
    for level in levels:
        if level.shape[1] == 1:
            passed = noise >= level[node, 0]
            node = 2 * node + passed.astype(jnp.int32)
        else:
            columns = jnp.arange(4)[None, :]
            cuts = level[node[:, None], columns]
            passed = noise[:, None] >= cuts
            node = 4 * node + jnp.sum(passed, axis=1, dtype=jnp.int32)
    before = row * (width + 1)
    return node - before


def path_routine(
    shape: Shape,
    inputs: Inputs,
    *refs: Any,
) -> None:
    """Writes the paths of a program's lanes, or of them what `map_routine` has not written."""
    at = _lanes(shape, inputs)
    # The last two are the outputs; the refs before them are the same memory as inputs.
    line = _writer(shape, inputs, at, refs[-2:])
    lines = shape.lines
    if inputs.open is not None:
        lines = inputs.open[pl.program_id(0)]
    state = inputs.state[at.lane]
    jax.lax.fori_loop(0, lines, line, state)


def map_routine(
    shape: Shape,
    inputs: Inputs,
    map_ref: Any,
    open_ref: Any,
    *refs: Any,
) -> None:
    """Finds the state after its block from every state before it, for a program's lanes.

    The states are `[S, lanes]`. As soon as all of them have met, the rest of the path is the same
    whatever the block started from: it is written at once, and `open_ref` tells how many lines
    before it are not.
    """
    at = _lanes(shape, inputs)
    packing = Packing(shape.sizes.states)

    def apart(carry: tuple[Array, list[Array]]) -> Array:
        index, ends = carry
        apart = ~packing.met(ends)
        any_apart = jnp.max(apart.astype(jnp.int32)) > 0
        return (index < shape.lines) & any_apart

    def onward(carry: tuple[Array, list[Array]]) -> tuple[Array, list[Array]]:
        index, ends = carry
        first = at.first + index * LINE
        return index + 1, _every_state(shape, inputs, at, packing, first, ends)

    start = (jnp.int32(0), packing.every(LANES))
    index, ends = jax.lax.while_loop(apart, onward, start)
    open_ref[pl.program_id(0)] = index
    # Either they have met, or the block is over and nothing is left to write.
    line = _writer(shape, inputs, at, refs)
    end = packing.get(ends, 0)
    met = jax.lax.fori_loop(index, shape.lines, line, end)
    is_over = index == shape.lines
    for s in range(shape.sizes.states):
        end = packing.get(ends, s)
        map_ref[s, at.lane] = jnp.where(is_over, end, met)


def _every_state(
    shape: Shape,
    inputs: Inputs,
    at: _Lane,
    packing: Packing,
    first: Array,
    ends: list[Array],
) -> list[Array]:
    """Where each start state is after one line of steps more.

    Each of the states that are left is taken once.

    Args:
        shape: of the problem.
        inputs: of the routine.
        at: where the lanes are.
        packing: of states.
        first: the first step of the line, per lane.
        ends: where each start state is before it.
    """

    def add(
        start: Array,
        held: Array,
    ) -> Array:
        state = packing.get(ends, start)
        bit = jnp.uint32(1) << state.astype(jnp.uint32)
        return held | bit

    states = shape.sizes.states
    nothing = jnp.zeros((LANES,), jnp.uint32)
    held = jax.lax.fori_loop(0, states, add, nothing)
    count = jnp.max(count_ones(held))

    def spread(
        place: Array,
        carry: tuple[Array, list[Array]],
    ) -> tuple[Array, list[Array]]:
        rest, left = carry
        # Lanes with fewer states take any.
        state = jnp.minimum(lowest_one(rest), states - 1)
        without_lowest = rest & (rest - np.uint32(1))
        return without_lowest, packing.put(left, place, state)

    start = (held, packing.empty(LANES))
    _, left = jax.lax.fori_loop(0, count, spread, start)

    def group(
        part: Array,
        left: list[Array],
    ) -> list[Array]:
        begin = first + part * GROUP
        times = [begin + offset for offset in range(GROUP)]
        moves = _movers(shape, inputs, at, times)

        def one(
            place: Array,
            moved: list[Array],
        ) -> list[Array]:
            state = packing.get(left, place)
            for move in moves:
                state, _ = move(state)
            return packing.put(moved, place, state)

        return jax.lax.fori_loop(0, count, one, packing.empty(LANES))

    left = jax.lax.fori_loop(0, LINE // GROUP, group, left)

    def settle(
        start: Array,
        moved: list[Array],
    ) -> list[Array]:
        state = packing.get(ends, start)
        place = ones_below(held, state)
        end = packing.get(left, place)
        return packing.put(moved, start, end)

    return jax.lax.fori_loop(0, states, settle, packing.empty(LANES))


def _writer(
    shape: Shape,
    inputs: Inputs,
    at: _Lane,
    refs: Sequence[Any],
) -> Callable[[Array, Array], Array]:
    """Steps through a line from a state and writes what happened, in the layout of a trajectory."""
    kinds = path_types(shape.sizes)

    def line(
        index: Array,
        state: Array,
    ) -> Array:
        def group(
            part: Array,
            carry: tuple[Array, list[list[Array]]],
        ) -> tuple[Array, list[list[Array]]]:
            state, lines = carry
            first = at.first + index * LINE
            begin = first + part * GROUP
            times = [begin + offset for offset in range(GROUP)]
            steps = []
            for move in _movers(shape, inputs, at, times):
                state, path = move(state)
                steps.append(path)
            by_kind = zip(*steps, strict=True)
            fresh = [_pack(values, kind) for values, kind in zip(by_kind, kinds, strict=True)]
            pairs = zip(lines, fresh, strict=True)
            return state, [_put(words, new, part) for words, new in pairs]

        zero = jnp.zeros((LANES,), jnp.uint32)
        numbers = [LINE * kind.itemsize // 4 for kind in kinds]
        empty = [[zero] * number for number in numbers]
        state, lines = jax.lax.fori_loop(0, LINE // GROUP, group, (state, empty))
        before = at.row * (shape.blocks * shape.lines)
        place = before + at.first // LINE + index
        for ref, words in zip(refs, lines, strict=True):
            _store(ref, place * len(words), words)
        return state

    return line


def _put(
    words: list[Array],
    new: list[Array],
    part: Array,
) -> list[Array]:
    """The words of a line with those of one group in their place.

    What lives in registers cannot be indexed.
    """
    size = len(new)
    written = []
    for i, word in enumerate(words):
        mine = part == i // size
        written.append(jnp.where(mine, new[i % size], word))
    return written


def _store(
    ref: Any,
    place: Array,
    words: list[Array],
) -> None:
    """Writes the words of each lane from its place on, four at once.

    That is a whole 16 bytes from each thread.
    """
    column = jnp.arange(4)[None, :]
    for first in range(0, len(words), 4):
        tile = jnp.broadcast_to(words[first][:, None], (LANES, 4))
        for i in range(1, 4):
            word = words[first + i]
            tile = jnp.where(column == i, word[:, None], tile)
        row = place + first
        ref[row[:, None] + column] = tile


def _pack(
    values: tuple[Array, ...],
    kind: np.dtype,
) -> list[Array]:
    """The values of a group of steps as 32-bit words, the first in the lowest bits."""
    bits = 8 * kind.itemsize
    per_word = 4 // kind.itemsize
    words = []
    for i in range(0, GROUP, per_word):
        word = values[i].astype(jnp.uint32)
        for j in range(1, per_word):
            value = values[i + j].astype(jnp.uint32)
            moved = value << np.uint32(bits * j)
            word = word | moved
        words.append(word)
    return words
