"""What a budget buys: the closed form against a search over scalars and sampled gradients."""

import numpy as np
import pytest

from casim.compare import by_budget, by_score, error_at, least_error_at, worth
from tests.compare.samples import scored
from tests.rows import NAN

EXACT = np.array([1.0, -2.0, 0.5])
"""g*."""
MEAN = np.array([0.7, -1.1, 0.9])
"""E g."""
SPREAD = np.array([2.0, 1.0, 3.0])
"""Standard deviations of the entries of g."""
COST = 40.0


def numbers(exact=EXACT, mean=MEAN, spread=SPREAD, cost=COST):
    """The scores that a method with this gradient has, computed from their definitions."""
    norm = exact @ exact
    slope, length, noise = mean @ exact / norm, mean @ mean / norm, (spread**2).sum() / norm
    return {
        "gradient_slope": slope,
        "gradient_bias": ((mean - exact) ** 2).sum() / norm,
        "gradient_variance": noise,
        "snr_aligned": np.sign(slope) * slope**2 / (length + noise - slope**2),
        "batch_steps": cost * 0.25,
        "env_steps": cost * 0.75,
    }


def known(label="A", blocks=3, **kwargs):
    return scored(label, {name: [x] * blocks for name, x in numbers(**kwargs).items()})


@pytest.mark.parametrize("budget", [40.0, 100.0, 4e3, 4e6])
def test_the_error_is_the_least_over_scalars(budget):
    k = np.linspace(0, 2, 2_000_001)
    norm, groups = EXACT @ EXACT, budget / COST
    along, length, noise = MEAN @ EXACT, MEAN @ MEAN, (SPREAD**2).sum()
    errors = (k**2 * length - 2 * k * along + norm + k**2 * noise / groups) / norm
    found = error_at(known(), budget)
    np.testing.assert_allclose(found, errors.min(), rtol=1e-9)


def test_the_error_is_that_of_sampled_gradients():
    rng = np.random.default_rng(0)
    groups, samples = 5, 400_000
    means = MEAN + rng.standard_normal((samples, 3)) * SPREAD / np.sqrt(groups)
    best = (means @ EXACT).mean() / (means**2).sum(1).mean()
    error = ((best * means - EXACT) ** 2).sum(1) / (EXACT @ EXACT)
    standard_error = error.std() / np.sqrt(samples)
    assert abs(error_at(known(), groups * COST)[0] - error.mean()) < 4 * standard_error


def test_bias_does_not_average_out_and_without_bias_the_worth_grows_like_the_budget():
    cosine = (MEAN @ EXACT) ** 2 / (MEAN @ MEAN) / (EXACT @ EXACT)
    assert error_at(known(), 1e12)[0] == pytest.approx(1 - cosine, rel=1e-6)
    scaled = known(mean=0.3 * EXACT)  # what a number mends is no bias
    one, ten = (worth([scaled], budget).value for budget in (1e8, 1e9))
    assert one > 5e4
    assert ten / one == pytest.approx(10, rel=1e-4)


def test_one_group_is_worth_one_more_than_its_snr_after_the_best_scalar():
    row = known()
    assert worth([row], COST).value == pytest.approx(1 + row.scores["snr_aligned"].value, rel=1e-9)


def test_a_gradient_that_is_worth_nothing_is_worth_one():
    orthogonal = np.array([2.0, 1.0, 0.0])
    assert worth([known(mean=orthogonal)], 1e6).value == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("budget", [40.0, 4e6])
def test_a_gradient_that_points_away_is_worth_nothing_more(budget):
    """A negative number would turn it round, but a learner does not know that it should."""
    away = known(mean=-MEAN)
    assert away.scores["snr_aligned"].value == -known().scores["snr_aligned"].value
    assert (error_at(away, budget) == 1).all()
    assert worth([away], budget)[:3] == (1.0, 1.0, 1.0)


def test_an_error_below_the_least_possible_is_luck_and_put_there():
    lucky = numbers(mean=0.5 * EXACT)
    lucky["gradient_bias"] -= 0.01  # by chance
    blocks = {name: [x, x, x] for name, x in lucky.items()}
    blocks["gradient_bias"] = [lucky["gradient_bias"] + 0.05 * e for e in (-1, 0, 1)]
    row = scored("A", blocks)
    least = least_error_at(row, 1e9)[0]
    assert error_at(row, 1e9)[0] < 0 < least
    found = worth([row], 1e9)
    assert found.value == pytest.approx(1 / least)
    assert found.low < found.value <= found.high * (1 + 1e-9)


def test_a_budget_below_one_group_buys_nothing_and_says_so():
    measure = by_budget(39.0)
    assert np.isnan(measure.read(known())).all()
    assert measure.explain(known()) == "one group costs 40 steps, more than the budget"
    assert np.isnan(worth([known()], 39.0).value)
    with pytest.raises(ValueError, match="budget must be in"):
        by_budget(0.0)


def test_a_score_that_is_missing_says_why():
    row = scored("A", {"snr": [NAN, NAN]}, notes={"snr": "no gradient"})
    measure = by_score([row], "snr")
    assert measure.explain(row) == "no gradient"
    with pytest.raises(ValueError, match="score must be one of"):
        by_score([row], "bias")
