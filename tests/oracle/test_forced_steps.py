"""Steps that are no decision: what an action that cannot be taken would do is part of no answer."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim import judges, oracle, policies
from casim.dynamics import can_act
from casim.oracle import coefficients, hindsight, moments
from tests import enumeration, reference
from tests.precise import compiled, wide

pytestmark = pytest.mark.usefixtures("float64")
FORCED_KERNEL, FORCED_STEP = 1, 1
BINARY = np.array([0.0, 1.0])


def fair():
    """Returns are 0 or 1; kernel 1, at step 1, is the environment's, and its rows pay nothing."""
    return wide(*enumeration.exam())


def tempting():
    """The same, but for the two actions that cannot be taken at step 1.

    They would lead elsewhere and pay 2.375.
    """
    mdp, policy = fair()
    successor, reward = mdp.successor.copy(), mdp.reward.copy()
    successor[FORCED_KERNEL, :, 1:] = 3
    reward[FORCED_KERNEL, :, 1:] = 2.375
    return mdp._replace(successor=successor, reward=reward), policy


@compiled
def answers(mdp, policy, batch):
    """Numbers of every kind, without those of single actions at forced steps."""
    truth = oracle.solve(mdp, policy)
    chances = oracle.success_hindsight(mdp, policy)
    soft = oracle.soft_optimal(mdp, policy, 0.3)
    units = oracle.unit_truth(mdp, truth, batch, mdp.segment, 2)
    judge = judges.Judge("advantage").model(mdp, truth)
    return {
        "truth": truth._replace(advantage=truth.advantage[:, :, 0]),
        "optimum": oracle.optimal(mdp).value,
        "summary": oracle.summary(mdp, truth),
        "variance": oracle.variance_parts(mdp, truth),
        "hindsight": (chances.given_state, chances.hindsight),
        "information": oracle.outcome_information(mdp, policy, chances).per_step,
        "soft": (soft.value, soft.policy),
        "units": (units.skill, units.luck, units.gain),
        "game": oracle.taken_game(mdp, policy, batch, mdp.segment, 2),
        "contrast": oracle.contrast(mdp, oracle.Protocol(policy, policy), batch, mdp.segment, 2),
        "belief": oracle.history_values(mdp, policy, batch).value,
        "judge": (judge.mean, judge.spread, judge.low, judge.high),
        "policy": policies.EpsilonOptimal().table(mdp)[np.array([0, 2])],
    }


@pytest.mark.slow
def test_no_answer_depends_on_what_cannot_be_done():
    (mdp, policy), (changed, _) = fair(), tempting()
    batch = enumeration.as_batch(mdp, policy, reference.enumerate_paths(mdp, policy))
    batch = jax.tree.map(np.asarray, batch)
    wanted, out = answers(mdp, policy, batch), answers(changed, policy, batch)
    jax.tree.map(np.testing.assert_array_equal, out, wanted)
    assert np.ptp(wanted["truth"].advantage[0]) > 0.01
    assert wanted["information"][FORCED_STEP] == 0 < wanted["information"][0]


def test_only_action_0_can_be_taken_where_nothing_is_decided():
    wanted = np.ones((3, 3), bool)
    wanted[FORCED_KERNEL, 1:] = False
    np.testing.assert_array_equal(can_act(fair()[0]), wanted)


def test_a_support_needs_no_return_of_an_action_that_cannot_be_taken():
    changed, policy = tempting()
    paths = reference.enumerate_paths(changed, policy)
    np.testing.assert_array_equal(np.unique(paths.returns(1.0)), BINARY)
    hindsight.check_support(changed, BINARY)
    reward = changed.reward.copy()
    reward[FORCED_KERNEL, :, 0] = 0.375  # the action that the environment takes counts
    with pytest.raises(ValueError, match=r"without [01].375"):
        hindsight.check_support(changed._replace(reward=reward), BINARY)
    with pytest.raises(ValueError, match=r"without 2.375|without 3.375"):
        hindsight.check_support(changed._replace(decision=np.ones(3, bool)), BINARY)


def test_hindsight_on_returns_leaves_out_what_cannot_be_done():
    """NaN is the law of an action that cannot be taken, and of nothing else.

    In hindsight its probability is 0.
    """
    (mdp, policy), (changed, _) = fair(), tempting()
    return_hindsight = compiled(oracle.return_hindsight)
    wanted, out = (return_hindsight(x, policy, BINARY) for x in (mdp, changed))
    np.testing.assert_array_equal(out.given_state, wanted.given_state)
    np.testing.assert_array_equal(out.hindsight, wanted.hindsight)
    alive = ~mdp.terminal
    posterior = out.hindsight[FORCED_STEP][alive]
    possible = (wanted.given_state[FORCED_STEP] > 0)[alive]
    np.testing.assert_allclose(posterior[:, 0][possible], 1, rtol=0, atol=1e-12)
    assert not np.any(posterior[:, 1:][np.broadcast_to(possible[:, None], posterior[:, 1:].shape)])
    undefined = np.isnan(out.given_action)
    assert undefined[FORCED_STEP, alive, 1:].all()
    undefined[FORCED_STEP, :, 1:] = False
    assert not undefined.any()
    assert possible.all(axis=1).any()


def test_rewards_that_cannot_be_earned_are_no_feature():
    changed, _ = tempting()
    index, value = coefficients.reward_feature(changed)
    np.testing.assert_array_equal(value, BINARY)
    earned = (
        (changed.prob > 0)
        & can_act(changed)[:, None, :, None]
        & ~changed.terminal[None, :, None, None]
    )
    np.testing.assert_array_equal(value[index][earned], changed.reward[earned])


def test_exact_moments_of_hindsight_take_a_reward_that_nobody_earns():
    (mdp, policy), (changed, _) = fair(), tempting()
    made = []
    for process in (mdp, changed):
        truth = moments.precise_truth(process, policy)
        made.append(moments.hindsight(moments.precise(process, policy)[0], truth).table)
    decided = np.array([0, 2, 3])
    np.testing.assert_array_equal(made[0][decided], made[1][decided])
    reward = changed.reward.copy()
    reward[FORCED_KERNEL, :, 0] = 0.375
    given = moments.precise(changed._replace(reward=reward), policy)
    truth = moments.precise_truth(*given)
    with pytest.raises(ValueError, match="reward must be 0 or 1"):
        moments.hindsight(given[0], truth)


def test_the_label_of_a_judge_ranges_over_what_can_happen():
    """Against the enumeration: a judge of values hears nothing of the 2.375 that would be paid."""
    changed, policy = tempting()
    truth = moments.precise_truth(changed, policy)
    judge = judges.Judge("value", resolution=3).model(changed, truth)
    paths, value = reference.enumerate_paths(changed, policy), np.asarray(truth.value)
    time = np.arange(4)[None, :]
    after = np.concatenate([paths.state[:, 1:], paths.state[:, :1]], axis=1)
    goes_on = np.concatenate([paths.live[:, 1:], np.zeros_like(paths.live[:, :1])], axis=1)
    label = (paths.reward + np.where(goes_on, value[time + 1, after], 0.0))[paths.live]
    np.testing.assert_allclose(
        [judge.low, judge.high], [label.min(), label.max()], rtol=0, atol=1e-12
    )
