"""Is the credit of a trajectory where it should be? Means over what is defined."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from casim.scores.entry import Entry, missing
from casim.scores.numbers import PerBlock, divide, over_blocks
from casim.scores.sums import CREDIT_BITS, Sums

OF_VALUE = (
    "sign_accuracy",
    "rank_correlation",
    "precision_at_k",
    "leakage",
)
NAMES = (
    *OF_VALUE,
    "effective_sample",
    "support",
)

NO_SIGN = "no step has an advantage whose sign could be right"
CONSTANT = "undefined in every trajectory: credit or truth is constant there"
NO_PIVOT = "no step matters in any trajectory"
NO_WEIGHT = "the loss takes nothing of any step"
NO_DECISIONS = "the policy meets no step at which it decides anything"
NO_CREDIT = "the credit, and so its gradient, is 0"


def trajectories(sums: Sums) -> dict[str, Entry]:
    """Means over the trajectories, or over the steps, that define each score."""
    counted = _sizes_that_count(sums.sizes)
    right = np.where(counted, sums.sign[..., 0], 0.0)
    right = right.sum(axis=1)
    signed = sums.sign[..., 1].sum(axis=1)
    leaked = np.where(counted[:, None], sums.leakage, 0.0)
    leaked = leaked.sum(axis=1)
    return {
        "sign_accuracy": _share(right, signed, NO_SIGN),
        "rank_correlation": _mean(sums.rank, CONSTANT),
        "precision_at_k": _mean(sums.precision, NO_PIVOT),
        "leakage": _mean(leaked, NO_CREDIT),
        "effective_sample": _mean(sums.effective, NO_WEIGHT),
        "support": _mean(sums.support, NO_DECISIONS),
    }


def _sizes_that_count(sizes: Float[np.ndarray, "B E"]) -> Bool[np.ndarray, " E"]:
    """Which exponents of a group's largest credit are no rounding.

    They are not far below that of the group whose credit is the largest of all.
    """
    exponent = np.arange(sizes.shape[1])
    some = exponent > 0
    met = sizes.sum(axis=0) > 0
    largest = exponent[met & some].max(initial=0)
    least = largest - CREDIT_BITS
    return some & (exponent >= least)


def _mean(sums: Float[np.ndarray, "B 2"], note: str) -> Entry:
    """A mean from the sums of what is averaged and of how often it is defined."""
    found, of = sums.T
    return _share(found, of, note)


def _share(
    found: PerBlock,
    of: PerBlock,
    note: str,
) -> Entry:
    """A mean over the trajectories or steps of all blocks; some blocks may have more of them."""
    count = of.sum()
    if not count > 0:
        return missing(len(of), note)
    mean = divide(
        over_blocks(found),
        over_blocks(of),
    )
    return Entry(mean, float(count))
