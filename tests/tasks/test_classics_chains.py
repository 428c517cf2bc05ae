"""The chains of Sutton & Barto, bsuite and Bakker against closed forms and enumeration."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from casim.tasks.classics import ContextChain, DiscountingChain, RandomWalk, TMaze, UmbrellaChain
from tests import reference
from tests.enumeration import solve
from tests.reference import EPS, enumerate_paths, optimal_value, random_policy

ROUNDING = 1e-7
"""The enumeration is in float64, the rows of a random policy in float32.

They sum to 1 up to this.
"""


def uniform(mdp) -> np.ndarray:
    kernels, _, observations = mdp.emission.shape
    return np.full((kernels, observations, mdp.prob.shape[2]), 1 / mdp.prob.shape[2], np.float32)


def observation_value(paths, t: int, observation: int) -> float:
    """E[return from step t | o_t] at discount 1."""
    weight = paths.probability * (paths.observation[:, t] == observation)
    return float(weight @ paths.returns(1.0, first=t) / weight.sum())


def test_the_random_walk_has_the_values_of_sutton_and_barto():
    """V = -0.9, ..., 0.9; what is cut off is at most cos(pi / 10)^T |V|, here 0.0005."""
    horizon = 170
    mdp = RandomWalk(horizon=horizon).build()
    value = np.asarray(solve(mdp, jnp.asarray(uniform(mdp))).value, np.float64)[0, 1:20]
    wanted = np.arange(-9, 10) / 10
    bound = np.cos(np.pi / 10) ** horizon * np.linalg.norm(wanted)
    error = np.abs(value - wanted).max()
    assert error <= bound + horizon * EPS
    # The bound is no more than a small multiple of the truth, so it can be missed.
    assert error >= 0.2 * bound


def test_a_random_walk_from_the_middle_takes_100_steps_and_the_default_cuts_5_in_a_million():
    mdp = reference.as_float64(RandomWalk().build())
    move = np.zeros((21, 21))
    for s in range(1, 20):
        np.add.at(move[s], mdp.successor[0, s, 0], mdp.prob[0, s, 0])
    live = [float(mdp.start[1:20].sum())]
    now = mdp.start
    for _ in range(1000):
        now = now @ move
        live.append(float(now[1:20].sum()))
    assert sum(live) == pytest.approx(100, abs=0.01)
    assert live[1000] == pytest.approx(5.3e-6, rel=0.02)


def test_nobody_steers_the_random_walk():
    mdp = RandomWalk(horizon=4, num_states=5, num_actions=3).build()
    truth = reference.exact(mdp, random_policy(1, mdp))
    inside = ~np.asarray(mdp.terminal)
    np.testing.assert_allclose(
        (truth.q_value - truth.value[:-1, :, None])[:, inside], 0, atol=ROUNDING
    )
    assert np.abs(truth.value).max() > 0.4


@pytest.mark.parametrize("favoured", [1, 4])
def test_the_right_choice_of_the_discounting_chain_flips_at_the_published_discount(favoured):
    delays = np.array([1, 3, 10, 30, 100])
    flip = 1.1 ** (-1 / (delays[favoured] - 1))
    if favoured == 4:
        assert round(flip, 5) == 0.99904  # bsuite's setting
    for discount, best in ((flip - 1e-4, 0), (flip + 1e-4, favoured)):
        mdp = DiscountingChain(favoured=favoured, discount=discount).build()
        q = np.asarray(solve(mdp, jnp.asarray(uniform(mdp))).q_value[0, 0])
        wanted = discount ** (delays - 1) * np.where(np.arange(5) == favoured, 1.1, 1.0)
        # The discount is rounded once and then taken to the 99th power in as many roundings.
        np.testing.assert_allclose(q, wanted, rtol=3 * 99 * EPS)
        assert q.argmax() == best


def test_only_the_first_choice_of_the_discounting_chain_matters():
    mdp = DiscountingChain(horizon=5, early=(1, 3), favoured=0).build()
    truth = reference.exact(mdp, random_policy(2, mdp))
    spread = truth.q_value.max(-1) - truth.q_value.min(-1)
    assert spread[0].max() == pytest.approx(0.1)
    assert not spread[1:].any()


@pytest.mark.parametrize("horizon", [1, 4])
def test_the_umbrella_is_worth_one_under_noise_that_grows_with_the_horizon(horizon):
    """Published of bsuite's chain: A = +-1, Var(G) = n; n - 1 once the first action is right."""
    mdp = UmbrellaChain(horizon=horizon, num_distractors=1).build()
    policy = random_policy(3, mdp)
    policy[int(mdp.schedule[0])] = 0.5
    truth = reference.exact(mdp, policy)
    needs = np.arange(4) % 2
    advantage = (truth.q_value - truth.value[:-1, :, None])[0]
    np.testing.assert_allclose(
        advantage, np.where(np.arange(2) == needs[:, None], 1.0, -1.0), atol=ROUNDING
    )
    paths = enumerate_paths(mdp, policy)
    gain = paths.returns(1.0)
    assert paths.probability @ gain == pytest.approx(0, abs=ROUNDING)
    assert paths.probability @ gain**2 == pytest.approx(horizon)
    # Observations are (has, needs, bit) in order.
    policy[int(mdp.schedule[0])] = np.eye(2)[np.repeat(needs, 2)]
    paths = enumerate_paths(mdp, policy)
    mean = paths.probability @ paths.returns(1.0)
    assert mean == pytest.approx(1)
    assert paths.probability @ (paths.returns(1.0) - mean) ** 2 == pytest.approx(horizon - 1)
    np.testing.assert_allclose(truth.occupancy[0], 0.25, atol=ROUNDING)


