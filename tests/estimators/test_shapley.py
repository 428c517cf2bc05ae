"""Sampled Shapley values: right on average, and exactly in their sum."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import Shapley
from casim.oracle.shapley import shapley
from casim.simulate import World
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import QUICK, Case, Weighted, assert_mean, case, run, run_keys, solved

REPEATS = 300
SEGMENT = (0, 1, 1, 2)


@functools.cache
def given(terminal=True):
    """Some trajectories of a world with three segments; with `terminal`, a few end early."""
    one = case(binary=False, actions=2, prompt=False, discount=0.875, terminal=terminal)
    mdp = one.mdp._replace(segment=jnp.asarray(SEGMENT))
    rows = np.random.default_rng(0).choice(len(one.all.weight), 9, replace=False)
    if terminal:
        rows = np.append(rows, np.flatnonzero(~np.asarray(one.all.batch.live).all(axis=1))[:4])
    some = Weighted(one.all.weight[rows], jax.tree.map(lambda x: x[rows], one.all.batch))
    return Case(mdp, one.policy, one.exact, some, World.make(mdp, jnp.asarray(one.policy)))


@pytest.fixture(scope="module")
def sampled():
    one = given()
    keys = jax.random.split(jax.random.key(4), REPEATS)
    return run_keys(Shapley(2, 0.875), keys, one.world, one.all.batch)


def test_it_is_unbiased_for_the_shapley_values_of_every_trajectory(sampled):
    one = given()
    phi = jax.jit(shapley, static_argnums=3, compiler_options=QUICK)(
        one.mdp, one.policy, one.all.batch, 3
    )
    wanted = np.asarray(phi, np.float64)[:, list(SEGMENT)] * np.asarray(one.all.batch.live)
    assert_mean(sampled.value, wanted)
    assert np.abs(wanted).max() > 0.3


def test_every_step_of_a_segment_receives_the_same(sampled):
    value, live = np.asarray(sampled.value), np.asarray(given().all.batch.live)
    both = live[:, 1] & live[:, 2]
    np.testing.assert_array_equal(value[:, both, 1], value[:, both, 2])
    assert not value[:, ~live].any()


@pytest.mark.slow
def test_reruns_of_one_order_share_their_noise():
    """A policy that always does the same does it whether its actions are imposed or not.

    So every marginal is 0.
    """
    one = given(terminal=False)
    # Whatever it sees.
    always = np.broadcast_to(np.eye(2, dtype=np.float32)[[1, 0, 0]][:, None], one.policy.shape)
    world = World.make(one.mdp, jnp.asarray(always))
    batch = reference.rollout(world, jax.random.key(2), len(one.all.weight))
    assert np.ptp(np.asarray(batch.reward).sum(axis=1)) > 0
    assert not np.asarray(run(Shapley(3, 0.875), jax.random.key(8), world, batch).value).any()


@pytest.mark.slow
def test_the_marginals_of_an_order_add_up_whatever_the_order():
    """Where only the policy is left to chance, their sum is R - v(none), and v(none) is 0 or 1."""
    mdp = Bifurcation(
        horizon=4, pivots=(1, 2), gap=1.0, base=0.5, recovery=1.0, num_segments=3
    ).build()
    chain = solved(mdp, reference.random_policy(2, mdp))
    keys = jax.random.split(jax.random.key(4), 100)
    value = np.asarray(run_keys(Shapley(3), keys, chain.world, chain.all.batch).value, np.float64)
    segment = np.asarray(mdp.segment)
    total = sum(value[..., np.flatnonzero(segment == g)[0]] for g in range(3))
    none = 3 * (np.asarray(chain.all.batch.reward, np.float64).sum(axis=1) - total)
    np.testing.assert_allclose(none, np.round(none), atol=1e-4)
    assert none.min() > -0.5
    assert none.max() < 3.5
    assert_mean(none / 3, np.full(none.shape[1], chain.exact.expected_return))


def test_it_costs_one_rerun_per_coalition_and_order(sampled):
    one = given(terminal=False)
    rows, steps = one.all.batch.action.shape
    cost = run(Shapley(3, 0.875), jax.random.key(8), one.world, one.all.batch).cost
    assert float(cost.env_steps) == 3 * (3 + 1) * rows * steps
    assert float(cost.judge_calls) == float(cost.critic_updates) == 0.0
    assert (
        np.asarray(sampled.cost.env_steps) < 2 * 4 * 13 * 4
    ).all()  # episodes that end early cost less


def test_the_variance_falls_with_the_number_of_orders(sampled):
    one = given()
    keys = jax.random.split(jax.random.key(5), REPEATS)
    more = run_keys(Shapley(8, 0.875), keys, one.world, one.all.batch)
    ratio = np.asarray(sampled.value).var(axis=0).sum() / np.asarray(more.value).var(axis=0).sum()
    assert 3.2 < ratio < 5.0  # 4 in expectation
