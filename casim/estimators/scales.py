"""Scales that are not of a baseline.

In maths, of the values c that are handed in, alike for all steps of a trajectory: `OverMean` gives
c_i / (mean_j c_j + epsilon) over the group, `PerNonzero` c times the number of trajectories of the
batch over the number of those whose c is not 0, `Best` max c - the second largest c on the best
trajectory of the group and 0 on the others, `Times` factor x c, `Plus` c + constant, `Fade`
discount^k c with k the decisions that follow, `Unshrunk` n / (n - 1) x c in a group of n,
`OverLargest` c over the largest of the batch.

References:
    Tajwar et al. 2026, arXiv:2602.02710 (MaxRL); Chu et al. 2025, arXiv:2504.02546 (GPG); Tang et
    al. 2025, arXiv:2503.19595 (pass@k); Cui et al. 2025, arXiv:2502.01456 (PRIME).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Part, check_taken
from casim.ops import returns_to_go
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class OverMean(Part):
    """The value over the mean of its group.

    Attributes:
        epsilon: added to the mean, at least 0.
        nonpositive: what the group gets if its mean is not above 0: "zero", or "divided", which
            turns the signs around.
        single: what a group of one gets: its "raw" value, or is "divided" like the others.

    Raises:
        ValueError: a setting out of its range.
    """

    epsilon: float = 0.0
    nonpositive: Literal["zero", "divided"] = "zero"
    single: Literal["raw", "divided"] = "divided"
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_range("epsilon", self.epsilon, 0.0, 1.0)
        check_choice(
            "nonpositive",
            self.nonpositive,
            ("zero", "divided"),
        )
        check_choice("single", self.single, ("raw", "divided"))

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        each, present = per_trajectory(credit.value, batch)
        number = jnp.sum(present, axis=1, keepdims=True)
        total = jnp.sum(each, axis=1, keepdims=True)
        mean = total / jnp.maximum(number, 1)
        divisor = mean + self.epsilon
        allowed = divisor != 0
        if self.nonpositive == "zero":
            allowed = allowed & (mean > 0)
        factor = jnp.where(
            allowed,
            1.0,
            0.0,
        ) / jnp.where(
            allowed,
            divisor,
            1.0,
        )
        if self.single == "raw":
            factor = jnp.where(number > 1, factor, 1.0)
        return credit._replace(value=credit.value * factor[..., None])


@final
@dataclasses.dataclass(frozen=True)
class PerNonzero(Part):
    """The value times the trajectories of the batch over those whose value is not 0.

    With outcomes of 0 and 1 it is divided by the share of successes in the batch.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        each, present = per_trajectory(credit.value, batch)
        number = jnp.sum(present)
        nonzero = jnp.sum(each != 0)
        scale = number / jnp.maximum(nonzero, 1)
        scale = scale.astype(each.dtype)
        return credit._replace(value=scale * credit.value)


@final
@dataclasses.dataclass(frozen=True)
class Best(Part):
    """How much better the best trajectory of the group is than the next, on the best one only.

    A group of one has no next, and gets 0.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        each, present = per_trajectory(credit.value, batch)
        shown = jnp.where(present, each, -jnp.inf)
        best = jnp.max(shown, axis=1, keepdims=True)
        is_best = shown == best
        only_one = jnp.sum(is_best, axis=1, keepdims=True) == 1
        others = jnp.where(is_best, -jnp.inf, shown)
        next_best = jnp.max(others, axis=1, keepdims=True)
        wins = is_best & only_one & jnp.isfinite(next_best)
        behind = jnp.where(wins, next_best, each)
        lead = each - behind
        return credit._replace(
            value=jnp.where(
                batch.live,
                lead[..., None],
                0.0,
            )
        )


@final
@dataclasses.dataclass(frozen=True)
class Times(Part):
    """The value times a number.

    Attributes:
        factor: the number, finite.

    Raises:
        ValueError: a number out of its range.
    """

    factor: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("factor", self.factor, -1e12, 1e12)

    def apply(self, world, batch, credit):
        return credit._replace(value=self.factor * credit.value)


@final
@dataclasses.dataclass(frozen=True)
class Fade(Part):
    """The value times a discount for each decision that follows: as seen from the step.

    Attributes:
        discount: per decision, in [0, 1].

    Raises:
        ValueError: a discount out of its range.
    """

    discount: float = 0.99
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("discount", self.discount, 0.0, 1.0)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided[..., ::-1]
        left = jnp.cumsum(decided, axis=-1)[..., ::-1]
        follow = jnp.maximum(left - batch.decided, 0)
        faded = jnp.asarray(self.discount, credit.value.dtype) ** follow * credit.value
        return credit._replace(value=jnp.where(batch.live, faded, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class Plus(Part):
    """The value plus a number, on live steps.

    Attributes:
        constant: the number, finite.

    Raises:
        ValueError: a number out of its range.
    """

    constant: float = 0.0
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("constant", self.constant, -1e12, 1e12)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        total = credit.value + self.constant
        return credit._replace(value=jnp.where(batch.live, total, 0.0))


def per_trajectory(
    value: Float[Array, "P N T"],
    batch: Batch,
) -> tuple[Float[Array, "P N"], Bool[Array, "P N"]]:
    """The value of each trajectory, which all of its steps share, and which of them count.

    0 for the others.
    """
    first = jnp.argmax(batch.decided, axis=-1)[..., None]
    each = jnp.take_along_axis(value, first, axis=-1)[..., 0]
    return jnp.where(batch.counted, each, 0.0), batch.counted


@final
@dataclasses.dataclass(frozen=True)
class Unshrunk(Part):
    """The value times n / (n - 1), n the trajectories of the group that count.

    So a mean that includes one's own trajectory becomes that of the others. A group of one keeps
    its value.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def apply(self, world, batch, credit):
        number = jnp.sum(batch.counted, axis=1).astype(credit.value.dtype)
        factor = jnp.where(
            number > 1,
            number / jnp.maximum(number - 1, 1),
            1.0,
        )
        each = factor.reshape(-1, *(1,) * (credit.value.ndim - 1))
        return credit._replace(value=each * credit.value)


@final
@dataclasses.dataclass(frozen=True)
class OverLargest(Part):
    """The value over the largest of the batch in size, so that no scale is left.

    Attributes:
        of: the largest "sum" from a decision on to the last, as PRIME's batch norm; or "value" of a
            decision.
        epsilon: added to it, at least 0.

    Raises:
        ValueError: a setting out of its range.
    """

    of: Literal["sum", "value"] = "sum"
    epsilon: float = 1e-6
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("sum", "value"))
        check_range("epsilon", self.epsilon, 0.0, 1.0)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided & batch.counted[..., None]
        value = jnp.where(decided, credit.value, 0.0)
        if self.of == "sum":
            value = returns_to_go(value, 1.0, decided)
        largest = jnp.max(jnp.abs(value)) + self.epsilon
        return credit._replace(
            value=credit.value
            / jnp.where(
                largest > 0,
                largest,
                1.0,
            )
        )
