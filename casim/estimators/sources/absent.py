"""What a unit earned more than its absence would have: replays with a default action.

In maths, for a unit of steps with first step f, G_f the return from f on and `null` the default
action, where the rest "plays",

    c = G_f - mean over replays of G_f | s_f restored, `null` in all of the unit, then the policy;

its mean is the counterfactual E[G_f | the unit as taken] - E[G_f | null]. Where the rest is "kept",
with v(S) = E[return | s_0, the units of S as taken, the others `null` or drawn from the policy],

    c = a sample of v(all) - v(all but the unit),

replayed from the start under shared noise: the difference reward. It keeps what the others did,
also in answer to the unit: for agents that see no one it has the exact gradient, for others not.

References:
    Wolpert and Tumer 2002 (difference rewards); Li et al. 2026, arXiv:2603.21563 (CCPO: a solo
    run).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice, check_integer
from casim.discounts import product
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    count,
    discount_of,
    episode_return,
    keeps_discount,
    required,
)
from casim.estimators.sources.boundaries import Unit, units
from casim.ops import mean
from casim.simulate import World
from casim.targets import Counterfactual, Difference, Target
from casim.types import Batch, Trajectory, recorded

PLAYERS = ("step", "segment", "turn", "agent")
"""Units that can be absent."""
Player = Unit | Literal["agent"]
"""One of `PLAYERS`."""


@final
@dataclasses.dataclass(frozen=True)
class Without(Source):
    """The return less that of a replay without the unit, on all of its steps.

    Attributes:
        unit: "step", "segment", "turn", or "agent" with all that it does.
        null: the action of who is absent; None draws the policy's.
        rest: who acts after the unit "plays" as the policy does, or is "kept" to what it did.
        num_replays: at least 1.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range, or a null action where the rest plays that is none.
    """

    unit: Player = "turn"
    null: int | None = 0
    rest: Literal["plays", "kept"] = "plays"
    num_replays: int = 1
    discount: float | None = None
    granularity: ClassVar[str] = "turn"
    methodology: ClassVar[str] = "game_theoretic"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"target"})

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, PLAYERS)
        check_choice("rest", self.rest, ("plays", "kept"))
        check_integer("num_replays", self.num_replays, 1)
        check_discount(self.discount)
        if self.null is not None:
            check_integer("null", self.null, 0)
        elif self.rest == "plays":
            raise ValueError("null must be an action where the rest plays, got None")

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.rest == "kept":
            return Difference(self.unit, self.null)
        assert self.null is not None
        # An agent that acts in one turn is absent in that turn.
        run = "turn" if self.unit == "agent" else self.unit
        return Counterfactual(self.null, run)

    def claims(self, discount: float) -> frozenset[str]:
        # The return of a longer unit knows what happened within it, the counterfactual does not.
        exact = self.rest == "kept" or self.unit == "step"
        kept = keeps_discount(self.discount, discount)
        return self.unbiased if exact and kept else frozenset()

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        label, size = players(world, self.unit)
        whole = jnp.zeros(batch.action.shape[:-1])
        paid = jnp.zeros(())
        if self.rest == "kept":
            nobody = jnp.zeros(label.shape, bool)
            whole, paid = self._replayed(key, world, batch, nobody, discount)

        def of_unit(index: Int[Array, ""]) -> tuple[Array, Array]:
            member = label == index
            if self.rest == "kept":
                without, played = self._replayed(key, world, batch, member, discount)
                return whole - without, played
            joint, solo, played = self.branched(key, world, batch, member, discount)
            return joint - solo, played

        gain, played = jax.lax.map(of_unit, jnp.arange(size))
        credit = jnp.moveaxis(gain, 0, -1)[..., label]
        shown = batch.live & batch.counted[..., None]
        used = paid + jnp.sum(played)
        return jnp.where(shown, credit, 0.0), cost(env_steps=used)

    def branched(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        member: Bool[Array, " T"],
        discount: Array | float,
    ) -> tuple[Float[Array, "P N"], Float[Array, "P N"], Float[Array, ""]]:
        """The return from the unit's first step on, that of replays without it, and their steps."""
        assert self.null is not None
        first = jnp.argmax(member)
        imposed = jnp.where(member & world.decision, self.null, -1)
        actions = jnp.broadcast_to(imposed, batch.action.shape)
        replay = world.branch(key, batch, first, self.num_replays, actions=actions)
        returns = return_from(replay, first, discount)
        solo = mean(returns, axis=-1)[..., 0]
        joint = return_from(recorded(batch), first, discount)
        return joint, solo, lived_from(replay, first)

    def _replayed(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        absent: Bool[Array, " T"],
        discount: Array | float,
    ) -> tuple[Float[Array, "P N"], Float[Array, ""]]:
        """The return of replays from the start without what is absent, and their steps."""
        gone = jnp.broadcast_to(absent & world.decision, batch.action.shape)
        keep = ~gone
        if self.null is not None:
            # What is not there plays the default action, also after the trajectory's own end.
            instead = gone | (~batch.live & batch.decision)
            action = jnp.where(instead, self.null, batch.action)
            batch = batch._replace(
                action=action.astype(batch.action.dtype),
                live=jnp.ones_like(batch.live),
            )
            keep = jnp.ones_like(keep)
        replay = world.intervene(key, batch, keep, self.num_replays)
        returns = episode_return(replay, discount)
        return mean(returns, axis=-1)[..., 0], count(replay.live)


def players(
    world: World,
    unit: Player,
) -> tuple[Int[Array, " T"], int]:
    """The unit of each step of a world, and how many there are."""
    if unit == "agent":
        return world.agent, world.num_agents
    return units(world, unit)


def return_from(
    batch: Trajectory,
    first: Int[Array, ""],
    discount: Array | float,
) -> Float[Array, "*rows"]:
    """The return from a step on, discounted to it."""
    weight = weight_from(first, batch.reward.shape, discount)
    return jnp.sum(batch.reward * weight, axis=-1)


def weight_from(
    first: Int[Array, ""],
    shape: tuple[int, ...],
    discount: Array | float,
) -> Float[Array, "*shape"]:
    """What each step counts from a step on: the discounts between them; 0 before it."""
    steps = jnp.arange(shape[-1])
    weight = product(jnp.asarray(discount), first, steps)
    ahead = jnp.where(steps >= first, weight, 0.0)
    return jnp.broadcast_to(ahead, shape)


def lived_from(
    batch: Trajectory,
    first: Int[Array, ""],
) -> Float[Array, ""]:
    """How many live steps there are from a step on."""
    steps = jnp.arange(batch.live.shape[-1])
    after = jnp.broadcast_to(steps >= first, batch.live.shape)
    return count(batch.live & after)
