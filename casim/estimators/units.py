"""Units of steps in a batch: what a unit's decisions say together, and where the loss looks.

In maths, with D(u) the decisions of unit u, `OverUnit` gives sum_{t in D(u)} c_t, or its mean, to
every step of u; `TimesLeft` gives c_t times the number of units after that of t; `Only` sets the
weight to 0 except on the first or last decision of each unit; `AllDecisions` sets it back to 1.
`OutcomeShares` gives R p_u, where R is the reward of the trajectory,

    p_u = exp(x_u) / sum_v exp(x_v),    x_u = (mean_{t in D(u)} c_t) Lbar / temperature,

over the units of the trajectory that decide something, and Lbar is the mean of |D(u)| over those of
the whole batch. The shares of a trajectory add up to 1.

References:
    Wang et al. 2026, arXiv:2603.23550 (ITPO: turns, and shares of the outcome); Liu et al. 2025,
    arXiv:2509.19199 (iStar: the first step of each trajectory is the baseline); Wang et al. 2025,
    arXiv:2505.20732 (SPA-RL: progress times the steps that are left, in its released code).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Part, check_taken
from casim.ops import shift_left, shift_right
from casim.recurrence import affine_scan
from casim.types import Batch

RUNS = ("step", "segment", "turn", "stretch", "episode")
"""Units that these parts know."""
Run = Literal["step", "segment", "turn", "stretch", "episode"]
"""One of `RUNS`; a stretch is a run of decisions within a turn: the environment's tokens end it."""


