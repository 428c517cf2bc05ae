"""A branch can impose an action that the policy never takes: its credit is a number as well."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.estimators import ESTIMATORS, Gae, GaeNetwork, Hindsight, Shapley, Vine
from casim.methods import GRPO, REINFORCE, REWARD_TO_GO, RLOO
from casim.simulate import World
from tests.enumeration import run

KEY = jax.random.key(0)
PIVOT = 1
SMALL = {
    Gae: Gae(num_rollouts=4),
    GaeNetwork: GaeNetwork(num_rollouts=4, hidden=3, num_updates=2, minibatch=5),
    Shapley: Shapley(1),
    Vine: Vine(1),
}
RECIPES = {kind.__name__: SMALL.get(kind, kind()) for kind in ESTIMATORS}
RECIPES |= {method.name: method for method in (REINFORCE, REWARD_TO_GO, GRPO, RLOO)}


@pytest.fixture(scope="module")
def imposed():
    """A world whose policy never takes action 1 at pivots, and six episodes that did.

    They took it at the first pivot.
    """
    mdp = casim.Bifurcation(5, (PIVOT, 3), recovery=0.4, noise=0.1, num_segments=2).build()
    policy = np.array(casim.Softmax(seed=2).table(mdp))
    policy[int(mdp.schedule[PIVOT])] = [1.0, 0.0]
    policy = jnp.asarray(policy)
    scorer = casim.Judge().model(mdp, casim.solve(mdp, policy))
    world = World.make(mdp, policy, judges={"judge": scorer})
    branch = world.branch(KEY, world.rollout(KEY, 6), PIVOT, 1, action=1)
    batch = jax.tree.map(lambda x: x[:, 0], branch)
    assert np.isneginf(batch.log_prob[:, PIVOT]).all()
    assert len(np.unique(batch.reward.sum(axis=1))) == 2  # some succeed
    return world, batch


@pytest.mark.parametrize("name", RECIPES)
def test_credit_is_finite(name, imposed):
    world, batch = imposed
    credit = run(RECIPES[name], KEY, world, batch)
    assert np.isfinite(credit.value).all()
    assert np.asarray(credit.value).any()


@pytest.mark.parametrize("condition", ["return", "state"])
def test_hindsight_gives_it_nothing_and_the_other_steps_what_they_had(condition, imposed):
    world, batch = imposed
    credit = np.asarray(run(Hindsight(condition), KEY, world, batch).value)
    assert not credit[:, PIVOT].any()
    assert credit[:, 0].any()
    assert credit[:, 2].any()
