"""From the value that all steps of a unit share, to one step or one number.

In maths: `Once` gives c_t to the last live step of each unit and 0 to its others; `Lowest` gives
min_u c_u over the live steps to every step, `Average` the mean of c_u over the decisions, and
`First` c of the first decision.

References:
    Cao et al. 2025, arXiv:2505.20417 (SCAR: the value of a unit of text as a reward at its end);
    Wang et al. 2024, arXiv:2312.08935 (Math-Shepherd: a solution is as good as its worst step).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp

from casim.checks import check_choice
from casim.estimators.base import Part, check_taken
from casim.estimators.sources.boundaries import UNITS, Unit, starts, unit_of
from casim.ops import shift_left


@final
@dataclasses.dataclass(frozen=True)
class Once(Part):
    """The value of a unit on its last live step only, so that it is earned once.

    Attributes:
        unit: "step", "segment" or "turn".

    Raises:
        ValueError: an unknown unit.
    """

    unit: Unit = "segment"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, UNITS)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        next_begins = shift_left(starts(unit_of(batch, self.unit)), True)
        next_lives = shift_left(batch.live, False)
        ends = batch.live & (next_begins | ~next_lives)
        return credit._replace(value=jnp.where(ends, credit.value, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class Lowest(Part):
    """The lowest value of the trajectory, on every step of it."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        lowest = jnp.min(credit.value, axis=-1, keepdims=True, initial=jnp.inf, where=batch.live)
        return credit._replace(value=jnp.where(batch.live, lowest, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class Average(Part):
    """The mean over the decisions of the trajectory, on every step; 0 without decisions."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided
        number = jnp.sum(decided, axis=-1, keepdims=True)
        total = jnp.sum(jnp.where(decided, credit.value, 0.0), axis=-1, keepdims=True)
        mean = total / jnp.maximum(number, 1)
        return credit._replace(value=jnp.where(batch.live, mean, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class First(Part):
    """The value of the first decision, on every step of the trajectory; 0 without decisions."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided
        place = jnp.argmax(decided, axis=-1, keepdims=True)
        first = jnp.take_along_axis(credit.value, place, axis=-1)
        shown = batch.live & jnp.any(decided, axis=-1, keepdims=True)
        return credit._replace(value=jnp.where(shown, first, 0.0))
