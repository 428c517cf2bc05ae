"""`casim.oracle.soft` against regularised returns of all trajectories, closed forms and limits.

All are in float64.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import oracle
from casim.dynamics import observe, untie
from casim.oracle import soft
from tests import enumeration, reference
from tests.precise import compiled, wide

pytestmark = pytest.mark.usefixtures("float64")
EXACT = {"rtol": 0, "atol": 1e-10}
TEMPERATURE = 0.7


soft_optimal = compiled(soft.soft_optimal)
implicit_reward = compiled(soft.implicit_reward)
solve = compiled(oracle.solve)
optimal = compiled(oracle.optimal)


def advantage(values):
    """The property `advantage` of JAX arrays."""
    return np.asarray(jax.tree.map(jnp.asarray, values).advantage)


def process(**settings):
    mdp, policy = wide(*reference.random_mdp(5, **settings, discount=reference.BY_KERNEL))
    return mdp._replace(start=np.array([0.25, 0.125, 0.125, 0.1875, 0.3125])), policy


def shown():
    """A random process that shows its state, and a reference that rules out one action."""
    mdp, prior = process(hidden=False)
    prior[2, 3] = [0.0, 1.0]
    return mdp, prior


def of_states(mdp, prior):
    """The reference of every step and state."""
    table = np.einsum("mso,moa->msa", mdp.emission, prior)
    table[~mdp.decision] = np.arange(table.shape[-1]) == 0
    return table[mdp.schedule]


def log_ratio(policy, prior):
    return np.log(np.where(policy > 0, policy, 1.0) / np.where(policy > 0, prior, 1.0))


def regularised_return(mdp, policy, prior, start):
    """E[sum_t discount^t (r_t - b log pi / ref)] from one state, over every trajectory."""
    paths = reference.enumerate_paths(mdp, policy, start=np.eye(mdp.start.shape[0])[start])
    steps = np.arange(paths.state.shape[1])
    decides = paths.live & mdp.decision[None, :]
    price = np.where(decides, log_ratio(policy, prior)[steps, paths.state, paths.action], 0.0)
    gain = (paths.reward - TEMPERATURE * price) @ reference.discounting(mdp)
    return float(paths.probability @ gain / paths.probability.sum())


def divergence(mdp, policy, best, start):
    """E_policy[sum_t discount^t KL(policy_t || best_t)] from one state, over every trajectory."""
    paths = reference.enumerate_paths(mdp, policy, start=np.eye(mdp.start.shape[0])[start])
    steps = np.arange(paths.state.shape[1])
    kl = (policy * log_ratio(policy, best)).sum(-1) * mdp.decision[:, None]
    spent = np.where(paths.live, kl[steps, paths.state], 0.0) @ reference.discounting(mdp)
    return float(paths.probability @ spent)


@pytest.mark.parametrize("rules_out", [False, True])
def test_the_policy_reaches_the_value_and_every_other_loses_its_divergence(rules_out):
    mdp, prior = shown() if rules_out else process()
    out = soft_optimal(mdp, prior, TEMPERATURE)
    best, prior, mdp = out.policy, of_states(mdp, prior), untie(observe(mdp))
    assert (best[1, 3, 0] == 0) == rules_out
    for start in range(5):
        value = float(out.value[0, start])
        assert abs(regularised_return(mdp, best, prior, start) - value) < 1e-10
        lost = TEMPERATURE * divergence(mdp, prior, best, start)
        assert abs(regularised_return(mdp, prior, prior, start) + lost - value) < 1e-10
        assert (lost > 1e-3) == (start != 2)  # state 2 is terminal


def test_values_equal_a_recursion_on_single_states_under_partial_observability():
    mdp, prior = process()
    out = soft_optimal(mdp, prior, TEMPERATURE)
    table = np.einsum("mso,moa->msa", mdp.emission, prior)
    wide_mdp = reference.as_float64(mdp)

    @functools.cache
    def action_value(t, s, a):
        if wide_mdp.terminal[s]:
            return 0.0
        m = wide_mdp.schedule[t]
        return sum(
            wide_mdp.prob[m, s, a, k]
            * (
                wide_mdp.reward[m, s, a, k]
                + wide_mdp.discount[m] * value(t + 1, wide_mdp.successor[m, s, a, k])
            )
            for k in range(wide_mdp.prob.shape[3])
        )

    def value(t, s):
        if t == len(wide_mdp.schedule):
            return 0.0
        m = wide_mdp.schedule[t]
        if not wide_mdp.decision[m]:
            return action_value(t, s, 0)
        terms = [table[m, s, a] * np.exp(action_value(t, s, a) / TEMPERATURE) for a in range(2)]
        return TEMPERATURE * np.log(sum(terms))

    for t in range(len(wide_mdp.schedule)):
        np.testing.assert_allclose(out.value[t], [value(t, s) for s in range(5)], **EXACT)
        wanted = [[action_value(t, s, a) for a in range(2)] for s in range(5)]
        np.testing.assert_allclose(out.q_value[t], wanted, **EXACT)
    assert not out.value[-1].any()


def test_the_advantage_is_the_log_ratio_and_cannot_be_positive_for_every_action():
    mdp, prior = process()
    out = soft_optimal(mdp, prior, TEMPERATURE)
    table = of_states(mdp, prior)
    credit, policy = advantage(out), out.policy
    np.testing.assert_allclose(policy.sum(-1), 1, **EXACT)
    possible = table > 0
    np.testing.assert_allclose(
        TEMPERATURE * log_ratio(policy, table)[possible], credit[possible], **EXACT
    )
    np.testing.assert_allclose((table * np.exp(credit / TEMPERATURE)).sum(-1), 1, **EXACT)
    assert np.where(possible, credit, np.inf).min(-1).max() < 1e-10


def by_policy(mdp, prior, out, batch):
    """sum_{u<=t} discount^u b log(pi_u / ref) from the probabilities themselves."""
    steps = np.arange(batch.state.shape[1])
    table = of_states(mdp, prior)
    where = (steps, np.asarray(batch.state), np.asarray(batch.action))
    ratio = np.log(out.policy[where] / table[where]) * np.asarray(batch.live)
    return TEMPERATURE * np.cumsum(reference.discounting(mdp) * ratio, axis=1)


def trajectories(mdp, policy):
    """All trajectories, as recorded in float64, with any state at all after the end."""
    paths = reference.enumerate_paths(mdp, policy)
    batch = enumeration.as_batch(mdp, policy, paths)
    state, log_prob = np.where(paths.live, paths.state, 3), np.asarray(batch.log_prob, float)
    return paths, jax.tree.map(np.asarray, batch)._replace(
        state=state, reward=paths.reward, log_prob=log_prob
    )


def following(value, paths):
    """V_{t+1}(s_{t+1}), 0 after the end."""
    out = np.zeros(paths.state.shape)
    for t in range(paths.state.shape[1] - 1):
        out[:, t] = np.where(
            paths.live[:, t + 1], np.asarray(value)[t + 1][paths.state[:, t + 1]], 0.0
        )
    return out


def test_the_identity_is_off_by_a_martingale_in_a_stochastic_process():
    mdp, prior = process()
    out = soft_optimal(mdp, prior, TEMPERATURE)
    paths, batch = trajectories(mdp, prior)
    credit = implicit_reward(mdp, prior, out, batch)
    live, scale = paths.live, reference.discounting(mdp)
    cumulative = by_policy(mdp, prior, out, batch) * live
    np.testing.assert_allclose(credit.cumulative, cumulative, **EXACT)
    start = out.value[0][paths.state[:, :1]]
    banked = np.cumsum(scale * paths.reward, axis=1)
    progress = scale * reference.by_step(mdp) * following(out.value, paths) + banked - start
    np.testing.assert_allclose(credit.progress, np.where(live, progress, 0.0), **EXACT)
    luck = np.cumsum(scale * credit.noise, axis=1)
    np.testing.assert_allclose(credit.cumulative, (credit.progress - luck) * live, **EXACT)
    assert np.abs(luck).max() > 0.5
    # A martingale difference: given everything up to the action its mean is 0.
    for t in range(paths.state.shape[1]):
        past = np.concatenate(
            [paths.state[:, : t + 1], paths.action[:, : t + 1], 8 * paths.reward[:, :t]], axis=1
        )
        _, group = np.unique(past, axis=0, return_inverse=True)
        mean = np.bincount(group, paths.probability * credit.noise[:, t])
        np.testing.assert_allclose(mean, 0, **EXACT)


def test_the_identity_is_exact_in_a_deterministic_process():
    mdp, prior = process()
    only = np.broadcast_to(np.arange(mdp.prob.shape[-1]) == 1, mdp.prob.shape).astype(float)
    mdp = mdp._replace(
        prob=only,
        reward=mdp.reward * np.array([0, 0, 8])[:, None, None, None],
        discount=np.ones_like(mdp.discount),
    )
    mdp = mdp._replace(schedule=np.array([0, 1, 0, 2]))  # a terminal reward only
    out = soft_optimal(mdp, prior, TEMPERATURE)
    paths, batch = trajectories(mdp, prior)
    credit = implicit_reward(mdp, prior, out, batch)
    np.testing.assert_allclose(credit.noise, 0, **EXACT)
    step = (
        following(out.value, paths) + np.cumsum(paths.reward, 1) - out.value[0][paths.state[:, :1]]
    )
    cumulative = by_policy(mdp, prior, out, batch)
    np.testing.assert_allclose(cumulative, np.where(paths.live, step, cumulative), **EXACT)
    # The closed form of a deterministic process: V_0 = b log E_ref[exp(R / b)].
    weight, gain = paths.probability, paths.returns(1.0)
    for s in np.unique(paths.state[:, 0]):
        here = paths.state[:, 0] == s
        mean = weight[here] @ np.exp(gain[here] / TEMPERATURE) / weight[here].sum()
        assert abs(TEMPERATURE * np.log(mean) - float(out.value[0, s])) < 1e-10
    assert np.ptp(gain) > 1


def test_actions_that_the_reference_rules_out_have_no_implicit_reward():
    mdp, prior = shown()
    out = soft_optimal(mdp, prior, TEMPERATURE)
    anything = np.full_like(prior, 0.5)
    paths, batch = trajectories(mdp, anything)
    credit = implicit_reward(mdp, prior, out, batch)
    ruled_out = (paths.state[:, 1] == 3) & (paths.action[:, 1] == 0)
    np.testing.assert_array_equal(np.isnan(credit.log_ratio[:, 1]), ruled_out)
    assert ruled_out.any()
    assert np.isfinite(out.q_value).all()


def test_high_temperature_gives_the_advantage_of_the_reference_with_error_of_order_1_over_b():
    mdp, prior = process()
    truth = advantage(solve(mdp, prior))
    error = [np.abs(advantage(soft_optimal(mdp, prior, b)) - truth).max() for b in (1e3, 1e4, 1e7)]
    assert error[0] > 1e-4
    assert abs(error[0] / error[1] - 10) < 0.1
    assert error[2] < 1e-6


def test_low_temperature_gives_the_optimal_values():
    mdp, prior = process()
    alike = prior * 0 + 0.5  # every action possible in every state
    out = soft_optimal(mdp, alike, 1e-9)
    # Off by at most T b log 2.
    np.testing.assert_allclose(out.value, optimal(mdp).value, rtol=0, atol=1e-8)


def test_signs_can_disagree_with_the_advantage_at_a_low_temperature_and_not_at_a_high_one():
    mdp, prior = wide(*reference.random_mdp(3, schedule=(0, 2, 0, 2), discount=reference.BY_KERNEL))
    truth = advantage(solve(mdp, prior))
    low, high = (advantage(soft_optimal(mdp, prior, b)) for b in (0.3, 1e5))
    assert (low * truth).min() < -0.01
    assert (high * truth).min() > -1e-6


@pytest.mark.parametrize("temperature", [0.05, 1.0, 1e4])
def test_float32_keeps_its_digits_at_any_temperature(temperature):
    mdp, prior = shown()
    prior[0] = [1e-7, 1 - 1e-7]  # the action may be very unlikely
    prior[2] = [1 - 1e-7, 1e-7]
    wanted = soft_optimal(mdp, prior, temperature)
    with jax.enable_x64(False):
        out = soft_optimal(mdp, prior, temperature)
    assert out.value.dtype == np.float32
    np.testing.assert_allclose(out.value, wanted.value, rtol=0, atol=1e-5)
    np.testing.assert_allclose(advantage(out), advantage(wanted), rtol=0, atol=1e-5)


def test_float32_keeps_a_constant_value_over_thirty_thousand_steps():
    with jax.enable_x64(False):
        mdp, prior = reference.random_mdp(5, discount=reference.BY_KERNEL)
        schedule = np.arange(30_000) % 3
        zeros = np.zeros(30_000, int)
        mdp = mdp._replace(
            schedule=schedule,
            segment=zeros,
            turn=zeros,
            agent=zeros,
            discount=np.ones_like(mdp.discount),
        )
        mdp = mdp._replace(
            reward=np.broadcast_to(np.eye(3)[2][:, None, None, None], mdp.reward.shape),
            terminal=np.zeros(5, bool),
        )
        for temperature in (0.05, 1e4):
            out = soft_optimal(mdp, prior, temperature)
            assert out.value.dtype == np.float32
            np.testing.assert_array_equal(out.value[0], 10_000.0)
