"""From what each step earned to what it is worth: sums over time.

In maths, of the value c that is handed in: `Whole` gives sum_u gamma_u c_u to every step, with
gamma_u the discounts of the steps before u; `ToGo` gives c_t + discount_t c_{t+1} + ...;
`FromStart` gives c_0 + ... + c_t; `FromEnds` gives c of the end of the stretch; `OntoDecisions`
moves c of the environment's steps to a decision; `WithoutLast` takes c off the last one;
`Increments` gives c_t - c_{t-1}, and the reward at the end what it lacks.

References:
    Williams 1992; Sutton et al. 1999 (REINFORCE, and with rewards from each step on).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_integer
from casim.estimators.base import (
    Part,
    check_discount,
    check_taken,
    discount_of,
    keeps_discount,
    time_of,
    time_weights,
    to_steps,
)
from casim.ops import returns_to_go, shift_left
from casim.recurrence import affine_scan
from casim.targets import Target, TrajectoryAdvantage
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Whole(Part):
    """The sum over the whole trajectory, broadcast to every step.

    Of the reward, its mean in a cell is the advantage plus V_t(s) and the rewards already earned:
    no function of the action, so the gradient is exact if the world's discount is 1. Below 1 the
    return, measured from the start, makes discount^t of the advantage, and step t is weighed by it
    twice: biased.

    Attributes:
        discount: of the sum, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: discount out of its range.
    """

    discount: float | None = None
    granularity: ClassVar[str] = "trajectory"
    target: ClassVar[Target] = TrajectoryAdvantage()
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)

    def claims(
        self,
        discount: float,
    ) -> frozenset[str]:
        exact = discount == 1 and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        weight = time_weights(discount_of(world, batch, self.discount), batch)
        live = jnp.where(batch.live, weight * credit.value, 0.0)
        total = jnp.sum(live, axis=-1)
        return credit._replace(value=to_steps(total, batch), whole=total)


@final
@dataclasses.dataclass(frozen=True)
class ToGo(Part):
    """The sum from each step on.

    Of the reward, its mean in a cell is Q_t(s, a): the gradient is exact at any discount that is
    the world's.

    Attributes:
        discount: of the sum, in [0, 1]; None is the world's, see `discount_of`.
        gaps: what the steps of the environment do: they "count" like any other; they "earn" for the
            decision before them and do not discount, where a row is a decision and what came of it;
            they are "skipped", neither earning nor discounting; or the sum is "reset" there, so
            that decisions before them get nothing of what comes after.

    Raises:
        ValueError: a setting out of its range.
    """

    discount: float | None = None
    gaps: Literal["count", "earn", "skipped", "reset"] = "count"
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)
        check_choice("gaps", self.gaps, ("count", "earn", "skipped", "reset"))

    def claims(
        self,
        discount: float,
    ) -> frozenset[str]:
        exact = self.gaps == "count" and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        discount = discount_of(world, batch, self.discount)
        where = batch.decided if self.gaps == "skipped" else batch.live
        if self.gaps in ("earn", "reset"):
            before_decision = shift_left(batch.decided, False)
            elsewhere = 1.0 if self.gaps == "earn" else 0.0
            discount = jnp.where(before_decision, discount, elsewhere)
        return credit._replace(value=returns_to_go(credit.value, discount, where))


@final
@dataclasses.dataclass(frozen=True)
class FromStart(Part):
    """The undiscounted sum of the decisions up to each step, its own included."""

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = jnp.where(batch.decided, credit.value, 0.0)
        total = jnp.cumsum(decided, axis=-1)
        return credit._replace(value=jnp.where(batch.live, total, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class FromEnds(Part):
    """What the end of its stretch is worth, on every decision of a stretch of steps.

    The last decision of a trajectory is always an end. Ends whose value is exactly 0 are passed
    over, as in the public code of PRL.

    Attributes:
        length: of a stretch, in steps from the first, at least 1; None takes segments.

    Raises:
        ValueError: a length out of its range.
    """

    length: int | None = None

    def __post_init__(self) -> None:
        if self.length is not None:
            check_integer("length", self.length, 1)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided
        ends = last_of(decided) | (decided & self._boundary(batch))
        from_next = affine_scan(0.0, credit.value, ends & (credit.value != 0), reverse=True)
        return credit._replace(value=jnp.where(decided, from_next, 0.0))

    def _boundary(
        self,
        batch: Batch,
    ) -> Bool[Array, "P N T"]:
        """The last step of each stretch."""
        if self.length is None:
            return batch.segment != shift_left(batch.segment, -1)
        return (time_of(batch) + 1) % self.length == 0


@final
@dataclasses.dataclass(frozen=True)
class OntoDecisions(Part):
    """What the environment's steps earn, given to a decision of the trajectory: the sum stays.

    Attributes:
        to: the "last" decision of the trajectory, as OpenRLHF, which puts the score on the last
            token that the policy wrote; or the one "before" the step, as the answer to it, and the
            first one where none is before.

    Raises:
        ValueError: an unknown decision.
    """

    to: Literal["last", "before"] = "last"

    def __post_init__(self) -> None:
        check_choice("to", self.to, ("last", "before"))

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        move = onto_decisions if self.to == "last" else onto_decisions_before
        return credit._replace(value=move(credit.value, batch))


@final
@dataclasses.dataclass(frozen=True)
class WithoutLast(Part):
    """0 on the last decision of a trajectory, as PRIME's process rewards."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        return credit._replace(value=jnp.where(last_of(batch.decided), 0.0, credit.value))


