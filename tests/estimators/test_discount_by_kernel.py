"""Estimators, judges and gradients where kernels have discounts of their own, by enumeration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import Vine
from casim.judges import Judge
from casim.methods import REINFORCE, REWARD_TO_GO, RLOO
from casim.oracle import path_target
from casim.oracle.moments import by_return, exact_scores, group_moments, recursion_moments
from casim.oracle.moments.forms import peer_baseline
from casim.scores import group_gradient
from casim.simulate import World
from casim.targets import SegmentAdvantage
from casim.tasks import Forced, ToolChain
from casim.wellformed import check_mdp
from tests import enumeration, reference

DISCOUNT = (0.875, 0.5, 1.0)
KEY = jax.random.key(3)
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def given():
    return enumeration.case(binary=False, discount=DISCOUNT, prompt=False)


@pytest.fixture(scope="module")
def tail(given):
    """G_t along every trajectory, from its definition."""
    batch = given.all.batch
    reward, steps = np.asarray(batch.reward, np.float64), batch.reward.shape[1]
    each = reference.by_step(given.mdp)
    parts = [reward[:, t:] @ reference.weights(each[t:], steps - t) for t in range(steps)]
    return np.stack(parts, axis=1) * np.asarray(batch.live)


def test_a_world_knows_one_discount_from_several(given):
    np.testing.assert_array_equal(given.world.discount, [0.875, 0.5, 0.875, 1.0])
    one = enumeration.case(binary=False, discount=0.5, prompt=False).world
    assert (one.discount.shape, float(one.discount)) == ((), 0.5)


def test_returns_follow_the_discounts_of_the_steps(given, tail):
    batch = given.all.batch
    to_go = enumeration.run(REWARD_TO_GO, KEY, given.world, batch).value
    np.testing.assert_allclose(to_go, tail, **CLOSE)
    whole = enumeration.run(REINFORCE, KEY, given.world, batch).value
    live = np.asarray(batch.live)
    np.testing.assert_allclose(whole, np.where(live, tail[:, :1], 0.0), **CLOSE)


def test_exact_advantages_give_the_exact_gradient(given):
    """Of all trajectories at once, each as often as it is likely."""
    batch = given.all.batch
    truth = enumeration.solve(given.mdp, given.policy)
    steps = np.arange(batch.state.shape[1])
    advantage = truth.advantage[steps[None], batch.state, batch.action]
    weight = jnp.asarray(given.all.weight * len(given.all.weight), jnp.float32)
    credit = advantage * weight[:, None]
    gradient = group_gradient(given.mdp, jnp.asarray(given.policy), batch, credit)
    np.testing.assert_allclose(gradient, given.exact.gradient, **CLOSE)


@pytest.mark.slow
def test_an_exact_judge_scores_the_discounted_value_of_the_prefix(given):
    batch = given.all.batch
    truth = enumeration.solve(given.mdp, given.policy)
    score = Judge("value").model(given.mdp, truth)(KEY, batch)
    state, live = np.asarray(batch.state), np.asarray(batch.live)
    value = given.exact.value[np.arange(4)[None], state] * live
    after = np.append(value[:, 1:], np.zeros((len(value), 1)), axis=1)
    wanted = np.asarray(batch.reward) + reference.by_step(given.mdp) * after
    np.testing.assert_allclose(np.asarray(score)[live], wanted[live], **CLOSE)


@pytest.mark.slow
def test_branches_measure_segments_exactly_where_nothing_is_left_to_chance():
    mdp, policy = enumeration.exam(binary=False, discount=DISCOUNT, terminal=False)
    sure = mdp._replace(prob=jnp.broadcast_to(jnp.asarray([1.0, 0.0]), mdp.prob.shape))
    table = np.eye(policy.shape[-1], dtype=np.float32)[policy.argmax(axis=-1)]
    world = World.make(sure, jnp.asarray(policy))
    batch = reference.rollout(world, KEY, 5)
    follow = World.make(sure, jnp.asarray(table))
    truth = enumeration.solve(sure, table)
    got = enumeration.run(Vine(1, "segment"), KEY, follow, batch).value
    wanted = path_target(SegmentAdvantage(), follow, truth, batch)
    np.testing.assert_allclose(got, wanted, **CLOSE)
    assert np.ptp(np.asarray(wanted)) > 0.1


@pytest.mark.slow
def test_moments_of_rloo_by_recursion_equal_those_by_classes(given):
    mdp, policy = given.mdp, given.policy
    sees = by_return(reference.by_step(mdp))
    by_class = group_moments(mdp, policy, RLOO, 2, sees)
    by_time = recursion_moments(mdp, policy, peer_baseline(), 2)
    for name in ("gradient", "gradient_variance", "expectation", "variance"):
        one, two = (getattr(x, name) for x in (by_class, by_time))
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5, err_msg=name)
    scores = exact_scores(mdp, policy, by_time)
    assert 0 < scores["gradient_cosine"] < 1


def test_turns_of_a_tool_chain_discount_at_their_last_token():
    task = ToolChain(num_turns=2, tokens_per_turn=2, discount=0.5, discount_within=1.0)
    mdp = check_mdp(task.build())
    np.testing.assert_array_equal(reference.by_step(mdp), [1.0, 1.0, 0.5] * 2)
    forced = check_mdp(Forced(task, unit="segment").build())
    # After the agent's tokens, which end no turn, and after the tool's.
    wanted = [1.0, 1.0, 1.0, 0.5, 0.5, 1.0, 1.0, 1.0, 0.5]
    np.testing.assert_array_equal(reference.by_step(forced), wanted)
    with pytest.raises(ValueError, match="discount_within must be in"):
        ToolChain(discount_within=1.5)
