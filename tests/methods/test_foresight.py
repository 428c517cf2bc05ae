"""Luck and skill: counterfactual baselines, direct advantages, synthetic returns.

Exact by enumeration; fits are to all trajectories, each with its probability.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import DirectAdvantage, Foresight, SyntheticReturns
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.sights import Earning, Passage
from casim.graders import Counterfactual
from casim.tasks import KeyToDoor
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind
from tests import reference
from tests.enumeration import assert_cells, case, cell_mean, returns_to_go, run, solved
from tests.methods.every_action import judged, mean_gradient, mean_in_states
from tests.methods.worlds import small
from tests.quick import QUICK

KEY = jax.random.key(4)


@functools.cache
def odd():
    """Rewards at every step, an environment's step, early ends, two start states."""
    return case(binary=False, actions=2, prompt=False)


def on_all(recipe, one):
    """The credit of every trajectory by a fit to all of them, weighed by their probabilities."""
    batch = one.world.attach(jax.tree.map(lambda x: x[None], one.all.batch))
    weight = jnp.asarray(one.all.weight, jnp.float32)[None]
    give = jax.jit(recipe.on, compiler_options=QUICK)
    return np.asarray(give(KEY, one.world, batch, batch, weight)[0], np.float64)


# Counterfactual credit assignment, the luck known.


@functools.cache
def known(trust=1.0):
    one = odd()
    future = np.round(returns_to_go(one.all.batch, 1.0), 6)
    every = tuple(float(x) for x in np.unique(future[np.asarray(one.all.batch.live)]))
    world = judged(one, counterfactual=Counterfactual(every, trust))
    recipe = methods.CCA_ALL_ACTIONS.recipe
    return np.asarray(run(recipe, KEY, world, one.all.batch).value, np.float64), world


def test_by_the_same_luck_every_action_earns_its_q_value_on_average():
    one = odd()
    value, _ = known()
    mean, mass = mean_in_states(one, value)
    assert (mass > 0).sum() > 5
    np.testing.assert_allclose(mean[mass > 0], one.exact.q_value[mass > 0], atol=1e-5)
    np.testing.assert_allclose(mean_gradient(one, value), one.exact.gradient, atol=1e-5)
    # What was done earns what it earned.
    batch = one.all.batch
    taken = np.take_along_axis(value, np.asarray(batch.action, int)[..., None], -1)[..., 0]
    np.testing.assert_allclose(taken, returns_to_go(batch, 1.0), atol=1e-5)


def test_a_baseline_that_knows_the_luck_is_unbiased_and_leaves_no_more_than_the_value():
    """In every state: E[c^2] at most E[(G - V)^2], and in some far less."""
    one = odd()
    credit = run(methods.CCA_EXACT.recipe, KEY, known()[1], one.all.batch)
    value = np.asarray(credit.value, np.float64)
    assert_cells(one.all, one.mdp, value, one.advantage)
    future = returns_to_go(one.all.batch, 1.0)
    time = np.arange(value.shape[1])
    beside = future - one.exact.value[:-1][time, np.asarray(one.all.batch.state)]
    squares = []
    for x in (value, beside):
        square, mass = cell_mean(one.mdp, one.all, x**2)
        squares.append(np.nansum(square * mass, axis=-1))
    met = squares[1] > 1e-9
    assert (squares[0][met] <= squares[1][met] * (1 + 1e-5)).all()
    assert (squares[0][met] < 0.5 * squares[1][met]).any()
    used = [float(x) for x in credit.cost]
    assert used == [0.0, 2.0 * np.asarray(one.all.batch.live).sum(), 0.0]


def test_who_trusts_nothing_holds_that_all_actions_earn_the_same():
    one = odd()
    future = returns_to_go(one.all.batch, 1.0)[..., None]
    half, whole = known(0.5)[0], known()[0]
    np.testing.assert_allclose(half, (whole + future) / 2, atol=1e-5)
    assert np.abs(half - whole).max() > 0.1


# Counterfactual credit assignment, the luck learned.


@functools.cache
def corridor():
    """A key, an apple of either size, a door, a treasure."""
    mdp = KeyToDoor(length=4, num_apples=1, scale=1.0, treasure=1.0).build()
    return solved(mdp, reference.random_policy(3, mdp))


def first_step(value):
    """Mean credit of each action at step 0, and the mean square of the credit there."""
    one = corridor()
    mean, _ = cell_mean(one.mdp, one.all, value)
    return mean[0, one.all.batch.state[0, 0]], one.all.weight @ value[:, 0] ** 2


@pytest.mark.slow
def test_a_learned_statistic_takes_the_apple_off_and_leaves_the_key():
    one = corridor()
    start = int(one.all.batch.state[0, 0])
    exact = one.advantage[0, start]
    sight = Earning((0.0, 0.1, 0.9, 1.0))
    fit = Fit(sight=sight, num_updates=600, learning_rate=0.03)
    mean, square = first_step(on_all(Foresight(300.0, fit), one))
    np.testing.assert_allclose(mean, exact, atol=0.02 * np.abs(exact).max())
    future = returns_to_go(one.all.batch, 1.0)[:, 0]
    with_value = one.all.weight @ (future - one.exact.value[0, start]) ** 2
    assert square < 0.7 * with_value
    # Without the penalty the statistic becomes the return, and takes the credit with it.
    leaking, _ = first_step(on_all(Foresight(0.0, fit), one))
    assert np.abs(leaking).max() < 0.1 * np.abs(exact).max()


# Direct advantage estimation.

PATIENT = Fit(num_updates=1500, learning_rate=0.5, optimiser="momentum")


