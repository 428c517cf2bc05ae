"""One step of an episode, as every engine takes it, and the tables that it reads.

In maths, at step t with kernel m,

    o ~ P(. | s),    a ~ pi_m(. | o),    k ~ P_m(. | s, a),    s' = successor_m(s, a, k),

each by inverting its distribution at the uniform of its own address.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from casim.dynamics import absorb, force
from casim.simulate.noise import thresholds
from casim.types import MDP, Trajectory

NEVER = 2.0
"""A threshold that no uniform reaches."""


class Tables(NamedTuple):
    """A world's tables in the form the engines read; see `prepare`.

    C = S A K outcomes (state, action, slot) per kernel, slot being which of the K successors.
    Thresholds (W) are padded to one less than a power of two, so that they can be searched by
    halving.
    """

    successor: Int[Array, "M C"]
    reward: Float[Array, "M C"]
    terminal: Bool[Array, " S"]
    log_policy: Float[Array, "M O A"]
    action: Float[Array, "M O W_A"]
    transition: Float[Array, "M S A W_K"]
    observation: Float[Array, "M S W_O"]
    shown: Int[Array, "M S"]  # the observation, where the emission is one-hot

    @property
    def sizes(self) -> Sizes:
        """S, O, A and K."""
        _, observations, actions = self.log_policy.shape
        states = self.terminal.shape[0]
        return Sizes(states, observations, actions, self.successor.shape[1] // (states * actions))


class Sizes(NamedTuple):
    """Numbers of labels."""

    states: int
    observations: int
    actions: int
    slots: int

    @property
    def outcomes(self) -> int:
        """C, of one kernel."""
        return self.states * self.actions * self.slots


class Script(NamedTuple):
    """What is imposed on N episodes; nothing is simulated before `begin`.

    -1 stands for what is drawn.
    """

    begin: Int[Array, " N"]
    """The step at which each episode is in its start state."""
    observation: Int[Array, " N"]
    """The observation at that step."""
    first: Int[Array, " N"]
    """The action at that step."""
    action: Int[Array, "N T"] | None = None
    """The action at every step."""


class Path(NamedTuple):
    """What a step leaves behind, as little as possible.

    The rest of the trajectory follows from it.
    """

    observation: Array
    outcome: Array
    """(state, action, slot) as one number, (state A + action) K + slot."""


class Now(NamedTuple):
    """The script at one step of all lanes, shapes that broadcast to the lanes."""

    time: Array
    start: Array
    begin: Array
    observation: Array
    first: Array
    action: Array | None


@jax.jit
def prepare(
    mdp: MDP,
    policy: Array,
) -> Tables:
    """Everything that does not depend on the noise, computed once for a world."""
    mdp, table = absorb(mdp), force(mdp, policy)
    kernels = mdp.successor.shape[0]
    return Tables(
        successor=mdp.successor.reshape(kernels, -1).astype(jnp.int32),
        reward=mdp.reward.reshape(kernels, -1),
        terminal=mdp.terminal,
        log_policy=jnp.log(table),
        action=_searchable(thresholds(table)),
        transition=_searchable(thresholds(mdp.prob)),
        observation=_searchable(thresholds(mdp.emission)),
        shown=jnp.argmax(mdp.emission, axis=-1).astype(jnp.int32),
    )


def _searchable(threshold: Array) -> Array:
    width = threshold.shape[-1]
    pad = [(0, 0)] * (threshold.ndim - 1) + [(0, (1 << width.bit_length()) - 1 - width)]
    return jnp.pad(threshold, pad, constant_values=NEVER)


def flatten(tables: Tables) -> Tables:
    """The same tables as vectors, as `step` reads them.

    XLA on CPU is slow at gathers with several indices.
    """
    return jax.tree.map(jnp.ravel, tables)


def look_up(
    table: Array,
    index: Array,
) -> Array:
    """table[index] for a vector, without checks."""
    return table.at[index].get(mode="promise_in_bounds", wrap_negative_indices=False)


def count_passed(
    table: Array,
    width: int,
    row: Array,
    noise: Array,
) -> Array:
    """How many of the ascending thresholds of each row the uniform has reached, by comparing all.

    Args:
        table: a vector, the rows of thresholds one after the other.
        width: of a row.
        row: which row, per lane.
        noise: the uniform, per lane.
    """
    rows = (
        look_up(table.reshape(-1, width), row) if width else jnp.zeros((*row.shape, 0), table.dtype)
    )
    return jnp.sum(noise[..., None] >= rows, axis=-1, dtype=jnp.int32)


def step(
    tables: Tables,
    sizes: Sizes,
    kernel: Array,
    noise: tuple[Array, Array, Array | None],
    state: Array,
    now: Now | None = None,
    read: Callable[[Any, Array], Array] = look_up,
    search: Callable[[Any, int, Array, Array], Array] = count_passed,
) -> tuple[Array, Path]:
    """One step of many lanes: the next states, and what to remember.

    Args:
        tables: flattened; thresholds and noise on one scale.
        sizes: of the tables before they were flattened.
        kernel: which kernel governs each lane.
        noise: the uniforms of action, transition and observation; None promises a one-hot emission.
        state: of each lane.
        now: what is imposed.
        read: reads entries of a vector of the tables.
        search: counts the thresholds that were reached, like `count_passed`.
    """
    if now is not None:
        state = jnp.where(now.time <= now.begin, now.start, state)
    place = kernel * sizes.states + state
    if noise[2] is None:
        observation = read(tables.shown, place)
    else:
        observation = search(tables.observation, _width(sizes.observations), place, noise[2])
    if now is not None:
        given = (now.time == now.begin) & (now.observation >= 0)
        observation = jnp.where(given, now.observation, observation)
    seen = kernel * sizes.observations + observation
    action = search(tables.action, _width(sizes.actions), seen, noise[0])
    if now is not None:
        action = jnp.where((now.time == now.begin) & (now.first >= 0), now.first, action)
        if now.action is not None:
            action = jnp.where(now.action >= 0, now.action, action)
    row = place * sizes.actions + action
    slot = search(tables.transition, _width(sizes.slots), row, noise[1])
    outcome = row * sizes.slots + slot
    return read(tables.successor, outcome), Path(observation, outcome - kernel * sizes.outcomes)


def _width(number: int) -> int:
    """Thresholds of a row with so many outcomes, padding included."""
    return (1 << (number - 1).bit_length()) - 1


def label_type(number: int) -> np.dtype:
    """The narrowest signed integers that can index an axis of this length, also from its end."""
    return next(
        np.dtype(kind) for kind in (np.int8, np.int16, np.int32) if number <= np.iinfo(kind).max
    )


def path_types(sizes: Sizes) -> tuple[np.dtype, np.dtype]:
    """The narrowest unsigned types of a path: of its observation and its outcome."""
    kinds = (np.uint8, np.uint16, np.uint32)

    def narrowest(number: int) -> np.dtype:
        return next(np.dtype(kind) for kind in kinds if number - 1 <= np.iinfo(kind).max)

    return narrowest(sizes.observations), narrowest(sizes.outcomes)


def record(
    tables: Tables,
    schedule: Array,
    path: Path,
) -> Trajectory:
    """Completes drawn paths `[N, T]` to a trajectory: reward, log-probability, where it is live."""
    sizes, flat = tables.sizes, flatten(tables)
    kernel = schedule[None, :]
    observation, outcome = (x.astype(jnp.int32) for x in path)
    state, action = outcome // (sizes.actions * sizes.slots), outcome // sizes.slots % sizes.actions
    live = ~look_up(flat.terminal, state)
    taken = (kernel * sizes.observations + observation) * sizes.actions + action
    return Trajectory(
        state=state.astype(label_type(sizes.states)),
        observation=observation.astype(label_type(sizes.observations)),
        action=jnp.where(live, action, 0).astype(label_type(sizes.actions)),
        log_prob=jnp.where(live, look_up(flat.log_policy, taken), 0.0),
        reward=look_up(flat.reward, kernel * sizes.outcomes + outcome),
        live=live,
    )
