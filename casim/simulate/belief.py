"""The hidden state given what was observed: redrawn when a text prefix is re-fed instead of restored.

In maths: b_0(s) ~ P(s_0 = s) P(o_0 | s) and b_{t+1}(s') ~ P(o_{t+1} | s') sum_s b_t(s) P(s' | s, a_t),
normalised, over the states in which the episode still runs. Rewards are not part of what was observed.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.simulate.noise import draw, thresholds
from casim.types import MDP, Trajectory


def transition_matrix(mdp: MDP) -> Float[Array, "M S A S"]:
    """P(s' | s, a) as a dense table, successors that repeat added up."""
    states = mdp.terminal.shape[0]
    onehot = jax.nn.one_hot(mdp.successor, states, dtype=mdp.prob.dtype)
    return jnp.einsum("msak,msakz->msaz", mdp.prob, onehot, precision="highest")


def filter_to(mdp: MDP, batch: Trajectory, step: Int[Array, " N"], start: Float[Array, " S"]) -> Float[Array, "N S"]:
    """Belief over the state at each row's own step, given its observations up to there and its actions before.

    `start` is the belief before the first observation. Where the prefix is impossible under it the belief is 0.
    """
    matrix = transition_matrix(mdp)
    running = ~mdp.terminal[None, :]

    def update(belief: Array, inputs) -> tuple[Array, None]:
        index, kernel, previous, observation, action = inputs
        moved = jnp.einsum("ns,nsz->nz", belief, matrix[previous][:, action].swapaxes(0, 1), precision="highest")
        prior = jnp.where(index == 0, jnp.broadcast_to(start[None, :], belief.shape), moved)
        joint = jnp.where(running, prior * mdp.emission[kernel].T[observation], 0.0)
        total = jnp.sum(joint, axis=-1, keepdims=True)
        posterior = joint / jnp.where(total > 0, total, 1.0)
        return jnp.where((index <= step)[:, None], posterior, belief), None

    schedule = mdp.schedule
    previous = jnp.concatenate([schedule[:1], schedule[:-1]])
    last_action = jnp.concatenate([batch.action[:, :1], batch.action[:, :-1]], axis=1)
    steps = (jnp.arange(schedule.shape[0]), schedule, previous, batch.observation.T, last_action.T)
    empty = jnp.zeros((batch.action.shape[0], mdp.start.shape[0]), mdp.start.dtype)
    return jax.lax.scan(update, empty, steps)[0]


def redraw(belief: Float[Array, "N S"], noise: Float[Array, " N"]) -> Int[Array, " N"]:
    """A state from each belief."""
    return draw(thresholds(belief), noise)
