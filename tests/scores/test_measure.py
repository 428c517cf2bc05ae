"""Every metric of a chunk of groups against a loop in NumPy."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from casim import scores
from casim import sums as sums_by_label
from casim.scores import Sums
from casim.tasks import Bifurcation
from casim.types import Cost, Credit
from tests import reference
from tests.enumeration import QUICK, Weighted, expected_gradient, solve, solved
from tests.scores.samples import (
    GROUPS,
    SIZE,
    group_gradient,
    leakage,
    measure,
    precision_at_k,
    random_credit,
    rank_correlation,
)


def test_sums_over_cells_equal_loops(sums, rows):
    wanted = {name: np.zeros((4, 5, 2)) for name in ("count", "error", "square", "target_error")}
    for i, t in zip(*np.nonzero(rows["decided"]), strict=True):
        cell = t, rows["state"][i, t], rows["action"][i, t]
        error = (rows["value"][i, t] - rows["advantage"][i, t]) / rows["unit"]
        wanted["count"][cell] += 1
        wanted["error"][cell] += error
        wanted["square"][cell] += error**2
        wanted["target_error"][cell] += (rows["value"][i, t] - rows["target"][i, t]) / rows["unit"]
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
    assert np.asarray(sums.sign).sum(axis=0).tolist() == [right, total]


def test_sums_by_scattering_and_by_comparing_equal_loops():
    """What a CPU does and what other devices do; 20,000 steps are more than one block of either."""
    rng = np.random.default_rng(9)
    for steps, kernels in ((5, 3), (20_000, 3)):
        x = rng.normal(size=(4, steps, 2)).astype(np.float32)
        index, schedule = rng.integers(0, 6, (4, steps)), rng.integers(0, kernels, steps)
        by_step, by_kernel = np.zeros((steps, 6, 2)), np.zeros((kernels, 6))
        np.add.at(by_step, (np.arange(steps)[None, :], index), x)
        np.add.at(by_kernel, (schedule[None, :], index), x[..., 0].astype(np.float64))
        for way in (sums_by_label.cells_by_scattering, sums_by_label.cells_by_comparing):
            np.testing.assert_allclose(
                jax.jit(way, static_argnums=2)(x, index, 6), by_step, atol=1e-6
            )
        for way in (sums_by_label.kernels_by_scattering, sums_by_label.kernels_by_comparing):
            got = jax.jit(way, static_argnums=(3, 4))(x[..., 0], index, schedule, kernels, 6)
            # Sums of 20,000 numbers of size 1.
            np.testing.assert_allclose(got, by_kernel, atol=1e-4)


def spearman(x, y):
    if len(np.unique(x)) < 2 or len(np.unique(y)) < 2:
        return np.nan
    return stats.spearmanr(x, y).statistic


def test_rank_correlation_is_spearmans_with_ties_over_decision_steps(sums, rows):
    each = np.array(
        [
            spearman(value[where], np.float32(truth[where]))
            for value, truth, where in zip(
                rows["value"], rows["advantage"], rows["decided"], strict=True
            )
        ]
    )
    defined = np.isfinite(each)
    assert 0 < defined.sum() < len(each)  # constant credit is undefined
    np.testing.assert_allclose(sums.rank, [each[defined].sum(), defined.sum()], atol=1e-4)


def test_rank_correlation_equals_scipys_on_long_rows_with_many_ties():
    rng = np.random.default_rng(3)
    value, truth = rng.integers(-3, 4, (2, 30, 17)) / 2.0
    where = rng.uniform(size=value.shape) < 0.7
    got = rank_correlation(
        jnp.asarray(value, jnp.float32), jnp.asarray(truth, jnp.float32), jnp.asarray(where)
    )
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
    pivotal, where = (
        np.array([True, False, False, True, True, False]),
        rng.uniform(size=value.shape) < 0.8,
    )
    got = precision_at_k(jnp.asarray(value, jnp.float32), jnp.asarray(pivotal), jnp.asarray(where))
    wanted = [precision(x, pivotal, w) for x, w in zip(value, where, strict=True)]
    np.testing.assert_allclose(got, wanted, atol=1e-5)
    each = np.array(
        [
            precision(x, rows["pivotal"], w)
            for x, w in zip(rows["value"], rows["decided"], strict=True)
        ]
    )
    defined = np.isfinite(each)
    np.testing.assert_allclose(sums.precision, [each[defined].sum(), defined.sum()], atol=1e-4)


@pytest.mark.usefixtures("float64")
def test_ranks_and_precision_work_in_double_precision_too():
    value, truth = np.random.default_rng(11).integers(-3, 4, (2, 5, 17)) / 2.0
    pivotal, where = np.arange(17) % 5 == 2, np.ones((5, 17), bool)
    got = jax.jit(jax.vmap(scores.rank_correlation))(value, truth, where)
    np.testing.assert_allclose(
        got, [spearman(*row) for row in zip(value, truth, strict=True)], rtol=1e-12
    )
    got = jax.jit(jax.vmap(scores.precision_at_k, in_axes=(0, None, 0)))(value, pivotal, where)
    in_single = precision_at_k(
        *(jnp.asarray(x) for x in (value.astype(np.float32), pivotal, where))
    )
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
    each = np.array(
        [share(*row) for row in zip(rows["value"], rows["matters"], rows["decided"], strict=True)]
    )
    defined = np.isfinite(each)
    assert 0 < defined.sum() < len(each)
    np.testing.assert_allclose(
        sums.leakage.sum(axis=0), [each[defined].sum(), defined.sum()], atol=1e-4
    )


def test_leakage_of_a_broadcast_on_a_chain_with_one_pivot_is_1_minus_1_over_t():
    mdp = Bifurcation(horizon=7, pivots=(4,), num_segments=2).build()
    chain = solved(mdp, reference.random_policy(1, mdp))
    batch = jax.tree.map(lambda x: x[None], chain.all.batch)
    value = jnp.broadcast_to(jnp.sum(batch.reward, axis=-1, keepdims=True), batch.reward.shape)
    zero = jnp.zeros(1)
    truth = solve(mdp, chain.policy)
    got = measure(
        mdp,
        chain.policy,
        truth,
        batch,
        Credit(value, batch.live * 1.0, Cost(zero, zero, zero)),
        value,
    )
    paid = int(np.asarray(batch.reward).sum())
    assert 0 < paid < batch.reward.shape[1]
    np.testing.assert_allclose(got.leakage.sum(axis=0), [paid * (1 - 1 / 7), paid], rtol=1e-6)


def narrow(batch):
    """The same trajectories with labels of 8 bits."""
    return batch._replace(
        **{x: getattr(batch, x).astype(jnp.int8) for x in ("state", "observation", "action")}
    )


def test_the_gradient_widens_labels_of_8_bits(given):
    """Observation 100 of 101 with 2 actions: 100 * 2 + 1 does not fit."""
    mdp = given.mdp._replace(schedule=jnp.zeros(3, int), decision=jnp.ones(1, bool))
    batch, _, _ = random_credit()
    one = jax.tree.map(lambda x: x[0, :1, :3], narrow(batch))
    one = one._replace(observation=jnp.full((1, 3), 100, jnp.int8), live=jnp.ones((1, 3), bool))
    gradient = group_gradient(mdp, jnp.full((1, 101, 2), 0.3), one, jnp.asarray([[1.0, 2.0, 4.0]]))
    assert np.argwhere(np.asarray(gradient)).tolist() == [[0, 100, 0], [0, 100, 1]]


@pytest.mark.slow
def test_other_devices_measure_what_a_cpu_does_with_labels_of_8_bits(
    given, truth, sums, monkeypatch
):
    """The way of other devices, run here."""
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *args, cpu, default: default(*args))
    batch, credit, target = random_credit()
    fresh = jax.jit(lambda *args: scores.measure(*args), compiler_options=QUICK)
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
        log_prob = jax.nn.log_softmax(logits)[
            kernel, np.asarray(batch.observation), np.asarray(batch.action)
        ]
        return (
            jnp.sum(jnp.where(decided, 0.875 ** jnp.arange(4)[None, :] * value * log_prob, 0.0))
            / SIZE
        )

    wanted = jax.grad(objective)(jnp.log(given.policy))
    np.testing.assert_allclose(
        group_gradient(given.mdp, given.policy, batch, value), wanted, atol=1e-5
    )


def test_the_expected_group_gradient_of_the_exact_advantage_is_the_policy_gradient(given, truth):
    batch = jax.tree.map(np.asarray, given.all.batch)
    taken = given.advantage[np.arange(4)[None, :], batch.state, batch.action] * batch.live
    each = jax.jit(
        jax.vmap(scores.group_gradient, in_axes=(None, None, 0, 0)), compiler_options=QUICK
    )
    one = jax.tree.map(lambda x: x[:, None], given.all.batch)
    gradient = np.asarray(
        each(given.mdp, given.policy, one, jnp.asarray(taken[:, None], jnp.float32)), np.float64
    )
    expected = np.tensordot(given.all.weight, gradient, axes=1)
    np.testing.assert_allclose(expected, truth.gradient, atol=1e-5)
    np.testing.assert_allclose(
        expected_gradient(given.mdp, given.policy, given.all, taken), truth.gradient, atol=1e-5
    )


def test_gradient_sums_equal_loops(sums, given, truth, rows):
    batch, credit, _ = random_credit()
    gradient = np.zeros((GROUPS, *np.shape(given.policy)))
    for c in range(GROUPS):
        one = Weighted(np.ones(1), jax.tree.map(lambda x, c=c: x[c : c + 1], batch))
        gradient[c] = (
            expected_gradient(given.mdp, given.policy, one, credit.value[c]) / rows["unit"]
        )
    error = gradient - np.asarray(truth.gradient) / rows["unit"]
    np.testing.assert_allclose(sums.gradient_error, error.sum(axis=0), atol=1e-4)
    squares = [(error**2).sum(), (gradient**2).sum()]
    np.testing.assert_allclose(sums.gradient_square, squares, rtol=1e-4)
