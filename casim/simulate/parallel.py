"""The parallel-in-time engine: with its noise fixed, a step is a map of states, and maps compose.

In maths: f_t(s) = successor(s, a, k) at the uniforms of step t. The blocks of an episode are first
rolled out side by side from every state, which gives the map F_c = f_{last} o ... o f_{first} of
each; an associative scan composes them,

    s_c = (F_{c-1} o ... o F_0)(s_0);

and the blocks are rolled out side by side once more, each from its own s_c. The depth is
2 T / blocks + log2(blocks) steps, the work at most 1 + S times that of the scan (less, since the
states of a lane share their noise), and what is kept beside the path are `[S, blocks, N]` states.

References:
    Ladner and Fischer 1980, "Parallel prefix computation".
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from casim.simulate.scan import Plan, Request, advance, scan_paths
from casim.simulate.tables import Path, label_type


def parallel_paths(
    request: Request,
    noisy_emission: bool,
    blocks: int,
) -> Path:
    """Rolls out in two passes over `blocks` blocks of steps.

    The path is the same as one block gives, bit for bit.
    """
    maps = block_maps(request, noisy_emission, blocks)
    return scan_paths(request, noisy_emission, block_starts(maps, request.start))


def block_maps(
    request: Request,
    noisy_emission: bool,
    blocks: int,
) -> Int[Array, "S blocks N"]:
    """The state after each block, from every state before it."""
    plan = Plan.make(request, blocks)
    states, num = request.tables.terminal.shape[0], request.start.shape[0]
    every = jnp.broadcast_to(
        jnp.arange(states, dtype=jnp.int32)[:, None, None], (states, blocks, num)
    )

    def chunk(
        index: Array,
        state: Array,
    ) -> Array:
        return advance(request, plan, index, noisy_emission, state)[0]

    return jax.lax.fori_loop(0, plan.kernel.shape[0], chunk, every)


def block_starts(
    maps: Int[Array, "S blocks N"],
    start: Int[Array, " N"],
) -> Int[Array, "blocks N"]:
    """The state before each block."""
    maps = maps.astype(label_type(maps.shape[0]))

    def compose(
        earlier: Array,
        later: Array,
    ) -> Array:
        return jnp.take_along_axis(later, earlier.astype(jnp.int32), axis=0)

    upto = jax.lax.associative_scan(compose, maps[:, :-1], axis=1)
    later = jnp.take_along_axis(upto, start[None, None, :], axis=0)[0]
    return jnp.concatenate([start[None, :], later.astype(start.dtype)])
