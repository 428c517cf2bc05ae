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
    starts = request.start[None, :] if single else starts
    plan = Plan.make(request, starts.shape[0])
    chunks, size, blocks = plan.kernel.shape
    num = request.start.shape[0]

    def chunk(
        index: Array,
        carry: tuple[Array, Path],
    ) -> tuple[Array, Path]:
        state, path = carry
        state, new = advance(request, plan, index, noisy_emission, state)
        # Turned chunk by chunk, while it is in cache, into the layout of the trajectory.
        written = (
            jax.lax.dynamic_update_slice_in_dim(
                x, y.transpose(2, 1, 0).astype(x.dtype), index * size, axis=2
            )
            for x, y in zip(path, new, strict=True)
        )
        return state, Path(*written)

    empty = Path(
        *(
            jnp.zeros((num, blocks, chunks * size), kind)
            for kind in path_types(request.tables.sizes)
        )
    )
    skip = 0
    if single and request.script is not None:
        # Of no lanes there is no minimum: nothing is left to simulate.
        skip = jnp.min(request.script.begin, initial=request.schedule.shape[0]) // size
    _, path = jax.lax.fori_loop(skip, chunks, chunk, (starts, empty))
    return jax.tree.map(lambda x: join(x, plan.whole, axis=1), path)


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
        chunks = ceil(ceil(steps, number), CHUNK)
        size = ceil(ceil(steps, number), chunks)
        whole = Blocks(steps, number, chunks * size)
        imposed = None if request.script is None else request.script.action

        def in_chunks(x: Array) -> Array:
            """`[blocks, steps of a block, ...]` becomes `[chunks, size, blocks, ...]`."""
            return jnp.moveaxis(x.reshape(number, chunks, size, *x.shape[2:]), 0, 2)

        def split(x: Array) -> Array:
            """`[T]` or `[N, T]` becomes `[chunks, size, blocks, ...]`."""
            return in_chunks(cut(jnp.moveaxis(x, -1, 0), whole))

        time = jnp.arange(number * whole.length).reshape(number, -1)
        action = None if imposed is None else split(imposed)
        return cls(split(request.schedule), in_chunks(time), action, whole)


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
    tables, sizes, script = flatten(request.tables), request.tables.sizes, request.script
    kernel, time, action = jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False),
        (plan.kernel, plan.time, plan.action),
    )
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
            fixed = (
                x[None, :] for x in (request.start, script.begin, script.observation, script.first)
            )
            now = Now(*jax.tree.map(lanes, (time[:, None], *fixed, action)))
        first, second = lanes(noise[0]), lanes(noise[1]) if noisy_emission else None
        uniforms = (first.real, first.imag, None if second is None else second.real)
        return step(tables, sizes, lanes(kernel[:, None]), uniforms, state, now)

    return jax.lax.scan(one, state, (kernel, time, noise, action))
