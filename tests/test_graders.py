"""Judges of actions, mistakes and hindsight: exact without error, and wrong as often as stated."""

from __future__ import annotations

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import report
from casim.contributions import Contributed
from casim.estimators import Source
from casim.estimators.base import cost
from casim.graders import (
    Belief,
    BestAction,
    Counterfactual,
    FirstMistake,
    PerAction,
    Posterior,
)
from casim.judges import Judge
from casim.simulate import Scorer, World
from casim.study import Study
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import QUICK, case, solve

EPISODES = 20_000
KEY = jax.random.key(2)
SIGMA = 5.0
"""Standard errors that a frequency may be off by."""
TIME = np.arange(4)[None, :]

ask = jax.jit(lambda model, key, batch: model(key, batch), compiler_options=QUICK)


@functools.cache
def setting(binary=False):
    """A world of three actions with a forced step and early ends; its truth; many episodes."""
    given = case(binary=binary, actions=3, prompt=False)
    batch = reference.rollout(given.world, jax.random.key(1), EPISODES)
    return given, solve(given.mdp, given.policy), batch


def said(grader, binary=False, key=KEY):
    given, truth, batch = setting(binary)
    return np.asarray(ask(grader.model(given.mdp, truth), key, batch), np.float64)


def labels(binary=False):
    """State, action, live and decided of every entry, in NumPy."""
    given, _, batch = setting(binary)
    decided = np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)][None]
    live = np.asarray(batch.live)
    return np.asarray(batch.state), np.asarray(batch.action), live, live & decided


@functools.cache
def best_values(binary=False):
    """V* and Q* by backward induction in NumPy."""
    mdp = reference.as_float64(setting(binary)[0].mdp)
    value, values, q_values = np.zeros(5), [], []
    for m in mdp.schedule[::-1]:
        later = np.where(mdp.terminal, 0.0, value)[mdp.successor[m]]
        q_value = (mdp.prob[m] * (mdp.reward[m] + mdp.discount[m] * later)).sum(-1)
        q_value[mdp.terminal] = 0.0
        value = q_value.max(-1) if mdp.decision[m] else q_value[:, 0]
        values.append(value)
        q_values.append(q_value)
    return np.array(values[::-1]), np.array(q_values[::-1])


def often(hits, wanted):
    """A frequency within 5 standard errors of its probability."""
    hits = np.asarray(hits)
    error = np.sqrt(wanted * (1 - wanted) / len(hits))
    assert abs(hits.mean() - wanted) <= SIGMA * error + 1e-9, (hits.mean(), wanted)


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["advantage", "q_value"])
def test_every_action_is_scored_as_if_it_had_been_taken(signal):
    given = setting()[0]
    state, action, live, _ = labels()
    table = {"advantage": given.advantage, "q_value": given.exact.q_value}[signal]
    found = said(PerAction(Judge(signal)))
    np.testing.assert_allclose(found[live], table[TIME, state][live], atol=1e-5)
    assert np.isnan(found[~live]).all()
    taken = np.take_along_axis(found, action[..., None].astype(int), axis=-1)[..., 0]
    np.testing.assert_allclose(taken[live], said(Judge(signal))[live], atol=1e-6)


@pytest.mark.slow
def test_scores_of_actions_are_wrong_as_often_as_the_judge_and_apart():
    """What fidelity leaves is standard normal and independent between the actions of a step."""
    given, truth, _ = setting()
    state, _, live, _ = labels()
    judge = Judge("advantage", fidelity=0.6, bias=0.25)
    model = judge.model(given.mdp, truth)
    label = given.advantage[TIME, state]
    noise = said(PerAction(judge)) - 0.25 - model.mean - 0.6 * (label - model.mean)
    noise = (noise / (0.8 * model.spread))[live]
    assert np.abs(noise.mean(0)).max() < SIGMA / np.sqrt(len(noise))
    assert np.abs(noise.var(0) - 1).max() < SIGMA * np.sqrt(2 / len(noise))
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < SIGMA / np.sqrt(len(noise))


