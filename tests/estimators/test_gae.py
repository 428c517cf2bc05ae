"""GAE over a tabular critic, against loops in NumPy and over all trajectories."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import ops
from casim.estimators import Gae
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import (
    assert_cells,
    case,
    cell_mean,
    centre,
    expected_gradient,
    returns_to_go,
    run,
    solved,
)

KEY = jax.random.key(21)


@pytest.fixture(scope="module")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="module")
def hidden():
    """A POMDP with rewards at every step, a terminal state and a discount below 1."""
    return solved(*reference.random_mdp(4, schedule=(0, 1, 2), observations=3, successors=4))


def rows(batch):
    """The live steps of every row: lists of (observation, reward)."""
    observation, reward, live = (
        np.asarray(x) for x in (batch.observation, batch.reward, batch.live)
    )
    return [
        [(int(observation[i, t]), float(reward[i, t])) for t in range(live.shape[1]) if live[i, t]]
        for i in range(len(live))
    ]


def gae(row, value, discount, lambda_):
    """sum_l (discount lambda)^l delta_{t+l}, by its definition."""
    v = [value[t, o] for t, (o, _) in enumerate(row)] + [0.0]
    delta = [r + discount * v[t + 1] - v[t] for t, (_, r) in enumerate(row)]
    return [
        sum((discount * lambda_) ** (u - t) * delta[u] for u in range(t, len(delta)))
        for t in range(len(delta))
    ]


def means(data, targets, shape):
    """Mean target of each (step, observation), and of the step where one was not seen."""
    table = np.zeros(shape)
    for t in range(shape[0]):
        at = [
            (row[t][0], target[t])
            for row, target in zip(data, targets, strict=True)
            if len(row) > t
        ]
        table[t] = np.mean([x for _, x in at]) if at else 0.0
        for o in {o for o, _ in at}:
            table[t, o] = np.mean([x for seen, x in at if seen == o])
    return table


def fit(data, settings, shape):
    table = np.zeros(shape)
    if settings.fit == "monte_carlo":
        return means(data, [gae(row, table, settings.discount, 1.0) for row in data], shape)
    for _ in range(settings.num_sweeps):
        targets = []
        for row in data:
            advantage = gae(row, table, settings.discount, settings.critic_lambda)
            targets.append([table[t, o] + advantage[t] for t, (o, _) in enumerate(row)])
        table = table + settings.learning_rate * (means(data, targets, shape) - table)
    return table


PLAIN = Gae(lambda_=0.7, num_rollouts=7, discount=0.875)
TD = Gae(
    lambda_=0.4,
    fit="td",
    num_rollouts=7,
    critic_lambda=0.6,
    num_sweeps=3,
    learning_rate=0.3,
    discount=0.875,
)
IN_SAMPLE = Gae(lambda_=1.0, num_rollouts=0, discount=0.875)


@pytest.fixture(scope="module")
def few(given):
    """A batch that did not fit any critic."""
    return reference.rollout(given.world, jax.random.key(3), 11)


@pytest.mark.parametrize("settings", [PLAIN, TD, IN_SAMPLE])
def test_both_fits_and_the_advantage_equal_loops(given, few, settings):
    data = reference.rollout(given.world, KEY, 7) if settings.num_rollouts else few
    table = fit(rows(data), settings, (4, 5))
    credit = np.asarray(run(settings, KEY, given.world, few).value)
    for i, row in enumerate(rows(few)):
        wanted = gae(row, table, 0.875, settings.lambda_) + [0.0] * (4 - len(row))
        np.testing.assert_allclose(credit[i], wanted, atol=1e-5)


@pytest.mark.slow
def test_lambda_1_is_the_return_to_go_minus_the_critic_whatever_that_is(given):
    for name in ("monte_carlo", "td"):
        settings = Gae(1.0, name, 3, num_sweeps=20, discount=0.875)
        table = fit(rows(reference.rollout(given.world, KEY, 3)), settings, (4, 5))
        batch, live = given.all.batch, np.asarray(given.all.batch.live)
        baseline = table[np.arange(4)[None, :], np.asarray(batch.observation)]
        credit = np.asarray(run(settings, KEY, given.world, batch).value)
        np.testing.assert_allclose(
            credit, (returns_to_go(batch, 0.875) - baseline) * live, atol=1e-5
        )
        assert_cells(given.all, given.mdp, credit, given.exact.q_value - table[:, :, None])


def test_lambda_1_has_the_exact_gradient_whatever_the_critic(given, hidden):
    for one, name in ((given, "monte_carlo"), (given, "td"), (hidden, "monte_carlo")):
        settings = Gae(1.0, name, 3, num_sweeps=20, discount=one.discount)
        credit = run(settings, KEY, one.world, one.all.batch).value
        gradient = expected_gradient(one.mdp, one.policy, one.all, credit)
        np.testing.assert_allclose(gradient, one.exact.gradient, atol=1e-5)


def test_lambda_below_1_with_a_learned_critic_is_biased(given):
    credit = run(Gae(0.5, num_rollouts=3, discount=0.875), KEY, given.world, given.all.batch).value
    gradient = expected_gradient(given.mdp, given.policy, given.all, credit)
    assert np.linalg.norm(gradient - given.exact.gradient) > 0.01 * np.linalg.norm(
        given.exact.gradient
    )


@pytest.mark.parametrize("lambda_", [0.0, 0.4, 1.0])
def test_a_critic_that_is_v_itself_is_unbiased_at_every_lambda(given, lambda_):
    batch = given.all.batch
    value = given.exact.value[np.arange(4)[None, :], np.asarray(batch.state)]
    credit = ops.gae(batch.reward, jnp.asarray(value, jnp.float32), batch.live, 0.875, lambda_)
    assert_cells(given.all, given.mdp, np.asarray(credit), given.advantage)


def test_an_error_of_the_critic_biases_by_what_the_formula_says(given):
    """With V + e, the bias is -e_t and what the errors of later steps add.

    In maths: -e_t + discount (1 - lambda) sum_j (discount lambda)^j E[e_{t+j+1}].
    """
    batch, live = given.all.batch, np.asarray(given.all.batch.live)
    error = np.random.default_rng(0).normal(size=(5, 5))
    error[4] = 0.0
    along = error[np.arange(4)[None, :], np.asarray(batch.state)] * live
    value = given.exact.value[np.arange(4)[None, :], np.asarray(batch.state)] + along
    credit = ops.gae(batch.reward, jnp.asarray(value, jnp.float32), batch.live, 0.875, 0.6)
    later = np.zeros((len(live), 4))
    for t in range(4):
        later[:, t] = sum((0.875 * 0.6) ** j * along[:, t + j + 1] for j in range(3 - t))
    bias = -error[:4, :, None] + 0.875 * 0.4 * np.nan_to_num(
        cell_mean(given.mdp, given.all, later * live)[0]
    )
    assert_cells(given.all, given.mdp, np.asarray(credit), given.advantage + bias)


@pytest.mark.slow
def test_in_an_aliased_delayed_chain_the_first_action_gets_lambda_to_the_n_minus_1_of_the_truth():
    steps, lambda_ = 5, 0.6
    mdp = Bifurcation(
        horizon=steps, pivots=(0,), gap=0.8, base=0.45, num_actions=3, num_segments=2
    ).build()
    mdp = mdp._replace(emission=jnp.ones((*mdp.emission.shape[:2], 1)))
    chain = solved(mdp, reference.random_policy(5, mdp))
    for name in ("monte_carlo", "td"):
        # A constant critic is what both fits learn: every state looks the same and all returns come
        # at the end.
        settings = Gae(
            lambda_,
            name,
            num_rollouts=9,
            num_sweeps=2 * steps,
            critic_lambda=0.0,
            learning_rate=1.0,
        )
        mean, _ = cell_mean(mdp, chain.all, run(settings, KEY, chain.world, chain.all.batch).value)
        acting = np.asarray(chain.policy, np.float64)[np.asarray(mdp.schedule), 0]
        wanted = lambda_ ** (steps - 1) * chain.advantage[0, 0]
        np.testing.assert_allclose(mean[0, 0] - acting[0] @ mean[0, 0], wanted, atol=1e-5)
    assert np.abs(wanted).max() > 0.03


def test_the_fixed_point_of_the_td_fit_is_the_certainty_equivalent_value(given):
    data = rows(reference.rollout(given.world, KEY, 40))
    table = np.zeros((5, 5))
    for t in reversed(range(4)):
        targets = [
            [0.0] * t
            + [row[t][1] + 0.875 * (table[t + 1, row[t + 1][0]] if len(row) > t + 1 else 0.0)]
            for row in data
            if len(row) > t
        ]
        table[t] = (
            means([row for row in data if len(row) > t], targets, (t + 1, 5))[t] if targets else 0.0
        )
    settings = Gae(
        1.0, "td", 40, critic_lambda=0.0, num_sweeps=200, learning_rate=0.25, discount=0.875
    )
    batch = given.all.batch
    credit = np.asarray(run(settings, KEY, given.world, batch).value)
    baseline = table[np.arange(4)[None, :], np.asarray(batch.observation)]
    wanted = (returns_to_go(batch, 0.875) - baseline) * np.asarray(batch.live)
    np.testing.assert_allclose(credit, wanted, atol=1e-4)


def test_the_td_fit_at_lambda_1_tends_to_the_monte_carlo_fit(given):
    td = Gae(1.0, "td", 3, critic_lambda=1.0, num_sweeps=60, learning_rate=0.5, discount=0.875)
    monte_carlo = Gae(1.0, "monte_carlo", 3, num_sweeps=20, discount=0.875)
    both = [
        run(settings, KEY, given.world, given.all.batch).value for settings in (td, monte_carlo)
    ]
    np.testing.assert_allclose(*both, atol=1e-5)


def test_the_critic_is_charged(given, few):
    live = float(np.asarray(reference.rollout(given.world, KEY, 7).live).sum())
    assert live < 7 * 4
    own = float(np.asarray(few.live).sum())
    for settings, steps, updates in (
        (PLAIN, live, live),
        (TD, live, 3 * live),
        (IN_SAMPLE, 0.0, own),
    ):
        cost = run(settings, KEY, given.world, few).cost
        assert (float(cost.env_steps), float(cost.critic_updates), float(cost.judge_calls)) == (
            steps,
            updates,
            0.0,
        )


def test_without_rollouts_the_baseline_depends_on_the_scored_action(given, few):
    """Fitted to the scored batch, credit averages to 0 at lambda 1.

    It does so in every (step, observation) of that batch.
    """
    credit = np.asarray(run(IN_SAMPLE, KEY, given.world, few).value, np.float64)
    time = np.broadcast_to(np.arange(4), credit.shape)
    total = np.zeros((4, 5))
    np.add.at(total, (time, np.asarray(few.observation)), credit)
    np.testing.assert_allclose(total, 0.0, atol=1e-5)
    assert np.abs(credit).max() > 0.1


def test_with_many_rollouts_the_credit_is_the_advantage_plus_noise_of_the_future(given):
    credit = run(
        Gae(0.5, num_rollouts=20_000, discount=0.875), KEY, given.world, given.all.batch
    ).value
    mean, mass = cell_mean(given.mdp, given.all, credit)
    rare = mass > 0.02
    np.testing.assert_allclose(mean[rare], given.advantage[rare], atol=0.15)
    centred = centre(given.policy, given.mdp.schedule, np.where(mass > 0, mean, 0.0))
    assert np.sqrt(np.sum(mass * (centred - given.advantage) ** 2)) < 0.05
