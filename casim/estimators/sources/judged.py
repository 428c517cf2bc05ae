"""Judged: what a judge says of the steps, or k of its votes made one.

In maths, with x_1, ..., x_k what it says when asked k times: "average" gives their mean, and of
marks (0 or 1) "majority" gives 1{mean >= 1/2}, "union" 1{any}, "intersection" 1{all}. Where it says
nothing the value is 0.

References:
    Xie et al. 2025, arXiv:2508.02298 (CAPO: the four ways to count votes).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_choice, check_integer
from casim.estimators.base import Source, cost, count, required
from casim.estimators.sources.boundaries import UNITS, starts, unit_of
from casim.recurrence import affine_scan
from casim.simulate import JUDGE, World
from casim.targets import Advantage, Target
from casim.types import Batch

CALLS = (*UNITS, "trajectory")
"""What one call of a judge can be about."""
RULES = ("average", "majority", "union", "intersection")


@final
@dataclasses.dataclass(frozen=True)
class Judged(Source):
    """What a judge says, as it says it; of one that speaks of every action, of the action taken.

    Attributes:
        judge: the name of the judge that it asks.
        unit: what one call is about: a "step", "segment", "turn" or "trajectory". One is paid for
            wherever something is said of it.
        votes: k, how often it is asked, at least 1.
        rule: "average", "majority", "union" or "intersection", see above.
        charged: whether it is paid for; what the environment itself says is not.

    Raises:
        ValueError: a setting out of its range.
    """

    judge: str = JUDGE
    unit: Literal["step", "segment", "turn", "trajectory"] = "step"
    votes: int = 1
    rule: Literal["average", "majority", "union", "intersection"] = "average"
    charged: bool = True
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, CALLS)
        check_integer("votes", self.votes, 1)
        check_choice("rule", self.rule, RULES)

    def give(self, key, world, batch):
        world = required(world, self)
        keys = [key]
        if self.votes > 1:
            keys = list(jax.random.split(key, self.votes))
        said = [asked(own, world, batch, self.judge) for own in keys]
        each = jnp.stack(said)
        given = jnp.isfinite(each) & batch.live[None]
        number = jnp.sum(given, axis=0)
        total = jnp.sum(jnp.where(given, each, 0.0), axis=0)
        mean = total / jnp.maximum(number, 1)
        value = jnp.where(number > 0, self._counted(mean), 0.0)
        if not self.charged:
            return value, cost()
        calls = sum(count(self._called(batch, one)) for one in given)
        return value, cost(judge_calls=calls)

    def _counted(
        self,
        mean: Float[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """What the votes make together; votes are marks but for the average."""
        if self.rule == "average":
            return mean
        if self.rule == "majority":
            agreed = mean >= 0.5
        elif self.rule == "union":
            agreed = mean > 0
        else:
            agreed = mean >= 1
        return agreed.astype(mean.dtype)

    def _called(
        self,
        batch: Batch,
        given: Bool[Array, "P N T"],
    ) -> Bool[Array, "P N T"] | Bool[Array, "P N"]:
        """Where there is a call: at the first step of each unit of which something is said."""
        if self.unit == "step":
            return given
        if self.unit == "trajectory":
            return jnp.any(given, axis=-1)
        begins = starts(unit_of(batch, self.unit))
        goes_on = jnp.where(begins, 0.0, 1.0)
        said = given.astype(batch.reward.dtype)
        so_far = affine_scan(goes_on, said)
        return given & (so_far == 1)


def asked(
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    judge: str,
) -> Float[Array, "P N T"]:
    """What a judge says of each step; NaN where it says nothing."""
    said = world.judge(key, batch, judge)
    if said.ndim == batch.action.ndim:
        return said
    action = batch.action.astype(jnp.int32)
    taken = jnp.take_along_axis(said, action[..., None], axis=-1)
    return taken[..., 0]
