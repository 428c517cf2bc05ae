"""Turns as steps: what a turn earned in all, and sums over the turns that follow.

In maths, with r_k the value of turn k of a trajectory, the same on all of its steps, and n_k the
turns from k to the end, its own included, that have any weight:

- `Gathered`: r_k = sum of the values of its steps;
- `TurnsToGo`: sum_{j >= k} gamma^(j - k) r_j, over sqrt(n_k) if asked;
- `TurnWindow`: the mean of r_k, ..., r_{k+H-1} with weights 1, gamma, ..., cut at the end;
- `NearEnd`: gamma^(n_k) r_k where n_k <= H, and 0 before;
- `NotLastTurn`: the last turn gets 0, and no weight;
- `GainsAside`: r_k of the last turn alone, in a log whose other rewards are gains.

References:
    Wang et al. 2025, arXiv:2510.14967 (IGPO); Chen et al. 2026, arXiv:2605.06200 (A2TGPO); Tao et
    al. 2026, arXiv:2607.13988 (TRACE); Auzina et al. 2026, arXiv:2602.12342 (DeltaBelief-RL).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import Part, check_taken
from casim.ops import shift_left, shift_right
from casim.recurrence import affine_scan
from casim.types import Batch, Credit

Steps = Float[Array, "P N T"]


@final
@dataclasses.dataclass(frozen=True)
class Gathered(Part):
    """What a turn earned in all, on all of its live steps, those of the environment too."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        live = batch.live & batch.counted[..., None]
        own = jnp.where(live, credit.value, 0.0)
        from_here = affine_scan(
            jnp.where(
                ends(batch),
                0.0,
                1.0,
            ),
            own,
            reverse=True,
        )
        return credit._replace(
            value=jnp.where(
                live,
                _of_first(from_here, batch),
                0.0,
            )
        )


@final
@dataclasses.dataclass(frozen=True)
class NotLastTurn(Part):
    """Drops the last turn of each trajectory: it gets 0, and weighs nothing."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        kept = not_last(batch)
        value = jnp.where(kept, credit.value, 0.0)
        return credit._replace(
            value=value,
            weight=jnp.where(
                kept,
                credit.weight,
                0.0,
            ),
        )


@final
@dataclasses.dataclass(frozen=True)
class GainsAside(Part):
    """Leaves what a log's rewards say of gains: all but those of the last turn are 0.

    What is left is the outcome. A world's rewards hold no gains, and stay as they are.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        if world is not None or batch.row is None:
            return credit
        check_taken(credit, self)
        earlier = not_last(batch)
        return credit._replace(value=jnp.where(earlier, 0.0, credit.value), whole=None)


