"""Verdicts, mistakes, lexicons, skills, experts, critics: right without error, else as stated."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import report
from casim.contributions import Contributed
from casim.graders import (
    GRADERS,
    Belief,
    BestAction,
    Counterfactual,
    Critic,
    Discriminator,
    Expert,
    FirstMistake,
    JointCritic,
    Lexicon,
    Mistakes,
    PerAction,
    Posterior,
    Reader,
    Shares,
    Shuffled,
    Skill,
    Verdict,
)
from casim.judges import Judge
from casim.methods import METHODS
from casim.oracle import critics, history_values, soft_optimal
from casim.panel import PANEL
from casim.simulate import Scorer, World
from casim.tasks import InformationSeeking
from tests import reference
from tests.enumeration import QUICK, solve, solved
from tests.test_graders import KEY, SIGMA, TIME, ask, labels, often, said, setting


def along(table):
    """A table `[T, S, A]` at the state and action of every entry."""
    state, action, _, _ = labels()
    return np.asarray(table)[TIME, state, action]


def turn_sums(x):
    """Sums over the steps 0 and 1, and over 2 and 3, given to both."""
    live = labels()[2]
    x = np.where(live, x, 0.0)
    sums = np.stack([x[:, :2].sum(1), x[:, 2:].sum(1)], axis=1)
    return np.repeat(sums, 2, axis=1)


@pytest.mark.parametrize(
    ("margin", "levels"), [(0.3, "ternary"), pytest.param(0.0, "binary", marks=pytest.mark.slow)]
)
def test_a_verdict_is_the_sign_of_the_turn_outside_a_dead_zone(margin, levels):
    live = labels()[2]
    total = turn_sums(along(setting()[0].advantage))
    wanted = np.sign(total) * (np.abs(total) > margin)
    if levels == "binary":
        wanted = np.where(total > margin, 1.0, -1.0)
    clear = live & (np.abs(np.abs(total) - margin) > 1e-5)
    found = said(Verdict(margin=margin, levels=levels))
    np.testing.assert_array_equal(found[clear], wanted[clear])
    assert np.isnan(found[~live]).all()
    assert clear[live].mean() > 0.9
    assert len(np.unique(found[live])) == (3 if levels == "ternary" else 2)


@pytest.mark.slow
def test_a_verdict_is_right_with_its_accuracy():
    live = labels()[2]
    right, found = (said(Verdict(margin=0.3, accuracy=x)) for x in (1.0, 0.7))
    first = live[:, 2]
    often((right == found)[first, 2], 0.7)
    wrong = first & (right != found)[:, 2]
    flipped = right[:, 2] != 0
    np.testing.assert_array_equal(found[wrong & flipped, 2], -right[wrong & flipped, 2])
    often(found[wrong & ~flipped, 2] == 1, 0.5)
    # Steps of a turn have one verdict.
    both = live[:, 3]
    np.testing.assert_array_equal(found[both, 2], found[both, 3])


@pytest.mark.slow
def test_with_a_leak_verdicts_become_copies_of_the_outcome():
    given, _, batch = setting(True)
    live = labels(True)[2]
    returns = np.asarray(batch.reward).sum(axis=1, keepdims=True)
    copies = np.broadcast_to(np.where(returns > given.exact.expected_return, 1, -1), live.shape)
    alike = [
        (said(Verdict(Judge("td_error", leak=leak)), binary=True) == copies)[live].mean()
        for leak in (0.0, 1.0)
    ]
    assert alike[0] < 0.8
    assert alike[1] > 0.97


def test_mistakes_are_steps_worse_than_average_at_the_stated_rates():
    live = labels()[2]
    wrong = along(setting()[0].advantage) < -0.2
    np.testing.assert_array_equal(said(Mistakes(margin=0.2))[live], wrong[live])
    found = said(Mistakes(margin=0.2, miss=0.3, false_alarm=0.1))
    often(found[live & wrong] == 0, 0.3)
    often(found[live & ~wrong] == 1, 0.1)


@pytest.mark.slow
def test_votes_of_a_systematic_judge_are_one_vote():
    live = labels()[2]
    judge = Mistakes(margin=0.2, miss=0.3, false_alarm=0.3)
    alike = []
    for systematic in (0.0, 0.5, 1.0):
        own = dataclasses.replace(judge, systematic=systematic)
        one, other = (said(own, key=jax.random.key(n))[live] for n in (2, 3))
        alike.append((one == other).mean())
    assert alike[2] == 1.0
    often_equal = 0.7**2 + 0.3**2
    assert abs(alike[0] - often_equal) < 0.02
    assert alike[0] + 0.05 < alike[1] < 0.95


def test_a_lexicon_lists_critical_states_and_errs_in_the_same_places():
    given = setting()[0]
    state, action, live, decided = labels()
    q_value = given.exact.q_value
    gap = (q_value.max(-1) - q_value.min(-1))[TIME, state]
    critical = decided & (gap > 0.8)
    assert 0.1 < critical[live].mean() < 0.9
    np.testing.assert_array_equal(said(Lexicon(margin=0.8))[live], critical[live])
    words = said(Lexicon(margin=0.8, words=(0, 2)))
    np.testing.assert_array_equal(words[live], (critical & np.isin(action, (0, 2)))[live])
    one, other = (said(Lexicon(margin=0.8, recall=0.6, false_alarm=0.3), key=k) for k in (KEY, KEY))
    np.testing.assert_array_equal(one[live], other[live])
    places = np.unique(np.stack([np.broadcast_to(TIME, state.shape)[live], state[live]]), axis=1)
    for t, s in places.T:
        here = live & (t == TIME) & (state == s)
        assert np.ptp(one[here]) == 0
    assert (one[live] != critical[live]).any()


@pytest.mark.slow
def test_a_lexicon_finds_and_mistakes_as_often_as_stated():
    given, truth, _ = setting()
    exact = Lexicon(margin=0.8, words=(0, 2)).model(given.mdp, truth).listed
    counts = np.zeros(4)
    for edition in range(40):
        judge = Lexicon("critical", (0, 2), 0.8, 0.6, 0.3, edition)
        listed = np.asarray(judge.model(given.mdp, truth).listed)
        kind = np.asarray(exact)
        counts += [listed[kind].sum(), kind.sum(), listed[~kind].sum(), (~kind).sum()]
    for hits, number, rate in ((*counts[:2], 0.6), (*counts[2:], 0.3)):
        assert abs(hits / number - rate) < SIGMA * np.sqrt(rate * (1 - rate) / number)


def gains():
    """TD errors of all entries, from enumerated values."""
    given, _, batch = setting()
    batch = jax.tree.map(np.asarray, batch)
    later = np.pad(batch.live[:, 1:], ((0, 0), (0, 1)))
    after = np.pad(batch.state[:, 1:], ((0, 0), (0, 1)))
    value = given.exact.value
    ahead = np.where(later, value[TIME + 1, after], 0.0)
    return batch.reward + ahead - value[TIME, batch.state], later, after


def test_a_skill_that_matches_marks_exactly_the_subgoal():
    live = labels()[2]
    gain, later, after = gains()
    clear = live & (np.abs(gain - 0.1) > 1e-4)
    np.testing.assert_array_equal(said(Skill(margin=0.1))[clear], (gain > 0.1)[clear])
    goals = said(Skill(goals=(1, 3)))
    np.testing.assert_array_equal(goals[live], (later & np.isin(after, (1, 3)))[live])


@pytest.mark.slow
def test_a_skill_that_does_not_match_marks_by_chance_with_noise():
    live = labels()[2]
    reached = gains()[0] > 0.1
    found = said(Skill(margin=0.1, match=0.6, sigma=0.0))
    # Right at 0.6, and half of the time otherwise.
    often((found == reached)[live], 0.8)
    noise = (said(Skill(margin=0.1, match=0.6, sigma=0.5)) - found)[live] / 0.2
    assert abs(noise.mean()) < SIGMA / np.sqrt(len(noise))
    assert abs(noise.var() - 1) < SIGMA * np.sqrt(2 / len(noise))


def told(judge, with_reference=True):
    """What a judge says that knows the policy and, perhaps, a reference."""
    given, truth, batch = setting()
    table = given.policy[:, :, ::-1] if with_reference else None
    made = judge.informed(given.mdp, truth, jnp.asarray(given.policy), table)
    return np.asarray(ask(made, KEY, batch), np.float64)


@pytest.mark.slow
def test_an_expert_is_soft_optimal_and_with_error_1_the_reference():
    given = setting()[0]
    state, _, live, decided = labels()
    # Nobody does anything but action 0 where nothing is decided.
    live = live[..., None] & (decided[..., None] | (np.arange(3) == 0))
    table = given.policy[:, :, ::-1]
    soft = np.asarray(soft_optimal(given.mdp, table, 0.3).advantage, np.float64)
    np.testing.assert_allclose(
        told(Expert(0.3))[live], soft[TIME, state][live] / 0.3, rtol=1e-4, atol=1e-4
    )
    mixed = np.log(0.75 * np.exp(soft / 0.3) + 0.25)
    np.testing.assert_allclose(
        told(Expert(0.3, error=0.25))[live], mixed[TIME, state][live], rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(told(Expert(0.3, error=1.0))[live], 0.0, atol=1e-6)
    # Without a reference, beside the policy.
    alone = told(Expert(0.3), with_reference=False)
    np.testing.assert_allclose(alone[live], said(Expert(0.3))[live], atol=1e-4)


@pytest.mark.slow
def test_the_best_discriminator_knows_how_often_each_comes_there():
    given, truth, _ = setting()
    state, action, live, _ = labels()
    expert = Expert(0.3, error=0.25)
    acting = np.asarray(expert.beside(given.mdp, jnp.asarray(given.policy)).policy, np.float64)
    np.testing.assert_allclose(acting.sum(-1), 1.0, atol=1e-5)
    mdp = reference.as_float64(given.mdp)
    own = np.asarray(truth.state_policy, np.float64)[mdp.schedule]
    ratio = np.zeros(own.shape)
    there = {"expert": mdp.start, "policy": mdp.start}
    for t, m in enumerate(mdp.schedule):
        shown = {
            "expert": there["expert"][:, None] * acting[t],
            "policy": there["policy"][:, None] * own[t],
        }
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio[t] = np.log(shown["expert"]) - np.log(shown["policy"])
        for name, mass in shown.items():
            after = np.zeros(len(mdp.start))
            moved = mass[..., None] * mdp.prob[m] * ~mdp.terminal[:, None, None]
            np.add.at(after, mdp.successor[m], moved)
            there[name] = np.where(mdp.terminal, 0.0, after)
    wanted = ratio[TIME, state, action]
    found = said(Discriminator(expert, "log_ratio"))
    np.testing.assert_allclose(found[live], wanted[live], atol=1e-4)
    gail = said(Discriminator(expert, "gail"))
    np.testing.assert_allclose(gail[live], np.log1p(np.exp(wanted))[live], atol=1e-4)
    log_d = said(Discriminator(expert, "log_d"))
    np.testing.assert_allclose(log_d[live], -np.log1p(np.exp(-wanted))[live], atol=1e-4)
    same = said(Discriminator(Expert(0.3, error=1.0), "gail"))
    np.testing.assert_allclose(same[live], np.log(2), atol=1e-5)


def hidden():
    """States that show noisy observations; all trajectories, and the judges of critics."""
    one = solved(*reference.random_mdp(4, schedule=(0, 1, 2), observations=3, successors=4))
    return one, solve(one.mdp, one.policy)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [(), (0, 1, 0, 1, 2)])
def test_critics_say_what_the_oracle_says_of_them(classes):
    one, truth = hidden()
    states = one.mdp.start.shape[0]
    classes = classes[:states]
    label = np.arange(states) if not classes else np.asarray(classes)
    wanted = critics(one.mdp, one.policy, one.all.batch, label, int(label.max()) + 1)
    live = np.asarray(one.all.batch.live)
    for knows in ("history", "latent_history", "latent", "clairvoyant"):
        own = classes if knows.startswith("latent") else ()
        made = Critic(knows, own).informed(one.mdp, truth, one.policy)
        found = np.asarray(ask(made, KEY, one.all.batch))
        exact = np.asarray(getattr(wanted, knows).advantage)
        np.testing.assert_allclose(found[live], exact[live], atol=1e-5, err_msg=knows)


@pytest.mark.slow
def test_the_mean_of_a_critic_of_latent_and_history_is_right_and_a_clairvoyant_one_is_not():
    """E_z[A(z, h, a) | h] = A(h, a); to who knows z a question is worth minus its price."""
    task = InformationSeeking(horizon=2, num_facts=2, accuracy=0.9, cost=0.1)
    mdp = task.build()
    policy = reference.random_policy(3, mdp)
    # Whoever was told an answer gives it.
    shown = np.asarray(mdp.emission[0]).argmax(axis=1)
    told_fact = [(s, shown[s]) for s in range(len(shown))]
    assert len({o for _, o in told_fact}) == 3
    one = solved(mdp, policy)
    truth = solve(mdp, policy)
    history = history_values(mdp, policy, one.all.batch)
    weight = one.all.weight
    batch = jax.tree.map(np.asarray, one.all.batch)
    right = np.asarray(history.advantage, np.float64)
    found = {}
    for knows in ("latent_history", "clairvoyant"):
        made = Critic(knows).informed(mdp, truth, policy)
        found[knows] = np.asarray(ask(made, KEY, one.all.batch), np.float64)
    for t in range(2):
        seen = np.concatenate([batch.observation[:, : t + 1], batch.action[:, :t]], axis=1)
        _, label = np.unique(seen, axis=0, return_inverse=True)
        for n in range(label.max() + 1):
            rows = label == n
            mean = weight[rows] @ found["latent_history"][rows, t] / weight[rows].sum()
            np.testing.assert_allclose(mean, right[rows, t][0], atol=1e-5)
    # One critic alone is not right: what is hidden must be averaged out.
    assert np.abs(found["latent_history"] - right).max() > 0.1
    asks = batch.action[:, 0] == 0
    np.testing.assert_allclose(found["clairvoyant"][asks, 0, 0], -0.1, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["step", "turn"])
def test_shuffled_words_are_the_same_words_elsewhere(unit):
    _, _, live, decided = labels()
    judge = Verdict(margin=0.3) if unit == "turn" else PerAction(Judge("q_value", density=0.7))
    given, truth, batch = setting()
    own, _ = jax.random.split(KEY)
    plain = np.asarray(ask(judge.model(given.mdp, truth), own, batch))
    moved = said(Shuffled(judge, unit))
    if unit == "step":
        plain, moved = plain[..., 1], moved[..., 1]
        for before, after, where in zip(plain[:200], moved[:200], decided[:200], strict=True):
            np.testing.assert_array_equal(np.sort(before[where]), np.sort(after[where]))
        np.testing.assert_array_equal(plain[live & ~decided], moved[live & ~decided])
    else:
        whole = live.all(axis=1)
        turns = plain[whole][:, [0, 2]]
        after = moved[whole][:, [0, 2]]
        np.testing.assert_array_equal(np.sort(turns, axis=1), np.sort(after, axis=1))
        differ = turns[:, 0] != turns[:, 1]
        often((turns != after).any(axis=1)[differ], 0.5)
        np.testing.assert_array_equal(moved[whole, 2], moved[whole, 3])
    assert (np.nan_to_num(plain) != np.nan_to_num(moved)).any()


RECIPES = [
    Critic("latent_history"),
    Critic("clairvoyant"),
    Verdict(margin=0.1, accuracy=0.8, systematic=0.5),
    Mistakes(miss=0.1, noise="turn"),
    Lexicon(words=(1,), recall=0.9),
    Skill(match=0.5),
    Expert(0.3, 0.1),
    Discriminator(form="log_d"),
    Shuffled(Judge("td_error", noise="episode", systematic=0.5, verbosity=0.2)),
]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_every_judge_is_a_recipe_that_a_row_holds_and_a_world_asks(recipe):
    assert report.rebuild(report.describe(recipe)) == recipe
    assert hash(recipe) == hash(dataclasses.replace(recipe))
    given, truth, batch = setting()
    policy = jnp.asarray(given.policy)
    made = recipe.informed(given.mdp, truth, policy, None)
    assert isinstance(made, Scorer)
    world = World.make(given.mdp, policy, judges={"judge": made})
    few = world.attach(jax.tree.map(lambda x: x[:6].reshape(2, 3, 4), batch))
    found = np.asarray(world.judge(KEY, few))
    actions = (3,) if type(recipe) in (Critic, Expert) else ()
    assert found.shape == (2, 3, 4, *actions)
    live = np.asarray(few.live)
    said_of = found if found.ndim == 3 else found[..., 0]
    assert np.isfinite(said_of[live]).all()
    assert np.isnan(found[~live]).all()
    again = np.asarray(jax.jit(lambda k: world.judge(k, few), compiler_options=QUICK)(KEY))
    np.testing.assert_allclose(found, again, atol=1e-5)


def test_every_kind_of_judge_is_listed_and_the_panel_is_made_of_them():
    mine = {type(recipe) for recipe in RECIPES}
    others = {Judge, PerAction, BestAction, FirstMistake, Posterior, Contributed, Belief}
    others |= {JointCritic, Shares, Reader, Counterfactual}
    assert mine | others == set(GRADERS)
    assert {type(judge) for judge in PANEL.values()} <= set(GRADERS)


def test_the_panel_has_every_judge_that_a_published_method_asks_but_one():
    asked = {name for method in METHODS for name in method.recipe.judges}
    assert asked - set(PANEL) == {"belief"}


@pytest.mark.parametrize("recipe", [Verdict(), Mistakes(), Lexicon(), Skill()], ids=repr)
def test_they_have_nothing_to_say_of_a_prompt(recipe):
    given, truth, batch = setting()
    with pytest.raises(ValueError, match="to score a prompt, got"):
        recipe.model(given.mdp, truth).prompt(KEY, batch)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Verdict(3), "of must be a recipe for a judge, got 3"),
        (lambda: Verdict(margin=-1.0), "margin must be in"),
        (lambda: Verdict(accuracy=1.1), "accuracy must be in"),
        (lambda: Verdict(levels="unary"), "levels must be one of"),
        (lambda: Verdict(unit="agent"), "unit must be one of"),
        (lambda: Verdict(noise="token"), "noise must be one of"),
        (lambda: Mistakes(None), "of must be a recipe for a judge, got None"),
        (lambda: Mistakes(miss=2.0), "miss must be in"),
        (lambda: Mistakes(false_alarm=-1.0), "false_alarm must be in"),
        (lambda: Mistakes(systematic=2.0), "systematic must be in"),
        (lambda: Lexicon("here"), "where must be one of"),
        (lambda: Lexicon(words=(1, 1)), "words must hold distinct values"),
        (lambda: Lexicon(words=(-1,)), "words must be in"),
        (lambda: Lexicon(recall=1.5), "recall must be in"),
        (lambda: Skill(match=-0.1), "match must be in"),
        (lambda: Skill(sigma=-1.0), "sigma must be in"),
        (lambda: Expert(0.0), "temperature must be in"),
        (lambda: Expert(error=2.0), "error must be in"),
        (lambda: Discriminator(form="hinge"), "form must be one of"),
        (lambda: Critic("future"), "knows must be one of"),
        (lambda: Critic("history", (0, 1)), r"classes must be \(\) for a history critic"),
        (lambda: Critic("latent", (-1,)), "classes must be in"),
        (lambda: Shuffled(1), "of must be a recipe for a judge, got 1"),
        (lambda: Shuffled(unit="agent"), "unit must be one of"),
    ],
)
def test_bad_settings_raise(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


def test_critics_of_histories_must_be_told_of_the_policy(unhooked):
    given, truth, _ = setting()
    with pytest.raises(ValueError, match="a history critic must be made by `informed`"):
        Critic("history").model(given.mdp, truth)
    with pytest.raises(ValueError, match=r"number of classes must be in \[5, 5\], got 2"):
        Critic("latent", (0, 1)).model(given.mdp, truth)