@final
@dataclasses.dataclass(frozen=True)
class Increments(Part):
    """How the value changes from decision to decision; what is missing at the last is added there.

    In maths, over the decisions: c_0, then c_t - c_{t-1}, and at the last one R - c_{t-1}, with R
    the undiscounted reward of the trajectory. Added up it is R, exactly, whatever c is.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        mine = batch.decided & batch.counted[..., None]
        before = affine_scan(0.0, credit.value, mine, exclusive=True)
        earned = jnp.where(batch.live & batch.counted[..., None], batch.reward, 0.0)
        total = jnp.sum(earned, axis=-1, keepdims=True)
        now = jnp.where(last_of(mine), total, credit.value)
        return credit._replace(value=jnp.where(mine, now - before, 0.0))


def onto_decisions(
    value: Float[Array, "P N T"],
    batch: Batch,
) -> Float[Array, "P N T"]:
    """See `OntoDecisions`; a trajectory without decisions keeps nothing."""
    mine = batch.decided
    others = jnp.where(batch.live & ~mine, value, 0.0)
    moved = jnp.sum(others, axis=-1, keepdims=True)
    return jnp.where(mine, value, 0.0) + jnp.where(last_of(mine), moved, 0.0)


def onto_decisions_before(
    value: Float[Array, "P N T"],
    batch: Batch,
) -> Float[Array, "P N T"]:
    """See `OntoDecisions`; a trajectory without decisions keeps nothing."""
    mine = batch.decided
    others = jnp.where(batch.live & ~mine, value, 0.0)
    until_next = jnp.where(shift_left(mine, True), 0.0, 1.0)
    answers = affine_scan(until_next, others, reverse=True)
    decided_so_far = jnp.cumsum(mine, axis=-1)
    early = jnp.where(decided_so_far == 0, others, 0.0)
    begun = jnp.sum(early, axis=-1, keepdims=True)
    first = mine & (decided_so_far == 1)
    return jnp.where(mine, value + answers, 0.0) + jnp.where(first, begun, 0.0)


def last_of(
    mask: Bool[Array, "*rows T"],
) -> Bool[Array, "*rows T"]:
    """The last step of each row at which the mask is True, if there is one."""
    backwards = mask[..., ::-1]
    not_after = jnp.cumsum(backwards, axis=-1)[..., ::-1]
    return mask & (not_after == 1)
