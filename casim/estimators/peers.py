"""Who is compared with whom: the peers of a step, as sums over them.

A ballot is what one trajectory says in one class of peers: the sum of its votes there, and their
number. Classes are within a prompt, but for those of the whole batch. Where every member of a class
is a peer of every other, totals are sums over trajectories; where it depends on the pair (equal
length, equal prefix), they are sums over pairs.
"""

from __future__ import annotations

import abc
import dataclasses
from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.ops import shift_left, shift_right
from casim.simulate import World
from casim.sums import label_max, label_sum
from casim.types import Batch


class Peers(abc.ABC):
    """The classes of one kind of peers in one batch; L is the number of classes in a prompt.

    Unless a kind says otherwise, all trajectories of the group are peers.
    """

    @abc.abstractmethod
    def ballot(self, x: Float[Array, "P N T"]) -> Float[Array, "P N L"]:
        """Sums over the steps of each trajectory in each class."""

    @abc.abstractmethod
    def largest_vote(self, x: Float[Array, "P N T"]) -> Float[Array, "P N L"]:
        """The largest in each class."""

    def spread(self, y: Float[Array, "#P #N L"]) -> Float[Array, "#P #N #T"]:
        """Gives every step what its class has; one class is broadcast."""
        return y

    def total(self, y: Float[Array, "P N L"]) -> Float[Array, "#P #N L"]:
        """Sums over the peers of each trajectory, its own ballot included.

        Where they are the same for all, one stands for all.
        """
        return jnp.sum(
            y,
            axis=1,
            keepdims=True,
        )

    def largest(self, y: Float[Array, "P N L"]) -> Float[Array, "#P #N L"]:
        """The largest ballot among the peers."""
        return jnp.max(
            y,
            axis=1,
            keepdims=True,
        )


class OneClass(Peers):
    """All steps of a trajectory are in one class."""

    def ballot(self, x):
        return jnp.sum(x, axis=-1, keepdims=True)

    def largest_vote(self, x):
        return jnp.max(x, axis=-1, keepdims=True)


class ByStep(Peers):
    """Every step is a class."""

    def ballot(self, x):
        return x

    def largest_vote(self, x):
        return x


@final
class Group(OneClass):
    """All steps of the group."""


@final
class Everyone(OneClass):
    """All steps of the batch, whatever their prompt."""

    def total(self, y):
        return jnp.sum(
            y,
            axis=(0, 1),
            keepdims=True,
        )

    def largest(self, y):
        return jnp.max(
            y,
            axis=(0, 1),
            keepdims=True,
        )


@final
class Step(ByStep):
    """The same step of the group."""


@final
@dataclasses.dataclass
class Labelled(Peers):
    """Steps of the group with the same label."""

    label: Int[Array, "P N T"]
    size: int
    """Number of labels."""

    def ballot(self, x):
        return label_sum(x, self.label, self.size)

    def largest_vote(self, x):
        return label_max(x, self.label, self.size)

    def spread(self, y):
        return jnp.take_along_axis(y, self.label, axis=-1)


@final
@dataclasses.dataclass
class Everywhere(Peers):
    """The same classes, but of the whole batch."""

    within: Peers

    def ballot(self, x):
        return self.within.ballot(x)

    def largest_vote(self, x):
        return self.within.largest_vote(x)

    def spread(self, y):
        return self.within.spread(y)

    def total(self, y):
        return jnp.sum(
            y,
            axis=(0, 1),
            keepdims=True,
        )

    def largest(self, y):
        return jnp.max(
            y,
            axis=(0, 1),
            keepdims=True,
        )


@final
@dataclasses.dataclass
class Paired(OneClass):
    """Trajectories of the group that are alike."""

    alike: Bool[Array, "P N N"]

    def total(self, y):
        member = self.alike.astype(y.dtype)
        return jnp.einsum(
            "pnm,pml->pnl",
            member,
            y,
            precision="highest",
        )

    def largest(self, y):
        seen = jnp.where(
            self.alike[..., None],
            y[:, None],
            -jnp.inf,
        )
        return jnp.max(seen, axis=2)


