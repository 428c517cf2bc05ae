"""Means over blocks and over pairs of blocks, each also without every block in turn.

A quantity is an array `[B + 1]`: its value from all blocks, then without each of them. From these
the jackknife makes intervals.

References:
    Tukey 1958 (jackknife); Efron and Stein 1981 (it does not understate the variance); Beale 1962
    (ratios).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from casim.scores.score import Score

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
PerBlock = Float[np.ndarray, " B"]


class Finished(NamedTuple):
    """What the sums of a row say."""

    scores: dict[str, Score]
    left_out: dict[str, list[float]]
    """Each score without each block of replicates in turn, in the order of the blocks.

    Methods that were scored on the same groups are compared by pairs of these.
    """
    notes: dict[str, str]
    """Why a score is missing, or what to know of it, by its name."""
    profiles: dict[str, Any]
    """Those that were asked for, see `casim.scores.profiles`."""


def over_blocks(x: PerBlock) -> Quantity:
    """Mean over blocks; NaN without the only one."""
    num = len(x)
    total = x.sum()
    without = np.full(num, np.nan)
    if num > 1:
        without = (total - x) / (num - 1)
    return np.array([total / num, *without])


def over_pairs(x: PerBlock) -> Quantity:
    """Mean over pairs of different blocks, from the sums over the pairs that hold each.

    NaN where no pair is left. Pairs are ordered: each counts twice in the sums and in their number.
    """
    num = len(x)
    total = x.sum()
    pairs = num * (num - 1)
    left = (num - 1) * (num - 2)
    whole = total / pairs if pairs else np.nan
    without = np.full(num, np.nan)
    if left:
        without = (total - 2 * x) / left
    return np.array([whole, *without])


def products(x: Float[np.ndarray, "B D"]) -> PerBlock:
    """Sums over the pairs that hold each block of the product of the vectors of the two."""
    each = x @ x.T
    with_itself = np.diag(each)
    return each.sum(axis=1) - with_itself


def divide(
    x: Quantity | float,
    y: Quantity | float,
) -> Quantity:
    """X / y, NaN where y is 0."""
    x, y = np.broadcast_arrays(
        np.asarray(x, np.float64),
        np.asarray(y, np.float64),
    )
    undefined = np.full(x.shape, np.nan)
    return np.divide(
        x,
        y,
        out=undefined,
        where=y != 0,
    )


def covariance(x: Quantity, y: Quantity) -> float:
    """Covariance of two quantities as estimates, by the jackknife."""
    x = x[1:]
    y = y[1:]
    num = len(x)
    x_spread = x - x.mean()
    y_spread = y - y.mean()
    total = np.sum(x_spread * y_spread)
    return float((num - 1) / num * total)


def ratio(top: Quantity, bottom: Quantity) -> Quantity:
    """A ratio of means, with the first order of its bias removed from the value of all blocks.

    In maths: (t b + cov(t, b)) / (b^2 + var(b)); the others, without a block, are plain ratios.
    """
    result = divide(top, bottom)
    product = top[0] * bottom[0]
    corrected = product + covariance(top, bottom)
    square = bottom[0] ** 2
    square = square + covariance(bottom, bottom)
    finite = np.isfinite([corrected, square]).all()
    if finite and square > 0:
        result[0] = corrected / square
    return result


def interval(x: Quantity, count: float) -> Score:
    """The value and its 95% interval.

    It is missing with fewer than two blocks or where something is undefined.
    """
    value = float(x[0])
    num = len(x) - 1
    if num < 2 or not np.isfinite(x).all():
        return Score(value, np.nan, np.nan, count)
    error = math.sqrt(covariance(x, x))
    half = STUDENT[num - 1] * error
    return Score(value, value - half, value + half, count)
