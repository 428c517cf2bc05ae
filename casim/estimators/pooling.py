"""Sums over stretches of steps that a trajectory is cut into by what happens in it.

In maths, with cuts b_0 = 0 < b_1 < ... before decisions: c_t becomes sum_{b_j <= u < b_{j+1}} c_u
for b_j <= t < b_{j+1}. `PoolByEntropy` cuts where H(pi(. | o_t)) is at least the quantile 1 - share
of the batch's decisions; `PoolByChange` where |c_t - c_u| > threshold, u the decision before t.

References:
    Yin et al. 2025, arXiv:2510.08899 (segments by entropy); Li et al. 2024, arXiv:2411.00809
    (segments by the change of token rewards).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_range
from casim.estimators.base import Part, check_taken, entropy_of
from casim.estimators.sources.boundaries import over_stretch
from casim.ops import shift_right
from casim.recurrence import affine_scan
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class PoolByEntropy(Part):
    """The sum over the stretch from one decision of high entropy to the next.

    Attributes:
        share: of the decisions that are cuts, ties aside, in (0, 1].

    Raises:
        ValueError: a share out of its range, or a log without entropies.
    """

    share: float = 0.2
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("share", self.share, 1e-12, 1.0)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided & batch.counted[..., None]
        entropy = jnp.where(decided, entropy_of(world, batch), -jnp.inf)
        ranked = jnp.sort(entropy.reshape(-1), descending=True)
        number = jnp.sum(decided)
        # A share of a decision below 1e-4 is rounding, and makes no more.
        wanted = jnp.floor(self.share * number + 0.9999)
        last = jnp.maximum(wanted, 1) - 1
        least = ranked[last.astype(int)]
        cuts = decided & (entropy >= least)
        return credit._replace(value=pooled(credit.value, cuts, batch))


@final
@dataclasses.dataclass(frozen=True)
class PoolByChange(Part):
    """The sum over the stretch in which the value changes little from decision to decision.

    Attributes:
        threshold: a larger change from one decision to the next is a cut, at least 0.

    Raises:
        ValueError: a threshold out of its range.
    """

    threshold: float = 0.05
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 0.0, math.inf)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        decided = batch.decided
        # The value of the last decision so far, carried over the environment's steps.
        kept = jnp.where(decided, 0.0, 1.0)
        carried = affine_scan(kept, jnp.where(decided, credit.value, 0.0))
        before = shift_right(carried, 0.0)
        earlier = jnp.cumsum(decided, axis=-1) > 1
        change = jnp.abs(credit.value - before)
        cuts = decided & earlier & (change > self.threshold)
        return credit._replace(value=pooled(credit.value, cuts, batch))


def pooled(
    value: Float[Array, "P N T"],
    cuts: Bool[Array, "P N T"],
    batch: Batch,
) -> Float[Array, "P N T"]:
    """Sums over the live steps from each cut to the next, given to all of them."""
    begins = cuts.at[..., 0].set(True)
    total = over_stretch(jnp.where(batch.live, value, 0.0), begins)
    return jnp.where(batch.live, total, 0.0)
