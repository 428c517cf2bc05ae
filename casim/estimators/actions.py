"""Credit of all actions of a step, taken or not.

In maths: `OnTaken` gives 1{a = a_t} c_t / pi(a_t | o_t) to each action a, which has the mean
E[c_t | o_t, a] and the same gradient, sum_a grad pi(a | o_t) C_t(a) = c_t grad log pi(a_t | o_t).
`Answers` gives what a judge says, of the step or of every action of it. `LessAverage` gives
c(a_t) - sum_b pi(b | o_t) c(b), the action taken beside what the policy would have done.

References:
    Meulemans et al. 2023, arXiv:2306.16803 (credit of the action taken as credit of all actions);
    Foerster et al. 2018, arXiv:1705.08926 (COMA: less the average of one agent's actions).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp

from casim.estimators.base import Part, Source, check_taken, cost, count, required
from casim.simulate import JUDGE


@final
@dataclasses.dataclass(frozen=True)
class OnTaken(Part):
    """The value of the action taken, over its probability, as credit of all actions.

    The others get 0, and so does an action that the policy never takes.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        world = required(world, self)
        chance = world.probability(batch)
        actions = chance.shape[-1]
        taken = jax.nn.one_hot(batch.action, actions, dtype=chance.dtype)
        possible = chance > 0
        safe = jnp.where(possible, chance, 1.0)
        each = taken / safe
        share = jnp.where(possible, each, 0.0)
        value = credit.value[..., None] * share
        return credit._replace(value=value)


@final
@dataclasses.dataclass(frozen=True)
class Answers(Source):
    """What a judge says of each step, or of every action of it; 0 where it says nothing.

    Attributes:
        judge: its name.
    """

    judge: str = JUDGE
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def give(self, key, world, batch):
        world = required(world, self)
        said = world.judge(key, batch, self.judge)
        counted = batch.counted[..., None]
        live = batch.live & counted
        of_actions = said.ndim > live.ndim
        where = live[..., None] if of_actions else live
        given = jnp.isfinite(said) & where
        used = cost(judge_calls=count(given))
        value = jnp.where(given, said, 0.0)
        return value, used


@final
@dataclasses.dataclass(frozen=True)
class LessAverage(Part):
    """The credit of the action taken, of those of all actions, less their mean under the policy."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        value = credit.value
        if value.ndim == credit.weight.ndim:
            raise ValueError("LessAverage must be given credit of all actions, got that of one")
        world = required(world, self)
        chance = world.probability(batch)
        action = batch.action.astype(jnp.int32)
        place = action[..., None]
        taken = jnp.take_along_axis(value, place, axis=-1)
        # Differences first, so that equal credit gives exactly 0.
        gain = taken - value
        weighed = chance * gain
        less = jnp.sum(weighed, axis=-1)
        value = jnp.where(batch.live, less, 0.0)
        return credit._replace(value=value)
