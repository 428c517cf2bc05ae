"""Every score against its definition, and the statistics of those that are estimated."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from casim.controls import Control
from casim.metrics import Score, Sums
from casim.scores import STUDENT, Blocks, finalise
from casim.types import Cost, Credit
from tests.enumeration import Weighted, assert_mean, case, cell_mean, expected_gradient, solve
from tests.metrics.samples import (
    GROUPS,
    KEY,
    SIZE,
    measure,
    random_credit,
)


def test_blocks_hold_the_sums_of_their_chunks(sums, per_block):
    for name, whole, parts in zip(Sums._fields, sums, per_block, strict=True):
        np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-3, err_msg=name)
    with pytest.raises(ValueError, match="blocks must hold at least 1 chunk"):
        _ = Blocks(3).sums


def test_scores_of_identification_equal_loops(scores, given, rows):
    weight = given.exact.occupancy[:, :, None] * np.asarray(given.policy, np.float64)[np.asarray(given.mdp.schedule)]
    weight[1] = 0.0
    signal = (weight * given.advantage**2).sum() / weight.sum()
    block = np.repeat(np.arange(GROUPS), SIZE)
    means, own, spread = np.full((3, GROUPS, 4, 5, 2), np.nan)
    for b, t, s, a in np.ndindex(GROUPS, 4, 5, 2):
        here = (block == b) & rows["decided"][:, t] & (rows["state"][:, t] == s) & (rows["action"][:, t] == a)
        if here.any():
            means[b, t, s, a] = (rows["value"] - rows["advantage"])[here, t].mean()
            own[b, t, s, a] = (rows["value"] - rows["target"])[here, t].mean()
    for t, s, a in np.ndindex(4, 5, 2):
        here = rows["decided"][:, t] & (rows["state"][:, t] == s) & (rows["action"][:, t] == a)
        if here.sum() > 1:
            spread[0, t, s, a] = rows["value"][here, t].var(ddof=1)
    policy = np.asarray(given.policy, np.float64)[np.asarray(given.mdp.schedule)]
    offset = np.sum(policy * means, axis=-1, keepdims=True)

    def squared(mean):
        """Mean over cells of the mean product of the means of two different blocks."""
        total = mass = 0.0
        for t, s, a in np.ndindex(4, 5, 2):
            seen = mean[np.isfinite(mean[:, t, s, a]), t, s, a]
            if len(seen) > 1 and weight[t, s, a] > 0:
                products = [x * y for i, x in enumerate(seen) for j, y in enumerate(seen) if i != j]
                total += weight[t, s, a] * np.mean(products)
                mass += weight[t, s, a]
        return total / mass

    assert scores["bias"].value == pytest.approx(squared(means) / signal, rel=1e-4)
    assert scores["target_bias"].value == pytest.approx(squared(own) / signal, rel=1e-4)
    assert scores["centred_bias"].value == pytest.approx(squared(means - offset) / signal, rel=1e-4)
    seen = np.isfinite(spread[0]) & (weight > 0)
    assert scores["variance"].value == pytest.approx(
        (weight * spread[0])[seen].sum() / weight[seen].sum() / signal, rel=1e-4
    )
    assert scores["variance"].count == seen.sum()
    error = (rows["value"] - rows["advantage"])[rows["decided"]]
    assert scores["rmse"].value == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert scores["rmse"].count == rows["decided"].sum()


def test_scores_of_the_gradient_equal_their_definitions(scores, given, truth):
    batch, credit, _ = random_credit()
    wanted = np.asarray(truth.gradient, np.float64)
    norm = (wanted**2).sum()
    gradient = []
    for c in range(GROUPS):
        one = Weighted(np.ones(1), jax.tree.map(lambda x, c=c: x[c : c + 1], batch))
        gradient.append(expected_gradient(given.mdp, given.policy, one, credit.value[c]))
    gradient = np.array(gradient)
    mean = gradient.mean(axis=0)
    variance = gradient.var(axis=0, ddof=1).sum()
    assert scores["gradient_slope"].value == pytest.approx(np.vdot(mean, wanted) / norm, rel=1e-3)
    assert scores["gradient_error"].value == pytest.approx(np.sqrt(((mean - wanted) ** 2).sum() / norm), rel=1e-3)
    assert scores["gradient_variance"].value == pytest.approx(variance / norm, rel=1e-3)
    bias = ((mean - wanted) ** 2).sum() - variance / GROUPS
    assert scores["gradient_bias"].value == pytest.approx(bias / norm, rel=1e-3)
    length = (mean**2).sum() - variance / GROUPS
    assert length > 0
    assert scores["gradient_cosine"].value == pytest.approx(np.vdot(mean, wanted) / np.sqrt(norm * length), rel=1e-3)
    error = ((gradient - wanted) ** 2).sum(axis=(1, 2, 3)).mean()
    assert scores["snr"].value == pytest.approx(norm / error, rel=1e-3)


def test_1_over_snr_is_gradient_bias_plus_gradient_variance_exactly(scores):
    total = scores["gradient_bias"].value + scores["gradient_variance"].value
    assert 1 / scores["snr"].value == pytest.approx(total, rel=1e-12)


def test_costs_are_per_group(scores, rows):
    cost = random_credit()[1].cost
    for name, each in zip(("env_steps", "judge_calls", "critic_updates"), cost, strict=True):
        assert scores[name].value == pytest.approx(float(np.mean(each)))
    assert scores["batch_steps"].value == rows["live"].sum() / GROUPS


def test_intervals_are_those_of_the_jackknife(scores, given, truth, per_block):
    left_out = []
    for b in range(GROUPS):
        rest = Sums(*(np.delete(x, b, axis=0) for x in per_block))
        left_out.append(finalise(given.mdp, truth, rest).scores["rmse"].value)
    spread = np.sqrt((GROUPS - 1) / GROUPS * np.sum((left_out - np.mean(left_out)) ** 2))
    half = stats.t.ppf(0.975, GROUPS - 1) * spread
    score = scores["rmse"]
    assert half > 0
    assert (score.high - score.value, score.value - score.low) == pytest.approx((half, half), rel=1e-3)


def test_the_table_of_student_is_right():
    for freedom, quantile in STUDENT.items():
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)
    assert sorted(STUDENT) == list(range(1, 10))


def all_scores(mdp, policy, truth, batch, value, num_blocks):
    """Scores of given credit `[C, N, T]`, C groups spread over blocks."""
    blocks = Blocks(num_blocks)
    for b, part in enumerate(np.array_split(np.arange(len(value)), num_blocks)):
        zero = jnp.zeros(len(part))
        credit = Credit(jnp.asarray(value[part], jnp.float32), Cost(zero, zero, zero))
        one = jax.tree.map(lambda x, part=part: x[part], batch)
        blocks.add(b, measure(mdp, policy, truth, one, credit, credit.value))
    return finalise(mdp, truth, blocks.sums).scores


def test_a_broadcast_and_no_credit_at_all_are_undefined_with_a_count_of_0(given, truth):
    batch, _, _ = random_credit()
    live = np.asarray(batch.live)
    constant = all_scores(given.mdp, given.policy, truth, batch, 0.7 * live, 2)
    assert np.isnan(constant["rank_correlation"][:3]).all()
    assert constant["rank_correlation"].count == 0
    nothing = all_scores(given.mdp, given.policy, truth, batch, 0.0 * live, 2)
    for name in ("rank_correlation", "leakage", "gradient_cosine"):
        assert np.isnan(nothing[name].value), name
    assert nothing["leakage"].count == 0
    assert nothing["sign_accuracy"].value == 0.0
    assert nothing["gradient_bias"].value == pytest.approx(1.0, abs=1e-5)
    assert nothing["gradient_variance"].value == pytest.approx(0.0, abs=1e-6)
    assert nothing["snr"].value == pytest.approx(1.0, abs=1e-5)


def test_the_exact_control_has_no_bias_no_wrong_sign_and_no_leakage(given, truth):
    batch, _, _ = random_credit()
    value = np.stack(
        [
            Control("exact")(KEY, given.world, truth, jax.tree.map(lambda x, c=c: x[c], batch)).value
            for c in range(GROUPS)
        ]
    )
    exact = all_scores(given.mdp, given.policy, truth, batch, value, GROUPS)
    for name in ("bias", "centred_bias", "target_bias", "variance", "rmse", "leakage"):
        assert exact[name].value == pytest.approx(0.0, abs=1e-5), name
    assert exact["sign_accuracy"] == Score(1.0, 1.0, 1.0, exact["sign_accuracy"].count)
    assert exact["rank_correlation"].value == pytest.approx(1.0, abs=1e-5)
    assert exact["snr"].value > 0


def test_fewer_than_two_groups_raise(given, truth, per_block):
    with pytest.raises(ValueError, match="replicates must be at least 2, got 1"):
        finalise(given.mdp, truth, Sums(*(x[:1] for x in per_block)))


def test_two_groups_are_enough(given, truth, per_block):
    two = finalise(given.mdp, truth, Sums(*(x[:2] for x in per_block))).scores
    assert np.isfinite(two["rmse"]).all()
    assert np.isfinite(two["snr"].value)


@functools.cache
def synthetic(num_blocks, per_block, repeats):
    """Scores of many studies of credit with known bias and noise in every cell, drawn as sums and not simulated."""
    one = case(binary=False, actions=2, prompt=False, discount=0.875)
    truth = solve(one.mdp, one.policy)
    rng = np.random.default_rng(7)
    _, mass = cell_mean(one.mdp, one.all, np.zeros(one.all.batch.action.shape))
    bias, noise = rng.normal(size=mass.shape), rng.uniform(0.5, 2, mass.shape)
    gradient_bias = 0.1 * rng.normal(size=np.shape(one.policy))
    out = []
    for _ in range(repeats):
        count = rng.poisson(mass * per_block * 5, (num_blocks, *mass.shape)).astype(float)
        error = count * bias + np.sqrt(count) * noise * rng.normal(size=count.shape)
        draws = gradient_bias + 0.3 * rng.normal(size=(num_blocks, per_block, *np.shape(one.policy)))
        parts = rng.gamma(2.0, size=(num_blocks, per_block, 2)).sum(axis=1)
        zero = np.zeros((num_blocks, 2))
        out.append(
            finalise(
                one.mdp,
                truth,
                Sums(
                    groups=np.full(num_blocks, float(per_block)),
                    count=count,
                    error=error,
                    square=count * (bias**2 + noise**2),
                    target_error=error,
                    sign=np.stack([parts[:, 0], parts.sum(axis=1)], axis=1),
                    rank=zero,
                    precision=zero,
                    leakage=zero,
                    trajectories=np.full(num_blocks, 5.0 * per_block),
                    gradient_error=draws.sum(axis=1),
                    gradient_square=(draws**2).sum(axis=(1, 2, 3, 4)),
                    cost=np.ones((num_blocks, 4)),
                ),
            ).scores
        )
    weight = mass / mass.sum()
    signal = (weight * one.advantage**2).sum()
    norm = (np.asarray(truth.gradient, np.float64) ** 2).sum()
    wanted = {
        "bias": (weight * bias**2).sum() / signal,
        "gradient_bias": (gradient_bias**2).sum() / norm,
        "gradient_variance": 0.09 * gradient_bias.size / norm,
        "sign_accuracy": 0.5,
    }
    return out, wanted


def test_debiased_squared_biases_are_unbiased():
    out, wanted = synthetic(10, 40, 200)
    for name in ("bias", "gradient_bias", "gradient_variance"):
        # Rare cells are missing from a study that never met them twice: a small part of the weight.
        slack = 0.002 * wanted[name] if name == "bias" else 1e-9
        assert_mean(np.array([scores[name].value for scores in out]), np.array(wanted[name]), rounding=slack)


def test_intervals_cover_what_they_should():
    out, wanted = synthetic(10, 40, 200)
    for name in ("gradient_bias", "gradient_variance", "sign_accuracy"):
        inside = [scores[name].low <= wanted[name] <= scores[name].high for scores in out]
        # 95% of 200, and the chance of fewer than 176 or of all 200 is below 1e-4.
        assert 176 <= sum(inside) < 200, (name, sum(inside))
