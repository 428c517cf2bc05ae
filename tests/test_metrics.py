"""Every metric against a loop in NumPy, and the statistics of those that are estimated."""

from __future__ import annotations

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from casim import metrics
from casim.controls import Control
from casim.metrics import TOLERANCE, Score, Sums
from casim.scores import STUDENT, Blocks, finalise
from casim.tasks import Bifurcation
from casim.types import Cost, Credit
from tests import reference
from tests.enumeration import QUICK, Weighted, assert_mean, case, cell_mean, expected_gradient, solve, solved

GROUPS, SIZE = 6, 7
KEY = jax.random.key(0)
measure = jax.jit(metrics.measure, compiler_options=QUICK)
group_gradient = jax.jit(metrics.group_gradient, compiler_options=QUICK)
rank_correlation = jax.jit(jax.vmap(metrics.rank_correlation), compiler_options=QUICK)
precision_at_k = jax.jit(jax.vmap(metrics.precision_at_k, in_axes=(0, None, 0)), compiler_options=QUICK)
leakage = jax.jit(jax.vmap(metrics.leakage), compiler_options=QUICK)


@pytest.fixture(scope="module")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="module")
def truth(given):
    return solve(given.mdp, given.policy)


@functools.cache
def random_credit():
    """Groups `[C, N, T]` with credit that is the advantage, an offset of the cell and noise; ties and zeros occur."""
    one = case(binary=False, actions=2, prompt=False, discount=0.875)
    flat = reference.rollout(one.world, jax.random.key(1), GROUPS * SIZE)
    rng = np.random.default_rng(0)
    state, action, live = (np.asarray(x) for x in (flat.state, flat.action, flat.live))
    time = np.broadcast_to(np.arange(4), state.shape)
    offset = rng.normal(size=(4, 5, 2))
    value = one.advantage[time, state, action] + offset[time, state, action] + rng.normal(size=state.shape)
    value = np.round(value * live, 1).astype(np.float32)
    value[3] = 0.0
    value[5] = 0.5 * live[5]
    batch = jax.tree.map(lambda x: x.reshape(GROUPS, SIZE, 4), flat)
    cost = Cost(*(jnp.asarray(rng.integers(1, 9, GROUPS), jnp.float32) for _ in range(3)))
    target = np.round(rng.normal(size=state.shape), 1).astype(np.float32)
    return (
        batch,
        Credit(jnp.asarray(value.reshape(GROUPS, SIZE, 4)), cost),
        jnp.asarray(target.reshape(GROUPS, SIZE, 4)),
    )


@pytest.fixture(scope="module")
def sums(given, truth):
    return measure(given.mdp, given.policy, truth, *random_credit())


@pytest.fixture(scope="module")
def rows(given):
    """The same as plain arrays: flat rows, with their advantage, decision steps and steps that matter."""
    batch, credit, target = random_credit()
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, 4), batch)
    time = np.broadcast_to(np.arange(4), flat.state.shape)
    advantage = given.advantage[time, flat.state, flat.action]
    decided = flat.live & np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    size = np.where((given.exact.occupancy > 0)[:, :, None], np.abs(given.advantage), 0.0)
    size[1] = 0.0  # the environment's step
    matter = size.max(-1) > TOLERANCE * size.max()
    return {
        "state": flat.state,
        "action": flat.action,
        "live": flat.live,
        "value": np.asarray(credit.value, np.float64).reshape(-1, 4),
        "target": np.asarray(target, np.float64).reshape(-1, 4),
        "advantage": advantage,
        "decided": decided,
        "matters": matter[time, flat.state],
        "pivotal": matter.any(axis=1),
        "tolerance": TOLERANCE * size.max(),
    }


def test_sums_over_cells_equal_loops(sums, rows):
    wanted = {name: np.zeros((4, 5, 2)) for name in ("count", "error", "square", "target_error")}
    for i, t in zip(*np.nonzero(rows["decided"]), strict=True):
        cell = t, rows["state"][i, t], rows["action"][i, t]
        error = rows["value"][i, t] - rows["advantage"][i, t]
        wanted["count"][cell] += 1
        wanted["error"][cell] += error
        wanted["square"][cell] += error**2
        wanted["target_error"][cell] += rows["value"][i, t] - rows["target"][i, t]
    for name, value in wanted.items():
        np.testing.assert_allclose(getattr(sums, name), value, atol=1e-4, err_msg=name)
    assert float(sums.groups) == GROUPS
    assert float(sums.trajectories) == GROUPS * SIZE


