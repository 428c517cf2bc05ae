"""FACTOR: TD errors of turns that start from the group's baseline, split over the tokens."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import Chain, OverUnitLength, Split, UnitGae
from casim.graders import Posterior
from tests.enumeration import case, expected_gradient, groups
from tests.methods.every_action import judged
from tests.quick import QUICK

KEY = jax.random.key(3)


@functools.cache
def pairs():
    """Every pair of trajectories of an outcome of 0 or 1, with the exact values of their states."""
    one = case(actions=2, terminal=False)
    world = judged(one, posterior=Posterior())
    both = groups(one.all, 2)
    batch = world.attach(jax.tree.map(jnp.asarray, both.batch))
    state = np.asarray(batch.state)
    value = one.exact.value[np.arange(state.shape[-1]), state]
    return one, world, both, batch._replace(value=jnp.asarray(value, jnp.float32))


def credit(recipe, batch):
    give = jax.jit(lambda x: recipe.credit(KEY, pairs()[1], x), compiler_options=QUICK)
    return give(batch)


@pytest.mark.slow
def test_turns_add_up_to_the_return_less_that_of_the_other_whatever_the_values():
    """To rounding; and with exact values, tokens added up, the gradient is exact."""
    one, _, both, batch = pairs()
    recipe = methods.FACTOR_SUM.recipe
    reward = np.asarray(batch.reward).sum(-1)
    decided, turn = np.asarray(batch.decided), np.asarray(batch.turn)
    given = jax.jit(lambda x: recipe.credit(KEY, pairs()[1], x).value, compiler_options=QUICK)
    for values in (batch.value, jnp.cos(batch.observation.astype(float))):
        found = np.asarray(given(batch._replace(value=values)))
        total = 0.0
        for k in np.unique(turn):
            here = decided & (turn == k)
            first = here.argmax(-1)[..., None]
            own = np.take_along_axis(found, first, -1)[..., 0]
            total = total + np.where(here.any(-1), own, 0.0)
        np.testing.assert_allclose(total, reward - reward[:, ::-1], atol=1e-5)
    found = np.asarray(given(batch), np.float64)
    gradient = expected_gradient(one.mdp, one.policy, both, found)
    np.testing.assert_allclose(gradient, one.exact.gradient, atol=1e-5)


@pytest.mark.slow
def test_the_split_keeps_the_sum_of_a_unit_and_follows_the_teacher():
    _, world, _, batch = pairs()
    whole = Chain(UnitGae(0.0, start="others", unit="segment"), Split(uniform=0.4, unit="episode"))
    before = np.asarray(credit(whole.parts[0], batch).value, np.float64)
    after = np.asarray(credit(whole, batch).value, np.float64)
    said = np.asarray(world.judge(KEY, batch, "posterior"))
    action = np.asarray(batch.action, int)[..., None]
    teacher = np.take_along_axis(said, action, -1)[..., 0]
    student = np.exp(np.asarray(batch.log_prob))
    decided = np.asarray(batch.decided)
    for i, j in ((0, 0), (5, 1), (100, 0), (333, 1)):
        mine = decided[i, j]
        ratio = np.clip(np.log(np.maximum(teacher, 1e-30) / student)[i, j, mine], -3, 3)
        growth = np.exp(np.sign(before[i, j, mine]) * ratio)
        share = 0.4 + 0.6 * mine.sum() * growth / growth.sum()
        np.testing.assert_allclose(after[i, j, mine], share * before[i, j, mine], atol=1e-5)
        assert share.sum() == pytest.approx(mine.sum())
    assert np.abs(after - before).max() > 0.01
    paid = credit(methods.FACTOR.recipe, batch)
    weight = np.asarray(paid.weight)
    # A turn has two decisions or, where one step is the environment's, one.
    turn = np.asarray(batch.turn)
    for i, t in ((0, 0), (7, 2), (7, 3)):
        number = (decided[i, 0] & (turn[i, 0] == turn[i, 0, t])).sum()
        assert weight[i, 0, t] == pytest.approx(decided[i, 0, t] / max(number, 1))
    assert float(paid.cost.judge_calls) == np.asarray(batch.live).sum()


def test_bad_settings_raise(unhooked):
    for make, message in (
        (lambda: Split(uniform=1.5), "uniform must be in"),
        (lambda: Split(limit=0.0), "limit must be in"),
        (lambda: Split(temperature=0.01), "temperature must be in"),
        (lambda: Split(unit="word"), "unit must be one of"),
        (lambda: OverUnitLength("word"), "unit must be one of"),
        (lambda: UnitGae(start="group"), "start must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            make()
