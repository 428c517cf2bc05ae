"""Value and weight apart: the value is scored in every cell, the product of both trains."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.enumeration import case, solve
from tests.scores.samples import GROUPS, SIZE, group_gradient, measure, random_credit


@pytest.fixture(scope="module")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="module")
def truth(given):
    return solve(given.mdp, given.policy)


@pytest.fixture(scope="module")
def weight():
    """Odd weights, a third of them 0; the last batch has none."""
    batch, _, _ = random_credit()
    rng = np.random.default_rng(4)
    weight = rng.uniform(0.5, 3.0, batch.action.shape) * (
        rng.uniform(size=batch.action.shape) < 0.7
    )
    weight[-1] = 0.0
    return weight.astype(np.float32)


def decided_of(given, batch):
    decision = np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    return np.asarray(batch.live) & decision


def test_cells_hold_the_value_and_gradients_the_product(given, truth, weight):
    batch, credit, target = random_credit()
    plain = measure(given.mdp, given.policy, truth, batch, credit, target)
    heavy = credit._replace(weight=jnp.asarray(weight))
    got = measure(given.mdp, given.policy, truth, batch, heavy, target)
    for name in ("count", "error", "square", "target_error", "sign", "rank", "leakage"):
        np.testing.assert_array_equal(getattr(got, name), getattr(plain, name), err_msg=name)
    product = credit._replace(value=credit.value * weight)
    wanted = measure(given.mdp, given.policy, truth, batch, product, target)
    np.testing.assert_allclose(got.gradient_error, wanted.gradient_error, atol=1e-5)
    np.testing.assert_allclose(got.gradient_square, wanted.gradient_square, rtol=1e-5)
    assert np.abs(got.gradient_error - plain.gradient_error).max() > 0.01


def test_effective_decisions_and_support_equal_loops(given, truth, weight):
    batch, credit, target = random_credit()
    heavy = credit._replace(weight=jnp.asarray(weight))
    got = measure(given.mdp, given.policy, truth, batch, heavy, target)
    decided = decided_of(given, batch)
    shares = []
    for c in range(GROUPS - 1):
        w = weight[c][decided[c]].astype(np.float64)
        shares.append(w.sum() ** 2 / (w**2).sum() / decided[c].sum())
    assert 0.3 < min(shares) < max(shares) < 0.9
    np.testing.assert_allclose(got.effective, [sum(shares), GROUPS - 1], rtol=1e-5)
    np.testing.assert_array_equal(got.support, [(weight[decided] > 0).sum(), decided.sum()])


def every_action():
    """A value for each action, which agrees with nothing that was taken."""
    batch, _, _ = random_credit()
    rng = np.random.default_rng(6)
    return rng.normal(size=(*batch.action.shape, 2)).astype(np.float32)


def test_the_gradient_of_all_actions_is_that_of_the_sum_of_credit_times_probability(given, weight):
    """In maths: sum_a c(a) grad pi(a | o), by automatic differentiation of sum_a c(a) pi(a | o)."""
    batch, _, _ = random_credit()
    one = jax.tree.map(lambda x: x[2], batch)
    value = jnp.asarray(every_action()[2] * weight[2][..., None])
    kernel = np.broadcast_to(np.asarray(given.mdp.schedule), one.action.shape)
    decided = decided_of(given, one)

    def objective(logits):
        chance = jax.nn.softmax(logits)[kernel, np.asarray(one.observation)]
        each = jnp.sum(value * chance, axis=-1) * 0.875 ** jnp.arange(4)[None, :]
        return jnp.sum(jnp.where(decided, each, 0.0)) / SIZE

    wanted = jax.grad(objective)(jnp.log(given.policy))
    got = group_gradient(given.mdp, given.policy, one, value)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_credit_of_all_actions_is_scored_by_that_of_the_action_taken(given, truth):
    batch, credit, target = random_credit()
    value = every_action()
    action = np.asarray(batch.action)[..., None]
    taken = np.take_along_axis(value, action, axis=-1)[..., 0]
    of_all = credit._replace(value=jnp.asarray(value))
    of_taken = credit._replace(value=jnp.asarray(taken))
    got = measure(given.mdp, given.policy, truth, batch, of_all, target)
    wanted = measure(given.mdp, given.policy, truth, batch, of_taken, target)
    for name in ("count", "error", "square", "target_error", "rank"):
        np.testing.assert_allclose(getattr(got, name), getattr(wanted, name), atol=1e-5)
    assert np.abs(got.gradient_error - wanted.gradient_error).max() > 0.01
