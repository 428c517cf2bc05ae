"""Means over blocks and over pairs of blocks, each also without every block in turn: what scores and intervals need.

A quantity is an array `[B + 1]`: its value from all blocks, then without each of them.

References:
    Tukey 1958 (jackknife); Efron and Stein 1981 (it does not understate the variance); Beale 1962 (ratios).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from casim.metrics import Score

STUDENT = {
    1: 12.706,
    2: 4.303,
    3: 3.182,
    4: 2.776,
    5: 2.571,
    6: 2.447,
    7: 2.365,
    8: 2.306,
    9: 2.262,
}
"""97.5% quantiles of Student's t, by degrees of freedom."""

Quantity = Float[np.ndarray, " B1"]
"""B1 = B + 1."""


class Finished(NamedTuple):
    """What the sums of a row say."""

    scores: dict[str, Score]
    left_out: dict[str, list[float]]
    """Each score without each block of replicates in turn, in the order of the blocks: methods that were scored on the
    same groups are compared by pairs of these."""
    notes: dict[str, str]
    """Why a score is missing, or what to know of it, by its name."""


def over_blocks(x: Float[np.ndarray, " B"]) -> Quantity:
    """Mean over blocks; NaN without the only one."""
    num = len(x)
    total = x.sum()
    without = (total - x) / (num - 1) if num > 1 else np.full(1, np.nan)
    return np.array([total / num, *without])


def over_pairs(x: Float[np.ndarray, " B"]) -> Quantity:
    """Mean over pairs of different blocks, from the sums over the pairs that hold each; NaN where no pair is left."""
    num = len(x)
    total = x.sum()
    pairs, left = num * (num - 1), (num - 1) * (num - 2)
    whole = total / pairs if pairs else np.nan
    without = (total - 2 * x) / left if left else np.full(num, np.nan)
    return np.array([whole, *without])


def products(x: Float[np.ndarray, "B D"]) -> Float[np.ndarray, " B"]:
    """Sums over the pairs that hold each block of the product of the vectors of the two."""
    each = x @ x.T
    return each.sum(axis=1) - np.diag(each)


def divide(x: Quantity | float, y: Quantity | float) -> Quantity:
    """X / y, NaN where y is 0."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    return np.divide(x, y, out=np.full(x.shape, np.nan), where=y != 0)


def covariance(x: Quantity, y: Quantity) -> float:
    """Covariance of two quantities as estimates, by the jackknife."""
    x, y = x[1:], y[1:]
    num = len(x)
    return float((num - 1) / num * np.sum((x - x.mean()) * (y - y.mean())))


def ratio(top: Quantity, bottom: Quantity) -> Quantity:
    """A ratio of means, with the first order of its bias removed from the value of all blocks.

    In maths: (t b + cov(t, b)) / (b^2 + var(b)); the others, without a block, are plain ratios.
    """
    plain = divide(top, bottom)
    corrected = top[0] * bottom[0] + covariance(top, bottom)
    square = bottom[0] ** 2 + covariance(bottom, bottom)
    if np.isfinite(corrected) and np.isfinite(square) and square > 0:
        plain[0] = corrected / square
    return plain


def interval(x: Quantity, count: float) -> Score:
    """The value and its 95% interval, missing with fewer than two blocks or where something is undefined."""
    value, left_out = float(x[0]), x[1:]
    if len(left_out) < 2 or not np.isfinite(x).all():
        return Score(value, np.nan, np.nan, count)
    half = STUDENT[len(left_out) - 1] * math.sqrt(covariance(x, x))
    return Score(value, value - half, value + half, count)
