"""Parts for several agents: whose rule holds where, what a right form earns, and how calls count.

In maths, with the leader the agent that acts first: `ByLeader` gives f(c) on its steps and g(c) on
those of the others. `FormReward` gives m (low + (1 - low) c l), where l is 1 if everything that the
leader wrote has the right form, and m is the same of the step's own unit: of all that the leader
wrote for the leader, of its own turn for another agent. `Aligned` weighs a turn of the others by
its share of a sample of D of the trajectory's turns: if there are more, D of them once each; if
fewer, each once and the rest at random again.

References:
    Hong et al. 2025, arXiv:2511.13288 (M-GRPO: all three).
"""

from __future__ import annotations

import dataclasses
import operator
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_integer, check_range
from casim.estimators.base import Estimator, Part, add_costs, check_taken
from casim.estimators.sources.boundaries import starts
from casim.recurrence import affine_scan
from casim.sums import label_max
from casim.types import Batch, Credit


def leads(
    batch: Batch,
) -> Bool[Array, "P N T"]:
    """The steps of the agent that acts first in each trajectory."""
    first = batch.agent[..., :1]
    return batch.agent == first


@final
@dataclasses.dataclass(frozen=True)
class ByLeader(Estimator):
    """One estimator for the agent that acts first, another for all others; both cost.

    Attributes:
        leader: whose value and weight are those of the leader's steps.
        others: whose are those of the other agents.
    """

    leader: Estimator
    others: Estimator

    @property
    def _both(self) -> tuple[Estimator, Estimator]:
        return self.leader, self.others

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.leader.needs | self.others.needs

    @property
    def judges(self) -> frozenset[str]:
        return self.leader.judges | self.others.judges

    @property
    def ratio_weighted(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.leader.ratio_weighted or self.others.ratio_weighted

    @property
    def stateful(self) -> bool:
        return self.leader.stateful or self.others.stateful

    def init(self, key, world):
        to_leader, to_others = jax.random.split(key)
        leader = self.leader.init(to_leader, world)
        others = self.others.init(to_others, world)
        return leader, others

    def __call__(self, key, world, batch, credit, state):
        before = state or ((), ())
        keys = jax.random.split(key)
        given = []
        after = []
        each_of_both = zip(self._both, keys, before, strict=True)
        for estimator, own, known in each_of_both:
            each, now = estimator(own, world, batch, credit, known)
            check_taken(each, self)
            given.append(each)
            after.append(now)
        first, second = given
        here = leads(batch)
        # What was handed in was paid for once.
        extra = jax.tree.map(operator.sub, second.cost, credit.cost)
        joined = Credit(
            jnp.where(here, first.value, second.value),
            jnp.where(here, first.weight, second.weight),
            add_costs(first.cost, extra),
        )
        return joined, tuple(after)


@final
@dataclasses.dataclass(frozen=True)
class FormReward(Part):
    """What an outcome is worth with the reward for the right form, and nothing in a wrong one.

    Attributes:
        low: earned by the form alone, in [0, 1].
        component: of the reward, which is negative at a step that breaks the form; a batch without
            components breaks none.

    Raises:
        ValueError: a setting out of its range; when called, a batch without this component.
    """

    low: float = 0.1
    component: int = 1
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("low", self.low, 0.0, 1.0)
        check_integer("component", self.component, 0)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        value = credit.value
        if batch.component is None:
            worth = self._worth(value)
            value = jnp.where(batch.live, worth, 0.0)
            return credit._replace(value=value)
        components = batch.component.shape[-1]
        last = components - 1
        check_integer("component", self.component, 0, last)
        every = batch.component
        penalty = every[..., self.component]
        is_broken = penalty < 0
        broken = batch.live & is_broken
        leader = leads(batch)
        of_leader = broken & leader
        by_leader = jnp.any(of_leader, axis=-1, keepdims=True)
        by_others = _in_turn(broken, batch)
        own = jnp.where(leader, by_leader, by_others)
        correct = jnp.where(by_leader, 0.0, value)
        of_own = self._worth(correct)
        worth = jnp.where(own, 0.0, of_own)
        value = jnp.where(batch.live, worth, 0.0)
        return credit._replace(value=value)

    def _worth(
        self,
        value: Float[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        above = (1 - self.low) * value
        return self.low + above


@final
@dataclasses.dataclass(frozen=True)
class Aligned(Estimator):
    """As many turns of every trajectory: some left out, or some counted again, at random.

    A turn weighs how often it is there over D, as in a mean over the aligned turns: those of each
    trajectory count 1 together, however many they are. Agents that act first keep their weights.

    Attributes:
        number: D, turns of a trajectory, at least 1.

    Raises:
        ValueError: a number out of its range.
    """

    number: int = 8
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_integer("number", self.number, 1)

    def __call__(self, key, world, batch, credit, state):
        place, calls = _calls(batch)
        to_drop, to_repeat = jax.random.split(key)
        steps = batch.action.shape[-1]
        draws = jax.random.uniform(to_drop, place.shape, jnp.float32)
        # The draw of a call is that of its first step; those that are no calls come last.
        first = _first_of_calls(batch)
        drawn = jnp.where(first, draws, -1.0)
        label = jnp.where(first, place, steps)
        by_label = label_max(drawn, label, steps + 1)
        by_call = by_label[..., :steps]
        numbers = jnp.arange(steps)
        every = numbers[None, None, :]
        exists = every < calls[..., None]
        existing = jnp.where(exists, by_call, jnp.inf)
        sorted_ = jnp.argsort(existing, axis=-1)
        order = jnp.argsort(sorted_, axis=-1)
        is_among = order < self.number
        kept = exists & is_among
        again = self._again(to_repeat, calls, steps)
        of_row = calls[..., None]
        enough = of_row >= self.number
        refilled = exists + again
        times = jnp.where(enough, kept, refilled)
        call = jnp.clip(place, 0, steps - 1)
        often = jnp.take_along_axis(times, call, axis=-1)
        weight = often / self.number
        leading = leads(batch)
        of_others = jnp.where(leading, 1.0, weight)
        counted = of_others.astype(credit.weight.dtype)
        weight = credit.weight * counted
        return credit._replace(weight=weight), state

    def _again(
        self,
        key: Array,
        calls: Int[Array, "P N"],
        steps: int,
    ) -> Int[Array, "P N T"]:
        """How often each call is drawn again."""
        shape = (*calls.shape, self.number)
        draws = jax.random.uniform(key, shape, jnp.float32)
        call = draws * calls[..., None]
        which = jnp.floor(call)
        which = which.astype(jnp.int32)
        missing = self.number - calls
        numbers = jnp.arange(self.number)
        every = numbers[None, None, :]
        drawn = every < missing[..., None]
        some = calls[..., None] > 0
        refills = drawn & some
        label = jnp.where(refills, which, steps)

        def of_row(
            label: Array,
        ) -> Array:
            nothing = jnp.zeros(steps + 1, jnp.int32)
            times = nothing.at[label].add(1)
            return times[:steps]

        of_group = jax.vmap(of_row)
        return jax.vmap(of_group)(label)


def _first_of_calls(
    batch: Batch,
) -> Bool[Array, "P N T"]:
    """The first decision of each turn of an agent that is not the leader."""
    others = ~leads(batch)
    mine = batch.decided & others
    begins = starts(batch.turn)
    goes_on = jnp.where(begins, 0.0, 1.0)
    own = mine.astype(batch.reward.dtype)
    so_far = affine_scan(goes_on, own)
    return mine & (so_far == 1)


def _calls(
    batch: Batch,
) -> tuple[Int[Array, "P N T"], Int[Array, "P N"]]:
    """Which call of its trajectory a step belongs to, -1 before the first, and their number."""
    first = _first_of_calls(batch)
    so_far = jnp.cumsum(first, axis=-1)
    calls = jnp.sum(first, axis=-1)
    return so_far - 1, calls


def _in_turn(
    mark: Bool[Array, "P N T"],
    batch: Batch,
) -> Bool[Array, "P N T"]:
    """Whether any step of the same turn is marked."""
    begins = starts(batch.turn)
    mark = mark.astype(batch.reward.dtype)
    goes_on = jnp.where(begins, 0.0, 1.0)
    so_far = affine_scan(goes_on, mark)
    next_begins = jnp.roll(begins, -1, axis=-1)
    ends = next_begins.at[..., -1].set(True)
    keep = jnp.where(ends, 0.0, 1.0)
    at_ends = jnp.where(ends, so_far, 0.0)
    whole = affine_scan(keep, at_ends, reverse=True)
    return whole > 0