@final
@dataclasses.dataclass(frozen=True)
class TurnsToGo(Part):
    """The sum over this turn and those that follow.

    Attributes:
        discount: per turn, in [0, 1].
        over: what the sum is divided by: "nothing", or the "root" of the number of turns with any
            weight that it is of.

    Raises:
        ValueError: a setting out of its range.
    """

    discount: float = 1.0
    over: Literal["nothing", "root"] = "nothing"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("discount", self.discount, 0.0, 1.0)
        check_choice("over", self.over, ("nothing", "root"))

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        value = _to_go(credit.value, batch, self.discount)
        if self.over == "root":
            value = value / jnp.sqrt(jnp.maximum(_left(credit, batch), 1.0))
        return credit._replace(value=jnp.where(batch.live, value, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class TurnWindow(Part):
    """The weighted mean over this turn and the next ones, as far as there are any with weight.

    Attributes:
        length: H, turns, at least 1.
        discount: per turn, in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    length: int = 3
    discount: float = 0.8
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_integer("length", self.length, 1)
        check_range("discount", self.discount, 0.0, 1.0)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        weighs = _weighs(credit, batch)
        own = jnp.where(weighs > 0, credit.value, 0.0)

        def longer(shorter: tuple[Array, Array], _) -> tuple[tuple[Array, Array], None]:
            total, norm = (self.discount * _of_next(x, batch) for x in shorter)
            return (own + total, weighs + norm), None

        begin = (own, weighs)
        (total, norm), _ = jax.lax.scan(
            longer,
            begin,
            None,
            length=self.length - 1,
        )
        value = jnp.where(
            norm > 0,
            total
            / jnp.where(
                norm > 0,
                norm,
                1.0,
            ),
            0.0,
        )
        return credit._replace(value=jnp.where(batch.live, value, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class NearEnd(Part):
    """The value discounted by the turns to the end, on the last turns only.

    Attributes:
        length: H, turns with any weight, at least 1.
        discount: per turn, in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    length: int = 3
    discount: float = 0.8
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_integer("length", self.length, 1)
        check_range("discount", self.discount, 0.0, 1.0)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        left = _left(credit, batch)
        near = (left > 0) & (left <= self.length)
        value = self.discount**left * credit.value
        return credit._replace(value=jnp.where(near & batch.live, value, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class Turns(Part):
    """The number of turns of the trajectory times a factor, on every step: what long ones cost.

    Attributes:
        factor: finite.

    Raises:
        ValueError: a factor out of its range.
    """

    factor: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("factor", self.factor, -1e12, 1e12)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        number = jnp.sum(
            ends(batch),
            axis=-1,
            keepdims=True,
        ).astype(credit.value.dtype)
        return credit._replace(
            value=jnp.where(
                batch.live,
                self.factor * number,
                0.0,
            )
        )


@final
@dataclasses.dataclass(frozen=True)
class Positive(Part):
    """The value where it is above 0, and 0 elsewhere."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        return credit._replace(value=jnp.maximum(credit.value, 0.0))


def ends(batch: Batch) -> Bool[Array, "P N T"]:
    """The last live step of each turn of a trajectory."""
    goes_on = shift_left(batch.live, False) & (shift_left(batch.turn, -1) == batch.turn)
    return batch.live & ~goes_on


def not_last(batch: Batch) -> Bool[Array, "P N T"]:
    """The live steps that are not of the last turn of their trajectory."""
    backwards = ends(batch)[..., ::-1]
    finished = jnp.cumsum(backwards, axis=-1)[..., ::-1]
    return batch.live & (finished > 1)


def _of_first(x: Steps, batch: Batch) -> Steps:
    """What the first step of a turn has, on all of its steps."""
    goes_on = shift_right(batch.live, False) & (shift_right(batch.turn, -1) == batch.turn)
    keep = jnp.where(goes_on, 1.0, 0.0)
    return affine_scan(keep, jnp.where(goes_on, 0.0, x))


def _of_next(x: Steps, batch: Batch) -> Steps:
    """What the next turn has, 0 after the last; x is one for all steps of a turn."""
    after = jnp.where(shift_left(batch.live, False), shift_left(x), 0.0)
    last = ends(batch)
    return affine_scan(
        jnp.where(
            last,
            0.0,
            1.0,
        ),
        jnp.where(
            last,
            after,
            0.0,
        ),
        reverse=True,
    )


def _to_go(
    x: Steps,
    batch: Batch,
    discount: float,
) -> Steps:
    """Sums over a turn and those that follow, of what is one for all steps of a turn."""
    last = ends(batch)
    own = jnp.where(last, x, 0.0)
    factor = jnp.where(last, discount, 1.0)
    return affine_scan(factor, own, reverse=True)


def _weighs(credit: Credit, batch: Batch) -> Steps:
    """1 on the steps of turns that have any weight."""
    own = jnp.where(batch.live, credit.weight, 0.0)
    from_here = affine_scan(
        jnp.where(
            ends(batch),
            0.0,
            1.0,
        ),
        own,
        reverse=True,
    )
    some = _of_first(from_here, batch) > 0
    return jnp.where(batch.live & some, 1.0, 0.0).astype(credit.value.dtype)


def _left(credit: Credit, batch: Batch) -> Steps:
    """How many turns with any weight there are from each to the end, its own included."""
    return jnp.round(_to_go(_weighs(credit, batch), batch, 1.0))
