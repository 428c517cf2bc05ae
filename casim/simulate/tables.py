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
        per_state = states * actions
        slots = self.successor.shape[1] // per_state
        return Sizes(states, observations, actions, slots)


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
    mdp = absorb(mdp)
    table = force(mdp, policy)
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
    full = (1 << width.bit_length()) - 1
    kept = [(0, 0)] * (threshold.ndim - 1)
    pad = [*kept, (0, full - width)]
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
    entries = table.at[index]
    return entries.get(mode="promise_in_bounds", wrap_negative_indices=False)


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
    if width:
        by_row = table.reshape(-1, width)
        rows = look_up(by_row, row)
    else:
        rows = jnp.zeros((*row.shape, 0), table.dtype)
    passed = noise[..., None] >= rows
    return jnp.sum(passed, axis=-1, dtype=jnp.int32)


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
    of_action, of_transition, of_observation = noise
    if now is not None:
        given = now.time <= now.begin
        state = jnp.where(given, now.start, state)
    place = kernel * sizes.states + state
    if of_observation is None:
        observation = read(tables.shown, place)
    else:
        width = _width(sizes.observations)
        observation = search(tables.observation, width, place, of_observation)
    if now is not None:
        here = now.time == now.begin
        given = here & (now.observation >= 0)
        observation = jnp.where(given, now.observation, observation)
    seen = kernel * sizes.observations + observation
    width = _width(sizes.actions)
    action = search(tables.action, width, seen, of_action)
    if now is not None:
        here = now.time == now.begin
        given = here & (now.first >= 0)
        action = jnp.where(given, now.first, action)
        if now.action is not None:
            imposed = now.action >= 0
            action = jnp.where(imposed, now.action, action)
    row = place * sizes.actions + action
    width = _width(sizes.slots)
    slot = search(tables.transition, width, row, of_transition)
    outcome = row * sizes.slots + slot
    successor = read(tables.successor, outcome)
    within = outcome - kernel * sizes.outcomes
    return successor, Path(observation, within)


def _width(number: int) -> int:
    """Thresholds of a row with so many outcomes, padding included."""
    bits = (number - 1).bit_length()
    return (1 << bits) - 1


def label_type(number: int) -> np.dtype:
    """The narrowest signed integers that can index an axis of this length, also from its end."""
    kinds = (np.int8, np.int16, np.int32)
    return _narrowest(kinds, number)


def path_types(sizes: Sizes) -> tuple[np.dtype, np.dtype]:
    """The narrowest unsigned types of a path: of its observation and its outcome."""
    kinds = (np.uint8, np.uint16, np.uint32)

    observation = _narrowest(kinds, sizes.observations - 1)
    outcome = _narrowest(kinds, sizes.outcomes - 1)
    return observation, outcome


def _narrowest(kinds: tuple[type, ...], largest: int) -> np.dtype:
    """The first of these types that holds a number."""
    wide = (kind for kind in kinds if largest <= np.iinfo(kind).max)
    return np.dtype(next(wide))


def record(
    tables: Tables,
    schedule: Array,
    path: Path,
) -> Trajectory:
    """Completes drawn paths `[N, T]` to a trajectory: reward, log-probability, where it is live."""
    sizes = tables.sizes
    flat = flatten(tables)
    kernel = schedule[None, :]
    observation = path.observation.astype(jnp.int32)
    outcome = path.outcome.astype(jnp.int32)
    per_state = sizes.actions * sizes.slots
    state = outcome // per_state
    action = outcome // sizes.slots % sizes.actions
    live = ~look_up(flat.terminal, state)
    seen = kernel * sizes.observations + observation
    taken = seen * sizes.actions + action
    return Trajectory(
        state=state.astype(label_type(sizes.states)),
        observation=observation.astype(label_type(sizes.observations)),
        action=jnp.where(live, action, 0).astype(label_type(sizes.actions)),
        log_prob=jnp.where(live, look_up(flat.log_policy, taken), 0.0),
        reward=look_up(flat.reward, kernel * sizes.outcomes + outcome),
        live=live,
    )