@final
@dataclasses.dataclass
class PairedSteps(ByStep):
    """The same step of those trajectories of the group that are alike up to it."""

    alike: Bool[Array, "P N N T"]

    def total(self, y):
        seen = jnp.where(self.alike, y[:, None], 0.0)
        return jnp.sum(seen, axis=2)

    def largest(self, y):
        seen = jnp.where(self.alike, y[:, None], -jnp.inf)
        return jnp.max(seen, axis=2)


def group(world: World | None, batch: Batch) -> Peers:
    """All steps of the group."""
    return Group()


def everyone(world: World | None, batch: Batch) -> Peers:
    """All steps of the batch."""
    return Everyone()


def step(world: World | None, batch: Batch) -> Peers:
    """The same step of the group."""
    return Step()


def turn(world: World | None, batch: Batch) -> Peers:
    """Steps of the same turn; a log may have as many turns as steps."""
    size = batch.action.shape[-1] if world is None else world.num_turns
    return Labelled(batch.turn.astype(jnp.int32), size)


def agent(world: World | None, batch: Batch) -> Labelled:
    """Steps of the same agent."""
    if world is None:
        return _by_rank(batch.agent)
    # Agents may have any numbers.
    size = world.num_agents
    _, number = jnp.unique(
        world.agent,
        return_inverse=True,
        size=size,
    )
    return Labelled(jnp.broadcast_to(number, batch.action.shape), size)


def everywhere(world: World | None, batch: Batch) -> Peers:
    """Steps of the same agent in the whole batch."""
    if world is not None:
        return Everywhere(agent(world, batch))
    one_prompt = batch.agent.reshape(1, -1, batch.agent.shape[-1])
    number = _by_rank(one_prompt)
    return Everywhere(Labelled(number.label.reshape(batch.agent.shape), number.size))


def anchor(world: World | None, batch: Batch) -> Labelled:
    """Steps with the same observation, whenever."""
    if world is None:
        return _by_rank(batch.observation)
    return Labelled(batch.observation.astype(jnp.int32), world.num_observations)


def recent(
    world: World | None,
    batch: Batch,
    memory: int,
) -> Peers:
    """Decisions whose last observations, so many of them and their own included, are the same.

    Only what was seen at decisions counts. One with fewer decisions before it is like no other.
    """
    seen = batch.observation.astype(jnp.int32)
    _, members, steps = seen.shape
    place = jnp.arange(members * steps, dtype=jnp.int32)
    place = place.reshape(members, steps)
    unlike = jnp.broadcast_to(-1 - place, seen.shape)
    before = previous_decision(batch)
    label = paired(seen, jnp.zeros_like(seen))
    for _ in range(memory - 1):
        earlier = jnp.take_along_axis(
            label,
            jnp.maximum(before, 0),
            axis=-1,
        )
        # What has nothing before it was already like no other, or becomes so now.
        label = paired(
            seen,
            jnp.where(
                before >= 0,
                earlier,
                unlike,
            ),
        )
    return Labelled(label, place.size)


def state(world: World | None, batch: Batch) -> Peers:
    """Steps in the same latent state, whenever."""
    if world is None:
        return _by_rank(batch.state)
    return Labelled(world.privileged(batch).astype(jnp.int32), world.num_states)


def length(world: World | None, batch: Batch) -> Peers:
    """Trajectories with as many live steps."""
    steps = jnp.sum(batch.live, axis=-1)
    return Paired(steps[:, :, None] == steps[:, None, :])


def prefix(world: World | None, batch: Batch) -> Peers:
    """The same step of trajectories with the same observations so far and actions before."""
    first_step = ((0, 0), (0, 0), (1, 0))
    before = jnp.pad(batch.action[..., :-1], first_step)
    prompts, members, steps = batch.live.shape
    alike = jnp.ones((prompts, members, members, steps), bool)
    for seen in (batch.observation, before):
        alike = alike & (seen[:, :, None] == seen[:, None])
    differs = ~alike
    return PairedSteps(jnp.cumsum(differs, axis=-1) == 0)


