"""GAE over a network: exact at lambda 1 whatever it says, and it learns."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import GaeNetwork
from casim.estimators.sources.network import features
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import (
    assert_cells,
    case,
    cell_mean,
    expected_gradient,
    returns_to_go,
    run,
    solved,
)

KEY = jax.random.key(41)
SETTINGS = GaeNetwork(1.0, num_rollouts=5, hidden=3, num_updates=7, minibatch=11, discount=0.875)


@pytest.fixture(scope="module")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="module")
def credit(given):
    return run(SETTINGS, KEY, given.world, given.all.batch)


def test_lambda_1_has_the_exact_gradient_whatever_the_network_says(given, credit):
    gradient = expected_gradient(given.mdp, given.policy, given.all, credit.value)
    np.testing.assert_allclose(gradient, given.exact.gradient, atol=1e-5)
    mean, mass = cell_mean(given.mdp, given.all, credit.value)
    assert np.abs(mean - given.advantage)[mass > 0].max() > 0.1  # it has not learned much


def test_lambda_1_is_q_less_a_function_of_observation_and_step(given, credit):
    baseline = returns_to_go(given.all.batch, 0.875) - np.asarray(credit.value, np.float64)
    state, live = np.asarray(given.all.batch.state), np.asarray(given.all.batch.live)
    table = np.zeros((4, 5))
    for t, s in np.ndindex(4, 5):
        here = live[:, t] & (state[:, t] == s)
        if here.any():
            table[t, s] = baseline[here, t][0]
            np.testing.assert_allclose(baseline[here, t], table[t, s], atol=1e-5)
    assert_cells(given.all, given.mdp, credit.value, given.exact.q_value - table[:, :, None])


def test_it_is_charged(given, credit):
    live = np.asarray(reference.rollout(given.world, jax.random.split(KEY)[0], 5).live).sum()
    assert live < 5 * 4
    assert float(credit.cost.env_steps) == live
    assert float(credit.cost.critic_updates) == 7 * 11
    assert float(credit.cost.judge_calls) == 0.0


def test_minibatches_hit_live_steps_only_and_all_of_them():
    length = jnp.asarray([3, 1, 6, 2, 5])
    picks = np.asarray(GaeNetwork(num_updates=40, minibatch=37)._picks(KEY, length, 6))
    assert picks.shape == (40, 37)
    row, step = picks // 6, picks % 6
    assert (step < np.asarray(length)[row]).all()
    every = {(i, t) for i in range(5) for t in range(int(length[i]))}
    assert set(zip(row.ravel().tolist(), step.ravel().tolist(), strict=True)) == every
    reference.assert_frequencies(np.bincount(row.ravel(), minlength=5), np.ones(5) / 5)


def test_features_are_the_observation_and_the_share_of_the_horizon(given):
    batch = jax.tree.map(lambda x: x[:6], given.all.batch)
    step = jnp.broadcast_to(jnp.arange(4)[None, :], (6, 4))
    inputs = np.asarray(features(batch.observation, step, 4, 5))
    for i, t in np.ndindex(6, 4):
        wanted = [float(o == int(batch.observation[i, t])) for o in range(5)] + [t / 4]
        np.testing.assert_allclose(inputs[i, t], wanted, atol=1e-6)


@pytest.mark.slow
def test_it_learns_the_value_of_a_chain():
    mdp = Bifurcation(
        horizon=3, pivots=(1,), gap=0.9, noise=0.2, num_actions=2, num_segments=2
    ).build()
    chain = solved(mdp, reference.random_policy(5, mdp))
    state, time = np.asarray(chain.all.batch.state), np.arange(3)[None, :]

    def error(num_updates):
        settings = GaeNetwork(
            1.0,
            num_rollouts=5000,
            hidden=8,
            num_updates=num_updates,
            minibatch=512,
            learning_rate=0.01,
        )
        credit = np.asarray(run(settings, KEY, chain.world, chain.all.batch).value, np.float64)
        value = returns_to_go(chain.all.batch, 1.0) - credit
        return np.sqrt(
            chain.all.weight @ ((value - chain.exact.value[time, state]) ** 2).mean(axis=1)
        )

    untrained, trained = error(1), error(400)
    assert trained < 0.05
    assert trained < 0.3 * untrained
