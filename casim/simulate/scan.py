"""The scan engine: all episodes advance together, one step at a time, with noise drawn block by block.

In maths, at step t with kernel m: o ~ P(. | s), a ~ pi_m(. | o), k ~ P_m(. | s, a), s' = successor_m(s, a, k),
each by inverting its distribution at the uniform of its own address.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, UInt32

from casim.dynamics import absorb, force
from casim.simulate.noise import ACTION, OBSERVATION, TRANSITION, draw, step_noise, thresholds
from casim.types import MDP, Trajectory

BLOCK = 64


class Script(NamedTuple):
    """What is imposed on a rerun of N episodes; masks say where. Arrays `[N, T]`."""

    state: Int[Array, "N T"]
    observation: Int[Array, "N T"]
    action: Int[Array, "N T"]
    fix_state: Bool[Array, "N T"]
    fix_observation: Bool[Array, "N T"]
    fix_action: Bool[Array, "N T"]


class _Path(NamedTuple):
    state: Array
    observation: Array
    action: Array
    slot: Array  # which of the K successors


def roll(
    mdp: MDP,
    policy: Array,
    words: UInt32[Array, " 2"],
    episode: Int[Array, " N"],
    start: Int[Array, " N"],
    noisy_emission: bool,
    script: Script | None = None,
    skip: Int[Array, ""] | None = None,
) -> Trajectory:
    """N episodes of T steps from the given start states.

    Args:
        mdp, policy: the process and the behaviour table [M, O, A].
        words: keys the noise.
        episode: the address of each episode in the noise.
        start: start states.
        noisy_emission: False promises that every emission row is one-hot, which saves draws.
        script: what to impose instead of drawing it.
        skip: all steps before this one are fully scripted, so blocks that end before it are copied.
    """
    mdp, table = absorb(mdp), force(mdp, policy)
    num_steps = mdp.schedule.shape[0]
    num_blocks = -(-num_steps // BLOCK)
    size = -(-num_steps // num_blocks)
    cuts = _Cuts(
        action=thresholds(table),
        transition=thresholds(mdp.prob),
        observation=thresholds(mdp.emission),
        shown=jnp.argmax(mdp.emission, axis=-1),
    )
    plan = _blocks((mdp.schedule, script), num_blocks, size)

    def block(state: Array, inputs) -> tuple[Array, _Path]:
        index, (kernel, given) = inputs
        step = index * size + jnp.arange(size)

        def simulate(state: Array) -> tuple[Array, _Path]:
            noise = step_noise(words, episode, step, noisy_emission)
            return jax.lax.scan(lambda s, x: _step(mdp, cuts, s, x), state, (kernel, noise, given))

        if given is None or skip is None:
            return simulate(state)
        copied = _Path(given.state, given.observation, given.action, jnp.zeros_like(given.action))
        # A copied block leaves the state as it was: the next block's first state is scripted too.
        return jax.lax.cond((index + 1) * size <= skip, lambda s: (s, copied), simulate, state)

    _, path = jax.lax.scan(block, start, (jnp.arange(num_blocks), plan))
    path = jax.tree.map(lambda x: x.reshape(num_blocks * size, -1)[:num_steps].T, path)
    return record(mdp, table, path.state, path.observation, path.action, path.slot)


class _Cuts(NamedTuple):
    action: Array
    transition: Array
    observation: Array
    shown: Array


def _step(mdp: MDP, cuts: _Cuts, state: Array, inputs) -> tuple[Array, _Path]:
    kernel, noise, given = inputs
    if given is not None:
        state = jnp.where(given.fix_state, given.state, state)
    if noise.shape[0] > OBSERVATION:
        observation = draw(cuts.observation[kernel, state], noise[OBSERVATION])
    else:
        observation = cuts.shown[kernel, state]
    if given is not None:
        observation = jnp.where(given.fix_observation, given.observation, observation)
    action = draw(cuts.action[kernel, observation], noise[ACTION])
    if given is not None:
        action = jnp.where(given.fix_action, given.action, action)
    slot = draw(cuts.transition[kernel, state, action], noise[TRANSITION])
    return mdp.successor[kernel, state, action, slot], _Path(state, observation, action, slot)


def _blocks(tree, num_blocks: int, size: int):
    """Time to the front, padded to whole blocks, and split: `[T]` or `[N, T]` becomes `[num_blocks, size, ...]`."""

    def split(x: Array) -> Array:
        x = jnp.moveaxis(x, -1, 0)
        pad = [(0, num_blocks * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, pad).reshape(num_blocks, size, *x.shape[1:])

    return jax.tree.map(split, tree)


def record(mdp: MDP, table: Array, state: Array, observation: Array, action: Array, slot: Array) -> Trajectory:
    """Completes drawn paths `[N, T]` to a trajectory: reward, log-probability, and where it was live."""
    kernel = jnp.broadcast_to(mdp.schedule[None, :], state.shape)
    live = ~mdp.terminal[state]
    return Trajectory(
        state=state,
        observation=observation,
        action=jnp.where(live, action, 0),
        log_prob=jnp.where(live, jnp.log(table[kernel, observation, action]), 0.0),
        reward=mdp.reward[kernel, state, action, slot],
        live=live,
    )
