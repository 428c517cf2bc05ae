"""Student's t against tables and quadrature, Holm's correction against an example by hand."""

import math

import numpy as np
import pytest

from casim.compare import holm, student_quantile, student_tail
from casim.compare.student import mean
from casim.scores import STUDENT


@pytest.mark.parametrize(
    ("t", "freedom", "p"),
    # Two-sided tails from printed tables of Student's t.
    [
        (1.833, 9, 0.1),
        (2.262, 9, 0.05),
        (3.250, 9, 0.01),
        (4.781, 9, 0.001),
        (63.657, 1, 0.01),
        (2.776, 4, 0.05),
    ],
)
def test_the_tail_is_that_of_tables(t, freedom, p):
    assert student_tail(t, freedom) == pytest.approx(p, rel=2e-3)
    assert student_tail(-t, freedom) == student_tail(t, freedom)


def test_the_tail_is_the_integral_of_the_density():
    freedom, t = 4.5, 6.0
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(freedom * math.pi) * math.gamma(freedom / 2))
    edges = t * np.exp(np.linspace(0, 20, 200_001))
    density = scale * (1 + edges**2 / freedom) ** (-(freedom + 1) / 2)
    assert student_tail(t, freedom) == pytest.approx(2 * np.trapezoid(density, edges), rel=1e-6)


def test_far_tails_keep_their_digits_and_infinity_has_none():
    assert student_tail(0.0, 9) == 1.0
    # With one degree of freedom, Cauchy's law: 1 - 2 / pi atan t.
    assert student_tail(1e6, 1) == pytest.approx(2 / math.pi * math.atan(1e-6), rel=1e-9)
    assert student_tail(math.inf, 9) == 0.0


@pytest.mark.parametrize("freedom", STUDENT)
def test_quantiles_are_those_of_the_intervals_of_scores(freedom):
    assert student_quantile(freedom) == pytest.approx(STUDENT[freedom], rel=3e-4)


def test_holm_by_hand():
    # In order .005, .01, .03, .04: times 4, 3, 2, 1 are .02, .03, .06, .04, and none below the
    # one before.
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


def test_independent_seeds_of_equal_spread_add_their_degrees_of_freedom():
    numbers = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 0.0])
    quantity = np.array([numbers.mean(), *[np.delete(numbers, b).mean() for b in range(6)]])
    one, two = mean([quantity]), mean([quantity, quantity + 1])
    spread = numbers.std(ddof=1) / math.sqrt(6)
    assert one.high - one.value == pytest.approx(2.5706 * spread, rel=1e-4)  # 5 degrees of freedom
    assert two.value == pytest.approx(one.value + 0.5)
    assert two.high - two.value == pytest.approx(2.2281 * spread / math.sqrt(2), rel=1e-4)  # 10


def test_seeds_of_unequal_spread_have_degrees_of_freedom_in_between():
    numbers = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 0.0])
    narrow = np.array([numbers.mean(), *[np.delete(numbers, b).mean() for b in range(6)]])
    wide = 3 * narrow
    found = mean([narrow, wide])
    variance = numbers.var(ddof=1) / 6
    freedom = (1 + 9) ** 2 / ((1 + 81) / 5)
    half = student_quantile(freedom) * math.sqrt(10 * variance) / 2
    assert found.high - found.value == pytest.approx(half, rel=1e-9)
    assert student_quantile(10) < student_quantile(freedom) < student_quantile(5)