def test_the_prompt_has_a_value_for_judges_of_q_values():
    given, truth, batch = setting()
    for judge in (Judge("q_value"), PerAction(Judge("q_value"))):
        start = judge.model(given.mdp, truth).prompt(KEY, batch)
        wanted = given.exact.value[0, np.asarray(batch.state)[:, 0]]
        np.testing.assert_allclose(start, wanted, atol=1e-5)


@pytest.mark.parametrize("signal", ["gap", "spread"])
def test_how_critical_a_step_is_depends_on_its_state_alone(signal):
    """And is 0 where nothing is decided."""
    given = setting()[0]
    state, _, live, decided = labels()
    q_value = given.exact.q_value
    acting = np.asarray(given.policy, np.float64)[np.asarray(given.mdp.schedule)]
    mean = (acting * q_value).sum(-1, keepdims=True)
    table = {
        "gap": q_value.max(-1) - q_value.min(-1),
        "spread": np.sqrt((acting * (q_value - mean) ** 2).sum(-1)),
    }[signal]
    wanted = np.where(decided, table[TIME, state], 0.0)
    np.testing.assert_allclose(said(Judge(signal))[live], wanted[live], atol=1e-5)
    assert wanted.max() > 0.1


def test_how_critical_a_step_is_said_to_be_correlates_as_stated():
    live = labels()[2]
    exact, noisy = (said(Judge("gap", fidelity=f))[live] for f in (1.0, 0.6))
    found = np.corrcoef(exact, noisy)[0, 1]
    assert abs(found - 0.6) < SIGMA / np.sqrt(live.sum()) + 0.01


def marks(of):
    """The actions of largest value, of those that are possible, along the episodes."""
    state = labels()[0]
    table = setting()[0].exact.q_value if of == "policy" else best_values()[1]
    decided = labels()[3]
    worth = table[TIME, state]
    worth = np.where(decided[..., None] | (np.arange(3) == 0), worth, -np.inf)
    return worth >= worth.max(-1, keepdims=True) - 1e-6


@pytest.mark.parametrize("of", ["policy", "optimal"])
def test_the_best_action_is_marked(of):
    live = labels()[2]
    found = said(BestAction(of))
    np.testing.assert_array_equal(found[live], marks(of)[live])
    assert np.isnan(found[~live]).all()


def test_equally_good_actions_are_marked_together():
    """Whatever its accuracy: there is nothing to be wrong about."""
    given, _, batch = setting()
    flat = given.mdp._replace(reward=jnp.zeros_like(given.mdp.reward))
    model = BestAction(accuracy=0.0).model(flat, solve(flat, given.policy))
    _, _, live, decided = labels()
    found = np.asarray(ask(model, KEY, batch))
    assert (found[decided] == 1).all()
    np.testing.assert_array_equal(found[live & ~decided], [[1, 0, 0]] * (live & ~decided).sum())


def test_the_best_action_is_right_with_its_accuracy_and_else_any_other():
    _, _, live, decided = labels()
    right = marks("policy")
    found = said(BestAction(accuracy=0.7))
    sure = (found == right).all(-1)
    assert sure[live & ~decided].all()
    often(sure[decided], 0.7)
    wrong = decided & ~sure
    assert (found[wrong].sum(-1) == 1).all()
    single = wrong & (right.sum(-1) == 1)
    other = np.where(right[single], -1, found[single])
    # Of the two wrong actions, the first is named half of the time.
    often([row[row >= 0][0] for row in other], 0.5)


def mistakes(margin):
    """The first step at which value is lost, -1 without one, and the number of live steps."""
    state, action, live, decided = labels()
    value, q_value = best_values()
    lost = value[TIME, state] - q_value[TIME, state, action]
    wrong = decided & (lost > margin)
    first = np.where(wrong.any(1), wrong.argmax(1), -1)
    return first, live.sum(1)


