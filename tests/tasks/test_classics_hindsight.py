"""Hindsight's worlds, RUDDER's and AgentCreditBench's against their published numbers."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest

from casim.tasks.classics import AmbiguousBandit, DelayedEffect, Recovery, Shortcut, WatchRepair
from casim.tasks.classics.normal import normal
from tests import reference
from tests.enumeration import solve
from tests.reference import EPS, enumerate_paths, optimal_value, random_policy


def uniform(mdp) -> np.ndarray:
    kernels, _, observations = mdp.emission.shape
    return np.full((kernels, observations, mdp.prob.shape[2]), 1 / mdp.prob.shape[2], np.float32)


def walking_values(task: Shortcut) -> np.ndarray:
    """V(0), ..., V(n - 2) of the uniform policy, by recursion over positions as in the source."""
    arrival, value = task.final_reward - task.cost, [task.final_reward - task.cost]
    for _ in range(task.num_positions - 2):
        long = task.slip * arrival + (1 - task.slip) * (-task.cost + task.discount * value[0])
        value.insert(0, (arrival + (task.num_actions - 1) * long) / task.num_actions)
    return np.array(value)


def test_the_shortcut_has_the_published_values():
    mdp = Shortcut().build()
    truth = solve(mdp, jnp.asarray(uniform(mdp)))
    np.testing.assert_allclose(
        walking_values(Shortcut()), [-0.743625, -0.6525, -0.45, 0], atol=1e-12
    )
    np.testing.assert_allclose(truth.value[:4, 0], [-0.743625, -0.6525, -0.45, 0], atol=16 * EPS)
    assert float(truth.advantage[0, 0, 0]) == pytest.approx(0.7436, abs=5e-5)


def test_the_shortcut_with_other_settings_follows_the_recursion_over_positions():
    task = Shortcut(
        num_positions=6, slip=0.3, cost=0.5, final_reward=2.0, num_actions=3, discount=0.8
    )
    mdp = task.build()
    np.testing.assert_allclose(
        reference.exact(mdp, uniform(mdp)).value[:5, 0], walking_values(task), atol=1e-6
    )
    assert optimal_value(mdp)[0, 0] == pytest.approx(1.5)


def test_the_final_reward_of_the_shortcut_is_owed_to_no_action():
    mdp = Shortcut(cost=0.0).build()
    truth = reference.exact(mdp, random_policy(1, mdp))
    walking = truth.q_value[:, 0] - truth.value[:-1, 0, None]
    np.testing.assert_allclose(walking, 0, atol=1e-6)
    assert truth.expected_return == pytest.approx(1)


def test_delayed_effect_under_the_uniform_policy():
    mdp = DelayedEffect(horizon=3, noise=2.0).build()
    paths = enumerate_paths(mdp, uniform(mdp))
    gain = paths.returns(1.0)
    assert paths.probability @ gain == pytest.approx(0, abs=1e-5)
    assert paths.probability @ gain**2 == pytest.approx(1 + 3 * 2.0**2, rel=1e-5)
    for action, wanted in ((0, 1.0), (1, -1.0)):
        chosen = paths.probability * (paths.action[:, 0] == action)
        assert chosen @ gain / chosen.sum() == pytest.approx(wanted, abs=1e-5)
    # The noise covers the outcome: returns of 3 or more, say, follow either action.
    for action in (0, 1):
        assert np.any((gain >= 3) & (paths.action[:, 0] == action))
    assert DelayedEffect(horizon=3).build().prob.shape[-1] == 1


@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0])
def test_bootstrapping_on_aliased_values_shrinks_the_credit_of_the_first_action(weight):
    """E[GAE of a_0] = lambda^(T - 1) A_0, with the exact value of every observation."""
    steps = 4
    mdp = DelayedEffect(horizon=steps, num_actions=2).build()
    paths = enumerate_paths(mdp, uniform(mdp))
    value = np.zeros((len(paths.probability), steps + 1))
    for t in range(steps):
        seen = paths.observation[:, t]
        assert len(set(seen)) == 1  # nothing but the step can be told
        value[:, t] = paths.probability @ paths.returns(1.0, first=t)
    delta = paths.reward + value[:, 1:] - value[:, :-1]
    credit = delta @ weight ** np.arange(steps)
    for action, advantage in ((0, 1.0), (1, -1.0)):
        chosen = paths.probability * (paths.action[:, 0] == action)
        assert chosen @ credit / chosen.sum() == pytest.approx(
            weight ** (steps - 1) * advantage, abs=1e-12
        )


@pytest.mark.parametrize(
    ("mean", "std"), [(0.0, 2.0), (1.0, 1.5), (-0.37, 0.3), (12.3, 0.7), (-1.0, 4.0)]
)
def test_a_lattice_normal_has_the_moments_of_the_normal(mean, std):
    p, x = np.array(normal(mean, std)).T
    assert p.sum() == pytest.approx(1)
    assert abs(p @ x - mean) < 1e-5 * std
    assert abs(math.sqrt(p @ (x - mean) ** 2) - std) < 1e-5 * std
    # Third and fourth moments of the normal: 0 and 3 std^4. The cut at 5.5 costs less than 1e-3
    # of the fourth.
    assert abs(p @ (x - mean) ** 3) < 1e-3 * std**3
    assert p @ (x - mean) ** 4 == pytest.approx(3 * std**4, rel=1e-3)
    assert normal(mean, 0.0) == [(1.0, mean)]


def test_the_odds_of_two_means_are_those_of_the_normals():
    one, two = ({x: p for p, x in normal(mean, 1.5)} for mean in (2.0, 1.0))
    common = np.array(sorted(set(one) & set(two)))
    assert len(common) >= 10
    odds = np.array([one[x] / two[x] for x in common])
    np.testing.assert_allclose(
        odds, np.exp(((common - 1) ** 2 - (common - 2) ** 2) / (2 * 1.5**2)), rtol=1e-5
    )


def information(joint: np.ndarray) -> float:
    """Mutual information, in nats, of the two axes of a joint distribution."""
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    seen = joint > 0
    return float(np.sum(joint[seen] * np.log(joint[seen] / outer[seen])))


def hindsight(task: AmbiguousBandit) -> tuple[float, float]:
    """Information on the action in the state and in the return, under the uniform policy."""
    mdp = task.build()
    paths = enumerate_paths(mdp, uniform(mdp))
    out = []
    for known in (paths.state[:, 1], np.round(paths.returns(1.0), 4)):
        _, column = np.unique(known, return_inverse=True)
        joint = np.zeros((2, column.max() + 1))
        np.add.at(joint, (paths.action[:, 0], column), paths.probability)
        out.append(information(joint))
    return out[0], out[1]


def test_the_ambiguous_bandit_has_the_published_action_values():
    mdp = AmbiguousBandit().build()
    q = reference.exact(mdp, uniform(mdp)).q_value[0, int(np.argmax(mdp.start))]
    np.testing.assert_allclose(q, [1.9, 1.1], atol=1e-5)
    assert float(optimal_value(mdp)[0] @ np.asarray(mdp.start)) == pytest.approx(1.9, abs=1e-5)


def test_the_state_tells_the_action_and_the_return_hardly():
    state, gain = hindsight(AmbiguousBandit())
    assert state == pytest.approx(math.log(2) + 0.9 * math.log(0.9) + 0.1 * math.log(0.1), abs=1e-6)
    assert 0.01 < gain < 0.2 * state
    state, gain = hindsight(AmbiguousBandit(std=0.0))
    assert gain == pytest.approx(state, abs=1e-12)


def test_repairing_a_watch_has_the_published_gains_and_optimal_policy():
    mdp = WatchRepair().build()
    start = np.flatnonzero(np.asarray(mdp.start))
    q = reference.exact(mdp, uniform(mdp)).q_value[0, start]
    np.testing.assert_allclose(q[:, 1] - q[:, 0], [-1.5, 3.5, 3.5, -1.5], atol=1e-5)
    assert not q[:, 0].any()
    np.testing.assert_array_equal(q.argmax(-1), [0, 1, 1, 0])  # no, yes, yes, no
    assert np.asarray(mdp.start)[start] @ q.max(-1) == pytest.approx(1.75, abs=1e-5)
    decided = np.asarray(mdp.decision)[np.asarray(mdp.schedule)]
    np.testing.assert_array_equal(np.flatnonzero(decided), [0])
    assert len(decided) == 50


def test_noise_and_delay_leave_the_gains_of_the_watch_alone():
    mdp = WatchRepair(horizon=3, noise=2.0, num_actions=3).build()
    start = np.flatnonzero(np.asarray(mdp.start))
    q = reference.exact(mdp, uniform(mdp)).q_value[0, start]
    np.testing.assert_allclose(
        q[:, 1:] - q[:, :1], np.array([-1.5, 3.5, 3.5, -1.5])[:, None] * [[1, 1]], atol=1e-4
    )
    repaired = np.asarray(mdp.prob)[int(mdp.schedule[-1])].max(axis=(1, 2))
    assert sorted(set((repaired < 1).tolist())) == [False, True]


@pytest.mark.parametrize("horizon", [2, 4])
def test_recovery_has_the_published_values(horizon):
    mdp = Recovery(horizon=horizon).build()
    truth = reference.exact(mdp, uniform(mdp))
    advantage = truth.q_value - truth.value[:-1, :, None]
    start, good, bad = 0, 1, 2
    assert np.asarray(mdp.start)[start] == 1
    assert truth.value[0, start] == pytest.approx(0.75)
    np.testing.assert_allclose(advantage[0, start], [0.25, -0.25])
    np.testing.assert_allclose(advantage[1, bad], [0.5, -0.5])
    np.testing.assert_allclose(advantage[1, good], 0, atol=1e-12)
    np.testing.assert_allclose(advantage[2:], 0, atol=1e-12)


def test_selected_successes_credit_the_bad_step_and_all_bad_steps_do_not():
    mdp = Recovery(horizon=3).build()
    paths = enumerate_paths(mdp, uniform(mdp))
    gain = paths.returns(1.0)
    broadcast = gain - paths.probability @ gain
    bad = paths.action[:, 0] == 1
    selected = bad & (paths.action[:, 1] == 0) & (gain == 1)
    weight = paths.probability * bad
    assert selected.any()
    np.testing.assert_allclose(broadcast[selected], 0.25)
    assert weight @ broadcast / weight.sum() == pytest.approx(-0.25)
