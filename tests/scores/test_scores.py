"""Every score against its definition, and the statistics of those that are estimated."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from casim.controls import Control
from casim.scores import STUDENT, Blocks, Score, Sums, finalise
from casim.types import Cost, Credit
from tests.enumeration import Weighted, as_groups, expected_gradient
from tests.scores.samples import (
    GROUPS,
    KEY,
    measure,
    random_credit,
)


def test_blocks_hold_the_sums_of_their_chunks(sums, per_block):
    for name, whole, parts in zip(Sums._fields, sums, per_block, strict=True):
        np.testing.assert_allclose(parts.sum(axis=0), whole, atol=1e-3, err_msg=name)
    with pytest.raises(ValueError, match="blocks must hold at least 1 chunk"):
        _ = Blocks(3).sums


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
    error = gradient - wanted
    pairs = list(itertools.combinations(range(GROUPS), 2))
    bias = np.mean([np.vdot(error[i], error[j]) for i, j in pairs])
    length = np.mean([np.vdot(gradient[i], gradient[j]) for i, j in pairs])
    along = gradient.reshape(GROUPS, -1) @ wanted.ravel()
    aligned = np.mean([along[i] * along[j] for i, j in pairs]) / norm
    size = (gradient**2).sum(axis=(1, 2, 3))
    square = (error**2).sum(axis=(1, 2, 3))
    close = functools.partial(pytest.approx, rel=1e-3)
    assert length > variance / GROUPS
    assert scores["gradient_slope"].value == close(np.vdot(mean, wanted) / norm)
    assert scores["gradient_bias"].value == close(bias / norm)
    assert scores["gradient_error"].value == close(np.sign(bias) * np.sqrt(abs(bias) / norm))
    assert scores["gradient_variance"].value == close(variance / norm)
    assert scores["gradient_cosine"].value == close(np.vdot(mean, wanted) / np.sqrt(norm * length))
    # Ratios of means, less the first order of their bias (Beale).
    top, bottom = mean_and_rest(square), np.ones(GROUPS + 1) * norm
    assert scores["snr"].value == close(beale(bottom, top))
    each = np.array([np.delete(np.arange(GROUPS), b) for b in range(GROUPS)])
    without = [
        np.mean([along[i] * along[j] for i, j in itertools.combinations(e, 2)]) / norm for e in each
    ]
    top = np.array([aligned, *without])
    assert scores["snr_aligned"].value == close(beale(top, mean_and_rest(size) - top))


def mean_and_rest(x):
    return np.array([x.mean(), *[np.delete(x, b).mean() for b in range(len(x))]])


def beale(top, bottom):
    spread = (GROUPS - 1) / GROUPS * np.cov(top[1:], bottom[1:], ddof=0) * GROUPS
    return (top[0] * bottom[0] + spread[0, 1]) / (bottom[0] ** 2 + spread[1, 1])


def test_1_over_the_plain_snr_is_gradient_bias_plus_gradient_variance_exactly(
    given, truth, per_block
):
    left_out = finalise(given.mdp, truth, per_block).left_out
    total = np.array(left_out["gradient_bias"]) + np.array(left_out["gradient_variance"])
    np.testing.assert_allclose(1 / np.array(left_out["snr"]), total, rtol=1e-9)


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
    assert (score.high - score.value, score.value - score.low) == pytest.approx(
        (half, half), rel=1e-3
    )


def test_the_table_of_student_is_right():
    for freedom, quantile in STUDENT.items():
        assert quantile == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)
    assert sorted(STUDENT) == list(range(1, 10))


def all_scores(mdp, policy, truth, batch, value, num_blocks):
    """Scores of given credit `[C, N, T]`, C groups spread over blocks."""
    blocks = Blocks(num_blocks)
    for b, part in enumerate(np.array_split(np.arange(len(value)), num_blocks)):
        zero = jnp.zeros(len(part))
        credit = Credit(
            jnp.asarray(value[part], jnp.float32),
            jnp.asarray(batch.live)[part] * 1.0,
            Cost(zero, zero, zero),
        )
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
    for name in ("rank_correlation", "leakage", "gradient_cosine", "snr_aligned"):
        assert np.isnan(nothing[name]).tolist() == [True, True, True, False], name
        assert nothing[name].count == 0
    assert nothing["sign_accuracy"].value == 0.0
    assert nothing["gradient_bias"].value == pytest.approx(1.0, rel=1e-12)
    assert nothing["gradient_slope"].value == pytest.approx(0.0, abs=1e-12)
    assert nothing["gradient_variance"].value == pytest.approx(0.0, abs=1e-12)
    assert nothing["snr"].value == pytest.approx(1.0, rel=1e-12)


def test_rounding_beside_real_credit_is_no_credit(given, truth):
    """Groups 0 to 2 have credit, the others noise of 1e-7 of it.

    Half the signs of the noise are right by chance.
    """
    batch, credit, _ = random_credit()
    live = np.asarray(batch.live)
    real = np.zeros(live.shape)
    real[:3] = np.asarray(credit.value)[:3]
    noise = (
        np.random.default_rng(2).normal(size=live.shape)
        * 1e-7
        * (np.arange(GROUPS) > 2)[:, None, None]
    )
    clean = all_scores(given.mdp, given.policy, truth, batch, real * live, 2)
    noisy = all_scores(given.mdp, given.policy, truth, batch, (real + noise) * live, 2)
    for name in ("sign_accuracy", "leakage"):
        assert noisy[name] == clean[name], name
    # The same within a group: a millionth of its largest credit is nothing.
    inside = real + 1e-8 * np.where(
        real == 0, np.sign(np.random.default_rng(3).normal(size=live.shape)), 0
    )
    inside[3:] = 0.0
    rounded = all_scores(given.mdp, given.policy, truth, batch, inside * live, 2)
    assert rounded["sign_accuracy"] == clean["sign_accuracy"]
    # Small credit alone is credit.
    small = all_scores(given.mdp, given.policy, truth, batch, 1e-12 * real * live, 2)
    for name in ("sign_accuracy", "leakage"):
        assert small[name].value == pytest.approx(clean[name].value, rel=1e-6), name


def test_the_exact_control_has_no_bias_no_wrong_sign_and_no_leakage(given, truth):
    batch, _, _ = random_credit()
    value = np.stack(
        [
            Control("exact")(
                KEY,
                given.world,
                truth,
                as_groups(given.world, jax.tree.map(lambda x, c=c: x[c], batch)),
            ).value[0]
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