def accused(grader):
    """The step that is accused, -1 without one."""
    found = said(grader)
    live = labels()[2]
    assert np.isnan(found[~live]).all()
    assert np.isin(found[live], (0, 1)).all()
    found = np.nan_to_num(found)
    assert (found.sum(1) <= 1).all()
    return np.where(found.any(1), found.argmax(1), -1)


@pytest.mark.parametrize("margin", [0.01, 0.9])
def test_the_first_mistake_is_found(margin):
    first, _ = mistakes(margin)
    np.testing.assert_array_equal(accused(FirstMistake(margin)), first)
    assert 0.05 < (first < 0).mean() < 0.95


def test_mistakes_are_missed_and_invented_at_the_stated_rates():
    first, length = mistakes(0.9)
    found = accused(FirstMistake(0.9, miss=0.3, false_alarm=0.2))
    guilty = first >= 0
    often(found[guilty] < 0, 0.3)
    np.testing.assert_array_equal(found[guilty & (found >= 0)], first[guilty & (found >= 0)])
    often(found[~guilty] >= 0, 0.2)
    invented = ~guilty & (found >= 0) & (length == 4)
    for step in range(4):
        often(found[invented] == step, 0.25)


def test_a_mistake_is_shifted_evenly_and_stays_in_the_episode():
    first, length = mistakes(0.01)
    found = accused(FirstMistake(0.01, shift=2))
    for start, steps in {*zip(first[first >= 0], length[first >= 0], strict=True)}:
        rows = (first == start) & (length == steps)
        if rows.sum() < 200:
            continue
        named = np.clip(start + np.arange(-2, 3), 0, steps - 1)
        for step in range(4):
            often(found[rows] == step, np.mean(named == step))


@functools.cache
def posterior():
    """P(a_t | s_t, sum of the rewards from t on) by enumeration: `[T, S, A, 2]`, NaN if never."""
    given = setting(True)[0]
    batch = jax.tree.map(np.asarray, given.all.batch)
    to_go = np.cumsum(batch.reward[:, ::-1], axis=1)[:, ::-1]
    mass = np.zeros((4, 5, 3, 2))
    where = (np.broadcast_to(TIME, to_go.shape), batch.state, batch.action, to_go.astype(int))
    np.add.at(mass, where, given.all.weight[:, None] * batch.live)
    total = mass.sum(2, keepdims=True)
    return np.divide(mass, total, out=np.full_like(mass, np.nan), where=total > 0)


@pytest.mark.parametrize("outcome", [None, 0.0, 1.0])
def test_the_posterior_is_what_the_outcome_says_of_the_action(outcome):
    state, _, live, _ = labels(True)
    reward = np.asarray(setting(True)[2].reward)
    to_go = np.cumsum(reward[:, ::-1], axis=1)[:, ::-1].astype(int)
    index = to_go if outcome is None else np.full_like(to_go, int(outcome))
    wanted = posterior()[TIME, state, :, index]
    found = said(Posterior(outcome), binary=True)
    np.testing.assert_allclose(found[live], wanted[live], atol=1e-5)
    assert np.isnan(found[~live]).all()


def test_a_posterior_that_is_trusted_less_is_nearer_to_the_policy():
    """Its distance from the truth is 1 - trust times that of the policy."""
    given = setting(True)[0]
    state, _, live, decided = labels(True)
    exact, mixed = (said(Posterior(trust=x), binary=True) for x in (1.0, 0.25))
    acting = np.asarray(given.policy, np.float64)[np.asarray(given.mdp.schedule)][TIME, state]
    acting = np.where(decided[..., None], acting, np.arange(3) == 0)
    far, near = (np.abs(x - exact).sum(-1)[live] / 2 for x in (acting, mixed))
    np.testing.assert_allclose(near, 0.75 * far, atol=1e-5)
    np.testing.assert_allclose(mixed[live].sum(-1), 1.0, atol=1e-5)
    assert far.max() > 0.1