def test_signs_equal_loops(sums, rows):
    right = total = 0
    for i, t in zip(*np.nonzero(rows["decided"]), strict=True):
        if abs(rows["advantage"][i, t]) > rows["tolerance"]:
            total += 1
            right += np.sign(rows["value"][i, t]) == np.sign(rows["advantage"][i, t])
    assert np.asarray(sums.sign).tolist() == [right, total]


def test_sums_by_scattering_and_by_comparing_equal_loops():
    """What a CPU does and what other devices do; 20,000 steps are more than one block of either."""
    rng = np.random.default_rng(9)
    for steps, kernels in ((5, 3), (20_000, 3)):
        x = rng.normal(size=(4, steps, 2)).astype(np.float32)
        index, schedule = rng.integers(0, 6, (4, steps)), rng.integers(0, kernels, steps)
        by_step, by_kernel = np.zeros((steps, 6, 2)), np.zeros((kernels, 6))
        np.add.at(by_step, (np.arange(steps)[None, :], index), x)
        np.add.at(by_kernel, (schedule[None, :], index), x[..., 0].astype(np.float64))
        for way in (metrics.cells_by_scattering, metrics.cells_by_comparing):
            np.testing.assert_allclose(jax.jit(way, static_argnums=2)(x, index, 6), by_step, atol=1e-6)
        for way in (metrics.kernels_by_scattering, metrics.kernels_by_comparing):
            got = jax.jit(way, static_argnums=(3, 4))(x[..., 0], index, schedule, kernels, 6)
            np.testing.assert_allclose(got, by_kernel, atol=1e-4)  # sums of 20,000 numbers of size 1


def spearman(x, y):
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return np.nan
    return stats.spearmanr(x, y).statistic


def test_rank_correlation_is_spearmans_with_ties_over_decision_steps(sums, rows):
    each = np.array(
        [
            spearman(value[where], np.float32(truth[where]))
            for value, truth, where in zip(rows["value"], rows["advantage"], rows["decided"], strict=True)
        ]
    )
    defined = np.isfinite(each)
    assert 0 < defined.sum() < len(each)  # constant credit is undefined
    np.testing.assert_allclose(sums.rank, [each[defined].sum(), defined.sum()], atol=1e-4)


def test_rank_correlation_equals_scipys_on_long_rows_with_many_ties():
    rng = np.random.default_rng(3)
    value, truth = rng.integers(-3, 4, (2, 30, 17)) / 2.0
    where = rng.uniform(size=value.shape) < 0.7
    got = rank_correlation(jnp.asarray(value, jnp.float32), jnp.asarray(truth, jnp.float32), jnp.asarray(where))
    wanted = [spearman(x[w], y[w]) for x, y, w in zip(value, truth, where, strict=True)]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_constant_credit_has_no_rank_correlation_and_no_steps_have_none():
    value = jnp.asarray([[2.0, 2.0, 2.0, 7.0], [1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]])
    truth = jnp.asarray([[1.0, 2.0, 3.0, 4.0], [5.0, 5.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0]])
    where = jnp.asarray([[True, True, True, False]] * 2 + [[False] * 4])
    assert np.isnan(np.asarray(rank_correlation(value, truth, where))).all()


def precision(value, pivotal, where):
    """The mean over all orders of tied steps of the precision among the first k."""
    index = np.flatnonzero(where)
    k = int((pivotal & where).sum())
    if k == 0:
        return np.nan
    found = []
    for order in itertools.permutations(index):
        ranked = sorted(order, key=lambda t: -abs(value[t]))
        found.append(np.mean([pivotal[t] for t in ranked[:k]]))
    return np.mean(found)


