"""GRPO, Dr. GRPO and RLOO against the enumeration of every group of trajectories."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.methods import DR_GRPO, GRPO, RLOO
from casim.types import MDP, Trajectory
from tests.chains import grpo, rloo
from tests.enumeration import (
    Weighted,
    assert_cells,
    case,
    cell_mean,
    centre,
    expected_gradient,
    groups,
    run_groups,
    solved,
)


def credit(estimator, batch):
    """The estimator on many groups `[C, N, T]`."""
    return np.asarray(run_groups(estimator, batch), np.float64)


def bandit(success: tuple[float, ...], policy: tuple[float, ...]):
    """Two steps: action a leads to state 1 + a, which pays 1 with probability success[a].

    It does so whatever is done there.
    """
    arms = len(success)
    states = np.arange(arms + 1)
    successor = np.broadcast_to(states[None, :, None, None], (2, arms + 1, arms, 2)).copy()
    successor[0, 0, :, :] = 1 + np.arange(arms)[:, None]
    prob = np.zeros(successor.shape)
    prob[..., 0] = 1.0
    prob[1, 1:, :, 0] = np.array(success)[:, None]
    prob[1, 1:, :, 1] = 1 - np.array(success)[:, None]
    reward = np.zeros(successor.shape)
    reward[1, 1:, :, 0] = 1.0
    table = np.broadcast_to(np.array(policy), (2, arms + 1, arms))
    mdp = MDP(
        start=jnp.asarray((states == 0).astype(np.float32)),
        schedule=jnp.arange(2),
        successor=jnp.asarray(successor),
        prob=jnp.asarray(prob, jnp.float32),
        reward=jnp.asarray(reward, jnp.float32),
        emission=jnp.broadcast_to(jnp.eye(arms + 1), (2, arms + 1, arms + 1)),
        terminal=jnp.zeros(arms + 1, bool),
        decision=jnp.asarray([True, False]),
        kind=jnp.zeros(2, int),
        segment=jnp.zeros(2, int),
        turn=jnp.zeros(2, int),
        agent=jnp.zeros(2, int),
        discount=jnp.ones(2),
        prompt=jnp.zeros(arms + 1, int),
    )
    return solved(mdp, np.asarray(table, np.float32))


def scale_by_binomial(num: int, p: float, ddof: int) -> float:
    """The factor c_p(G) of GRPO, over Binomial(G, p) groups.

    In maths: ((G - 1) / G) E[std] / (p (1 - p)); with ddof = 1 this is the sheet's. With the
    population's standard deviation, which is smaller by sqrt((G - 1) / G), credit is larger by its
    inverse.
    """
    mean = 0.0
    for k in range(num + 1):
        chance = math.comb(num, k) * p**k * (1 - p) ** (num - k)
        mean += chance * math.sqrt(k * (num - k) / num / (num - 1))
    return (
        (num - 1) / num * mean / (p * (1 - p)) * (math.sqrt(num / (num - 1)) if ddof == 0 else 1.0)
    )


@pytest.fixture(scope="module")
def pairs():
    """Every pair of trajectories of one prompt, 3 actions, return 0 or 1."""
    given = case()
    return given, groups(given.all, 2)


@pytest.fixture(scope="module")
def triples():
    """Every group of three, 2 actions, two prompts, rewards at every step."""
    given = case(binary=False, actions=2, prompt=False)
    return given, groups(given.all, 3)


def test_the_groups_are_a_distribution(pairs, triples):
    for given, groups_of in (pairs, triples):
        assert groups_of.weight.sum() == pytest.approx(1)
        mean = (
            np.asarray(groups_of.batch.reward).sum((1, 2)) / groups_of.batch.reward.shape[1]
        ) @ groups_of.weight
        assert mean == pytest.approx(given.exact.expected_return, abs=1e-6)


def test_leave_one_out_has_q_minus_the_value_of_the_prompt_as_its_mean(pairs):
    given, every = pairs
    wanted = given.exact.q_value - given.exact.value[0, 1]
    assert_cells(every, given.mdp, credit(RLOO, every.batch), wanted)


def test_leave_one_out_has_its_target_as_its_mean_with_rewards_on_the_way(triples):
    given, every = triples
    wanted = given.exact.q_value + given.exact.past_reward[:, :, None] - given.exact.expected_return
    assert_cells(every, given.mdp, credit(RLOO, every.batch), wanted)


def test_leave_one_out_has_no_action_centred_bias(triples):
    given, every = triples
    mean, mass = cell_mean(given.mdp, every, credit(RLOO, every.batch))
    visited = (mass > 0).all(axis=-1)
    assert visited.sum() > 5
    centred = centre(given.policy, given.mdp.schedule, np.where(mass > 0, mean, 0.0))
    np.testing.assert_allclose(centred[visited], given.advantage[visited], atol=1e-5)


def test_leave_one_out_has_the_exact_gradient(pairs, triples):
    for given, every in (pairs, triples):
        gradient = expected_gradient(given.mdp, given.policy, every, credit(RLOO, every.batch))
        np.testing.assert_allclose(gradient, given.exact.gradient, atol=1e-5)


def test_leave_one_out_keeps_its_target_but_not_the_gradient_at_a_discount_below_1():
    given = case(binary=False, actions=2, prompt=False, discount=0.875)
    every = groups(given.all, 2)
    value = credit(rloo(0.875), every.batch)
    scaling = (0.875 ** np.arange(4))[:, None, None]
    wanted = (
        scaling * given.exact.q_value
        + given.exact.past_reward[:, :, None]
        - given.exact.expected_return
    )
    assert_cells(every, given.mdp, value, wanted)
    gradient = expected_gradient(given.mdp, given.policy, every, value)
    assert np.linalg.norm(gradient - given.exact.gradient) > 0.01 * np.linalg.norm(
        given.exact.gradient
    )


def test_leave_one_out_equals_dr_grpo_times_n_over_n_minus_1(triples):
    _, every = triples
    returns = np.asarray(every.batch.reward, np.float64).sum(-1)
    wanted = 3 / 2 * (returns - returns.mean(axis=1, keepdims=True))
    live = np.asarray(every.batch.live)
    np.testing.assert_allclose(credit(RLOO, every.batch), wanted[..., None] * live, atol=1e-5)
    shrunk = credit(DR_GRPO, every.batch)
    np.testing.assert_allclose(3 / 2 * shrunk, wanted[..., None] * live, atol=1e-5)


def test_dr_grpo_has_n_minus_1_over_n_of_it_for_any_returns(pairs, triples):
    for given, every in (pairs, triples):
        share = 1 - 1 / every.batch.action.shape[1]
        value = credit(DR_GRPO, every.batch)
        wanted = (
            given.exact.q_value + given.exact.past_reward[:, :, None] - given.exact.expected_return
        )
        assert_cells(every, given.mdp, value, share * wanted)
        gradient = expected_gradient(given.mdp, given.policy, every, value)
        np.testing.assert_allclose(gradient, share * given.exact.gradient, atol=1e-5)


@pytest.mark.parametrize("num", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (3, 5)), 8])
@pytest.mark.parametrize("ddof", [1, 0])
def test_binary_grpo_is_c_p_times_q_minus_the_value_of_the_prompt(num, ddof):
    given = bandit((0.875, 0.25, 0.5), (0.25, 0.625, 0.125))
    every = groups(given.all, num)
    value = credit(grpo(ddof=ddof, epsilon=1e-12), every.batch)
    mean, mass = cell_mean(given.mdp, every, value)
    p = given.exact.expected_return
    wanted = scale_by_binomial(num, p, ddof) * (given.exact.q_value[0, 0] - p)
    assert (mass[0, 0] > 0).all()
    np.testing.assert_allclose(mean[0, 0], wanted, atol=2e-5)


def test_binary_grpo_has_the_right_direction_and_the_wrong_length(pairs):
    given, every = pairs
    p = given.exact.expected_return
    kappa = scale_by_binomial(2, p, 1)
    value = credit(GRPO, every.batch)
    assert_cells(every, given.mdp, value, kappa * (given.exact.q_value - p), atol=3e-5)
    gradient = expected_gradient(given.mdp, given.policy, every, value)
    np.testing.assert_allclose(gradient, kappa * given.exact.gradient, atol=3e-5)
    assert abs(kappa - 1) > 0.1


@pytest.mark.slow
def test_c_p_in_its_second_form_is_symmetric_and_constant_for_groups_of_two_and_three():
    """c_p as a sum over k, the successes among the others.

    In maths: c(V, n) = sum_k C(n-1, k) V^k (1-V)^(n-1-k) [f(1, k) - f(0, k)].
    """

    @functools.cache
    def gains(num):
        others = np.arange(num)
        # Own reward, k, member: the first is oneself.
        reward = np.zeros((2, num, num, 1), np.float32)
        reward[1, :, 0, 0] = 1
        reward[:, :, 1:, 0] = (np.arange(num - 1)[None, :] < others[:, None])[None]
        shape = (2 * num, num, 1)
        whole = jnp.zeros(shape, jnp.int32)
        batch = Trajectory(
            whole,
            whole,
            whole,
            jnp.zeros(shape),
            jnp.asarray(reward.reshape(shape)),
            jnp.ones(shape, bool),
        )
        own = credit(grpo(epsilon=1e-12), batch)[:, 0, 0].reshape(2, num)
        return own[1] - own[0]

    def second_form(num, p):
        chance = np.array(
            [math.comb(num - 1, k) * p**k * (1 - p) ** (num - 1 - k) for k in range(num)]
        )
        return float(chance @ gains(num))

    for num in (2, 3, 5, 8):
        for p in (0.1, 0.3, 0.5):
            assert second_form(num, p) == pytest.approx(scale_by_binomial(num, p, 1), abs=1e-5)
            assert second_form(num, p) == pytest.approx(second_form(num, 1 - p), abs=1e-5)
        if num <= 3:
            assert second_form(num, 0.1) == pytest.approx(second_form(num, 0.5), abs=1e-5)
        else:
            assert second_form(num, 0.1) > second_form(num, 0.3) > second_form(num, 0.5)


def test_population_and_bessel_standard_deviations_differ_by_a_constant(pairs):
    _, every = pairs
    bessel, population = (credit(grpo(ddof=ddof, epsilon=1e-12), every.batch) for ddof in (1, 0))
    np.testing.assert_allclose(population, math.sqrt(2) * bessel, atol=1e-5)


def test_with_more_than_two_return_values_even_the_direction_is_lost(triples):
    given, every = triples
    value = credit(GRPO, every.batch)
    gradient, wanted = (
        expected_gradient(given.mdp, given.policy, every, value),
        given.exact.gradient,
    )
    cosine = np.vdot(gradient, wanted) / np.linalg.norm(gradient) / np.linalg.norm(wanted)
    assert cosine < 0.999
    unscaled = expected_gradient(given.mdp, given.policy, every, credit(DR_GRPO, every.batch))
    cosine = np.vdot(unscaled, wanted) / np.linalg.norm(unscaled) / np.linalg.norm(wanted)
    assert cosine > 1 - 1e-6


def test_scaling_by_the_batch_is_scaling_by_the_group(triples):
    _, every = triples
    some = Weighted(every.weight[:50], jax.tree.map(lambda x: x[:50], every.batch))
    both = [credit(grpo(scale_over=over), some.batch) for over in ("batch", "group")]
    np.testing.assert_allclose(*both, atol=1e-6)


def test_grpo_is_the_standard_score_of_the_return(triples):
    _, every = triples
    returns = np.asarray(every.batch.reward, np.float64) @ 0.5 ** np.arange(4)
    scored = (returns - returns.mean(1, keepdims=True)) / (
        returns.std(1, ddof=1, keepdims=True) + 0.01
    )
    value = credit(grpo(0.5, epsilon=0.01), every.batch)
    np.testing.assert_allclose(value, scored[..., None] * np.asarray(every.batch.live), atol=1e-4)


def test_a_group_of_one_keeps_its_return_or_gets_nothing():
    given = case()
    one = jax.tree.map(lambda x: x[:, None], given.all.batch)
    returns = np.asarray(one.reward).sum(-1, keepdims=True) * np.asarray(one.live)
    np.testing.assert_array_equal(credit(RLOO, one), returns)
    assert not credit(GRPO, one).any()