RECIPES = [
    Judge("gap", fidelity=0.5),
    PerAction(Judge("q_value", density=0.5)),
    BestAction("optimal", 0.9),
    FirstMistake(0.1, 0.2, 0.3, 1),
    Posterior(1.0, trust=0.5),
    Counterfactual(trust=0.5),
    Contributed(trust=0.5),
    Belief((0, 1, 0, 2, 1), trust=0.5),
]
OF_ACTIONS = (PerAction, BestAction, Posterior, Counterfactual, Contributed)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_every_judge_is_a_recipe_that_a_row_holds_and_a_world_asks(recipe):
    """Addressed by key and episode: the same for fewer episodes, another under another key."""
    assert report.rebuild(report.describe(recipe)) == recipe
    assert hash(recipe) == hash(dataclasses.replace(recipe))
    given, truth, batch = setting(True)
    model = recipe.model(given.mdp, truth)
    assert isinstance(model, Scorer)
    world = World.make(given.mdp, given.policy, judges={"judge": model})
    few = jax.tree.map(lambda x: x[:6].reshape(2, 3, 4), batch)
    found = world.judge(KEY, world.attach(few))
    shape = (2, 3, 4, 3) if type(recipe) in OF_ACTIONS else (2, 3, 4)
    assert found.shape == shape
    whole = np.asarray(ask(model, KEY, batch))
    np.testing.assert_allclose(found.reshape(6, *shape[2:]), whole[:6], atol=1e-6)
    other = np.asarray(ask(model, jax.random.key(9), batch))
    alike = np.array_equal(np.nan_to_num(whole), np.nan_to_num(other))
    assert alike == isinstance(recipe, Posterior | Counterfactual | Contributed | Belief)


@pytest.mark.parametrize("recipe", [BestAction(), FirstMistake(), Posterior(), PerAction()])
def test_judges_of_other_things_have_nothing_to_say_of_a_prompt(recipe):
    given, truth, batch = setting(True)
    with pytest.raises(ValueError, match="to score a prompt, got"):
        recipe.model(given.mdp, truth).prompt(KEY, batch)


@dataclasses.dataclass(frozen=True)
class AsksForTheBest(Source):
    """Credits every action by whether a judge holds it to be best."""

    judge: str = "best"
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def give(self, key, world, batch):
        return jnp.nan_to_num(world.judge(key, batch, self.judge)), cost()


@pytest.mark.slow
def test_a_study_hands_the_word_of_a_judge_of_actions_to_a_method(unhooked):
    """The gradient of marking the best action points up; at accuracy 0 it points down."""
    task = Bifurcation(horizon=3, pivots=(1,), gap=0.5)
    fields = {"num_trajectories": 2, "replicates": 20, "controls": ()}
    judges = {"best": BestAction(), "worst": BestAction(accuracy=0.0)}
    methods = tuple(AsksForTheBest(name) for name in judges)
    rows = Study("asked", (task,), methods, judges=judges, **fields).run()
    cosines = [row.scores["gradient_cosine"].value for row in rows]
    np.testing.assert_allclose(cosines, [1.0, -1.0], atol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PerAction(Judge("value")), r"judge.signal must be one of \('advantage', 'q_va"),
        (lambda: BestAction("behaviour"), r"of must be one of \('policy', 'optimal'\)"),
        (lambda: BestAction(accuracy=1.5), r"accuracy must be in \[0.0, 1.0\], got 1.5"),
        (lambda: FirstMistake(margin=-1.0), r"margin must be in"),
        (lambda: FirstMistake(miss=2.0), r"miss must be in"),
        (lambda: FirstMistake(false_alarm=-0.5), r"false_alarm must be in"),
        (lambda: FirstMistake(shift=-1), r"shift must be in \[0, inf\], got -1"),
        (lambda: Posterior(2.0), r"outcome must be one of \(None, 0.0, 1.0\), got 2.0"),
        (lambda: Posterior(support=(1.0, 0.0)), r"support must be ascending numbers"),
        (lambda: Posterior(trust=1.1), r"trust must be in"),
    ],
)
def test_bad_settings_raise(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
