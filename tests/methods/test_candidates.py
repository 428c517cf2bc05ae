"""Candidates that a critic ranks: the mean preference against all draws written out."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import Chain, ImplicitReward, RankedPair, Whole
from casim.estimators.base import Source, cost
from casim.simulate import World
from tests.enumeration import as_groups, assert_mean, case, run
from tests.quick import QUICK

KEY = jax.random.key(7)
WORTH = (0.2, -1.0, 0.7)
BETA = 0.8


class Told(Source):
    """The same credit of every action at every step."""

    def give(self, key, world, batch):
        shape = (*batch.action.shape, len(WORTH))
        return jnp.broadcast_to(jnp.asarray(WORTH), shape), cost()


def setting():
    """A world of three actions with a reference, and its first trajectories."""
    one = case(actions=3, prompt=False, terminal=False)
    rng = np.random.default_rng(1)
    reference = rng.uniform(0.2, 1.0, np.shape(one.policy))
    reference = reference / reference.sum(-1, keepdims=True)
    reference = reference.astype(np.float32)
    world = World.make(one.mdp, jnp.asarray(one.policy), reference=jnp.asarray(reference))
    return one, world, jax.tree.map(lambda x: x[:3], one.all.batch), reference


def expected(chance, reference, number):
    """E[C(a)] over all ordered draws of candidates, and of one from either half of their ranks."""
    out = np.zeros(3)
    margin = np.log(chance / reference)
    for drawn in itertools.product(range(3), repeat=number):
        order = sorted(drawn, key=lambda a: -WORTH[a])
        half = number // 2
        weight = np.prod(chance[list(drawn)]) / half**2
        for better, worse in itertools.product(order[:half], order[half:]):
            lead = margin[better] - margin[worse]
            size = weight * BETA / (1 + np.exp(BETA * lead))
            out[better] += size / chance[better]
            out[worse] -= size / chance[worse]
    return out


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 4])
def test_the_mean_preference_is_that_of_all_draws(number):
    one, world, batch, reference = setting()
    recipe = Chain(Told(), RankedPair(number, BETA))

    def draw(key):
        return recipe.credit(key, world, as_groups(world, batch)).value[0]

    value = jax.jit(jax.vmap(draw), compiler_options=QUICK)(jax.random.split(KEY, 4000))
    schedule = np.asarray(one.mdp.schedule)
    decided = np.asarray(one.mdp.decision)[schedule]
    wanted = np.zeros(value.shape[1:])
    for i, t in np.ndindex(wanted.shape[:2]):
        if decided[t] and batch.live[i, t]:
            at = schedule[t], int(batch.observation[i, t])
            chance = np.asarray(one.policy, np.float64)[at]
            wanted[i, t] = expected(chance, reference[at].astype(float), number)
    assert_mean(value, wanted)
    # It pushes towards what is ranked first.
    assert (wanted[:, 0, 2] > 0).all()
    assert (wanted[:, 0, 1] < 0).all()


@pytest.mark.slow
def test_the_recipe_is_paid_for_the_critic_alone_and_credits_all_actions():
    _, world, batch, _ = setting()
    credit = run(methods.SWEET_RL_RANKED.recipe, KEY, world, batch)
    assert credit.value.shape == (3, 4, 3)
    assert np.isfinite(credit.value).all()
    sums = np.asarray(credit.value * world.probability(batch)).sum(-1)
    # The gradient of a preference adds nothing to all logits alike.
    np.testing.assert_allclose(sums, 0.0, atol=1e-5)
    assert [float(x) for x in credit.cost] == [128.0, 0.0, 12800.0]


def test_bad_settings_raise(unhooked):
    for make, message in (
        (lambda: RankedPair(3), "number must be even"),
        (lambda: RankedPair(0), "number must be in"),
        (lambda: RankedPair(beta=0.0), "beta must be in"),
        (lambda: ImplicitReward(actions="some"), "actions must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
    _, world, batch, _ = setting()
    with pytest.raises(ValueError, match="RankedPair must be given credit of all actions"):
        Chain(Whole(), RankedPair()).credit(KEY, world, as_groups(world, batch))
