"""The scan engine: all lanes advance together, one step at a time, with noise drawn chunk by chunk.

A lane is an episode or, when time is cut in blocks, a block of an episode: arrays `[blocks, N]`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from casim.blocks import Blocks, ceil, cut, join
from casim.simulate.noise import step_noise
from casim.simulate.tables import Now, Path, Script, Tables, flatten, path_types, step

CHUNK = 64
"""Steps whose noise is drawn at once, at most: what they write is turned while it is in cache."""


class Request(NamedTuple):
    """What an engine is asked for: N episodes of T steps, as a `Path` `[N, T]`."""

    tables: Tables
    schedule: Int[Array, " T"]
    """Which kernel governs each step."""
    words: UInt32[Array, " 2"]
    """Key the noise."""
    episode: Int[Array, " N"]
    """The address of each episode in the noise."""
    start: Int[Array, " N"]
    """Start states."""
    script: Script | None = None
    """What to impose instead of drawing it."""


def scan_paths(
    request: Request,
    noisy_emission: bool,
    starts: Int[Array, "blocks N"] | None = None,
) -> Path:
    """Rolls out, from the state at the start of every block of steps.

    Args:
        request: see `Request`. What a script leaves out before its first step is undefined.
        noisy_emission: False promises that every emission row is one-hot, which saves draws.
        starts: one state per block; blocks are of equal length, see `Plan`. None is one block, from
            the start states.
    """
    single = starts is None
    if starts is None:
        starts = request.start[None, :]
    blocks = starts.shape[0]
    plan = Plan.make(request, blocks)
    chunks, size, _ = plan.kernel.shape
    num = request.start.shape[0]

    def chunk(
        index: Array,
        carry: tuple[Array, Path],
    ) -> tuple[Array, Path]:
        state, path = carry
        state, new = advance(request, plan, index, noisy_emission, state)
        # Turned chunk by chunk, while it is in cache, into the layout of the trajectory.
        at = index * size

        def write(x: Array, y: Array) -> Array:
            turned = y.transpose(2, 1, 0)
            turned = turned.astype(x.dtype)
            return jax.lax.dynamic_update_slice_in_dim(x, turned, at, axis=2)

        return state, jax.tree.map(write, path, new)

    shape = (num, blocks, chunks * size)
    kinds = path_types(request.tables.sizes)
    observation, outcome = (jnp.zeros(shape, kind) for kind in kinds)
    empty = Path(observation, outcome)
    skip = 0
    if single and request.script is not None:
        # Of no lanes there is no minimum: nothing is left to simulate.
        (steps,) = request.schedule.shape
        earliest = jnp.min(request.script.begin, initial=steps)
        skip = earliest // size
    begin = (starts, empty)
    _, path = jax.lax.fori_loop(skip, chunks, chunk, begin)

    def joined(x: Array) -> Array:
        return join(x, plan.whole, axis=1)

    return jax.tree.map(joined, path)


class Plan(NamedTuple):
    """A request cut in blocks of steps, and those in chunks: axes `[chunks, size, blocks]`."""

    kernel: Int[Array, "chunks size blocks"]
    time: Int[Array, "chunks size blocks"]
    action: Int[Array, "chunks size blocks N"] | None
    whole: Blocks
    """The blocks, chunks joined."""

    @classmethod
    def make(
        cls,
        request: Request,
        number: int,
    ) -> Plan:
        """Cuts the steps in so many blocks, filled up at the end; block b begins at its step b L.

        Every chunk of a block has the same number of steps.
        """
        (steps,) = request.schedule.shape
        length = ceil(steps, number)
        chunks = ceil(length, CHUNK)
        size = ceil(length, chunks)
        whole = Blocks(steps, number, chunks * size)
        imposed = None
        if request.script is not None:
            imposed = request.script.action

        def in_chunks(x: Array) -> Array:
            """`[blocks, steps of a block, ...]` becomes `[chunks, size, blocks, ...]`."""
            shape = (number, chunks, size, *x.shape[2:])
            parts = x.reshape(shape)
            return jnp.moveaxis(parts, 0, 2)

        def split(x: Array) -> Array:
            """`[T]` or `[N, T]` becomes `[chunks, size, blocks, ...]`."""
            by_step = jnp.moveaxis(x, -1, 0)
            return in_chunks(cut(by_step, whole))

        padded = number * whole.length
        times = jnp.arange(padded)
        return cls(
            kernel=split(request.schedule),
            time=in_chunks(times.reshape(number, -1)),
            action=None if imposed is None else split(imposed),
            whole=whole,
        )


def advance(
    request: Request,
    plan: Plan,
    index: Array,
    noisy_emission: bool,
    state: Int[Array, "*copies blocks N"],
) -> tuple[Array, Path]:
    """One chunk of steps of all lanes: the states after it, and the path.

    The path is `[size, *copies, blocks, N]`. Copies of a lane start in different states and meet
    the same noise.
    """
    lead = (1,) * (state.ndim - 2)
    tables = flatten(request.tables)
    sizes = request.tables.sizes
    script = request.script

    def of_chunk(x: Array) -> Array:
        return jax.lax.dynamic_index_in_dim(x, index, keepdims=False)

    planned = (plan.kernel, plan.time, plan.action)
    kernel, time, action = jax.tree.map(of_chunk, planned)
    noise = step_noise(request.words, request.episode, time, noisy_emission)

    def lanes(x: Array) -> Array:
        return x.reshape(*lead, *x.shape)

    def one(
        state: Array,
        inputs,
    ) -> tuple[Array, Path]:
        kernel, time, noise, action = inputs
        now = None
        if script is not None:
            fixed = (request.start, script.begin, script.observation, script.first)
            rows = [x[None, :] for x in fixed]
            times = time[:, None]
            given = (times, *rows, action)
            now = Now(*jax.tree.map(lanes, given))
        first = lanes(noise[0])
        seen = lanes(noise[1]).real if noisy_emission else None
        uniforms = (first.real, first.imag, seen)
        kernels = lanes(kernel[:, None])
        return step(tables, sizes, kernels, uniforms, state, now)

    inputs = (kernel, time, noise, action)
    return jax.lax.scan(one, state, inputs)
