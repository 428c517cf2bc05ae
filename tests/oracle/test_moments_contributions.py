"""Moments of credit of all actions, against the judges' credit of all trajectories written out."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from casim.contributions import Contributed
from casim.estimators import Answers, OnTaken, Sum
from casim.oracle.moments import (
    contribution_features,
    contribution_moments,
    recursion_moments,
    reward_to_go,
)
from tests import reference
from tests.enumeration import case, run
from tests.methods.every_action import judged, mean_in_states

FEATURES = ("reward", "state", "prediction")


@functools.cache
def awkward():
    """Rewards at every step, an environment's step, early ends, two start states."""
    return case(binary=False, actions=2, prompt=False, discount=0.75)


@functools.cache
def credit(feature):
    """The exact credit of every trajectory, in single precision."""
    one = awkward()
    support = (0.0, 1.0)
    if feature != "state":
        reward = np.asarray(one.mdp.reward, np.float64)
        mean = (np.asarray(one.mdp.prob, np.float64) * reward).sum(-1)
        support = np.unique(np.round(reward if feature == "reward" else mean, 6))
    grader = Contributed(feature, tuple(float(x) for x in support))
    world = judged(one, judge=grader)
    value = run(Sum(OnTaken(), Answers()), jax.random.key(0), world, one.all.batch).value
    return np.asarray(value, np.float64)


def by_step(one, value):
    """The gradient of each trajectory in logits of its own for every step, `[N, T, O, A]`."""
    batch = jax.tree.map(np.asarray, one.all.batch)
    schedule, decision = np.asarray(one.mdp.schedule), np.asarray(one.mdp.decision)
    weight = reference.discounting(one.mdp)
    out = np.zeros((*value.shape[:2], *np.shape(one.policy)[1:]))
    for i, t in np.argwhere(batch.live & decision[schedule]):
        chance = np.asarray(one.policy, np.float64)[schedule[t], batch.observation[i, t]]
        centred = value[i, t] - chance @ value[i, t]
        out[i, t, batch.observation[i, t]] = weight[t] * chance * centred
    return out


@pytest.mark.parametrize("feature", FEATURES)
def test_moments_are_those_of_all_trajectories(feature):
    one = awkward()
    found = contribution_moments(one.mdp, one.policy, feature)
    each = by_step(one, credit(feature))
    mean = np.tensordot(one.all.weight, each, axes=1)
    variance = np.tensordot(one.all.weight, (each - mean) ** 2, axes=1)
    np.testing.assert_allclose(found.gradient, mean, atol=1e-5)
    np.testing.assert_allclose(found.gradient_variance, variance, atol=2e-5)
    assert variance.sum() > 0.1
    in_states, mass = mean_in_states(one, credit(feature))
    square, _ = mean_in_states(one, credit(feature) ** 2)
    met = mass > 0
    np.testing.assert_allclose(found.expectation[met], in_states[met], atol=1e-5)
    np.testing.assert_allclose(found.variance[met], (square - in_states**2)[met], atol=1e-4)


@pytest.mark.parametrize("feature", FEATURES)
def test_exact_coefficients_have_the_exact_gradient(feature):
    one = awkward()
    exact = recursion_moments(one.mdp, one.policy, reward_to_go, tied=False).gradient
    found = contribution_moments(one.mdp, one.policy, feature, num=3)
    np.testing.assert_allclose(found.gradient, exact, atol=1e-12)
    alone = contribution_moments(one.mdp, one.policy, feature).gradient_variance
    np.testing.assert_allclose(3 * found.gradient_variance, alone, atol=1e-14)


def test_given_coefficients_are_taken():
    """Of 0 for every outcome nothing is left but the reward of the step itself."""
    one = awkward()
    features = contribution_features(one.mdp, one.policy, "reward")
    nothing = np.zeros((*one.exact.q_value.shape, features.size))
    found = contribution_moments(one.mdp, one.policy, "reward", coefficient=nothing)
    prob, reward = (np.asarray(x, np.float64) for x in (one.mdp.prob, one.mdp.reward))
    mean = (prob * reward).sum(-1)[np.asarray(one.mdp.schedule)]
    met = found.probability > 0
    np.testing.assert_allclose(found.expectation[met], mean[met], atol=1e-12)


def test_bad_settings_raise(unhooked):
    one = awkward()
    with pytest.raises(ValueError, match="feature must be one of"):
        contribution_moments(one.mdp, one.policy, "action")
    with pytest.raises(ValueError, match="num must be in"):
        contribution_moments(one.mdp, one.policy, "reward", num=0)
    with pytest.raises(ValueError, match="coefficient must have shape"):
        contribution_moments(one.mdp, one.policy, "reward", coefficient=np.zeros((1, 1, 1, 1)))