@pytest.mark.parametrize("luck", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_least_squares_of_all_returns_are_the_advantage(luck):
    one = odd()
    value = on_all(DirectAdvantage(luck, PATIENT), one)
    live = np.asarray(one.all.batch.live)
    state, action = np.asarray(one.all.batch.state), np.asarray(one.all.batch.action)
    decided = live & np.asarray(one.mdp.decision)[np.asarray(one.mdp.schedule)]
    exact = one.advantage[np.arange(4), state, action]
    np.testing.assert_allclose(value[decided], exact[decided], atol=2e-4)
    assert not value[~decided].any()


@pytest.mark.slow
def test_what_is_hidden_is_averaged_over():
    """Of the states that show o at the step, the mean of Q(s, a), less that under the policy."""
    one = solved(*small("hidden", 0.75, successors=3))
    value = on_all(DirectAdvantage(fit=PATIENT), one)
    batch = jax.tree.map(np.asarray, one.all.batch)
    schedule = np.asarray(one.mdp.schedule)
    decided = batch.live & np.asarray(one.mdp.decision)[schedule]
    mixed = 0
    for i, t in np.argwhere(decided):
        seen = batch.observation[i, t]
        alike = batch.live[:, t] & (batch.observation[:, t] == seen)
        weight = one.all.weight * alike / (one.all.weight @ alike)
        worth = weight @ one.exact.q_value[t, batch.state[:, t]]
        acting = np.asarray(one.policy, np.float64)[schedule[t], seen]
        wanted = worth[batch.action[i, t]] - acting @ worth
        assert value[i, t] == pytest.approx(wanted, abs=2e-4)
        mixed += len(np.unique(batch.state[alike, t])) > 1
    assert mixed


# Synthetic returns.


@final
@dataclasses.dataclass(frozen=True)
class TwoEvents(RuleTask):
    """Two choices, each shown once, then a reward that depends on both and shows neither.

    Attributes:
        pays: of neither, the first, the second, both.
        copied: whether the second is what the first was, whatever is done.
    """

    pays: tuple[float, float, float, float]
    copied: bool = False
    discount: float = 1.0
    num_actions: ClassVar[int] = 2
    kinds: ClassVar = dict.fromkeys(range(4), Kind.THINK)

    def layout(self):
        return Layout(np.arange(4), segment=np.arange(4))

    def start(self):
        return {(0, 0): 1.0}

    def moves(self, code, state, action):
        first, second = state
        if code == 0:
            return [((action, 0), 1.0, 0.0)]
        if code == 1:
            return [((first, first if self.copied else action), 1.0, 0.0)]
        return [(state, 1.0, self.pays[first + 2 * second] if code == 3 else 0.0)]

    def shows(self, code, state):
        return state[code - 1] if code in (1, 2) else 0


def added(pays, copied=False):
    """How much more the first and the second event are said to have added, if they happened."""
    mdp = TwoEvents(pays, copied).build()
    one = solved(mdp, np.full((4, mdp.emission.shape[2], 2), 0.5, np.float32))
    fit = Fit(num_updates=2500, learning_rate=0.5, optimiser="momentum")
    value = on_all(SyntheticReturns(fit), one)
    shown = np.asarray(one.all.batch.observation)
    return [
        value[shown[:, step] == 1, step].mean() - value[shown[:, step] == 0, step].mean()
        for step in (1, 2)
    ]


@pytest.mark.slow
def test_synthetic_returns_add_up_and_share_and_are_blind_to_what_takes_exactly_one():
    first, second = added((0.0, 1.0, 0.5, 1.5))
    assert first == pytest.approx(2 * second, rel=1e-3)
    assert first > 0.5
    # The second event copies the first, whatever is done, and is credited like it.
    one, copy = added((0.0, 1.0, 0.0, 1.0), copied=True)
    assert 0.5 * one < copy < 2.0 * one
    np.testing.assert_allclose(added((0.0, 1.0, 1.0, 0.0)), 0.0, atol=1e-5)


def test_passages_and_earnings_are_labels():
    one = odd()
    batch = one.world.attach(jax.tree.map(lambda x: x[None], one.all.batch))
    seen, reward, live = (np.asarray(x) for x in (batch.observation, batch.reward, batch.live))
    label = np.asarray(Passage().label(KEY, one.world, batch))
    assert Passage().size(one.world) == 5 * 6
    for at in np.argwhere(live)[::97]:
        i, j, t = at
        goes_on = t < 3 and live[i, j, t + 1]
        then = seen[i, j, t + 1] if goes_on else 5
        assert label[i, j, t] == 6 * seen[i, j, t] + then
    rewards = (-1.0, 0.0, 2.0)
    sight = Earning(rewards)
    label = np.asarray(sight.label(KEY, one.world, batch))
    assert sight.size(one.world) == 15
    off = np.abs(reward[..., None] - np.array(rewards))
    at = label - 3 * seen
    chosen = np.take_along_axis(off, at[..., None], -1)[..., 0]
    np.testing.assert_allclose(chosen, off.min(-1), atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Counterfactual(support=()), "support must be ascending numbers"),
        (lambda: Counterfactual(trust=2.0), "trust must be in"),
        (lambda: Foresight(penalty=-1.0), "penalty must be in"),
        (lambda: Foresight(discount=2.0), "discount must be in"),
        (lambda: Foresight(fit=None), "fit must be a recipe of Fit"),
        (lambda: DirectAdvantage(fit=None), "fit must be a recipe of Fit"),
        (lambda: DirectAdvantage(discount=-1.0), "discount must be in"),
        (lambda: SyntheticReturns(fit=None), "fit must be a recipe of Fit"),
        (lambda: Earning((1.0, 0.0)), "rewards must be two or more rising numbers"),
    ],
)
def test_bad_settings_raise(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