def test_precision_at_k_equals_the_mean_over_all_orders_of_ties(sums, rows):
    rng = np.random.default_rng(4)
    value = rng.integers(-2, 3, (40, 6)) / 2.0
    pivotal, where = np.array([True, False, False, True, True, False]), rng.uniform(size=value.shape) < 0.8
    got = precision_at_k(jnp.asarray(value, jnp.float32), jnp.asarray(pivotal), jnp.asarray(where))
    wanted = [precision(x, pivotal, w) for x, w in zip(value, where, strict=True)]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    each = np.array([precision(x, rows["pivotal"], w) for x, w in zip(rows["value"], rows["decided"], strict=True)])
    defined = np.isfinite(each)
    np.testing.assert_allclose(sums.precision, [each[defined].sum(), defined.sum()], atol=1e-4)


@pytest.mark.usefixtures("float64")
def test_ranks_and_precision_work_in_double_precision_too():
    value, truth = np.random.default_rng(11).integers(-3, 4, (2, 5, 17)) / 2.0
    pivotal, where = np.arange(17) % 5 == 2, np.ones((5, 17), bool)
    got = jax.jit(jax.vmap(metrics.rank_correlation))(value, truth, where)
    np.testing.assert_allclose(got, [spearman(*row) for row in zip(value, truth, strict=True)], rtol=1e-12)
    got = jax.jit(jax.vmap(metrics.precision_at_k, in_axes=(0, None, 0)))(value, pivotal, where)
    in_single = precision_at_k(*(jnp.asarray(x) for x in (value.astype(np.float32), pivotal, where)))
    np.testing.assert_allclose(got, in_single, rtol=1e-6)


def test_a_constant_credit_has_the_precision_of_chance():
    pivotal = jnp.asarray([True, False, False, True, False])
    got = precision_at_k(jnp.full((1, 5), 0.3), pivotal, jnp.ones((1, 5), bool))
    np.testing.assert_allclose(got, 2 / 5, atol=1e-6)


def test_leakage_is_the_share_on_steps_that_do_not_matter(sums, rows):
    def share(value, matters, where):
        total = np.abs(value[where]).sum()
        return np.abs(value[where & ~matters]).sum() / total if total > 0 else np.nan

    rng = np.random.default_rng(6)
    value = rng.normal(size=(9, 7)) * (np.arange(9) != 4)[:, None]
    matters, where = rng.uniform(size=(2, 9, 7)) < 0.6
    got = leakage(jnp.asarray(value, jnp.float32), jnp.asarray(matters), jnp.asarray(where))
    wanted = [share(*row) for row in zip(value, matters, where, strict=True)]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    assert np.isnan(wanted[4])  # no credit at all is undefined
    each = np.array([share(*row) for row in zip(rows["value"], rows["matters"], rows["decided"], strict=True)])
    defined = np.isfinite(each)
    assert 0 < defined.sum() < len(each)
    np.testing.assert_allclose(sums.leakage, [each[defined].sum(), defined.sum()], atol=1e-4)


def test_leakage_of_a_broadcast_on_a_chain_with_one_pivot_is_1_minus_1_over_t():
    mdp = Bifurcation(horizon=7, pivots=(4,), num_segments=2).build()
    chain = solved(mdp, reference.random_policy(1, mdp))
    batch = jax.tree.map(lambda x: x[None], chain.all.batch)
    value = jnp.broadcast_to(jnp.sum(batch.reward, axis=-1, keepdims=True), batch.reward.shape)
    zero = jnp.zeros(1)
    truth = solve(mdp, chain.policy)
    got = measure(mdp, chain.policy, truth, batch, Credit(value, Cost(zero, zero, zero)), value)
    paid = int(np.asarray(batch.reward).sum())
    assert 0 < paid < batch.reward.shape[1]
    np.testing.assert_allclose(got.leakage, [paid * (1 - 1 / 7), paid], rtol=1e-6)


def narrow(batch):
    """The same trajectories with labels of 8 bits."""
    return batch._replace(**{x: getattr(batch, x).astype(jnp.int8) for x in ("state", "observation", "action")})


def test_the_gradient_widens_labels_of_8_bits(given):
    """Observation 100 of 101 with 2 actions: 100 * 2 + 1 does not fit."""
    mdp = given.mdp._replace(schedule=jnp.zeros(3, int), decision=jnp.ones(1, bool))
    batch, _, _ = random_credit()
    one = jax.tree.map(lambda x: x[0, :1, :3], narrow(batch))
    one = one._replace(observation=jnp.full((1, 3), 100, jnp.int8), live=jnp.ones((1, 3), bool))
    gradient = group_gradient(mdp, jnp.full((1, 101, 2), 0.3), one, jnp.asarray([[1.0, 2.0, 4.0]]))
    assert np.argwhere(np.asarray(gradient)).tolist() == [[0, 100, 0], [0, 100, 1]]


