"""Where in a trajectory a value stands: beside the environment's first answer, or in its own unit.

In maths, with e the first step of the environment after a decision: `Place` keeps c_t where t < e,
t > e, or in trajectories that have an e, or have none. `LessOwnMean` gives c_t less the mean of c
over the decisions of its own unit and trajectory.

References:
    Wei et al. 2025, arXiv:2505.11821 (MT-GRPO: credit before a tool's answer, and after); Chen et
    al. 2026, arXiv:2610.08402 (VETTA: tokens centred in their turn).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice
from casim.estimators.base import Part, check_taken
from casim.estimators.sources.boundaries import UNITS, Unit, unit_of
from casim.ops import shift_left, shift_right
from casim.recurrence import affine_scan
from casim.types import Batch

PLACES = ("before", "after", "answered", "unanswered")


@final
@dataclasses.dataclass(frozen=True)
class Place(Part):
    """Keeps the value at some steps, by the first answer of the environment; 0 at the others.

    Attributes:
        at: steps "before" it, which are all where there is none; those "after" it; or all steps of
            trajectories that are "answered" or "unanswered".

    Raises:
        ValueError: an unknown place.
    """

    at: Literal["before", "after", "answered", "unanswered"] = "before"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("at", self.at, PLACES)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        kept = self._kept(batch)
        value = jnp.where(kept, credit.value, 0.0)
        return credit._replace(value=value)

    def _kept(self, batch: Batch) -> Bool[Array, "P N T"]:
        decisions = jnp.cumsum(batch.decided, axis=-1)
        begun = decisions > 0
        answer = batch.live & ~batch.decision & begun
        answers = jnp.cumsum(answer, axis=-1)
        since = answers > 0
        if self.at == "before":
            return ~since
        if self.at == "after":
            return since
        answered = since[..., -1:] & jnp.ones_like(since)
        return answered if self.at == "answered" else ~answered


@final
@dataclasses.dataclass(frozen=True)
class LessOwnMean(Part):
    """The value less its mean over the decisions of its own unit.

    Attributes:
        unit: "step", "segment" or "turn".

    Raises:
        ValueError: an unknown unit.
    """

    unit: Unit = "turn"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided
        unit = unit_of(batch, self.unit)
        same_before = unit == shift_right(unit, -1)
        same_after = unit == shift_left(unit, -1)

        def over_unit(x: Float[Array, "P N T"]) -> Float[Array, "P N T"]:
            """Sums from the first step of the unit on, and from the last step back."""
            own = jnp.where(decided, x, 0.0)
            so_far = affine_scan(same_before.astype(x.dtype), own)
            to_come = affine_scan(same_after.astype(x.dtype), own, reverse=True)
            return so_far + to_come - own

        number = over_unit(jnp.ones_like(credit.value))
        mean = over_unit(credit.value) / jnp.maximum(number, 1.0)
        above = credit.value - mean
        value = jnp.where(decided, above, 0.0)
        return credit._replace(value=value)
