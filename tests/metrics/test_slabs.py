"""Sums on the device become the scores that NumPy makes of the same sums, whatever the slab."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import scores as module
from casim.metrics import Sums
from casim.scores import Blocks, finalise
from tests.enumeration import case, solve

BLOCKS = 4


def divide(x, y):
    return np.divide(x, y, out=np.full(np.broadcast_shapes(x.shape, y.shape), np.nan), where=y > 0)


def weighted(weight, x, seen):
    where = seen & (weight > 0) & np.isfinite(x)
    mass = weight[where].sum()
    return (weight[where] * x[where]).sum() / mass if mass > 0 else np.nan, where.sum()


def squared_bias(weight, mean):
    """Weighted mean over cells of the mean product of the means of two different blocks."""
    seen = np.isfinite(mean)
    blocks = seen.sum(axis=0)
    filled = np.where(seen, mean, 0.0)
    product = filled.sum(axis=0) ** 2 - (filled**2).sum(axis=0)
    return weighted(weight, divide(product, blocks * (blocks - 1.0)), blocks > 1)


def identification(mdp, truth, blocks):
    """The scores over cells, with all arrays in memory at once."""
    schedule = np.asarray(mdp.schedule)
    policy = np.asarray(truth.state_policy, np.float64)[schedule]
    weight = np.asarray(truth.occupancy, np.float64)[:, :, None] * policy
    weight = weight * np.asarray(mdp.decision)[schedule][:, None, None]
    signal = (weight * np.asarray(truth.advantage, np.float64) ** 2).sum() / weight.sum()
    total = Sums(*(np.asarray(x).sum(axis=0) for x in blocks))
    mean, own = (divide(x, blocks.count) for x in (blocks.error, blocks.target_error))
    offset = np.sum(np.where(policy > 0, policy * mean, 0.0), axis=-1, keepdims=True)
    spread = divide(total.square - total.count * divide(total.error, total.count) ** 2, total.count - 1)
    pairs = {
        "bias": squared_bias(weight, mean),
        "centred_bias": squared_bias(weight, mean - offset),
        "target_bias": squared_bias(weight, own),
        "variance": weighted(weight, spread, total.count > 1),
    }
    out = {name: (value / signal, count) for name, (value, count) in pairs.items()}
    return out | {"rmse": (np.sqrt(total.square.sum() / total.count.sum()), total.count.sum())}


@pytest.fixture(scope="module")
def given():
    one = case(binary=False, actions=2, prompt=False, discount=0.875)
    return one.mdp, solve(one.mdp, one.policy)


@pytest.fixture(scope="module")
def blocks(given):
    """Random sums with cells that no block, one block, or two visits in all have met."""
    rng = np.random.default_rng(5)
    shape = given[1].advantage.shape
    count = rng.poisson(0.9, (BLOCKS, *shape)).astype(float)
    count[:, :, 0] += 3
    error = count * rng.normal(size=shape) + np.sqrt(count) * rng.normal(size=count.shape)
    gradient = rng.normal(size=(BLOCKS, *given[1].gradient.shape))
    pairs = {name: np.sort(rng.uniform(1, 9, (BLOCKS, 2))) for name in ("sign", "rank", "precision", "leakage")}
    return Sums(
        groups=np.full(BLOCKS, 6.0),
        count=count,
        error=error,
        square=error**2 / np.maximum(count, 1) + count * rng.uniform(1, 2, count.shape),
        target_error=error + 0.3 * count,
        trajectories=np.full(BLOCKS, 30.0),
        gradient_error=gradient,
        gradient_square=rng.uniform(50, 60, BLOCKS),
        cost=rng.uniform(1, 9, (BLOCKS, 4)),
        **pairs,
    )


@pytest.mark.parametrize("slab", [1, 20, 30, 10**6])
def test_scores_equal_numpys_whatever_the_slab(given, blocks, monkeypatch, slab):
    """Ten cells a step, four steps: slabs of 1, 2 and 3 steps, of which 3 do not divide 4, and of all."""
    monkeypatch.setitem(module.SLAB_CELLS, jax.default_backend(), slab)
    scores, wanted = finalise(*given, blocks).scores, identification(*given, blocks)
    left_out = [identification(*given, Sums(*(np.delete(x, b, axis=0) for x in blocks))) for b in range(BLOCKS)]
    for name, (value, count) in wanted.items():
        got = scores[name]
        each = np.array([one[name][0] for one in left_out])
        half = module.STUDENT[BLOCKS - 1] * np.sqrt((BLOCKS - 1) / BLOCKS * np.sum((each - each.mean()) ** 2))
        np.testing.assert_allclose(got, [value, value - half, value + half, count], rtol=1e-10, err_msg=name)


def test_without_a_target_only_its_bias_is_undefined(given, blocks):
    scores = finalise(*given, blocks._replace(target_error=np.full_like(blocks.count, np.nan))).scores
    assert np.isnan(scores["target_bias"].value)
    assert scores["target_bias"].count == 0
    assert scores["bias"] == finalise(*given, blocks).scores["bias"]


def test_sums_are_added_in_double_precision_in_the_order_given(blocks):
    """Float32 would lose the small ones, and another order the last bits."""
    rng = np.random.default_rng(8)
    total, wanted = Blocks(2), np.zeros((2, *blocks.count.shape[1:]))
    for index in range(7):
        block = index // 4
        new = [rng.normal(size=x.shape[1:]) * 10.0 ** rng.integers(-6, 6) for x in blocks]
        new = Sums(*(jnp.asarray(x, jnp.float32) for x in new))
        total.add(block, new)
        wanted[block] += np.asarray(new.error, np.float64)
    np.testing.assert_array_equal(np.asarray(total.sums.error), wanted)


def test_credit_that_is_not_finite_raises_at_the_end(given, blocks):
    error = blocks.error.copy()
    error[2] = np.nan
    with pytest.raises(ValueError, match="credit must be finite, got NaN or infinity"):
        finalise(*given, blocks._replace(error=error))
