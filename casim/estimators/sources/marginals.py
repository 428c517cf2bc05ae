"""Marginal contributions: what a unit of steps adds to all others, by reruns without it.

In maths, for a unit i of steps (those of an agent, say), with v(S) = E[R | s_0, a_t as taken for t
in the units of S, what is absent elsewhere] and the environment's noise drawn afresh:

    c_t = v(all) - v(all but i)    for the steps t of i.

What is absent draws the policy's action (the aristocrat utility) or plays a default action (the
wonderful life utility). v(all) is the return of the trajectory itself, or that of reruns which
share their noise with those without the unit, so that they cancel where its absence changes
nothing. Every unit and trajectory costs an episode, and another one if v(all) is rerun.

Others stay as they were, whatever they heard of the unit. Where they act at the same time, v(all
but i) does not depend on what i did, and the gradient is exact; where they react, it is not, and
the credit leaves out what comes of the reaction.

References:
    Wolpert and Tumer 2002 (difference rewards, wonderful life and aristocrat utility).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Key

from casim.checks import check_choice, check_integer
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
from casim.estimators.sources.players import UNITS, Unit, players
from casim.ops import segment_broadcast
from casim.simulate import World
from casim.targets import Difference, Target
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Marginal(Source):
    """What is lost without the step's unit, all others being present.

    Attributes:
        unit: "segment", "turn" or "agent".
        null: the action of what is absent; None draws the policy's.
        num_reruns: without each unit, at least 1.
        whole: what all units are worth: the return that was "observed", or that of as many reruns
            ("rerun").
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    unit: Unit = "segment"
    null: int | None = None
    num_reruns: int = 1
    whole: Literal["observed", "rerun"] = "rerun"
    discount: float | None = None
    granularity: ClassVar[str] = "segment"
    methodology: ClassVar[str] = "game_theoretic"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"target"})

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)
        check_integer("num_reruns", self.num_reruns, 1)
        check_choice("whole", self.whole, ("observed", "rerun"))
        check_discount(self.discount)
        if self.null is not None:
            check_integer("null", self.null, 0)

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return Difference(self.unit, self.null)

    def claims(self, discount: float) -> frozenset[str]:
        exact = self.whole == "rerun" and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def give(self, key, world, batch):
        world = required(world, self)
        owner, number = players(world, self.unit)
        discount = discount_of(world, batch, self.discount)

        def worth(absent: Bool[Array, " T"]) -> tuple[Array, Array]:
            """The mean return with the steps of some units absent, and the steps it took."""
            rerun = self._rerun(key, world, batch, absent)
            returns = episode_return(rerun, discount)
            return jnp.mean(returns, axis=-1), count(rerun.live)

        def without(unit: Array) -> tuple[Array, Array]:
            return worth(owner == unit)

        missing, used = jax.lax.map(without, jnp.arange(number))
        total = jnp.sum(used)
        if self.whole == "observed":
            everyone = episode_return(batch, discount)
        else:
            everyone, more = worth(jnp.zeros(owner.shape, bool))
            total = total + more
        lost = everyone[..., None] - jnp.moveaxis(missing, 0, -1)
        credit = segment_broadcast(lost, owner)
        return jnp.where(batch.live, credit, 0.0), cost(env_steps=total)

    def _rerun(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        absent: Bool[Array, " T"],
    ):
        """Reruns of every trajectory, as taken but for the steps that are absent."""
        kept = jnp.broadcast_to(~absent, batch.action.shape)
        if self.null is None:
            return world.intervene(key, batch, kept, self.num_reruns)
        check_integer("null", self.null, 0, world.num_actions - 1)
        default = jnp.where(batch.decision, self.null, 0)
        taken = jnp.where(kept & batch.live, batch.action, default)
        # What the trajectory did not live to see is absent too.
        imposed = batch._replace(
            action=taken.astype(batch.action.dtype),
            live=jnp.ones_like(batch.live),
        )
        everywhere = jnp.ones_like(batch.live)
        return world.intervene(key, imposed, everywhere, self.num_reruns)