@final
@dataclasses.dataclass(frozen=True)
class OverUnit(Part):
    """The sum over the decisions of a unit, or their mean, on every step of it.

    Attributes:
        unit: "step", "segment", "turn", "stretch" or "episode".
        mean: of the decisions, instead of the sum.

    Raises:
        ValueError: an unknown unit.
    """

    unit: Run = "turn"
    mean: bool = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, RUNS)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        begins = run_starts(batch, self.unit)
        decided = decisions(batch)
        total = run_total(jnp.where(decided, credit.value, 0.0), begins)
        if self.mean:
            number = run_total(decided.astype(total.dtype), begins)
            total = total / jnp.maximum(number, 1.0)
        return credit._replace(value=jnp.where(batch.live, total, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class Only(Part):
    """Weight on one decision of every unit only: baselines that count by weight see no other.

    Attributes:
        place: the "first" or the "last" decision.
        unit: "step", "segment", "turn", "stretch" or "episode".

    Raises:
        ValueError: a setting out of its range.
    """

    place: Literal["first", "last"] = "last"
    unit: Run = "turn"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("place", self.place, ("first", "last"))
        check_choice("unit", self.unit, RUNS)

    def apply(self, world, batch, credit):
        decided = decisions(batch)
        begins = run_starts(batch, self.unit)
        pick = firsts if self.place == "first" else lasts
        kept = pick(decided, begins)
        weight = jnp.where(kept, credit.weight, 0.0)
        return credit._replace(weight=weight)


@final
@dataclasses.dataclass(frozen=True)
class AllDecisions(Part):
    """Weight 1 on every decision again.

    Attributes:
        product: the weights that were there are multiplied into the values.
    """

    product: bool = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        value = credit.value * credit.weight if self.product else credit.value
        weight = decisions(batch).astype(credit.weight.dtype)
        return credit._replace(value=value, weight=weight)


@final
@dataclasses.dataclass(frozen=True)
class TimesLeft(Part):
    """The value times the number of units of the trajectory after its own that decide something.

    Attributes:
        unit: "step", "segment", "turn", "stretch" or "episode".

    Raises:
        ValueError: an unknown unit.
    """

    unit: Run = "turn"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, RUNS)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        begins = run_starts(batch, self.unit)
        ends = lasts(decisions(batch), begins)
        number = jnp.sum(ends, axis=-1, keepdims=True)
        so_far = jnp.cumsum(ends, axis=-1) - ends
        left = jnp.maximum(number - 1 - so_far, 0)
        return credit._replace(value=credit.value * left)


@final
@dataclasses.dataclass(frozen=True)
class OutcomeShares(Part):
    """The reward of the trajectory, shared out by a softmax over its units.

    Attributes:
        temperature: of the softmax, positive.
        unit: "step", "segment", "turn", "stretch" or "episode".

    Raises:
        ValueError: a setting out of its range.
    """

    temperature: float = 0.7
    unit: Run = "turn"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("temperature", self.temperature, 1e-12, math.inf)
        check_choice("unit", self.unit, RUNS)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = decisions(batch)
        begins = run_starts(batch, self.unit)
        ends = lasts(decided, begins)
        number = run_total(decided.astype(credit.value.dtype), begins)
        value = jnp.where(decided, credit.value, 0.0)
        average = run_total(value, begins) / jnp.maximum(number, 1.0)
        units = jnp.maximum(jnp.sum(ends), 1)
        length = jnp.sum(decided) / units
        logit = average * length / self.temperature
        share = _softmax(logit, number > 0, ends)
        counted = batch.live & batch.counted[..., None]
        earned = jnp.where(counted, batch.reward, 0.0)
        outcome = jnp.sum(earned, axis=-1, keepdims=True)
        shared = jnp.where(counted, outcome * share, 0.0)
        return credit._replace(value=shared)


def decisions(
    batch: Batch,
) -> Bool[Array, "P N T"]:
    """What is decided in episodes that count."""
    return batch.decided & batch.counted[..., None]


def run_starts(
    batch: Batch,
    unit: Run,
) -> Bool[Array, "P N T"]:
    """The first step of each unit, which lasts until the next begins."""
    steps = jnp.arange(batch.action.shape[-1])
    first = jnp.broadcast_to(steps == 0, batch.action.shape)
    if unit == "episode":
        return first
    if unit == "step":
        return jnp.ones_like(first)
    label = batch.segment if unit == "segment" else batch.turn
    changes = label != shift_right(label, -1)
    begins = first | changes
    if unit != "stretch":
        return begins
    # A turn may open with what the environment says: its first stretch begins after that.
    silent_before = ~shift_right(batch.decided, False)
    return batch.decided & (begins | silent_before)


def run_total(
    x: Float[Array, "P N T"],
    begins: Bool[Array, "P N T"],
) -> Float[Array, "P N T"]:
    """Sums over each run, on every step of it; 0 before the first run."""
    within = jnp.where(begins, 0.0, 1.0)
    to_end = affine_scan(_goes_on(begins), x, reverse=True)
    first = jnp.where(begins, to_end, 0.0)
    return affine_scan(within, first)


def lasts(
    mask: Bool[Array, "P N T"],
    begins: Bool[Array, "P N T"],
) -> Bool[Array, "P N T"]:
    """The last marked step of each run."""
    one = mask.astype(float)
    to_come = affine_scan(_goes_on(begins), one, reverse=True)
    return mask & (to_come == 1)


def firsts(
    mask: Bool[Array, "P N T"],
    begins: Bool[Array, "P N T"],
) -> Bool[Array, "P N T"]:
    """The first marked step of each run."""
    within = jnp.where(begins, 0.0, 1.0)
    so_far = affine_scan(within, mask.astype(float))
    return mask & (so_far == 1)


def _goes_on(
    begins: Bool[Array, "P N T"],
) -> Float[Array, "P N T"]:
    """1 where the next step is of the same run, else 0."""
    ends = shift_left(begins, True)
    return jnp.where(ends, 0.0, 1.0)


def _softmax(
    logit: Float[Array, "P N T"],
    where: Bool[Array, "P N T"],
    once: Bool[Array, "P N T"],
) -> Float[Array, "P N T"]:
    """Shares of the steps in `where`, of which those in `once` add up to 1; 0 elsewhere."""
    shown = jnp.where(once, logit, -jnp.inf)
    largest = jnp.max(shown, axis=-1, keepdims=True)
    away = jnp.where(where, logit - largest, -jnp.inf)
    size = jnp.exp(away)
    total = jnp.sum(size, axis=-1, keepdims=True, where=once)
    # A trajectory that decides nothing has no shares.
    return size / jnp.where(total > 0, total, 1.0)
