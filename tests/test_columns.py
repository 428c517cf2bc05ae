"""Columns of ladders are read of rows: places, clipped intervals, costs, and what is told apart."""

import math

import pytest

from casim.figures import alike, by_place, cost_column, score_of, worth_column
from tests.compare.samples import scored

ALIGNED = "snr_aligned"
COSTS = {"batch_steps": [10.0] * 3, "env_steps": [5.0] * 3}


def place(row):
    return f"{row.num_steps} steps"


def method(label, numbers, **changes):
    return scored(label, {ALIGNED: numbers, **COSTS}, **changes)


def test_each_row_stands_at_its_label_and_place():
    rows = [method("A", [1.0, 2.0, 3.0]), method("A", [4.0, 4.0, 4.0], num_steps=70)]
    values = by_place(rows, place, score_of(ALIGNED))
    short, long = map(place, rows)
    assert set(values["A"]) == {short, long}
    assert values["A"][short][0] == 2.0
    assert values["A"][long] == (4.0, 4.0, 4.0)


def test_what_is_below_the_least_is_drawn_there_and_what_is_missing_stays_missing():
    low = method("A", [-3.0, 0.0, 0.0])
    assert score_of(ALIGNED)(low)[0] == -1.0
    assert score_of(ALIGNED, 0.01)(low)[:2] == (0.01, 0.01)
    assert score_of(ALIGNED, 0.01)(low)[2] > 0.01
    missing = method("A", [math.nan] * 3)
    assert math.isnan(score_of(ALIGNED, 0.01)(missing)[0])


def test_costs_are_all_steps_over_those_of_the_batch():
    row = method("A", [1.0, 1.0, 1.0])
    assert cost_column([row], place).values["A"][place(row)] == (1.5, 1.5, 1.5)


def test_worth_is_that_of_the_budget_in_batches():
    """Without bias 1 / error is 1 + SNR for each group that the budget buys."""
    known = {
        "gradient_slope": [1.0] * 3,
        "gradient_bias": [0.0] * 3,
        "gradient_variance": [4.0] * 3,
        ALIGNED: [0.25] * 3,
    }
    row = scored("A", known | COSTS)
    found = worth_column([row], place, groups=30).values["A"][place(row)]
    assert found == pytest.approx([1 + 0.25 * 30 / 1.5] * 3)


def test_only_what_pairs_tell_apart_is_not_alike():
    one = [1.0, 1.1, 0.9, 1.0]
    rows = [
        method("base", one),
        method("near", [0.9, 1.2, 0.9, 1.05]),
        method("far", [x + 3 for x in one]),
    ]
    assert alike(rows, ALIGNED, "base", place) == {("near", place(rows[0]))}
