"""Exact Shapley values of the segments of a trajectory, in the interventional game.

In maths: v(S) = E[R | s_0, a_t as taken for t in the segments of S, a_t ~ pi elsewhere], all noise of the environment
averaged out; phi_i = sum_{S without i} |S|! (G - |S| - 1)! / G! [v(S + i) - v(S)].
A segment acts on values as an affine map V -> r + P V, one map for taken and one for free actions, so v(S) for all
2^G coalitions costs O(T S^2 K) for the maps and O(G 2^G S^2) for their products. In float32 the
relative error is at most about 1e-7 per step.

References:
    Shapley 1953.
"""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from casim.dynamics import absorb, force
from casim.types import MDP, Trajectory

MAX_PLAYERS = 12


def coalition_values(
    mdp: MDP, policy: Float[Array, "M O A"], batch: Trajectory, num_segments: int
) -> Float[Array, "N C"]:
    """v(S) of all C = 2^G coalitions of segments; bit g of the index says that segment g is in."""
    mdp = absorb(mdp)
    forced, free = _segment_maps(mdp, policy, batch, num_segments)
    index = jnp.arange(2**num_segments)

    def prepend(value: Array, inputs) -> tuple[Array, None]:
        segment, taken, open_ = inputs
        member = ((index >> segment) & 1 == 1)[None, :, None]
        return jnp.where(member, _apply(taken, value), _apply(open_, value)), None

    maps = jax.tree.map(lambda x: jnp.moveaxis(x, 1, 0), (forced, free))
    zero = jnp.zeros((batch.action.shape[0], 2**num_segments, mdp.start.shape[0]))
    value, _ = jax.lax.scan(prepend, zero, (jnp.arange(num_segments), *maps), reverse=True)
    return jnp.take_along_axis(value, batch.state[:, :1, None], axis=2)[..., 0]


def shapley(mdp: MDP, policy: Float[Array, "M O A"], batch: Trajectory, num_segments: int) -> Float[Array, "N G"]:
    """Shapley value of every segment of every trajectory.

    Raises:
        ValueError: more than `MAX_PLAYERS` segments.
    """
    if num_segments > MAX_PLAYERS:
        raise ValueError(f"num_segments must be in [1, {MAX_PLAYERS}] for exact Shapley values, got {num_segments}")
    weight = jnp.asarray(_weights(num_segments))
    return jnp.matmul(coalition_values(mdp, policy, batch, num_segments), weight, precision="highest")


def _weights(players: int) -> np.ndarray:
    """The linear map from coalition values `[2^G]` to Shapley values `[G]`."""
    out = np.zeros((2**players, players))
    for bits in itertools.product((0, 1), repeat=players):
        index, size = sum(b << g for g, b in enumerate(bits)), sum(bits)
        for g in range(players):
            before = size - bits[g]
            share = math.factorial(before) * math.factorial(players - before - 1) / math.factorial(players)
            out[index, g] = share if bits[g] else -share
    return out.astype(np.float32)


def _segment_maps(mdp: MDP, policy: Array, batch: Trajectory, num_segments: int):
    """For taken and for free actions, the affine map (r `[N, G, S]`, P `[N, G, S, S]`) of each segment."""
    rows, states = batch.action.shape[0], mdp.start.shape[0]
    table = jnp.einsum("mso,moa->msa", mdp.emission, force(mdp, policy), precision="highest")
    onehot = jax.nn.one_hot(mdp.successor, states, dtype=mdp.prob.dtype)
    move = mdp.discount * jnp.einsum("msak,msakz->masz", mdp.prob, onehot, precision="highest")
    earn = jnp.einsum("msak,msak->mas", mdp.prob, mdp.reward, precision="highest")

    def step(maps, inputs: tuple[Int[Array, ""], Int[Array, ""], Int[Array, " N"], Bool[Array, " N"]]):
        kernel, segment, action, live = inputs
        mixed = [jnp.einsum("sa,as...->s...", table[kernel], x[kernel], precision="highest") for x in (earn, move)]
        average = [jnp.broadcast_to(x[None], (rows, *x.shape)) for x in mixed]
        # A rerun may outlive the trajectory: there it took no action, so the policy goes on.
        taken = (
            jnp.where(live[:, None], earn[kernel][action], average[0]),
            jnp.where(live[:, None, None], move[kernel][action], average[1]),
        )
        return tuple(_prepend(m, now, segment) for m, now in zip(maps, (taken, average), strict=True)), None

    zero = jnp.zeros((rows, num_segments, states))
    identity = jnp.broadcast_to(jnp.eye(states)[None, None], (rows, num_segments, states, states))
    xs = (mdp.schedule, mdp.segment, batch.action.T, batch.live.T)
    return jax.lax.scan(step, ((zero, identity), (zero, identity)), xs, reverse=True)[0]


def _prepend(maps, now, segment: Array):
    """The maps with one more step put in front of the given segment's."""
    earned, moved = (x[:, segment] for x in maps)
    earn, move = now
    earned = earn + jnp.einsum("nsz,nz->ns", move, earned, precision="highest")
    moved = jnp.einsum("nsz,nzy->nsy", move, moved, precision="highest")
    return maps[0].at[:, segment].set(earned), maps[1].at[:, segment].set(moved)


def _apply(maps, value: Float[Array, "N C S"]) -> Float[Array, "N C S"]:
    earned, moved = maps
    return earned[:, None, :] + jnp.einsum("nsz,ncz->ncs", moved, value, precision="highest")
