"""Vine: what it gives to every trajectory, on average over its branches, and what it costs."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import Vine
from casim.simulate import World
from tests import reference
from tests.enumeration import (
    assert_cells,
    assert_mean,
    case,
    cell_mean,
    centre,
    expected_gradient,
    run,
    run_keys,
    td_error,
    trajectories,
)

BRANCHES, REPEATS = 8, 400


@pytest.fixture(scope="module")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="module")
def undiscounted():
    return case(binary=False, actions=2, prompt=False)


@functools.cache
def sampled(unit, discount=0.875):
    """Credit `[R, P, T]` of every trajectory under many keys, and its costs `[R]`."""
    one = case(binary=False, actions=2, prompt=False, discount=discount)
    keys = jax.random.split(jax.random.key(11), REPEATS)
    credit = run_keys(Vine(BRANCHES, unit, discount), keys, one.world, one.all.batch)
    return np.asarray(credit.value, np.float64), np.asarray(credit.cost.env_steps, np.float64)


def segment_error(given):
    """Discounted sum of each segment's td_errors, from its first step, on all its live steps."""
    error, segment = td_error(given), np.asarray(given.mdp.segment)
    out = np.zeros(error.shape)
    for g in np.unique(segment):
        steps = np.flatnonzero(segment == g)
        total = error[:, steps] @ given.discount ** np.arange(len(steps))
        out[:, steps] = total[:, None]
    return out * np.asarray(given.all.batch.live)


def test_by_step_its_mean_on_every_trajectory_is_the_td_error(given):
    assert_mean(sampled("step")[0], td_error(given))


def test_by_segment_its_mean_on_every_trajectory_is_the_segment_advantage(given):
    assert_mean(sampled("segment")[0], segment_error(given))


def test_by_step_its_mean_in_a_cell_is_the_advantage(given):
    # Given the test above, exactly: td errors average to the advantage.
    assert_cells(given.all, given.mdp, td_error(given), given.advantage)
    mean = np.stack([cell_mean(given.mdp, given.all, x)[0] for x in sampled("step")[0]])
    seen = np.isfinite(mean[0])
    assert_mean(mean[:, seen], given.advantage[seen])


def test_by_segment_at_discount_1_its_mean_is_the_advantage_plus_a_function_of_the_state(
    undiscounted,
):
    mean, mass = cell_mean(undiscounted.mdp, undiscounted.all, segment_error(undiscounted))
    visited = (mass > 0).all(axis=-1)
    centred = centre(undiscounted.policy, undiscounted.mdp.schedule, np.where(mass > 0, mean, 0.0))
    np.testing.assert_allclose(centred[visited], undiscounted.advantage[visited], atol=1e-5)
    assert np.abs(mean - undiscounted.advantage)[mass > 0].max() > 0.1


def test_by_segment_at_discount_1_its_gradient_is_exact(undiscounted):
    args = undiscounted.mdp, undiscounted.policy, undiscounted.all
    gradient = expected_gradient(*args, segment_error(undiscounted))
    np.testing.assert_allclose(gradient, undiscounted.exact.gradient, atol=1e-5)
    every = np.stack([expected_gradient(*args, x) for x in sampled("segment", 1.0)[0][:100]])
    decided = np.abs(gradient) > 0
    assert_mean(every[:, decided], undiscounted.exact.gradient[decided])


def test_by_segment_at_a_discount_below_1_late_steps_of_a_segment_get_too_little(given):
    gradient = expected_gradient(given.mdp, given.policy, given.all, segment_error(given))
    wanted = given.exact.gradient
    # The first steps of the two segments.
    np.testing.assert_allclose(gradient[0], wanted[0], atol=1e-5)
    # The second step of the last one.
    np.testing.assert_allclose(gradient[2], 0.875 * wanted[2], atol=1e-5)
    assert np.abs(wanted[2]).max() > 0.01


