"""Values of units beside each other: faded, blended, clipped, and weighed by hindsight.

In maths, for the live units k = 0, ..., K - 1 of a trajectory, whose value v_k all their steps
share: `FadeUnits` gives discount^(K - 1 - k) v_k; `Blend` gives (1 - share) v_k + share v_{k+1}, or
the mean of both neighbours in the place of v_{k+1}; `NoHarm` gives max(v, 0) on a success;
`Clipped` gives min(max(v, low), high). `ByHindsight` gives rho_k v_k, where, with D(k) the
decisions of the unit and h(a | ..) how likely a judge holds the action to have been, now that the
outcome is known,

    p_k = exp((1 / temperature) mean_{t in D(k)} log h(a_t | ..)),
    rho_k = clip(p_k / mean_j p_j)

over the units of its own trajectory, or over what the policy would have given, exp((1 /
temperature) mean log pi). A unit that decides nothing has p = 1: no other has more.

References:
    Tan et al. 2026, arXiv:2603.08754 (HCAPO), and RainyFields/Agentic-RL-CA, core_hcapo.py.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import (
    Estimator,
    Part,
    add_costs,
    check_taken,
    cost,
    count,
    policy_log_prob_of,
    required,
)
from casim.estimators.sources.boundaries import UNITS, Unit
from casim.estimators.sources.returns import posterior_of
from casim.estimators.units import decisions, run_starts, run_total
from casim.ops import shift_left, shift_right
from casim.recurrence import affine_scan
from casim.simulate import JUDGE, World
from casim.types import Batch

LEAST = 1e-30
"""The least probability of which a logarithm is taken."""


@final
@dataclasses.dataclass(frozen=True)
class FadeUnits(Part):
    """The value times a discount for each live unit that follows.

    Attributes:
        discount: per unit, in [0, 1].
        unit: "step", "segment" or "turn".

    Raises:
        ValueError: a setting out of its range.
    """

    discount: float = 0.95
    unit: Unit = "turn"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("discount", self.discount, 0.0, 1.0)
        check_choice("unit", self.unit, UNITS)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        begins = _live_starts(batch, self.unit)
        so_far = jnp.cumsum(begins, axis=-1)
        left = so_far[..., -1:] - so_far
        kept = jnp.asarray(self.discount, credit.value.dtype) ** left
        return credit._replace(value=kept * credit.value)


@final
@dataclasses.dataclass(frozen=True)
class Blend(Part):
    """The value of a unit mixed with that of its neighbours; one that has none keeps its own.

    Attributes:
        share: of the neighbours, in [0, 1].
        neighbours: the "next" unit, or "both" that there are, with their mean.
        unit: "step", "segment" or "turn".

    Raises:
        ValueError: a setting out of its range.
    """

    share: float = 0.5
    neighbours: Literal["next", "both"] = "next"
    unit: Unit = "turn"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("share", self.share, 0.0, 1.0)
        check_choice("neighbours", self.neighbours, ("next", "both"))
        check_choice("unit", self.unit, UNITS)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        begins = run_starts(batch, self.unit)
        total, number = self._of_next(batch, credit.value, begins)
        if self.neighbours == "both":
            before, one = self._of_last(batch, credit.value, begins)
            total, number = total + before, number + one
        others = total / jnp.maximum(number, 1.0)
        share = jnp.where(number > 0, self.share, 0.0)
        mixed = (1.0 - share) * credit.value + share * others
        return credit._replace(value=jnp.where(batch.live, mixed, 0.0))

    def _of_next(
        self,
        batch: Batch,
        value: Float[Array, "P N T"],
        begins: Bool[Array, "P N T"],
    ) -> tuple[Float[Array, "P N T"], Float[Array, "P N T"]]:
        """The value of the next live unit on every step, and 1 where there is one."""
        ends = shift_left(begins, True)
        there = ends & shift_left(batch.live, False)
        within = jnp.where(ends, 0.0, 1.0)
        after = jnp.where(there, shift_left(value), 0.0)
        one = there.astype(value.dtype)
        value = affine_scan(within, after, reverse=True)
        number = affine_scan(within, one, reverse=True)
        return value, number

    def _of_last(
        self,
        batch: Batch,
        value: Float[Array, "P N T"],
        begins: Bool[Array, "P N T"],
    ) -> tuple[Float[Array, "P N T"], Float[Array, "P N T"]]:
        """The value of the unit before on every step, and 1 where there is one."""
        there = begins & shift_right(batch.live, False)
        within = jnp.where(begins, 0.0, 1.0)
        before = jnp.where(there, shift_right(value), 0.0)
        one = there.astype(value.dtype)
        return affine_scan(within, before), affine_scan(within, one)


@final
@dataclasses.dataclass(frozen=True)
class NoHarm(Part):
    """Negative values become 0 in trajectories that succeeded: their rewards add up to more than 0.

    It makes what is left positive on average, whatever the actions were worth.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        earned = jnp.where(batch.live, batch.reward, 0.0)
        success = jnp.sum(earned, axis=-1, keepdims=True) > 0
        spared = success & (credit.value < 0)
        return credit._replace(value=jnp.where(spared, 0.0, credit.value))


