"""A branch can impose an action that the policy never takes: its credit is a number as well."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.estimators import ESTIMATORS, Gae, GaeNetwork, Hindsight, Shapley, Vine
from casim.methods import GRPO, REINFORCE, REWARD_TO_GO, RLOO
from casim.simulate import World
from tests.enumeration import QUICK, credit, run, solve

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


@functools.partial(jax.jit, compiler_options=QUICK)
def took_it(world):
    """Six episodes of which each took action 1 at the first pivot."""
    branch = world.branch(KEY, world.rollout(KEY, 6), PIVOT, 1, action=1)
    return jax.tree.map(lambda x: x[:, 0], branch)


@pytest.fixture(scope="module")
def imposed():
    """A world whose policy never takes action 1 at pivots, and six episodes that did."""
    mdp = casim.Bifurcation(5, (PIVOT, 3), recovery=0.4, noise=0.1, num_segments=2).build()
    policy = np.array(casim.Softmax(seed=2).table(mdp))
    policy[int(mdp.schedule[PIVOT])] = [1.0, 0.0]
    policy = jnp.asarray(policy)
    scorer = casim.Judge().model(mdp, solve(mdp, policy))
    world = World.make(mdp, policy, judges={"judge": scorer})
    batch = took_it(world)
    assert np.isneginf(batch.log_prob[:, PIVOT]).all()
    assert len(np.unique(batch.reward.sum(axis=1))) == 2  # some succeed
    return world, batch


@functools.partial(jax.jit, compiler_options=QUICK)
def all_values(world, batch):
    """What every recipe gives, by name."""
    return {name: credit(recipe, KEY, world, batch).value for name, recipe in RECIPES.items()}


@pytest.mark.slow
def test_credit_is_finite(imposed):
    for name, value in all_values(*imposed).items():
        assert np.isfinite(value).all(), name
        assert np.asarray(value).any(), name


@pytest.mark.parametrize("condition", ["return", "state"])
def test_hindsight_gives_it_nothing_and_the_other_steps_what_they_had(condition, imposed):
    world, batch = imposed
    value = np.asarray(run(Hindsight(condition), KEY, world, batch).value)
    assert not value[:, PIVOT].any()
    assert value[:, 0].any()
    assert value[:, 2].any()
