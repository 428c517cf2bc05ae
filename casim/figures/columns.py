"""Columns of `casim.figures.ladder`, read of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

from casim.compare import by_score, compare, worth
from casim.figures.ladder import Column, Number
from casim.report import Row

Place = Callable[[Row], str]
"""At which place of x a row stands, as it is called there."""
Values = dict[str, dict[str, Number]]
"""By label of the method, then by place."""
COST = "environment steps\nper step of the batch"
WORTH = "1 / error of the gradient\nat equal cost"


def by_place(
    rows: Iterable[Row],
    place: Place,
    read: Callable[[Row], Number],
) -> Values:
    """What is read of each row, by label and place."""
    values: Values = {}
    for row in rows:
        values.setdefault(row.label, {})[place(row)] = read(row)
    return values


def score_of(
    score: str,
    least: float | None = None,
) -> Callable[[Row], Number]:
    """Reads a score with its interval.

    Args:
        score: its name.
        least: what is below is put there, as on a logarithmic axis: estimates of what is 0 are
            below 0 half of the time. None leaves all as it is.
    """

    def read(row: Row) -> Number:
        value, low, high = row.scores[score][:3]
        if least is None or math.isnan(value):
            return value, low, high
        return max(value, least), max(low, least), max(high, least)

    return read


def cost_column(rows: Sequence[Row], place: Place) -> Column:
    """All steps over those of the batch: 1 where nothing extra is rolled out."""

    def read(row: Row) -> Number:
        batch = row.scores["batch_steps"].value
        cost = 1 + row.scores["env_steps"].value / batch
        return cost, cost, cost

    values = by_place(rows, place, read)
    return Column(COST, values, "log", neutral=1.0)


def worth_column(
    rows: Sequence[Row],
    place: Place,
    groups: int,
) -> Column:
    """What a budget buys, see `casim.compare.worth`.

    Args:
        rows: of methods and controls.
        place: of a row.
        groups: batches without anything extra that the budget of environment steps makes.
    """

    def read(row: Row) -> Number:
        budget = groups * row.scores["batch_steps"].value
        return worth([row], budget)[:3]

    values = by_place(rows, place, read)
    return Column(WORTH, values, "log", neutral=1.0)


def alike(
    rows: Sequence[Row],
    score: str,
    against: str,
    place: Place,
) -> set[tuple[str, str]]:
    """Label and place of what pairs don't tell apart from one method, by this score."""
    found = set()
    for pair in compare(rows, by_score(rows, score), against):
        if pair.verdict not in ("better", "worse"):
            row = pair.rows[0]
            found.add((row.label, place(row)))
    return found