def test_distractor_bits_are_fair_and_tell_nothing():
    mdp = UmbrellaChain(horizon=3, num_distractors=2).build()
    wanted = np.repeat(np.eye(4), 4, axis=1) / 4
    np.testing.assert_array_equal(mdp.emission, np.broadcast_to(wanted, (3, 4, 16)))


def test_no_policy_gradient_finds_the_context_though_every_state_knows_the_answer():
    mdp = ContextChain(memory_length=4, num_bits=2).build()
    policy = random_policy(4, mdp)
    truth = reference.exact(mdp, policy)
    np.testing.assert_allclose(truth.gradient, 0, atol=ROUNDING)
    assert truth.expected_return == pytest.approx(0, abs=ROUNDING)
    truth = reference.exact(mdp, uniform(mdp))
    advantage = (truth.q_value - truth.value[:-1, :, None])[-1]
    np.testing.assert_allclose(np.abs(advantage), 1, atol=ROUNDING)
    np.testing.assert_allclose(optimal_value(mdp)[0], 1)


def test_the_context_is_shown_at_two_steps_and_the_query_at_the_last():
    mdp = ContextChain(memory_length=4, num_bits=2).build()
    context, query = np.divmod(np.arange(8), 2)
    shown = np.asarray(mdp.emission).argmax(-1)[np.asarray(mdp.schedule)]
    for t in (0, 1):
        same = shown[t][:, None] == shown[t]
        np.testing.assert_array_equal(same, context[:, None] == context)
    assert all(len(set(shown[t])) == 1 for t in (2, 3))
    np.testing.assert_array_equal(shown[4][:, None] == shown[4], query[:, None] == query)


def test_a_context_of_length_1_needs_no_memory():
    mdp = ContextChain(memory_length=1, num_bits=2).build()
    shown = np.asarray(mdp.emission)[int(mdp.schedule[1])].argmax(-1)
    assert len(set(shown)) == 8
    policy = uniform(mdp)
    context, query = np.divmod(np.arange(8), 2)
    policy[int(mdp.schedule[1]), shown] = np.eye(2)[(context >> query) & 1]
    assert reference.exact(mdp, policy).expected_return == pytest.approx(1)


def test_the_aliased_observations_of_the_t_maze_are_worth_nothing():
    mdp = TMaze(corridor=3).build()
    policy = random_policy(5, mdp)
    paths = enumerate_paths(mdp, policy)
    for t in (1, 2, 3):
        (observation,) = set(paths.observation[:, t])
        assert observation_value(paths, t, observation) == pytest.approx(0, abs=ROUNDING)
    assert len({paths.observation[0, t] for t in (1, 2)}) == 1
    assert len(set(paths.observation[:, 0])) == 2
    assert paths.observation[0, 3] != paths.observation[0, 2]
    truth = reference.exact(mdp, policy)
    np.testing.assert_allclose(truth.gradient, 0, atol=ROUNDING)
    truth = reference.exact(mdp, uniform(mdp))
    np.testing.assert_allclose(
        (truth.q_value - truth.value[:-1, :, None])[3], [[1, -1], [-1, 1]], atol=ROUNDING
    )
    np.testing.assert_allclose(optimal_value(mdp)[0], 1)


def test_a_third_way_at_the_junction_is_always_wrong():
    mdp = TMaze(corridor=2, num_actions=3).build()
    policy = random_policy(6, mdp)
    (crossing,) = set(np.asarray(mdp.emission)[int(mdp.schedule[-1])].argmax(-1))
    wrong = float(policy[int(mdp.schedule[-1]), crossing, 2])
    assert reference.exact(mdp, policy).expected_return == pytest.approx(-wrong)
