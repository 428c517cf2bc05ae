"""How much of a step's credit the loss takes: masks, and shares of a trajectory.

References:
    Wang et al. 2025, arXiv:2506.01939 (the 80/20 entropy mask); Parthasarathi et al. 2025,
    arXiv:2510.00194 (GRPO-lambda); Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO); Yu et al. 2025,
    arXiv:2503.14476 (DAPO).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.checks import check_choice, check_range
from casim.estimators.base import Part, entropy_of


@final
@dataclasses.dataclass(frozen=True)
class TopEntropy(Part):
    """Keeps the decisions of highest entropy, over the whole batch; the others weigh nothing.

    In maths: weight x 1[H_t >= h]. By "count", h is the k-th largest of the n entropies, k = share
    n rounded up; by "quantile", h is their (1 - share) quantile, between two of them where it falls
    there. Ties at h are kept. In a log the entropies are those of the log.

    Attributes:
        share: of the decisions that are kept, in (0, 1].
        by: "count", as the authors' code, or "quantile", as TRL.

    Raises:
        ValueError: a setting out of its range, or a log without entropies.
    """

    share: float = 0.2
    by: Literal["count", "quantile"] = "count"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("share", self.share, 1e-12, 1.0)
        check_choice("by", self.by, ("count", "quantile"))

    def apply(self, world, batch, credit):
        taken = credit.weight > 0
        entropy = entropy_of(world, batch)
        entropy = jnp.where(taken, entropy, -jnp.inf)
        of_all = entropy.reshape(-1)
        ranked = jnp.sort(of_all, descending=True)
        number = jnp.sum(taken)
        number = number.astype(entropy.dtype)
        least_of = self._by_count if self.by == "count" else self._quantile
        kept = entropy >= least_of(ranked, number)
        weight = jnp.where(kept, credit.weight, 0.0)
        return credit._replace(weight=weight)

    def _by_count(
        self,
        ranked: Float[Array, " R"],
        number: Float[Array, ""],
    ) -> Float[Array, ""]:
        """The k-th largest. A share of a decision below 1e-4 is rounding, and makes no more."""
        share = self.share * number
        wanted = jnp.floor(share + 0.9999)
        last = jnp.maximum(wanted, 1) - 1
        return ranked[last.astype(int)]

    def _quantile(
        self,
        ranked: Float[Array, " R"],
        number: Float[Array, ""],
    ) -> Float[Array, ""]:
        """Between the two entries on either side of the place (1 - share) (n - 1) from below."""
        last = jnp.maximum(number - 1, 0)
        place = (1 - self.share) * last
        below = jnp.floor(place)
        from_top = (last - below).astype(int)
        next_above = jnp.maximum(from_top - 1, 0)
        low = ranked[from_top]
        high = ranked[next_above]
        part = place - below
        # At a place of its own an entry is its quantile to the last bit; none may be infinite.
        between = low + part * (high - low)
        return jnp.where(part > 0, between, low)


@final
@dataclasses.dataclass(frozen=True)
class Traces(Part):
    """How often a decision is credited by the traces of those after it.

    In maths, with d the decay and L the decisions of the trajectory, decision j = 0, 1, ... weighs
    sum_{t >= j} w(t, j): "recent" w = d^(t - j), so (1 - d^(L - j)) / (1 - d), early ones most;
    "both" w = max(d^(t - j), d^j), so that the first one weighs L. "late" is d^(L - 1 - j).

    Attributes:
        form: "recent", "both" or "late".
        decay: of a trace per decision, discount x lambda, in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    form: Literal["recent", "both", "late"] = "recent"
    decay: float = 0.99
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("form", self.form, ("recent", "both", "late"))
        check_range("decay", self.decay, 0.0, 1.0)

    def apply(self, world, batch, credit):
        decided = batch.decided
        length = jnp.sum(decided, axis=-1, keepdims=True)
        so_far = jnp.cumsum(decided, axis=-1)
        before = so_far - 1
        place = jnp.where(decided, before, 0)
        after = length - place
        left = jnp.where(decided, after, 1)
        weight = self._traced(place, left)
        kept = weight.astype(credit.weight.dtype)
        return credit._replace(weight=credit.weight * kept)

    def _traced(
        self,
        place: Int[Array, "P N T"],
        left: Int[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """The weight at a place from which so many decisions are left, its own included."""
        if self.form == "late":
            return self._power(left - 1)
        if self.form == "recent":
            return self._sum(left)
        # The next place + 1 traces are those of "recent", and the others d^place.
        near = jnp.minimum(left, place + 1)
        far = left - near
        late = far * self._power(place)
        return self._sum(near) + late

    def _power(
        self,
        exponent: Int[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        return jnp.asarray(self.decay, float) ** exponent

    def _sum(
        self,
        number: Int[Array, "P N T"],
    ) -> Float[Array, "P N T"]:
        """The first powers 1, d, d^2, ..., so many of them, added up."""
        if self.decay == 1:
            return number.astype(float)
        if self.decay == 0:
            return jnp.ones_like(number, float)
        # 1 - d^n keeps its digits where d is near 1.
        exponent = number * math.log(self.decay)
        rest = -jnp.expm1(exponent)
        return rest / (1 - self.decay)


@final
@dataclasses.dataclass(frozen=True)
class OverLength(Part):
    """Divides the weights of a trajectory by a length: of the steps that have a weight.

    So a mask before it shortens the length, and a mask after it does not.

    Attributes:
        of: whose length: its "own" (each trajectory has one vote in the loss, as GRPO's first
            form), the "longest" of the batch, the "mean" over the batch (each step has one vote, as
            DAPO's), or the "padded" one, the number of steps of the arrays.

    Raises:
        ValueError: an unknown length.
    """

    of: Literal["own", "longest", "mean", "padded"] = "own"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("own", "longest", "mean", "padded"))

    def apply(self, world, batch, credit):
        if self.of == "padded":
            padded = batch.action.shape[-1]
            return credit._replace(weight=credit.weight / padded)
        taken = credit.weight > 0
        length = jnp.sum(taken, axis=-1, keepdims=True)
        length = length.astype(credit.weight.dtype)
        if self.of == "longest":
            length = jnp.max(length)
        if self.of == "mean":
            counted = batch.counted[..., None]
            length = jnp.mean(length, where=counted)
        safe = jnp.where(length > 0, length, 1.0)
        return credit._replace(weight=credit.weight / safe)


@final
@dataclasses.dataclass(frozen=True)
class OverConstant(Part):
    """Divides the weights by a number, as Dr. GRPO by the length that answers may have.

    Attributes:
        size: the number, positive.

    Raises:
        ValueError: a number out of its range.
    """

    size: float = 1.0
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("size", self.size, 1e-12, math.inf)

    def apply(self, world, batch, credit):
        return credit._replace(weight=credit.weight / self.size)
