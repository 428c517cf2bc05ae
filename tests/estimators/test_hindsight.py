"""Hindsight credit with the exact posterior of the action, and with a counted one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import Hindsight
from casim.estimators.sources.hindsight import hindsight_ratio
from tests import reference
from tests.enumeration import as_groups, assert_cells, case, cell_mean, returns_to_go, run, solved

KEY = jax.random.key(31)


def exact_credit(given, outcome):
    """(1 - pi / h) G with the exact h of labels u `[P, T]`, and the ratio h / pi.

    In maths: h = P(a_t | t, s_t, u), over all trajectories.
    """
    batch, weight = jax.tree.map(np.asarray, given.all.batch), given.all.weight
    actions = given.policy.shape[-1]
    posterior = np.zeros((*batch.action.shape, actions))
    for t in range(batch.action.shape[1]):
        for i in np.flatnonzero(batch.live[:, t]):
            same = (
                batch.live[:, t]
                & (batch.state[:, t] == batch.state[i, t])
                & (outcome[:, t] == outcome[i, t])
            )
            posterior[i, t] = (
                np.bincount(batch.action[same, t], weight[same], actions) / weight[same].sum()
            )
    ratio = np.asarray(
        hindsight_ratio(
            given.world,
            as_groups(given.world, given.all.batch),
            jnp.asarray(posterior, jnp.float32)[None],
        )[0],
        np.float64,
    )
    return (1 - 1 / ratio) * returns_to_go(given.all.batch, given.discount), ratio


def promised(given, outcome):
    """What the method promises, and where every u of the state can follow the action.

    In maths: Q - sum_{u: P(u | s, a) > 0} P(u | s) E[G | s, u].
    """
    batch, weight = jax.tree.map(np.asarray, given.all.batch), given.all.weight
    future = returns_to_go(given.all.batch, given.discount)
    wanted = given.exact.q_value.copy()
    possible = np.ones(wanted.shape, bool)
    for t, s, a in np.ndindex(*wanted.shape):
        here = batch.live[:, t] & (batch.state[:, t] == s)
        taken = here & (batch.action[:, t] == a)
        for u in np.unique(outcome[here, t]) if taken.any() else ():
            same = here & (outcome[:, t] == u)
            if (taken & same).any():
                wanted[t, s, a] -= weight[same] @ future[same, t] / weight[here].sum()
            else:
                possible[t, s, a] = False
    return wanted, possible


def return_class(given):
    return np.round(returns_to_go(given.all.batch, given.discount), 4)


def last_state(given):
    state, live = np.asarray(given.all.batch.state), np.asarray(given.all.batch.live)
    last = state[np.arange(len(state)), live.sum(axis=1) - 1]
    return np.broadcast_to(last[:, None], state.shape)


def test_the_return_form_with_the_exact_posterior_is_the_advantage_where_all_outcomes_can_be():
    given = case()
    credit, _ = exact_credit(given, return_class(given))
    _, possible = promised(given, return_class(given))
    mean, mass = cell_mean(given.mdp, given.all, credit)
    where = possible & (mass > 0)
    assert where.sum() > 10
    np.testing.assert_allclose(mean[where], given.advantage[where], atol=1e-5)


def test_an_outcome_that_the_action_rules_out_leaves_its_share_missing():
    given = case(binary=False, actions=2, prompt=False, discount=0.875)
    credit, _ = exact_credit(given, return_class(given))
    wanted, possible = promised(given, return_class(given))
    assert_cells(given.all, given.mdp, credit, wanted)
    _, mass = cell_mean(given.mdp, given.all, credit)
    missing = (mass > 0) & ~possible
    assert np.abs(wanted - given.advantage)[missing].max() > 0.1


def test_the_state_form_with_exact_posterior_is_the_advantage_if_the_last_observation_tells_all():
    one = case(terminal=False)  # the outcome depends on the last state, and on nothing before it
    # Actions move probabilities only.
    successor = np.asarray(one.mdp.successor)[:, :, :1] + np.zeros((1, 1, 3, 1), int)
    given = solved(one.mdp._replace(successor=jnp.asarray(successor)), one.policy)
    credit, _ = exact_credit(given, last_state(given))
    wanted, possible = promised(given, last_state(given))
    mean, mass = cell_mean(given.mdp, given.all, credit)
    early = (mass > 0) & (np.arange(4) < 3)[:, None, None]
    np.testing.assert_allclose(mean[early], wanted[early], atol=1e-5)
    assert (early & possible).sum() > 8
    np.testing.assert_allclose(mean[early & possible], given.advantage[early & possible], atol=1e-5)
    # The last action does to the return what no observation shows.
    np.testing.assert_allclose(mean[3][mass[3] > 0], 0.0, atol=1e-6)
    assert np.abs(given.advantage[3][mass[3] > 0]).max() > 0.1


def test_classes_that_mix_returns_are_biased():
    given = case(binary=False, actions=2, prompt=False, discount=0.875)
    positive = (return_class(given) > 0).astype(float)
    credit, _ = exact_credit(given, positive)
    _, possible = promised(given, positive)
    mean, mass = cell_mean(given.mdp, given.all, credit)
    assert np.abs(mean - given.advantage)[possible & (mass > 0)].max() > 0.1


def test_the_ratio_of_the_taken_action_is_q_over_v_on_success():
    given = case()
    _, ratio = exact_credit(given, return_class(given))
    batch = jax.tree.map(np.asarray, given.all.batch)
    success = (
        returns_to_go(given.all.batch, 1.0)
        * np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    )
    time = np.arange(4)[None, :]
    advantage, value = (
        given.advantage[time, batch.state, batch.action],
        given.exact.value[time, batch.state],
    )
    where = success == 1
    np.testing.assert_allclose((ratio - 1)[where], advantage[where] / value[where], atol=1e-5)
    q_value, safe = (
        given.exact.q_value,
        np.where(given.exact.value[:4] > 0, given.exact.value[:4], 1.0),
    )
    assert_cells(given.all, given.mdp, ratio * success, q_value**2 / safe[:, :, None])


def counted(settings, world, data, batch):
    """The estimator, in loops."""
    schedule, policy = np.asarray(world.mdp.schedule), np.asarray(world.policy, np.float64)
    decision = np.asarray(world.mdp.decision)[schedule]
    future = [returns_to_go(x, settings.discount) for x in (data, batch)]
    data, batch = jax.tree.map(np.asarray, (data, batch))

    def outcome(x, which, i, t):
        if settings.condition == "state":
            return x.observation[i, x.live[i].sum() - 1]
        seen = future[0][data.live[:, t], t]
        if len(seen) == 0 or seen.max() == seen.min():
            return 0
        share = (future[which][i, t] - seen.min()) / (seen.max() - seen.min())
        return min(max(int(np.floor(share * settings.num_bins + 1e-6)), 0), settings.num_bins - 1)

    credit = np.zeros(batch.action.shape)
    for i, t in zip(*np.nonzero(batch.live), strict=True):
        if decision[t]:
            o, a, u = batch.observation[i, t], batch.action[i, t], outcome(batch, 1, i, t)
            cell = [
                data.action[j, t]
                for j in np.flatnonzero(data.live[:, t])
                if data.observation[j, t] == o and outcome(data, 0, j, t) == u
            ]
            prior = policy[schedule[t], o, a]
            h = (cell.count(a) + settings.prior * prior) / (len(cell) + settings.prior)
            credit[i, t] = (1 - prior / h) * future[1][i, t]
    return credit


@pytest.mark.parametrize(
    "settings",
    [
        Hindsight("return", 9, num_bins=3, prior=0.7, discount=0.875),
        Hindsight("state", 9, prior=2.0, discount=0.875),
    ],
)
def test_both_forms_equal_counts_in_loops(settings):
    given = case(binary=False, actions=2, prompt=False, discount=0.875)
    batch = reference.rollout(given.world, jax.random.key(3), 11)
    data = reference.rollout(given.world, KEY, 9)
    credit = run(settings, KEY, given.world, batch)
    np.testing.assert_allclose(credit.value, counted(settings, given.world, data, batch), atol=1e-4)
    assert not np.asarray(credit.value)[:, 1].any()  # the environment's step
    live = float(np.asarray(data.live).sum())
    assert float(credit.cost.env_steps) == float(credit.cost.critic_updates) == live
    assert float(credit.cost.judge_calls) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("condition", ["return", "state"])
def test_the_counted_posterior_tends_to_the_exact_one(condition):
    given = case(terminal=False)
    outcome = return_class(given) if condition == "return" else last_state(given)
    wanted, _ = exact_credit(given, outcome)

    def error(num):
        credit = np.asarray(run(Hindsight(condition, num), KEY, given.world, given.all.batch).value)
        return np.sqrt(given.all.weight @ ((credit - wanted) ** 2).sum(axis=1))

    few, many = error(50), error(50_000)
    assert many < 0.15 * few
    assert many < 0.05
