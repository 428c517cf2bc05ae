"""The scan engine: all lanes advance together, one step at a time, with noise drawn block by block.

A lane is an episode or, when time is cut in chunks, a chunk of an episode: arrays `[chunks, N]`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from casim.simulate.noise import step_noise
from casim.simulate.tables import Now, Path, Script, Tables, flatten, path_types, step

BLOCK = 64


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
    request: Request, noisy_emission: bool, starts: Int[Array, "chunks N"] | None = None
) -> Path:
    """Rolls out, from the state at the start of every chunk of steps.

    Args:
        request: see `Request`. What a script leaves out before its first step is undefined.
        noisy_emission: False promises that every emission row is one-hot, which saves draws.
        starts: one state per chunk; chunks are of equal length, see `cut`. None is one chunk, from
            the start states.
    """
    single = starts is None
    starts = request.start[None, :] if single else starts
    plan = cut(request, starts.shape[0])
    num_blocks, size, chunks = plan.kernel.shape
    num = request.start.shape[0]

    def block(index: Array, carry: tuple[Array, Path]) -> tuple[Array, Path]:
        state, path = carry
        state, new = advance(request, plan, index, noisy_emission, state)
        # Turned block by block, while it is in cache, into the layout of the trajectory.
        written = (
            jax.lax.dynamic_update_slice_in_dim(
                x, y.transpose(2, 1, 0).astype(x.dtype), index * size, axis=2
            )
            for x, y in zip(path, new, strict=True)
        )
        return state, Path(*written)

    empty = Path(
        *(
            jnp.zeros((num, chunks, num_blocks * size), kind)
            for kind in path_types(request.tables.sizes)
        )
    )
    skip = 0
    if single and request.script is not None:
        # Of no lanes there is no minimum: nothing is left to simulate.
        skip = jnp.min(request.script.begin, initial=request.schedule.shape[0]) // size
    _, path = jax.lax.fori_loop(skip, num_blocks, block, (starts, empty))
    return jax.tree.map(
        lambda x: x.reshape(num, chunks * num_blocks * size)[:, : request.schedule.shape[0]], path
    )


class Plan(NamedTuple):
    """A request cut in chunks, and those in blocks of steps: axes `[num_blocks, size, chunks]`."""

    kernel: Int[Array, "num_blocks size chunks"]
    time: Int[Array, "num_blocks size chunks"]
    action: Int[Array, "num_blocks size chunks N"] | None


def cut(request: Request, chunks: int) -> Plan:
    """Cuts the steps in chunks of equal length, padded at the end.

    Chunk c begins at step c num_blocks size.
    """
    length = -(-request.schedule.shape[0] // chunks)
    num_blocks = -(-length // BLOCK)
    size = -(-length // num_blocks)

    def split(x: Array) -> Array:
        """Time to the front: `[T]` or `[N, T]` becomes `[num_blocks, size, chunks, ...]`."""
        x = jnp.moveaxis(x, -1, 0)
        pad = [(0, chunks * num_blocks * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
        return jnp.moveaxis(jnp.pad(x, pad).reshape(chunks, num_blocks, size, *x.shape[1:]), 0, 2)

    time = jnp.arange(chunks * num_blocks * size)
    action = (
        None
        if request.script is None or request.script.action is None
        else split(request.script.action)
    )
    return Plan(split(request.schedule), split(time), action)


def advance(
    request: Request,
    plan: Plan,
    index: Array,
    noisy_emission: bool,
    state: Int[Array, "*copies chunks N"],
) -> tuple[Array, Path]:
    """One block of steps of all lanes: the states after it, and the path.

    The path is `[size, *copies, chunks, N]`. Copies of a lane start in different states and meet
    the same noise.
    """
    lead = (1,) * (state.ndim - 2)
    tables, sizes, script = flatten(request.tables), request.tables.sizes, request.script
    kernel, time, action = jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, index, keepdims=False), plan
    )
    noise = step_noise(request.words, request.episode, time, noisy_emission)

    def lanes(x: Array) -> Array:
        return x.reshape(*lead, *x.shape)

    def one(state: Array, inputs) -> tuple[Array, Path]:
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
