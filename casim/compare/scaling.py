"""How a score scales with a knob: the exponent of a power law, with its interval.

In maths:

    log s_i = constant + exponent log x_i,

by least squares with weights 1 / Var(log s_i), each variance by the jackknife over the blocks of
its row. The interval is by the jackknife too: every block is left out of all rows at once, since
rows of one seed use the same keys, and the weights stay. Seeds are independent.

It says how a score falls or rises over the range that was measured, not that it is a power law.

References:
    Tukey 1958 (jackknife).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from casim.compare.student import MISSING, Estimate, mean
from casim.report import Row
from casim.scores.numbers import Quantity, covariance

FEWEST = 3
"""Values of x that say anything of a power law."""


class Scaling(NamedTuple):
    """An exponent, and what it was fitted to."""

    exponent: Estimate
    used: int
    """Values of x whose score is positive with and without each block, in all seeds."""
    left_out: int
    """Values of x where it is not."""


def scaling(
    rows: Sequence[Row],
    score: str,
    x: Sequence[float] | np.ndarray,
) -> Scaling:
    """The exponent of a score of one method over a knob.

    Args:
        rows: of one method; they differ in the knob and the seed alone, have the same replicates,
            and each value of x has a row of each seed.
        score: which.
        x: the knob's value in each row, positive.

    Returns:
        The exponent is missing where fewer than three values of x have a positive score.

    Raises:
        ValueError: a value that is not positive, or that lacks a row of some seed.
    """
    by_seed: dict[int, dict[float, Quantity]] = {}
    for row, value in zip(rows, x, strict=True):
        if not value > 0:
            raise ValueError(f"x must be positive, got {value!r}")
        found = row.scores[score].value
        every = [found, *row.left_out[score]]
        quantity = np.array(every, np.float64)
        of_seed = by_seed.setdefault(row.seed, {})
        of_seed[value] = quantity
    values = sorted({*x})
    if any(sorted(points) != values for points in by_seed.values()):
        raise ValueError(f"rows must have every seed at every value of x, got {len(rows)} of them")
    points = by_seed.values()

    def can_be_logged(value: float) -> bool:
        return all((each[value] > 0).all() for each in points)

    used = [value for value in values if can_be_logged(value)]
    left_out = len(values) - len(used)
    if len(used) < FEWEST:
        return Scaling(MISSING, len(used), left_out)
    log_used = np.log(used)
    each = []
    for found in points:
        quantities = [found[value] for value in used]
        logarithms = np.log(quantities)
        each.append(_slope(log_used, logarithms))
    return Scaling(mean(each), len(used), left_out)


def _slope(
    x: Float[np.ndarray, " X"],
    y: Float[np.ndarray, "X B1"],
) -> Quantity:
    """The weighted least-squares slope, from all blocks and without each."""
    variances = np.array([covariance(quantity, quantity) for quantity in y])
    # What has no noise leaves no way to weigh it against what has.
    weights = np.ones_like(variances)
    if (variances > 0).all():
        weights = 1 / variances
    middle = np.average(x, weights=weights)
    centred = x - middle
    spread = np.sum(weights * centred**2)
    shares = weights * centred / spread
    return shares @ y