@final
@dataclasses.dataclass(frozen=True)
class Clipped(Part):
    """The value within bounds.

    Attributes:
        bounds: the least and the largest value, in order.

    Raises:
        ValueError: bounds that are not in order.
    """

    bounds: tuple[float, float] = (-5.0, 5.0)
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        low, high = self.bounds
        check_range("bounds[0]", low, -1e12, 1e12)
        check_range("bounds[1]", high, low, 1e12)

    def apply(self, world, batch, credit):
        inside = jnp.clip(credit.value, *self.bounds)
        return credit._replace(value=inside)


@final
@dataclasses.dataclass(frozen=True)
class ByHindsight(Estimator):
    """The value times how likely a judge holds the unit's actions, beside other units.

    Where the judge says nothing the policy's own probability stands. The judge is paid for every
    live unit: it reads one at once.

    Attributes:
        judge: the name of one that gives the posterior of all actions, as
            `casim.graders.Posterior`.
        temperature: positive; the larger, the nearer all units are to each other.
        beside: the mean over the "trajectory", or what the "policy" gives the same actions.
        bounds: of the ratio, at least 0 and in order; None bounds nothing.
        unit: "step", "segment" or "turn".

    Raises:
        ValueError: a setting out of its range.
    """

    judge: str = JUDGE
    temperature: float = 5.0
    beside: Literal["trajectory", "policy"] = "trajectory"
    bounds: tuple[float, float] | None = (0.8, 1.2)
    unit: Unit = "turn"
    methodology: ClassVar[str] = "model_based"
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 1e-6, math.inf)
        check_choice("beside", self.beside, ("trajectory", "policy"))
        check_choice("unit", self.unit, UNITS)
        if self.bounds is not None:
            low, high = self.bounds
            check_range("bounds[0]", low, 0.0, math.inf)
            check_range("bounds[1]", high, low, math.inf)

    def __call__(self, key, world, batch, credit, state):
        check_taken(credit, self)
        world = required(world, self)
        ratio = self._ratio(key, world, batch)
        if self.bounds is not None:
            ratio = jnp.clip(ratio, *self.bounds)
        asked = count(_live_starts(batch, self.unit))
        paid = add_costs(credit.cost, cost(judge_calls=asked))
        value = jnp.where(batch.live, ratio * credit.value, 0.0)
        return credit._replace(value=value, cost=paid), state

    def _ratio(
        self,
        key: Array,
        world: World,
        batch: Batch,
    ) -> Float[Array, "P N T"]:
        """The ratio of each unit, unbounded, on all of its steps."""
        said, _ = posterior_of(key, world, batch, self.judge)
        action = batch.action.astype(jnp.int32)[..., None]
        chance = jnp.take_along_axis(said, action, axis=-1)[..., 0]
        log = jnp.log(jnp.maximum(chance, LEAST))
        if self.beside == "policy":
            before = policy_log_prob_of(world, batch)
            log = log - jnp.maximum(before, math.log(LEAST))
            return self._of_units(batch, log)
        score = self._of_units(batch, log)
        begins = _live_starts(batch, self.unit)
        total = jnp.sum(score, axis=-1, keepdims=True, where=begins)
        number = jnp.sum(begins, axis=-1, keepdims=True)
        mean = total / jnp.maximum(number, 1)
        return score / jnp.where(mean > 0, mean, 1.0)

    def _of_units(
        self,
        batch: Batch,
        log: Float[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """Exp of the mean over the decisions of each unit, at the temperature; 1 without any."""
        begins = run_starts(batch, self.unit)
        decided = decisions(batch)
        total = run_total(jnp.where(decided, log, 0.0), begins)
        number = run_total(decided.astype(log.dtype), begins)
        mean = total / jnp.maximum(number, 1.0)
        return jnp.exp(mean / self.temperature)


def _live_starts(
    batch: Batch,
    unit: Unit,
) -> Bool[Array, "P N T"]:
    """The first step of each unit that lives."""
    return run_starts(batch, unit) & batch.live
