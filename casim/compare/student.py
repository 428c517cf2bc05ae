"""Student's t, and p-values corrected for their number.

References:
    Holm 1979 (many comparisons); Satterthwaite 1946 (degrees of freedom of a sum of variances).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from casim.scores.numbers import Quantity, covariance

LEVEL = 0.05
"""Chance of any wrong verdict, and of an interval that misses."""
PRECISION = 1e-14
"""Of the tail, relative."""


class Estimate(NamedTuple):
    """A number with its 95% interval."""

    value: float
    low: float
    high: float
    p: float
    """That it is 0 (or 1, of a ratio), by a two-sided test; not corrected."""


MISSING = Estimate(np.nan, np.nan, np.nan, np.nan)


def mean(
    independent: Sequence[Quantity],
) -> Estimate:
    """The mean of independent quantities, its interval, and the p-value of 0.

    In maths: variances are by the jackknife over blocks, with B - 1 degrees of freedom each; that
    of the mean is their sum over the square of their number.
    """
    value = float(np.mean([x[0] for x in independent]))
    variances = np.array([covariance(x, x) for x in independent])
    freedom = np.array([len(x) - 2 for x in independent])
    total = variances.sum()
    spread = float(np.sqrt(total)) / len(independent)
    if total == 0:
        return Estimate(value, value, value, 1.0 if value == 0 else 0.0)
    uncertain = np.sum(variances**2 / freedom)
    satterthwaite = float(total**2 / uncertain)
    half = student_quantile(satterthwaite) * spread
    p = student_tail(value / spread, satterthwaite)
    return Estimate(value, value - half, value + half, p)


def holm(
    p: Sequence[float],
) -> Float[np.ndarray, " C"]:
    """p-values corrected so that the chance of any false rejection stays below the level.

    In maths: with p_(1) <= ... <= p_(C), the i-th becomes max_{j <= i} min(1, (C - j + 1) p_(j)).
    """
    values = np.asarray(p, np.float64)
    order = np.argsort(values, kind="stable")
    factors = len(values) - np.arange(len(values))
    corrected = np.empty_like(values)
    stepped = np.minimum(1.0, factors * values[order])
    corrected[order] = np.maximum.accumulate(stepped)
    return corrected


def student_tail(
    t: float,
    freedom: float,
) -> float:
    """P(|T| >= |t|) of Student's t.

    In maths: I_x(f / 2, 1 / 2) at x = f / (f + t^2), the regularised incomplete beta function.
    """
    if math.isinf(t):
        return 0.0
    whole = freedom + t**2
    within = freedom / whole
    beyond = t**2 / whole
    return _beta(freedom / 2, 0.5, within, beyond)


def _beta(
    a: float,
    b: float,
    x: float,
    rest: float,
) -> float:
    """I_x(a, b), the regularised incomplete beta function; `rest` is 1 - x, with all its digits.

    In maths: x^a (1 - x)^b / (a B(a, b)) times a continued fraction, which converges fast for
    x < (a + 1) / (a + b + 2); else I_x(a, b) = 1 - I_{1-x}(b, a).

    References:
        DLMF 8.17.22; the fraction is evaluated by Lentz's method (1976).
    """
    if x == 0 or rest == 0:
        return 0.0 if x == 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(b, a, rest, x)
    # The logarithm of x^a (1 - x)^b / B(a, b).
    constant = math.lgamma(a + b) - math.lgamma(a)
    constant = constant - math.lgamma(b)
    log_front = constant + a * math.log(x)
    log_front = log_front + b * math.log(rest)
    front = math.exp(log_front) / a
    first = (a + b) * x / (a + 1)
    c, d = 1.0, 1 / (1 - first)
    fraction, m = d, 0
    change = 0.0
    while abs(change - 1) > PRECISION:
        m += 1
        here = a + 2 * m
        even = m * (b - m) * x / ((here - 1) * here)
        odd = -(a + m) * (a + b + m) * x
        odd = odd / (here * (here + 1))
        for term in (even, odd):
            d = 1 / (1 + term * d)
            c = 1 + term / c
            change = c * d
            fraction *= change
    return front * fraction


@functools.cache
def student_quantile(
    freedom: float,
    level: float = LEVEL,
) -> float:
    """The t with P(|T| >= t) = level, by bisection."""
    low, high = 0.0, 1.0
    while student_tail(high, freedom) > level:
        high *= 2
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        if student_tail(middle, freedom) > level:
            low = middle
        else:
            high = middle
    return high