def test_by_step_its_gradient_is_exact_at_any_discount(given):
    gradient = expected_gradient(given.mdp, given.policy, given.all, td_error(given))
    np.testing.assert_allclose(gradient, given.exact.gradient, atol=1e-5)


def test_its_variance_is_that_of_two_means_of_k_returns(given):
    state, live = np.asarray(given.all.batch.state), np.asarray(given.all.batch.live)
    states, steps = given.mdp.start.shape[0], state.shape[1]
    spread = np.zeros((steps + 1, states))
    for t in range(steps):
        for s in range(states):
            tail = reference.enumerate_paths(
                given.mdp, given.policy, first=t, start=np.eye(states)[s]
            )
            weight, gain = tail.probability / tail.probability.sum(), tail.returns(given.discount)
            spread[t, s] = weight @ gain**2 - (weight @ gain) ** 2
    wanted = np.zeros(state.shape)
    for i, t in zip(*np.nonzero(live), strict=True):
        after = spread[t + 1, state[i, t + 1]] if t + 1 < steps and live[i, t + 1] else 0.0
        wanted[i, t] = (spread[t, state[i, t]] + given.discount**2 * after) / BRANCHES
    assert_mean((sampled("step")[0] - td_error(given)) ** 2, wanted)


@pytest.mark.parametrize("firsts", [(0,), (0, 1, 3)])
def test_by_segment_it_is_exactly_the_rewards_and_change_of_value_where_nothing_is_left_to_chance(
    given, firsts
):
    """Certain transitions and a policy that always does the same: Vhat is V.

    One segment gives R - V(s_0).
    """
    segment = np.searchsorted(firsts, np.arange(4), side="right") - 1
    prob = np.zeros(given.mdp.prob.shape)
    prob[..., 1] = 1.0
    mdp = given.mdp._replace(segment=jnp.asarray(segment), prob=jnp.asarray(prob, jnp.float32))
    always = np.eye(2, dtype=np.float32)[np.argmax(given.policy, axis=-1)]
    value = reference.exact(mdp, always).value
    batch = trajectories(mdp, given.policy).batch  # of another policy, so that credit is not all 0
    credit = np.asarray(
        run(
            Vine(2, "segment", 0.875),
            jax.random.key(5),
            World.make(mdp, jnp.asarray(always)),
            batch,
        ).value
    )
    state, live, reward = (np.asarray(x) for x in (batch.state, batch.live, batch.reward))
    for t, g in enumerate(segment):
        first, end = firsts[g], (*firsts[1:], 4)[g]
        after = value[end, state[:, end]] * live[:, end] if end < 4 else 0.0
        wanted = reward[:, first:end].astype(float) @ 0.875 ** np.arange(end - first)
        wanted = wanted + 0.875 ** (end - first) * after - value[first, state[:, first]]
        np.testing.assert_allclose(credit[:, t], wanted * live[:, t], atol=1e-5)
    assert np.abs(credit).max() > 0.1


@pytest.mark.slow
def test_it_costs_the_live_steps_that_it_simulates(given):
    endless = case(terminal=False)
    rows, steps = endless.all.batch.action.shape
    for unit, firsts in (("step", range(steps)), ("segment", (0, 2))):
        cost = run(Vine(2, unit), jax.random.key(1), endless.world, endless.all.batch).cost
        assert float(cost.env_steps) == 2 * rows * sum(steps - first for first in firsts)
        assert float(cost.judge_calls) == float(cost.critic_updates) == 0.0
    state, live = np.asarray(given.all.batch.state), np.asarray(given.all.batch.live)
    wanted = 0.0
    for first in (0, 2):
        length = np.zeros(5)
        for s in range(5):
            tail = reference.enumerate_paths(
                given.mdp, given.policy, first=first, start=np.eye(5)[s]
            )
            length[s] = tail.probability @ tail.live.sum(axis=1)
        wanted += BRANCHES * np.sum(length[state[:, first]] * live[:, first])
    assert_mean(sampled("segment")[1], wanted)
