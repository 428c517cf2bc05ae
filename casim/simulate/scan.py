"""The scan engine: all episodes advance together, one step at a time, with noise drawn block by block.

In maths, at step t with kernel m: o ~ P(. | s), a ~ pi_m(. | o), k ~ P_m(. | s, a), s' = successor_m(s, a, k),
each by inverting its distribution at the uniform of its own address.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from casim.dynamics import absorb, force
from casim.simulate.noise import draw, step_noise, thresholds
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


class Tables(NamedTuple):
    """A world's tables in the form the engine reads; see `prepare`. C outcomes (state, action, slot) per kernel."""

    successor: Int[Array, "M C"]
    reward: Float[Array, "M C"]
    terminal: Bool[Array, " S"]
    log_policy: Float[Array, "M O A"]
    action: Float[Array, "M O A-1"]  # this and the next two: thresholds, see `casim.simulate.noise`
    transition: Float[Array, "M S A K-1"]
    observation: Float[Array, "M S O-1"]
    shown: Int[Array, "M S"]  # the observation, where the emission is one-hot


@jax.jit
def prepare(mdp: MDP, policy: Array) -> Tables:
    """Everything that does not depend on the noise, computed once for a world."""
    mdp, table = absorb(mdp), force(mdp, policy)
    kernels = mdp.successor.shape[0]
    return Tables(
        successor=mdp.successor.reshape(kernels, -1).astype(jnp.int32),
        reward=mdp.reward.reshape(kernels, -1),
        terminal=mdp.terminal,
        log_policy=jnp.log(table),
        action=thresholds(table),
        transition=thresholds(mdp.prob),
        observation=thresholds(mdp.emission),
        shown=jnp.argmax(mdp.emission, axis=-1).astype(jnp.int32),
    )


def roll(
    tables: Tables,
    schedule: Int[Array, " T"],
    words: UInt32[Array, " 2"],
    episode: Int[Array, " N"],
    start: Int[Array, " N"],
    noisy_emission: bool,
    script: Script | None = None,
    skip: Int[Array, ""] | None = None,
) -> Trajectory:
    """N episodes of T steps from the given start states.

    Args:
        tables: of the world.
        schedule: which kernel governs each step.
        words: keys the noise.
        episode: the address of each episode in the noise.
        start: start states.
        noisy_emission: False promises that every emission row is one-hot, which saves draws.
        script: what to impose instead of drawing it.
        skip: all steps before this one are fully scripted, so blocks that end before it are copied.
    """
    num_steps = schedule.shape[0]
    num_blocks = -(-num_steps // BLOCK)
    size = -(-num_steps // num_blocks)
    plan = _blocks((schedule, script), num_blocks, size)

    def block(carry: tuple[Array, _Path], inputs) -> tuple[tuple[Array, _Path], None]:
        state, path = carry
        index, (kernel, given) = inputs

        def simulate(state: Array) -> tuple[Array, _Path]:
            noise = step_noise(words, episode, index * size + jnp.arange(size), noisy_emission)
            return jax.lax.scan(lambda s, x: _step(tables, s, x), state, (kernel, noise, given))

        if given is None or skip is None:
            state, new = simulate(state)
        else:
            copied = _Path(given.observation, _outcome(tables, given.state, given.action, 0))
            # A copied block leaves the state as it was: the next block's first state is scripted too.
            state, new = jax.lax.cond((index + 1) * size <= skip, lambda s: (s, copied), simulate, state)
        # Turned block by block, while it is in cache, into the layout of the trajectory.
        return (state, jax.tree.map(lambda x, y: _write(x, y.T, index * size), path, new)), None

    empty = jnp.zeros((start.shape[0], num_blocks * size), jnp.int32)
    (_, path), _ = jax.lax.scan(block, (start, _Path(empty, empty)), (jnp.arange(num_blocks), plan))
    return _record(tables, schedule, *jax.tree.map(lambda x: x[:, :num_steps], path))


class _Path(NamedTuple):
    """What a step leaves behind, as little as possible; the rest of the trajectory follows from it."""

    observation: Array
    outcome: Array  # (state, action, slot) as one number, see `_outcome`


def _outcome(tables: Tables, state: Array, action: Array | int, slot: Array | int) -> Array:
    """Flat index into the tables [S, A, K] of one kernel; slot is which of the K successors."""
    actions, slots = _sizes(tables)
    return (state * actions + action) * slots + slot


def _sizes(tables: Tables) -> tuple[int, int]:
    """A and K."""
    return tables.transition.shape[2], tables.transition.shape[3] + 1


def _look_up(table: Array, *index: Array) -> Array:
    """table[index], with the leading axes flattened and no checks: XLA on CPU is slow at both."""
    flat = index[0]
    for size, i in zip(table.shape[1:], index[1:], strict=False):
        flat = flat * size + i
    rows = table.reshape(math.prod(table.shape[: len(index)]), *table.shape[len(index) :])
    return rows.at[flat].get(mode="promise_in_bounds", wrap_negative_indices=False)


def _write(array: Array, block: Array, at: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(array, block, at, axis=1)


def _step(tables: Tables, state: Array, inputs) -> tuple[Array, _Path]:
    kernel, noise, given = inputs
    if given is not None:
        state = jnp.where(given.fix_state, given.state, state)
    if noise.shape[0] > 1:
        observation = draw(_look_up(tables.observation, kernel, state), noise[1].real)
    else:
        observation = _look_up(tables.shown, kernel, state)
    if given is not None:
        observation = jnp.where(given.fix_observation, given.observation, observation)
    action = draw(_look_up(tables.action, kernel, observation), noise[0].real)
    if given is not None:
        action = jnp.where(given.fix_action, given.action, action)
    slot = draw(_look_up(tables.transition, kernel, state, action), noise[0].imag)
    outcome = _outcome(tables, state, action, slot)
    return _look_up(tables.successor, kernel, outcome), _Path(observation, outcome)


def _blocks(tree, num_blocks: int, size: int):
    """Time to the front, padded to whole blocks, and split: `[T]` or `[N, T]` becomes `[num_blocks, size, ...]`."""

    def split(x: Array) -> Array:
        x = jnp.moveaxis(x, -1, 0)
        pad = [(0, num_blocks * size - x.shape[0])] + [(0, 0)] * (x.ndim - 1)
        return jnp.pad(x, pad).reshape(num_blocks, size, *x.shape[1:])

    return jax.tree.map(split, tree)


def _record(tables: Tables, schedule: Array, observation: Array, outcome: Array) -> Trajectory:
    """Completes drawn paths `[N, T]` to a trajectory: reward, log-probability, and where it was live."""
    actions, slots = _sizes(tables)
    kernel = schedule[None, :]
    state, action = outcome // (actions * slots), outcome // slots % actions
    live = ~_look_up(tables.terminal, state)
    return Trajectory(
        state=state,
        observation=observation,
        action=jnp.where(live, action, 0),
        log_prob=jnp.where(live, _look_up(tables.log_policy, kernel, observation, action), 0.0),
        reward=_look_up(tables.reward, kernel, outcome),
        live=live,
    )