def test_other_devices_measure_what_a_cpu_does_with_labels_of_8_bits(given, truth, sums, monkeypatch):
    """The way of other devices, run here."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    batch, credit, target = random_credit()
    fresh = jax.jit(lambda *args: metrics.measure(*args), compiler_options=QUICK)
    got = fresh(given.mdp, given.policy, truth, narrow(batch), credit, target)
    for name, one, other in zip(Sums._fields, got, sums, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, err_msg=name)


def test_costs_add_up(sums, rows):
    cost = random_credit()[1].cost
    np.testing.assert_allclose(sums.cost, [*(np.sum(x) for x in cost), rows["live"].sum()])


def test_group_gradient_is_the_gradient_of_the_sum_of_credit_times_log_probability(given):
    batch, credit, _ = random_credit()
    batch, value = jax.tree.map(lambda x: x[2], batch), credit.value[2]
    kernel = np.broadcast_to(np.asarray(given.mdp.schedule), value.shape)
    decided = np.asarray(batch.live) & np.asarray(given.mdp.decision)[kernel]

    def objective(logits):
        log_prob = jax.nn.log_softmax(logits)[kernel, np.asarray(batch.observation), np.asarray(batch.action)]
        return jnp.sum(jnp.where(decided, 0.875 ** jnp.arange(4)[None, :] * value * log_prob, 0.0)) / SIZE

    wanted = jax.grad(objective)(jnp.log(given.policy))
    np.testing.assert_allclose(group_gradient(given.mdp, given.policy, batch, value), wanted, atol=1e-5)


def test_the_expected_group_gradient_of_the_exact_advantage_is_the_policy_gradient(given, truth):
    batch = jax.tree.map(np.asarray, given.all.batch)
    taken = given.advantage[np.arange(4)[None, :], batch.state, batch.action] * batch.live
    each = jax.jit(jax.vmap(metrics.group_gradient, in_axes=(None, None, 0, 0)), compiler_options=QUICK)
    one = jax.tree.map(lambda x: x[:, None], given.all.batch)
    gradient = np.asarray(each(given.mdp, given.policy, one, jnp.asarray(taken[:, None], jnp.float32)), np.float64)
    expected = np.tensordot(given.all.weight, gradient, axes=1)
    np.testing.assert_allclose(expected, truth.gradient, atol=1e-5)
    np.testing.assert_allclose(expected_gradient(given.mdp, given.policy, given.all, taken), truth.gradient, atol=1e-5)


def test_gradient_sums_equal_loops(sums, given, truth):
    batch, credit, _ = random_credit()
    error = np.zeros((GROUPS, *np.shape(given.policy)))
    for c in range(GROUPS):
        one = Weighted(np.ones(1), jax.tree.map(lambda x, c=c: x[c : c + 1], batch))
        error[c] = expected_gradient(given.mdp, given.policy, one, credit.value[c]) - np.asarray(truth.gradient)
    np.testing.assert_allclose(sums.gradient_error, error.sum(axis=0), atol=1e-4)
    np.testing.assert_allclose(sums.gradient_square, (error**2).sum(), rtol=1e-4)


@pytest.fixture(scope="module")
def per_block(given, truth):
    """The groups above, one block each."""
    batch, credit, target = random_credit()
    blocks = Blocks(GROUPS)
    for c in range(GROUPS):
        one = jax.tree.map(lambda x, c=c: x[c : c + 1], (batch, credit, target))
        blocks.add(c, measure(given.mdp, given.policy, truth, *one))
    return jax.tree.map(np.asarray, blocks.sums)


@pytest.fixture(scope="module")
def scores(given, truth, per_block):
    return finalise(given.mdp, truth, per_block)


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
        left_out.append(finalise(given.mdp, truth, rest)["rmse"].value)
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
    return finalise(mdp, truth, blocks.sums)


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
    two = finalise(given.mdp, truth, Sums(*(x[:2] for x in per_block)))
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
            )
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