KINDS = {
    "group": group,
    "batch": everyone,
    "step": step,
    "turn": turn,
    "agent": agent,
    "batch_agent": everywhere,
    "anchor": anchor,
    "state": state,
    "length": length,
    "prefix": prefix,
}
"""Each kind of peers, by the name that is a setting of `Baseline`."""
WHOLE = ("group", "batch", "length")
"""The kinds that compare trajectories as a whole, and not their steps."""


def _by_rank(label: Int[Array, "P N T"]) -> Labelled:
    """Labels of any size, numbered anew in each prompt, as many as there are steps."""
    _, num, steps = label.shape
    size = num * steps

    def of_prompt(label: Array) -> Array:
        return jnp.unique(
            label,
            return_inverse=True,
            size=size,
        )[1].reshape(label.shape)

    return Labelled(jax.vmap(of_prompt)(label), size)


def coverage(
    world: World | None,
    batch: Batch,
    kind: str = "anchor",
    memory: int = 1,
) -> Float[Array, " T"]:
    """How many of the decisions at each step have a peer: P(n >= 2) of their classes in the batch.

    NaN at a step without decisions.

    Args:
        world: None for a log.
        batch: whose coverage.
        kind: of peers, a key of `KINDS`.
        memory: for anchors, see `Baseline`.
    """
    peers = (
        recent(
            world,
            batch,
            memory,
        )
        if memory > 1
        else KINDS[kind](world, batch)
    )
    decided = batch.decided & batch.counted[..., None]
    number = peers.total(peers.ballot(decided.astype(float)))
    met = decided & (peers.spread(number) >= 2)
    every = jnp.sum(decided, axis=(0, 1))
    return jnp.sum(met, axis=(0, 1)) / jnp.where(
        every > 0,
        every,
        jnp.nan,
    )


def paired(
    first: Int[Array, "P N T"],
    second: Int[Array, "P N T"],
) -> Int[Array, "P N T"]:
    """One label for each pair of labels that a prompt has, below its number of steps."""

    def of_prompt(first: Array, second: Array) -> Array:
        one, other = first.reshape(-1), second.reshape(-1)
        order = jnp.lexsort((other, one))
        ordered = jnp.stack([one[order], other[order]])
        differs = ordered[:, 1:] != ordered[:, :-1]
        new = jnp.any(differs, axis=0)
        is_new = jnp.pad(new, (1, 0)).astype(jnp.int32)
        rank = jnp.cumsum(is_new)
        label = jnp.zeros_like(rank).at[order].set(rank)
        return label.reshape(first.shape)

    return jax.vmap(of_prompt)(first, second)


def previous_decision(batch: Batch) -> Int[Array, "P N T"]:
    """The step of the last decision before each step, -1 where there is none."""
    steps = jnp.arange(batch.action.shape[-1], dtype=jnp.int32)
    own = jnp.where(batch.decided, steps, -1)
    so_far = jax.lax.cummax(own, axis=own.ndim - 1)
    return shift_right(so_far, -1)


def next_decision(batch: Batch) -> Int[Array, "P N T"]:
    """The step of the first decision after each step, the number of steps where there is none."""
    size = batch.action.shape[-1]
    steps = jnp.arange(size, dtype=jnp.int32)
    own = jnp.where(batch.decided, steps, size)
    from_here = jax.lax.cummin(
        own,
        axis=own.ndim - 1,
        reverse=True,
    )
    return shift_left(from_here, size)


def ends_of_turns(batch: Batch) -> Bool[Array, "P N T"]:
    """The last decision of each turn of a trajectory."""
    after = next_decision(batch)
    last = batch.action.shape[-1]
    turn = jnp.take_along_axis(
        batch.turn,
        jnp.minimum(after, last - 1),
        axis=-1,
    )
    return batch.decided & ((after == last) | (turn != batch.turn))
