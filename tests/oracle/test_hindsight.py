"""Hindsight and contribution coefficients against posteriors counted over every trajectory."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim import oracle
from casim.oracle import coefficients, hindsight
from tests import enumeration, reference
from tests.precise import compiled, wide

pytestmark = pytest.mark.usefixtures("float64")
EXACT = {"rtol": 0, "atol": 1e-10}


return_hindsight = compiled(hindsight.return_hindsight)
success_hindsight = compiled(hindsight.success_hindsight)
state_hindsight = compiled(coefficients.state_hindsight, "table")
contribution = compiled(coefficients.contribution, "num_features", "table")
solve = compiled(oracle.solve)


def process(**settings):
    """A random process whose few rewards make few returns."""
    mdp, policy = wide(
        *reference.random_mdp(5, observations=3, **settings, discount=reference.BY_KERNEL)
    )
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


def counted(mdp, policy, step, outcome, size):
    """P(u | s, a) `[S, A, U]`, P(u | s), h(a | s, u) by counting.

    `outcome(paths)` gives u, or -1 for none.
    """
    states, actions = mdp.prob.shape[1:3]
    anywhere = np.full(states, 1 / states)

    def count(free):
        paths = reference.enumerate_paths(
            mdp, policy, first=step, start=anywhere, free_first_action=free
        )
        u = outcome(paths)
        joint = np.zeros((states, actions, size))
        mass = np.zeros((states, actions))
        np.add.at(mass, (paths.state[:, 0], paths.action[:, 0]), paths.probability)
        np.add.at(joint, (paths.state[:, 0], paths.action[:, 0], u), paths.probability * (u >= 0))
        return joint, mass

    (free, cell), (joint, mass) = count(True), count(False)
    with np.errstate(invalid="ignore"):
        posterior = joint / joint.sum(1, keepdims=True)
        return free / cell[..., None], joint.sum(1) / mass.sum(1)[:, None], posterior


def advantage(mdp, policy):
    wanted = reference.exact(mdp, policy)
    return wanted.q_value - wanted.value[:-1, :, None]


def acting(mdp, policy, step):
    kernel = int(mdp.schedule[step])
    taken = mdp.emission[kernel] @ policy[kernel]
    return (
        taken
        if mdp.decision[kernel]
        else np.broadcast_to(np.arange(taken.shape[1]) == 0, taken.shape).astype(float)
    )


def test_return_hindsight_equals_counting():
    mdp, policy = process()
    support = all_returns(mdp)
    hindsight.check_support(mdp, support)
    out = return_hindsight(mdp, policy, support)
    alive = ~mdp.terminal
    for t in range(mdp.schedule.shape[0]):

        def outcome(paths, t=t):
            gain = paths.returns(reference.by_step(mdp, t))
            return np.abs(gain[:, None] - support[None, :]).argmin(1)

        given_action, given_state, posterior = counted(mdp, policy, t, outcome, len(support))
        np.testing.assert_allclose(out.given_action[t][alive], given_action[alive], **EXACT)
        np.testing.assert_allclose(out.given_state[t][alive], given_state[alive], **EXACT)
        np.testing.assert_allclose(out.hindsight[t][alive], posterior[alive], **EXACT)
        assert np.isnan(posterior[alive]).any()
        assert (given_state[alive] > 0).sum() > 10


def test_return_hindsight_identities_reproduce_q_and_the_advantage():
    mdp, policy = process()
    support = all_returns(mdp)
    out = return_hindsight(mdp, policy, support)
    wanted, truth = reference.exact(mdp, policy), advantage(mdp, policy)
    covered_cells = bare_cells = 0
    for t in range(mdp.schedule.shape[0]):
        pi, law, seen = acting(mdp, policy, t), out.given_action[t], out.given_state[t]
        h = np.nan_to_num(out.hindsight[t])
        with np.errstate(divide="ignore", invalid="ignore"):
            q_value = ((h / pi[..., None]) * seen[:, None] * support).sum(-1)
            credit = (np.where(law > 0, (1 - pi[..., None] / h) * support, 0) * law).sum(-1)
        cells = (pi > 0) & ~mdp.terminal[:, None]
        np.testing.assert_allclose(q_value[cells], wanted.q_value[t][cells], **EXACT)
        # Returns that the action rules out are never seen with it, and zeros do not matter.
        covered = cells & np.all((law > 0) | (seen[:, None] == 0) | (support == 0), axis=-1)
        np.testing.assert_allclose(credit[covered], truth[t][covered], **EXACT)
        missing = np.where(law > 0, 0, seen[:, None] * support).sum(-1)
        np.testing.assert_allclose(credit[cells], truth[t][cells] + missing[cells], **EXACT)
        covered_cells, bare_cells = (
            covered_cells + covered.sum(),
            bare_cells + (np.abs(missing[cells]) > 0.01).sum(),
        )
    assert covered_cells > 4
    assert bare_cells > 4


def test_success_hindsight_is_return_hindsight_on_0_and_1_at_discount_1():
    mdp, policy = wide(*enumeration.exam(discount=0.75))
    out = success_hindsight(mdp, policy)
    one = mdp._replace(discount=np.ones_like(mdp.discount))
    hindsight.check_support(one, np.array([0.0, 1.0]))
    wanted = return_hindsight(one, policy, np.array([0.0, 1.0]))
    for name in ("support", "given_action", "given_state", "hindsight"):
        np.testing.assert_allclose(getattr(out, name), getattr(wanted, name), **EXACT)
    assert len(np.unique(np.round(out.given_action, 6))) > 10


def test_success_hindsight_of_what_is_no_probability_is_nan():
    mdp, policy = wide(*enumeration.exam())
    twice = success_hindsight(mdp._replace(reward=2 * mdp.reward), policy)
    wanted = 2 * reference.exact(mdp, policy).q_value
    np.testing.assert_array_equal(np.isnan(twice.given_action[..., 1]), wanted > 1)
    assert (wanted > 1).any()


def test_success_hindsight_ratio_is_q_over_v():
    mdp, policy = wide(*enumeration.exam())
    out, wanted = success_hindsight(mdp, policy), reference.exact(mdp, policy)
    checked = 0
    for t in range(mdp.schedule.shape[0]):
        pi, q, v = acting(mdp, policy, t), wanted.q_value[t], wanted.value[t][:, None]
        cells = (pi > 0) & (v > 0)
        rho = (out.hindsight[t][..., 1] / np.where(pi > 0, pi, 1))[cells]
        np.testing.assert_allclose(rho, (q / np.where(v > 0, v, 1))[cells], **EXACT)
        np.testing.assert_allclose(rho - 1, ((q - v) / np.where(v > 0, v, 1))[cells], **EXACT)
        checked += cells.sum()
    assert checked > 20


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([0.0, 1.0, 0.5], "ascending"),
        ([0.0, 1.0, 1.0], "ascending"),
        ([-1.0, 0.5], "must contain 0"),
        ([-1.0, 0.0, 0.5], "without 0.953"),
    ],
)
def test_check_support_rejects(points, message):
    mdp, _ = process()
    with pytest.raises(ValueError, match=f"support .*{message}"):
        hindsight.check_support(mdp, np.array(points))


def test_a_support_that_is_not_closed_gives_nan_and_not_numbers():
    mdp, policy = process()
    out = return_hindsight(mdp, policy, np.array([-1.0, 0.0, 0.5]))
    assert np.isnan(out.given_state[0]).any()
    assert np.isfinite(out.given_action[-1]).all()


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_state_hindsight_equals_counting_and_reproduces_q(step):
    mdp, policy = process()
    out = state_hindsight(mdp, policy, step, table=True)
    alive = ~mdp.terminal
    table = out.table
    assert np.isnan(table[: step + 1]).all()
    for k in range(step + 1, mdp.schedule.shape[0]):
        _, _, posterior = counted(
            mdp, policy, step, lambda p, k=k: p.state[:, k - step], len(alive)
        )
        np.testing.assert_allclose(table[k][alive], posterior[alive], **EXACT)
    pi = acting(mdp, policy, step)
    q_value = reference.exact(mdp, policy).q_value[step]
    np.testing.assert_allclose(out.q_value[pi > 0], q_value[pi > 0], **EXACT)
    assert np.isnan(out.q_value[pi == 0]).all()
    assert (pi == 0).any() == (int(mdp.schedule[step]) == 1)


def state_feature(mdp, of):
    """A feature of the state, along actions and successors."""
    code = np.asarray(of(np.arange(mdp.start.shape[0])))
    return np.broadcast_to(code[None, :, None, None], mdp.prob.shape)


def test_contribution_coefficients_equal_counting():
    mdp, policy = process()
    feature, value = coefficients.reward_feature(mdp)
    out = contribution(mdp, policy, 0, feature, len(value), table=True)
    alive = ~mdp.terminal
    steps, weight = mdp.schedule.shape[0], reference.discounting(mdp)
    total_action, total_state = 0.0, 0.0
    for k in range(1, steps):

        def outcome(paths, k=k):
            index = np.abs(paths.reward[:, k : k + 1] - value[None, :]).argmin(1)
            return np.where(paths.live[:, k], index, -1)

        given_action, given_state, _ = counted(mdp, policy, 0, outcome, len(value))
        with np.errstate(invalid="ignore"):
            wanted = given_action / given_state[:, None] - 1
        np.testing.assert_allclose(out.table[k][alive], wanted[alive], **EXACT)
        total_action = total_action + weight[k] * given_action
        total_state = total_state + weight[k] * given_state
    wanted = total_action[alive] / total_state[alive][:, None] - 1
    np.testing.assert_allclose(out.coefficient[alive], wanted, **EXACT)
    assert np.abs(wanted).max() > 0.1
    assert np.isnan(out.table[0]).all()


@pytest.mark.parametrize("step", [0, 1])
def test_fully_predictive_features_reproduce_the_advantage_and_a_coarse_one_does_not(step):
    mdp, policy = process()
    truth = advantage(mdp, policy)[step]
    alive = ~mdp.terminal
    reward, value = coefficients.reward_feature(mdp)
    by_reward = contribution(mdp, policy, step, reward, 5)
    np.testing.assert_allclose(by_reward.advantage[alive], truth[alive], **EXACT)
    np.testing.assert_allclose(by_reward.pooled_advantage[alive], truth[alive], **EXACT)
    by_state = contribution(mdp, policy, step, state_feature(mdp, lambda s: s), 5)
    np.testing.assert_allclose(by_state.advantage[alive], truth[alive], **EXACT)
    coarse = contribution(mdp, policy, step, state_feature(mdp, lambda s: s % 2), 5)
    assert np.abs(coarse.advantage - truth)[alive].max() > 0.02
    assert len(value) == 3


def test_pooling_needs_a_reward_law_that_does_not_change_with_the_step():
    mdp, policy = process()
    alive = ~mdp.terminal
    mixed = contribution(mdp, policy, 0, state_feature(mdp, lambda s: s), 5)
    assert np.abs(mixed.pooled_advantage - advantage(mdp, policy)[0])[alive].max() > 0.02
    mdp = mdp._replace(schedule=np.array([0, 2, 2, 2]))
    alike = contribution(mdp, policy, 0, state_feature(mdp, lambda s: s), 5)
    np.testing.assert_allclose(
        alike.pooled_advantage[alive], advantage(mdp, policy)[0][alive], **EXACT
    )


def test_the_action_of_a_forced_step_is_certain_in_hindsight():
    mdp, policy = process()
    out = return_hindsight(mdp, policy, all_returns(mdp))
    posterior = out.hindsight[2]
    possible = out.given_state[2] > 0
    np.testing.assert_allclose(posterior[:, 0][possible], 1, **EXACT)
    np.testing.assert_allclose(posterior[:, 1][possible], 0, **EXACT)


@pytest.mark.parametrize("step", [0, 29_990])
def test_thirty_thousand_steps_in_float32(step):
    with jax.enable_x64(False):
        mdp, policy = reference.random_mdp(
            5, observations=3, terminal=False, discount=reference.BY_KERNEL
        )
        # Rows that miss 1 by a few roundings, and one reward at the very end.
        rows = np.float32((1 + 5e-7) * np.random.default_rng(0).dirichlet(np.ones(6), (3, 5, 2)))
        schedule = np.append(np.arange(29_999) % 2, 2)
        mdp = mdp._replace(
            prob=rows,
            schedule=schedule,
            reward=(2 + mdp.reward) * np.eye(3)[2][:, None, None, None],
        )
        mdp = mdp._replace(
            discount=np.ones_like(mdp.discount),
            **dict.fromkeys(("segment", "turn", "agent"), np.zeros(30_000, int)),
        )
        truth = solve(mdp, policy)
        out = state_hindsight(mdp, policy, step)
        cells = truth.state_policy[mdp.schedule[step]] > 0
        assert out.q_value.dtype == np.float32
        # Normalised at every step, so that the error is of a few steps and not of all (that
        # would be 0.03).
        np.testing.assert_allclose(
            out.q_value[cells], truth.q_value[step][cells], rtol=0, atol=1e-5
        )
        assert truth.q_value[step].min() > 1
