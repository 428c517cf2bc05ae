"""Sums on the device become the scores that NumPy makes of the same sums, whatever the slab."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.scores import STUDENT, Blocks, Sums, finalise
from tests.enumeration import case, solve
from tests.small import small_numbers

BLOCKS = 4

PAIRS = ("rank", "precision", "effective", "support")


def mean_error(blocks, name, members):
    """Of each cell over some blocks; of the step where they never met the cell."""
    visits = blocks.count[members].sum(axis=0)
    total = getattr(blocks, name)[members].sum(axis=0)
    step = total.sum(axis=(1, 2)) / np.maximum(visits.sum(axis=(1, 2)), 1)
    default = np.broadcast_to(step[:, None, None], total.shape)
    return np.divide(total, visits, out=default.copy(), where=visits > 0)


def pair(blocks, i, j, members, weight, policy):
    """What blocks i and j say together, centred by what `members`, which are neither, found."""
    visits = blocks.count / blocks.trajectories[:, None, None, None]
    error, square, own = (
        getattr(blocks, name) / blocks.trajectories[:, None, None, None]
        for name in ("error", "square", "target_error")
    )
    beta, aim = (mean_error(blocks, name, members) for name in ("error", "target_error"))
    here = weight > 0
    x = [(error[b] - beta * visits[b] + beta * weight) for b in (i, j)]
    target = [(own[b] - aim * visits[b] + aim * weight) for b in (i, j)]
    centred = [one - policy * one.sum(axis=-1, keepdims=True) for one in x]
    small = [error[b] - beta * visits[b] for b in (i, j)]
    spread = [(square[b] - 2 * beta * error[b] + beta**2 * visits[b]).sum() for b in (i, j)]

    def product(two):
        return (two[0][here] * two[1][here] / weight[here]).sum()

    return product(x), product(centred), product(target), np.mean(spread) - product(small)


def identification(mdp, truth, blocks, thirds):
    """The scores over cells, pair by pair of blocks.

    `thirds` lists the blocks of each third by their place.
    """
    schedule = np.asarray(mdp.schedule)
    policy = np.asarray(truth.state_policy, np.float64)[schedule]
    weight = np.asarray(truth.occupancy, np.float64)[:, :, None] * policy
    weight = weight * np.asarray(mdp.decision)[schedule][:, None, None]
    unit = 2.0 ** np.floor(np.log2(np.abs(np.asarray(truth.value)).max()))
    signal = (weight * (np.asarray(truth.advantage, np.float64) / unit) ** 2).sum()
    members = sorted(itertools.chain(*thirds))
    products = [
        np.mean(
            [
                pair(blocks, i, j, third, weight, policy)
                for third in thirds
                if i not in third and j not in third
            ],
            axis=0,
        )
        for i, j in itertools.combinations(members, 2)
    ]
    scores = dict(
        zip(
            ("bias", "centred_bias", "target_bias", "variance"),
            np.mean(products, axis=0) / signal,
            strict=True,
        )
    )
    square = (blocks.square.sum(axis=(1, 2, 3)) / blocks.trajectories)[members].mean()
    return scores | {"rmse": unit * np.sqrt(square / weight.sum())}


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
    shares = {name: np.sort(rng.uniform(1, 9, (BLOCKS, 2))) for name in PAIRS}
    sized = {name: np.sort(rng.uniform(1, 9, (BLOCKS, 256, 2))) for name in ("sign", "leakage")}
    return Sums(
        groups=np.full(BLOCKS, 6.0),
        count=count,
        error=error,
        square=error**2 / np.maximum(count, 1) + count * rng.uniform(1, 2, count.shape),
        target_error=error + 0.3 * count,
        trajectories=np.full(BLOCKS, 30.0),
        gradient_error=gradient,
        gradient_square=rng.uniform(50, 60, (BLOCKS, 2)),
        sizes=np.ones((BLOCKS, 256)),
        cost=rng.uniform(1, 9, (BLOCKS, 4)),
        **shares,
        **sized,
    )


@pytest.mark.parametrize("slab", [1, 20, 30, 10**6])
def test_scores_equal_numpys_whatever_the_slab(given, blocks, monkeypatch, slab):
    """Ten cells a step, four steps: slabs of 1, 2 and 3 steps, and of all.

    3 do not divide 4. Intervals leave out pairs of blocks; what centres the others stays.
    """
    small_numbers(monkeypatch, jax.default_backend(), slab=slab)
    scores = finalise(*given, blocks).scores
    thirds = [[0, 1], [2], [3]]
    wanted = identification(*given, blocks, thirds)
    for name, value in wanted.items():
        assert scores[name].value == pytest.approx(value, rel=1e-10), name
        assert scores[name].count == 24


@pytest.mark.parametrize("num", [2, 3])
def test_few_blocks_are_enough(given, blocks, num):
    """With two nothing is left to centre by: beta is 0."""
    few = Sums(*(x[:num] for x in blocks))
    scores = finalise(*given, few).scores
    if num == 3:
        wanted = identification(*given, few, [[0], [1], [2]])
    else:
        empty = few._replace(
            count=0 * few.count, error=0 * few.error, target_error=0 * few.target_error
        )
        with_empty = Sums(*(np.concatenate([x, y[:1]]) for x, y in zip(few, empty, strict=True)))
        wanted = two_blocks(*given, with_empty)
    for name in ("bias", "centred_bias", "target_bias", "variance"):
        assert scores[name].value == pytest.approx(wanted[name], rel=1e-10), name


def two_blocks(mdp, truth, blocks):
    """The third block is empty and centres the other two by nothing."""
    policy = np.asarray(truth.state_policy, np.float64)[np.asarray(mdp.schedule)]
    weight = np.asarray(truth.occupancy, np.float64)[:, :, None] * policy
    weight = weight * np.asarray(mdp.decision)[np.asarray(mdp.schedule)][:, None, None]
    unit = 2.0 ** np.floor(np.log2(np.abs(np.asarray(truth.value)).max()))
    signal = (weight * (np.asarray(truth.advantage, np.float64) / unit) ** 2).sum()
    values = pair(blocks, 0, 1, [2], weight, policy)
    return dict(
        zip(
            ("bias", "centred_bias", "target_bias", "variance"),
            np.array(values) / signal,
            strict=True,
        )
    )


def test_intervals_are_those_of_pairs_without_each_block(given, blocks):
    finished = finalise(*given, blocks)
    policy = np.asarray(given[1].state_policy, np.float64)[np.asarray(given[0].schedule)]
    weight = np.asarray(given[1].occupancy, np.float64)[:, :, None] * policy
    weight = weight * np.asarray(given[0].decision)[np.asarray(given[0].schedule)][:, None, None]
    thirds = [[0, 1], [2], [3]]
    each = {
        (i, j): np.mean(
            [pair(blocks, i, j, t, weight, policy)[0] for t in thirds if not {i, j} & set(t)]
        )
        for i, j in itertools.combinations(range(BLOCKS), 2)
    }
    whole = np.mean(list(each.values()))
    rest = np.array(
        [np.mean([x for two, x in each.items() if b not in two]) for b in range(BLOCKS)]
    )
    value = finished.scores["bias"].value
    np.testing.assert_allclose(finished.left_out["bias"], rest * value / whole, rtol=1e-9)
    half = STUDENT[3] * np.sqrt(0.75 * np.sum((rest - rest.mean()) ** 2)) * value / whole
    assert finished.scores["bias"].high - value == pytest.approx(half, rel=1e-9)


def test_without_a_target_only_its_bias_is_undefined(given, blocks):
    scores = finalise(
        *given, blocks._replace(target_error=np.full_like(blocks.count, np.nan))
    ).scores
    assert np.isnan(scores["target_bias"].value)
    assert scores["target_bias"].count == 0
    assert finalise(*given, blocks).scores["bias"] == scores["bias"]


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
