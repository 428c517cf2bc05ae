"""Exponents against NumPy's weighted fit, and intervals that cover the truth."""

import numpy as np
import pytest

from casim.compare import student_quantile
from casim.compare.scaling import scaling
from tests.compare.samples import scored
from tests.rows import NAN

BLOCKS = 10
X = np.array([8.0, 16.0, 32.0, 64.0, 128.0])


def measured(rng, exponent=-1.5, noise=0.1, seed=0, shared=0.0):
    """Rows whose score is 3 x^exponent with relative noise, some of it the same at all x."""
    together = shared * rng.standard_normal(BLOCKS)
    spread = noise * np.linspace(1, 3, len(X))
    rows = []
    for x, s in zip(X, spread, strict=True):
        relative = 1 + s * rng.standard_normal(BLOCKS) + together
        rows.append(scored("A", {"snr": 3 * x**exponent * relative}, seed=seed, horizon=int(x)))
    return rows


def test_the_exponent_is_the_weighted_fit_of_logarithms():
    rows = measured(np.random.default_rng(0))
    logs = np.log([[row.scores["snr"].value, *row.left_out["snr"]] for row in rows])
    deviation = np.sqrt((BLOCKS - 1) * logs[:, 1:].var(axis=1))
    slopes = [np.polyfit(np.log(X), y, 1, w=1 / deviation)[0] for y in logs.T]
    found = scaling(rows, "snr", X)
    assert found.exponent.value == pytest.approx(slopes[0], rel=1e-9)
    half = student_quantile(BLOCKS - 1) * np.sqrt((BLOCKS - 1) * np.var(slopes[1:]))
    assert found.exponent.high - found.exponent.value == pytest.approx(half, rel=1e-9)
    assert (found.used, found.left_out) == (5, 0)


@pytest.mark.slow
def test_intervals_cover_the_exponent_also_where_rows_share_their_noise():
    rng = np.random.default_rng(1)
    runs = 400
    for shared in (0.0, 0.2):
        found = [scaling(measured(rng, shared=shared), "snr", X).exponent for _ in range(runs)]
        hits = sum(one.low <= -1.5 <= one.high for one in found)
        assert 0.925 <= hits / runs <= 0.975


def test_seeds_are_averaged():
    rng = np.random.default_rng(2)
    one, two = measured(rng, seed=0), measured(rng, seed=1)
    each = [scaling(rows, "snr", X).exponent.value for rows in (one, two)]
    both = scaling(one + two, "snr", np.concatenate([X, X]))
    assert both.exponent.value == pytest.approx(np.mean(each))


def test_an_exact_law_has_its_exponent_and_no_width():
    rows = [scored("A", {"env_steps": [7 * x**2] * BLOCKS}) for x in X]
    found = scaling(rows, "env_steps", X).exponent
    assert found[:3] == pytest.approx((2.0, 2.0, 2.0))


def test_scores_that_are_not_positive_are_left_out_and_said():
    rows = measured(np.random.default_rng(3))
    for place in (0, 4):
        rows[place] = scored("A", {"snr": [-1.0, *[2.0] * (BLOCKS - 1)]}, seed=0)
    assert scaling(rows, "snr", X)[1:] == (5, 0)  # a block may be negative, if no score is
    rows[0] = scored("A", {"snr": [NAN] * BLOCKS}, seed=0)
    found = scaling(rows, "snr", X)
    assert (found.used, found.left_out) == (4, 1)
    rows[1] = rows[2] = scored("A", {"snr": [-1.0] * BLOCKS}, seed=0)
    found = scaling(rows, "snr", X)
    assert np.isnan(found.exponent.value)
    assert (found.used, found.left_out) == (2, 3)


def test_what_has_no_logarithm_or_lacks_a_seed_is_refused():
    rows = measured(np.random.default_rng(4))
    with pytest.raises(ValueError, match="x must be positive, got 0"):
        scaling(rows, "snr", [0, *X[1:]])
    with pytest.raises(ValueError, match="every seed at every value of x, got 6"):
        scaling([*rows, scored("A", {"snr": [1.0, 2.0]}, seed=5)], "snr", [*X, 8.0])
