"""What an estimator is given instead: another reward, or the values of a critic that all share.

In maths, of an estimator f: `Rewarded(f)` is f of episodes that earn c_t, the credit handed in, in
the place of r_t. `FittedValues(f, critic)` and `JudgedValues(f, judge)` are f of a batch that
brings values v(o_t): those of one table, or r_{t-1} + v_t as a judge says after step t - 1, less
r_{t-1}. `JudgedComponents(f, judge)` is f of a batch whose reward has two components: what a judge
says of each unit, at its last decision, and the reward.

References:
    That these are estimators of estimators is casim's own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.estimators.base import Estimator, add_costs, begin, check_taken, cost, count, required
from casim.estimators.sources.tables import TableCritic
from casim.estimators.sources.turns import last_decisions
from casim.ops import shift_right
from casim.simulate import JUDGE, World
from casim.targets import Target
from casim.types import Batch, Cost, Credit


class _Given(Estimator):
    """What runs another estimator on a changed batch: its taxonomy is that of the other."""

    each: Estimator

    @property
    def granularity(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.granularity

    @property
    def methodology(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.methodology

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.target

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.needs

    @property
    def judges(self) -> frozenset[str]:
        return self.each.judges

    @property
    def ratio_weighted(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.ratio_weighted

    @property
    def stateful(self) -> bool:
        return self.each.stateful

    def init(self, key, world):
        return self.each.init(key, world)


@final
@dataclasses.dataclass(frozen=True)
class Rewarded(_Given):
    """The credit handed in is the reward of what is inside.

    A critic that is fitted inside is fitted to the rewards of the world all the same: with lambda 1
    it is a baseline, whatever it says.

    Attributes:
        each: what is run on the batch with that reward.
    """

    each: Estimator

    def __call__(self, key, world, batch, credit, state):
        check_taken(credit, self)
        changed = batch._replace(reward=credit.value)
        given, state = self.each(key, world, changed, begin(changed), state)
        weight = credit.weight * given.weight
        return Credit(given.value, weight, add_costs(credit.cost, given.cost)), state


@final
@dataclasses.dataclass(frozen=True)
class FittedValues(_Given):
    """One critic for all that is inside, fitted once.

    Attributes:
        each: what is run on the batch with the values of the critic.
        critic: whose table it is, and how that is fitted; of a batch without values.
    """

    each: Estimator
    critic: TableCritic

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.needs | self.critic.needs

    def __call__(self, key, world, batch, credit, state):
        fitted, own = jax.random.split(key)
        value, used = self.critic.values(fitted, world, batch)
        return _of(self.each, own, world, batch._replace(value=value), credit, state, used)


@final
@dataclasses.dataclass(frozen=True)
class JudgedValues(_Given):
    """A judge of values is the critic of what is inside: exact if the judge is.

    A log's own values come first. Where the judge says nothing the value is 0.

    Attributes:
        each: what is run on the batch with the values of the judge.
        judge: the name of the judge that it asks.
    """

    each: Estimator
    judge: str = JUDGE

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.each.needs - {"critic"}) | {"judge"}

    @property
    def judges(self) -> frozenset[str]:
        return self.each.judges | {self.judge}

    def __call__(self, key, world, batch, credit, state):
        asked, own = jax.random.split(key)
        if batch.value is not None:
            return self.each(own, world, batch, credit, state)
        world = required(world, self)
        score = world.judge(asked, batch, self.judge)
        start = world.judge_prompt(asked, batch, self.judge)
        said = jnp.isfinite(score)
        calls = count(said) + math.prod(start.shape)
        value = values_before(jnp.where(said, score, batch.reward), start, world, batch)
        used = cost(judge_calls=calls)
        return _of(self.each, own, world, batch._replace(value=value), credit, state, used)


@final
@dataclasses.dataclass(frozen=True)
class JudgedComponents(_Given):
    """The reward in two components: what a judge says of each turn, and the world's.

    The judge is heard at the last decision of each turn. A log's own components come first.

    Attributes:
        each: what is run on the batch with these components.
        judge: the name of the judge that it asks.
    """

    each: Estimator
    judge: str = JUDGE

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.needs | {"judge"}

    @property
    def judges(self) -> frozenset[str]:
        return self.each.judges | {self.judge}

    def __call__(self, key, world, batch, credit, state):
        asked, own = jax.random.split(key)
        if batch.component is not None:
            return self.each(own, world, batch, credit, state)
        score = required(world, self).judge(asked, batch, self.judge)
        heard = last_decisions(batch) & jnp.isfinite(score)
        turns = jnp.where(heard, score, 0.0)
        changed = batch._replace(component=jnp.stack([turns, batch.reward], axis=-1))
        used = cost(judge_calls=count(heard))
        return _of(self.each, own, world, changed, credit, state, used)


def values_before(
    score: Float[Array, "P N T"],
    start: Float[Array, "P N"],
    world: World,
    batch: Batch,
) -> Float[Array, "P N T"]:
    """The value before each step, of what a judge says after it: reward and discounted value."""
    each = jnp.broadcast_to(world.discount, batch.reward.shape)
    safe = jnp.where(each > 0, each, 1.0)
    later = jnp.where(each > 0, (score - batch.reward) / safe, 0.0)
    value = shift_right(later).at[..., 0].set(start)
    return jnp.where(batch.live, value, 0.0)


def _of(
    each: Estimator,
    key: Array,
    world: World | None,
    batch: Batch,
    credit: Credit,
    state: object,
    used: Cost,
) -> tuple[Credit, object]:
    """What an estimator gives to a changed batch, and what the change cost on top."""
    given, state = each(key, world, batch, credit, state)
    return given._replace(cost=add_costs(given.cost, used)), state
