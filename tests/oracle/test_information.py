"""`casim.oracle.information` against entropies of enumerated trajectories, in float64."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim.oracle import belief, hindsight, information
from tests import enumeration, reference
from tests.precise import compiled, wide

pytestmark = pytest.mark.usefixtures("float64")
EXACT = {"rtol": 0, "atol": 1e-10}


success_gain = compiled(information.success_gain)
beliefs = compiled(belief.beliefs)
latent_information = compiled(information.latent_information, "num_classes")


@compiled
def of_success(mdp, policy, batch):
    return information.pointwise_information(hindsight.success_hindsight(mdp, policy), batch)


@compiled
def of_returns(mdp, policy, support, batch):
    outcomes = hindsight.return_hindsight(mdp, policy, support)
    table = information.outcome_information(mdp, policy, outcomes)
    removed = information.entropy_removed(table, batch)
    return table, removed, information.pointwise_information(outcomes, batch)


def process(**settings):
    """A random process whose few rewards make few returns."""
    mdp, policy = wide(
        *reference.random_mdp(5, observations=3, **settings, discount=reference.BY_KERNEL)
    )
    mdp = mdp._replace(start=np.array([0.25, 0.125, 0.125, 0.1875, 0.3125]))
    code = np.arange(mdp.reward.size) * 7 % 5 % 4
    return mdp._replace(
        reward=np.array([0.0, 0.0, -1.0, 0.5])[code].reshape(mdp.reward.shape)
    ), policy


def all_returns(mdp):
    """Every r_t + discount_t r_{t+1} + ... that the distinct rewards can make, of any length."""
    reward, now, out = np.unique(mdp.reward), np.zeros(1), np.zeros(1)
    for discount in reversed(reference.by_step(mdp)):
        now = np.unique(np.round(reward[:, None] + discount * now, 12))
        out = np.union1d(out, now)
    return out


def trajectories(mdp, policy):
    """All trajectories, as recorded in float64, with any state at all after the end."""
    paths = reference.enumerate_paths(mdp, policy)
    batch = enumeration.as_batch(mdp, policy, paths)
    state, log_prob = np.where(paths.live, paths.state, 3), np.asarray(batch.log_prob, float)
    return paths, jax.tree.map(np.asarray, batch)._replace(
        state=state, reward=paths.reward, log_prob=log_prob
    )


def group(*columns):
    """A number for every distinct row."""
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1]


def conditional_entropy(weight, given, outcome):
    """H(outcome | given = the same as here) and P(outcome | given), for every row, by counting."""
    both = group(given, outcome)
    conditional = np.bincount(both, weight)[both] / np.bincount(given, weight)[given]
    total = np.bincount(given, weight * -np.log(conditional)) / np.bincount(given, weight)
    return total[given], conditional


@pytest.fixture(scope="module")
def returns():
    """Everything of the outcome in one process, and the trajectories that it is checked on."""
    with jax.enable_x64(True):
        mdp, policy = process()
        paths, batch = trajectories(mdp, policy)
        return mdp, paths, *of_returns(mdp, policy, all_returns(mdp), batch)


def by_step(mdp, paths):
    """For each step: the paths that are live there, their return-to-go as a class, their weight."""
    for t in range(paths.state.shape[1]):
        live = paths.live[:, t]
        gain = np.round(paths.returns(reference.by_step(mdp, t), first=t), 9)
        yield t, live, group(gain)[live], paths.probability[live]


def test_entropies_and_action_information_equal_counting(returns):
    mdp, paths, table, _, _ = returns
    for t, live, outcome, weight in by_step(mdp, paths):
        s, a = paths.state[live, t], paths.action[live, t]
        wanted, of_state = conditional_entropy(weight, group(s), outcome)
        np.testing.assert_allclose(table.entropy[t][s], wanted, **EXACT)
        wanted, of_action = conditional_entropy(weight, group(s, a), outcome)
        np.testing.assert_allclose(table.entropy_given_action[t][s, a], wanted, **EXACT)
        pointwise = weight * np.log(of_action / of_state)
        wanted = np.bincount(s, pointwise, 5) / np.maximum(np.bincount(s, weight, 5), 1e-300)
        there = np.bincount(s, weight, 5) > 0
        np.testing.assert_allclose(table.action[t][there], wanted[there], **EXACT)
        np.testing.assert_allclose(table.per_step[t], pointwise.sum(), **EXACT)
    assert table.per_step[[0, 1, 3]].min() > 1e-3
    assert abs(float(table.per_step[2])) < 1e-10  # step 2 decides nothing


def test_action_information_is_entropy_less_its_mean_given_the_action(returns):
    mdp, paths, table, removed, pointwise = returns
    for t, live, _, weight in by_step(mdp, paths):
        for told in (removed.action, pointwise.action):
            np.testing.assert_allclose(weight @ told[live, t], table.per_step[t], **EXACT)


def test_what_steps_say_of_the_outcome_equals_counting(returns):
    mdp, paths, _, removed, pointwise = returns
    steps = paths.state.shape[1]
    before, before_point = np.zeros((2, *paths.state.shape))
    after_action, after_action_point = np.zeros((2, *paths.state.shape))
    for t, live, outcome, weight in by_step(mdp, paths):
        s, a = paths.state[live, t], paths.action[live, t]
        before[live, t], of_state = conditional_entropy(weight, group(s), outcome)
        after_action[live, t], of_action = conditional_entropy(weight, group(s, a), outcome)
        before_point[live, t], after_action_point[live, t] = np.log(of_state), np.log(of_action)
    following, following_point = (
        np.concatenate([x[:, 1:], 0 * x[:, :1]], axis=1) for x in (before, before_point)
    )
    np.testing.assert_allclose(removed.action, before - after_action, **EXACT)
    np.testing.assert_allclose(removed.environment, after_action - following, **EXACT)
    np.testing.assert_allclose(pointwise.action, after_action_point - before_point, **EXACT)
    np.testing.assert_allclose(pointwise.environment, following_point - after_action_point, **EXACT)
    for told, start in ((removed, before), (pointwise, -before_point)):
        total = (told.action + told.environment).sum(1)
        np.testing.assert_allclose(total, start[:, 0], **EXACT)
    mean = [paths.probability @ removed.environment[:, t] for t in range(steps)]
    assert min(mean) > -1e-10


def test_the_entropy_of_the_return_is_that_of_the_return_to_go_once_the_rewards_are_known(returns):
    mdp, paths, table, _, _ = returns
    gain = group(np.round(paths.returns(reference.by_step(mdp)), 9))
    for t in range(paths.state.shape[1]):
        live = paths.live[:, t]
        past = group(*paths.state[live, : t + 1].T, *(8 * paths.reward[live, :t].T))
        wanted, _ = conditional_entropy(paths.probability[live], past, gain[live])
        np.testing.assert_allclose(table.entropy[t][paths.state[live, t]], wanted, **EXACT)


def test_an_action_says_log_q_over_v_of_a_success_at_any_discount():
    mdp, policy = wide(*enumeration.exam(discount=0.4))
    paths, batch = trajectories(mdp, policy)
    told, wanted = (
        of_success(mdp, policy, batch),
        reference.exact(mdp._replace(discount=np.ones_like(mdp.discount)), policy),
    )
    steps, success = np.arange(4), paths.reward.sum(1) == 1
    q_value, value = (
        wanted.q_value[steps, paths.state, paths.action],
        wanted.value[steps, paths.state],
    )
    for won, ratio in ((success, (q_value, value)), (~success, (1 - q_value, 1 - value))):
        here = won[:, None] & paths.live
        np.testing.assert_allclose(
            told.action[here], np.log(ratio[0][here] / ratio[1][here]), **EXACT
        )
        assert np.ptp(told.action[here]) > 0.1


def test_a_return_that_is_not_in_the_support_says_nan():
    mdp, policy = wide(*enumeration.exam())
    _, batch = trajectories(mdp, policy)
    told = of_success(mdp, policy, batch._replace(reward=batch.reward * 0.9))
    won = np.asarray(batch.reward).sum(1) == 1
    np.testing.assert_array_equal(np.isnan(told.action[:, 0]), won)
    assert won.any()


def test_success_gain_equals_counting():
    mdp, policy = wide(*enumeration.exam(discount=0.75))
    mdp.reward[:] = 0.0
    mdp.reward[1, ..., 0] = 1.0  # paid at step 1, and the episode goes on
    paths, batch = trajectories(mdp, policy)
    gain = success_gain(mdp, policy, batch)
    success = paths.reward.sum(1)
    assert set(success) == {0.0, 1.0}
    probability = np.zeros((len(success), paths.state.shape[1] + 1))
    probability[:, -1] = success
    for t in range(paths.state.shape[1]):
        known = group(paths.state[:, t], paths.reward[:, :t].sum(1))
        mean = np.bincount(known, paths.probability * success) / np.bincount(
            known, paths.probability
        )
        probability[:, t] = mean[known]
    live = paths.live
    np.testing.assert_allclose(gain.before, probability[:, :-1] * live, **EXACT)
    np.testing.assert_allclose(gain.after, probability[:, 1:] * live, **EXACT)
    np.testing.assert_allclose(gain.probability, np.diff(probability, axis=1) * live, **EXACT)
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = np.where(live, np.diff(np.log(probability), axis=1), 0.0)
    np.testing.assert_allclose(gain.log_probability, wanted, **EXACT)
    assert np.isneginf(wanted).any()
    assert (gain.before[:, 3] == 1).any()


def test_the_mean_success_gain_is_the_advantage_and_the_mean_log_gain_is_not_positive():
    mdp, policy = wide(*enumeration.exam())
    mdp.reward[2, 0] = 0.0  # nothing is won at the last step from state 0
    paths, batch = trajectories(mdp, policy)
    gain, wanted = success_gain(mdp, policy, batch), reference.exact(mdp, policy)
    for t in range(paths.state.shape[1]):
        live = paths.live[:, t]
        cell = group(paths.state[live, t], paths.action[live, t])
        weight = paths.probability[live]
        mean = np.bincount(cell, weight * gain.probability[live, t]) / np.bincount(cell, weight)
        advantage = wanted.q_value[t] - wanted.value[t][:, None]
        np.testing.assert_allclose(
            mean[cell], advantage[paths.state[live, t], paths.action[live, t]], **EXACT
        )
        told = gain.log_probability[live, t]
        finite = group(paths.state[live, t])
        mean = np.bincount(
            finite, weight * np.maximum(np.nan_to_num(told, nan=0.0, neginf=-50.0), -50.0)
        )
        assert mean.max() < 1e-10
    assert np.nanmin(gain.log_probability[:, 0]) < -0.01


LATENT = np.array([1, 0, 2, 1, 0])


def believed(mdp, paths):
    """P(class | h_t) `[P, T, L]` for every trajectory, by counting."""
    out = np.zeros((*paths.state.shape, 3))
    for t in range(paths.state.shape[1]):
        live = paths.live[:, t]
        seen = group(*paths.observation[live, : t + 1].T, *paths.action[live, :t].T)
        weight = paths.probability[live]
        for z in range(3):
            right = LATENT[paths.state[live, t]] == z
            out[live, t, z] = (np.bincount(seen, weight * right) / np.bincount(seen, weight))[seen]
    return out


def test_latent_information_equals_counting():
    mdp, policy = process()
    paths, batch = trajectories(mdp, policy)
    out = latent_information(beliefs(mdp, batch), batch, LATENT, 3)
    classes, live = believed(mdp, paths), paths.live
    entropy = -(classes * np.log(np.where(classes > 0, classes, 1))).sum(-1)
    truth = np.take_along_axis(classes, LATENT[paths.state][..., None], axis=2)[..., 0] * live
    goes_on = np.concatenate([live[:, 1:], 0 * live[:, :1]], axis=1).astype(bool)

    def after(x):
        return np.concatenate([x[:, 1:], 0 * x[:, :1]], axis=1)

    np.testing.assert_allclose(out.entropy, entropy, **EXACT)
    np.testing.assert_allclose(out.gain, np.where(goes_on, entropy - after(entropy), 0), **EXACT)
    np.testing.assert_allclose(out.truth.before, truth, **EXACT)
    np.testing.assert_allclose(out.truth.after, np.where(goes_on, after(truth), 0), **EXACT)
    np.testing.assert_allclose(
        out.truth.probability, np.where(goes_on, after(truth) - truth, 0), **EXACT
    )
    ratio = np.where(goes_on, after(truth), 1) / np.where(goes_on, truth, 1)
    np.testing.assert_allclose(out.truth.log_probability, np.log(ratio), **EXACT)
    assert not goes_on.all(0)[:-1].all()  # some episodes end early
    last = live.sum(1) - 1
    total = np.where(live[:, 0], entropy[:, 0] - entropy[np.arange(len(last)), last], 0)
    np.testing.assert_allclose(out.gain.sum(1), total, **EXACT)


def test_a_constant_latent_is_learned_at_the_rate_of_the_mutual_information():
    mdp, policy = process(terminal=False)
    # Moves stay inside the classes {0, 3}, {1, 4} and {2} of the latent variable.
    same = np.array([[0, 3], [1, 4], [2, 2], [0, 3], [1, 4]])
    mdp = mdp._replace(successor=same[np.arange(5)[:, None, None], mdp.successor % 2])
    paths, batch = trajectories(mdp, policy)
    out = latent_information(beliefs(mdp, batch), batch, LATENT, 3)
    z = LATENT[paths.state[:, 0]]
    assert (LATENT[paths.state] == z[:, None]).all()
    rates = []
    for t in range(paths.state.shape[1] - 1):
        known = group(*paths.observation[:, : t + 1].T, *paths.action[:, : t + 1].T)
        more = group(known, paths.observation[:, t + 1])
        weight = paths.probability
        rate = weight @ (
            conditional_entropy(weight, known, z)[0] - conditional_entropy(weight, more, z)[0]
        )
        np.testing.assert_allclose(weight @ out.gain[:, t], rate, **EXACT)
        np.testing.assert_allclose(weight @ out.truth.log_probability[:, t], rate, **EXACT)
        rates.append(rate)
    assert min(rates) > 1e-3
    assert out.gain.min() < -0.01  # a single observation can mislead
