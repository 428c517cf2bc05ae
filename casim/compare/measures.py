"""What methods are compared by: a score, or what a budget of environment steps buys.

At equal cost: a budget of B environment steps buys B / c groups of a method whose groups cost
c = batch_steps + env_steps. With g the gradient of one group, g* the exact one, n = |g*|^2,
slope = <E g, g*> / n, length = |E g|^2 / n and v = tr Var(g) / n, the mean of those groups, times
the best number k >= 0, misses g* by

    error(B) = min_k (|k E g - g*|^2 / n + k^2 v c / B) = 1 - slope^2 / (length + v c / B),

so bias does not average out, and what a number can mend is no bias. A learner does not know that it
should go the other way: where slope is negative, k is 0 and the error 1. 1 / error(B) is 1 for a
gradient that is worth nothing, 1 + snr_aligned for one group, and grows like B without bias.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from casim.checks import check_choice, check_range
from casim.compare.student import MISSING, Estimate, mean
from casim.report import Row
from casim.scores.numbers import Quantity, divide
from casim.tables import known_scores

BETTER = {
    "bias": -1,
    "centred_bias": -1,
    "target_bias": -1,
    "variance": -1,
    "rmse": -1,
    "sign_accuracy": 1,
    "rank_correlation": 1,
    "precision_at_k": 1,
    "leakage": -1,
    "gradient_cosine": 1,
    "gradient_error": -1,
    "gradient_bias": -1,
    "gradient_variance": -1,
    "snr": 1,
    "snr_aligned": 1,
    "env_steps": -1,
    "judge_calls": -1,
    "critic_updates": -1,
}
"""Whether a score is better when it is higher (1) or lower (-1); of the others neither is."""


class Measure(NamedTuple):
    """A number by which methods are compared."""

    name: str
    better: int
    """1 if higher is better, -1 if lower is, 0 if neither."""
    read: Callable[[Row], Quantity]
    """Its value in a row, then without each block."""
    explain: Callable[[Row], str]
    """Why it is missing in a row."""
    size: float = 0.0
    """What its rounding is relative to, if its value is smaller than that."""


def by_score(rows: Sequence[Row], score: str) -> Measure:
    """A score of the rows as a measure.

    Raises:
        ValueError: no row has this score.
    """
    check_choice("score", score, known_scores(rows))

    def read(row: Row) -> Quantity:
        return _quantity(row, score)

    def explain(row: Row) -> str:
        return row.notes.get(score, f"{score} is undefined without some of the replicates")

    return Measure(score, BETTER.get(score, 0), read, explain)


def by_budget(budget: float) -> Measure:
    """The error of the gradient that a budget of environment steps buys, as a measure.

    Raises:
        ValueError: a budget that is not positive.
    """
    check_range("budget", budget, np.finfo(float).tiny, np.finfo(float).max)

    def read(row: Row) -> Quantity:
        return error_at(row, budget)

    def explain(row: Row) -> str:
        cost = _cost(row)[0]
        if cost > budget:
            return f"one group costs {cost:,.0f} steps, more than the budget"
        return row.notes.get("snr_aligned", "undefined without some of the replicates")

    return Measure(f"error at {budget:g} steps", -1, read, explain, size=1.0)


def error_at(row: Row, budget: float) -> Quantity:
    """error(B) of the module's docstring, and without each block; NaN if it buys no group.

    slope^2 comes from snr_aligned, where it is free of the noise that squaring would add:
    snr_aligned = sign(slope) slope^2 / (m - slope^2) with m = length + v.
    """
    slope = _quantity(row, "gradient_slope")
    variance = _quantity(row, "gradient_variance")
    ratio = _quantity(row, "snr_aligned")
    length = _quantity(row, "gradient_bias") + 2 * slope - 1
    along = ratio if slope[0] > 0 else 0 * ratio
    square = along / (1 + along) * (length + variance)
    cost = _cost(row)
    if cost[0] > budget:
        return np.full_like(cost, np.nan)
    return 1 - square / (length + variance * cost / budget)


def least_error_at(row: Row, budget: float) -> Quantity:
    """error(B) if the row's method had no bias that a number does not mend: no method has less.

    In maths: 1 - slope^2 / (slope^2 + v c / B). An estimate of error(B) can be below it, by chance.
    """
    slope = np.maximum(_quantity(row, "gradient_slope"), 0.0)
    noise = _quantity(row, "gradient_variance") * _cost(row) / budget
    return divide(noise, slope**2 + noise)


def worth(rows: Sequence[Row], budget: float) -> Estimate:
    """1 / error(B) of a method, over independent rows; missing where the error is.

    No error is below that of a method without bias, so an estimate below it is put there, and so is
    the better end of the interval, below what the least may be itself.
    """

    def read_least(row: Row) -> Quantity:
        return least_error_at(row, budget)

    error = alone(rows, by_budget(budget))
    if np.isnan(error.value):
        return MISSING
    least = alone(rows, Measure("least error", -1, read_least, str))
    best = max(error.low, least.low)
    return Estimate(
        value=1 / max(error.value, least.value),
        low=1 / max(error.high, least.value),
        high=1 / best if best > 0 else np.inf,
        p=np.nan,
    )


def _cost(row: Row) -> Quantity:
    """Environment steps that a group costs, its own and those of the method."""
    return _quantity(row, "batch_steps") + _quantity(row, "env_steps")


def _quantity(row: Row, score: str) -> Quantity:
    """A score, then without each block; NaN where the row does not have it."""
    if score not in row.scores:
        return np.full(2, np.nan)
    whole = row.scores[score].value
    return np.array([whole, *row.left_out[score]], np.float64)


def alone(rows: Sequence[Row], measure: Measure) -> Estimate:
    """The mean over independent rows of a measure, with its interval; missing if any of them is."""
    found = [measure.read(row) for row in rows]
    if not all(np.isfinite(x).all() for x in found):
        return MISSING
    return mean(found)
