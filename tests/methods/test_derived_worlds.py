"""Recipes that ask a judge, or go back to a point, in double precision, against loops in NumPy.

One recipe of each mechanism: what differs by a setting compiles as long again.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.contributions import Contributed
from casim.estimators import Apportion, Baseline, BesideSolo, Chain, CutVine, Whole
from casim.estimators.base import begin
from casim.graders import (
    BestAction,
    Critic,
    Discriminator,
    Expert,
    FirstMistake,
    JointCritic,
    Judge,
    Lexicon,
    Mistakes,
    PerAction,
    Posterior,
    Skill,
    Verdict,
)
from casim.methods.method import recipe_of
from casim.oracle import solve
from casim.simulate import JUDGE, World
from tests.methods import derived_branches as branches
from tests.methods import derived_forks as forks
from tests.methods import derived_hindsight as hindsight
from tests.methods import derived_judged as judged
from tests.methods import derived_words as words
from tests.methods.derived_log import outcome
from tests.methods.derived_run import agree
from tests.methods.derived_world import Known, certain, either, log_of, process, solved
from tests.precise import wide
from tests.quick import QUICK

pytestmark = pytest.mark.slow

MARGIN = 0.02
KEY = jax.random.key(0)
ROWS = (6, 3)


class Played(NamedTuple):
    """A world, groups of rollouts in it, and what NumPy knows of both."""

    mdp: Any
    known: Known
    world: World
    batch: Any
    log: dict[str, np.ndarray]


def played(mdp, policy, panel, behaviour=None, prior=None) -> Played:
    policy = jnp.asarray(policy)
    truth = solve(mdp, policy)
    models = {n: grader.informed(mdp, truth, policy, prior) for n, grader in panel.items()}
    world = World.make(mdp, policy, behaviour=behaviour, reference=prior, judges=models)
    batch = jax.jit(lambda: world.groups(jax.random.key(3), *ROWS), compiler_options=QUICK)()
    return Played(mdp, solved(mdp, np.asarray(policy)), world, batch, log_of(batch))


@functools.cache
def by_chance() -> Played:
    """The process with chance, and a judge without error for every name."""
    with jax.enable_x64(True):
        mdp, policy = wide(*process())
        rewards, means = hindsight.supports(mdp)
        panel = {
            JUDGE: Judge(),
            "mistakes": Mistakes(margin=MARGIN),
            "verdicts": Verdict(margin=MARGIN),
            "hindsight": Verdict(Judge("td_error")),
            "planning": Lexicon(),
            "levels": Judge("advantage", resolution=4),
            "verifier": BestAction("optimal"),
            "posterior": Posterior(),
            "q_value": Judge("q_value"),
            "coach": Judge("q_value", resolution=11),
            "critic": Critic("latent_history"),
            "clairvoyant": Critic("clairvoyant"),
            "state_contribution": Contributed("state", centred=False, immediate=True),
            "reward_contribution": Contributed("reward", rewards),
            "feature_contribution": Contributed("prediction", means),
            "belief": Judge(),
            "saliency": Judge("advantage"),
            "skills": Skill(),
            "format": Lexicon("everywhere", words.WORDS),
            "best": BestAction("optimal"),
            "expert": Expert(),
            "discriminator": Discriminator(),
            "actions": PerAction(Judge("q_value")),
            "joint": JointCritic(),
            "first_mistake": FirstMistake(),
        }
        return played(mdp, policy, panel, prior=jnp.asarray(words.reference()))


@functools.cache
def for_sure() -> Played:
    """The process without chance, whose policy is brought back to what another one does."""
    with jax.enable_x64(True):
        mdp, policy, behaviour = certain(2, binary=True)
        mdp, behaviour = wide(mdp, behaviour)
        judge = Judge("value")
        return played(mdp, policy, {JUDGE: judge, "value": judge}, behaviour)


@functools.cache
def either_way(even: bool) -> Played:
    """The process where a policy that is unsure earns the same either way."""
    with jax.enable_x64(True):
        mdp, policy, behaviour = either(2, even)
        mdp, behaviour = wide(mdp, behaviour)
        return played(mdp, policy, {}, behaviour)


def credits_of(one: Played, recipes: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """Value and weight of each recipe, a row for each trajectory."""

    def credit(batch):
        every = {n: recipe.credit(KEY, one.world, batch) for n, recipe in recipes.items()}
        return {n: (credit.value, credit.weight) for n, credit in every.items()}

    with jax.enable_x64(True):
        out = jax.jit(credit, compiler_options=QUICK)(one.batch)
    rows = len(one.log["mask"])
    return {n: [np.asarray(x).reshape(rows, *x.shape[2:]) for x in c] for n, c in out.items()}


def values_of(one: Played, recipes: dict[str, Any]) -> dict[str, np.ndarray]:
    """Values of each recipe; weights that redistribute are in them."""
    out = credits_of(one, recipes)
    return {n: value * weight if n in SHARED else value for n, (value, weight) in out.items()}


def said(name: str) -> np.ndarray:
    """What the judge of this name says of each step."""
    with jax.enable_x64(True):
        word = by_chance().world.judge(KEY, by_chance().batch, name)
    return np.asarray(word).reshape(by_chance().log["mask"].shape)


SHARED = {"OAR", "GRAIL", "VSPO", "ADAPTSEG"}
"""What weighs steps, or prompts, by what was judged."""
JUDGED: dict[str, Callable[..., np.ndarray]] = {
    "IGPO": judged.igpo,
    "IGPO_KEPT": judged.igpo_kept,
    "IGPO_LOG": judged.igpo_log,
    "A2TGPO": judged.a2tgpo,
    "TRACE": judged.trace,
    "OAR": judged.oar,
    "CAPO": functools.partial(judged.capo, margin=MARGIN),
    "HICRA": judged.hicra,
    "FINEPO": lambda log, known: judged.finepo(log, known, said("levels")),
    "near the reference": lambda log, known: judged.finepo(
        log, known, said("levels"), judged.less_likely(log, known, words.reference()), 0.02
    ),
    "TARL": functools.partial(judged.tarl, margin=MARGIN),
    "CRITICSEARCH": judged.critic_search,
    "VPR": judged.vpr,
    "HCAPO": judged.hcapo,
    "HCAPO_SMOOTH": functools.partial(judged.hcapo, smooth=True),
    "HCA_RETURN_ALL": judged.hca_return_all,
    "RUDDER_EXACT": judged.rudder,
    "MAPPA": lambda log, known: judged.mappa(log, said("coach")),
    "RED_RLOO": judged.red_rloo,
    "CLAIRVOYANT": judged.clairvoyant,
}
WORDED: dict[str, Callable[..., np.ndarray]] = {
    "DELTA_BELIEF": words.delta_belief,
    "GRAIL": words.grail,
    "SCRIBE": words.scribe,
    "SR_PPO": words.sr_ppo,
    "VSPO": words.vspo,
    "ADAPTSEG": words.adaptive_segments,
    "ACPO": words.acpo,
    "PILOTRL": words.pilot,
    "STEPAGENT": words.step_agent,
    "STEPAGENT_INVERSE": words.step_agent_inverse,
    "COMA": words.coma,
    "T_REG": words.t_reg,
    "INT_UNCHECKED": words.intervened,
}
"""Of words, plans, experts and beliefs."""
CONTRIBUTED = {
    "HCA_STATE_EXACT": hindsight.hca_state,
    "COCOA_REWARD_EXACT": hindsight.cocoa_reward,
    "COCOA_FEATURE_EXACT": hindsight.cocoa_feature,
}
BRANCHED: dict[str, Callable[..., np.ndarray]] = {
    "VINEPPO": branches.vine,
    "cuts where unlikely": functools.partial(branches.spo_chain, interval=2, threshold=0.6),
    "C3": functools.partial(branches.c3, form="scaled"),
    "DIFFERENCE_TURN": functools.partial(branches.without_turn, null=0),
    "CCPO_HELPED": functools.partial(branches.ccpo, form="helped"),
    "SCAR_EXACT": functools.partial(branches.shapley, kind="segment"),
    "SHARP": branches.sharp,
}
FORKED: dict[str, Callable[..., tuple[np.ndarray, np.ndarray]]] = {
    "SPO_TREE": forks.spo_tree,
    "SPO_TREE_GRPO": functools.partial(forks.spo_tree, baseline="scaled"),
    "BPO_FADED": functools.partial(forks.bpo, fade=0.9),
    "CARL_ENTROPY": forks.carl_by_entropy,
    "AT2PO": forks.at2po,
}
"""Value and weight, where what a fork earns is known."""
SPECIAL = {
    "near the reference": Chain(
        Whole(1.0), Baseline(), Apportion(divergence=0.3, limit=0.4, epsilon=0.02)
    ),
    "cuts where unlikely": CutVine(9, "unlikely", interval=2, threshold=0.6),
}


@functools.cache
def given(kind: str) -> dict[str, np.ndarray]:
    names = {"branched": BRANCHED, "worded": WORDED}.get(kind, {**JUDGED, **CONTRIBUTED})
    recipes = {name: SPECIAL.get(name) or recipe_of(getattr(methods, name)) for name in names}
    return values_of(for_sure() if kind == "branched" else by_chance(), recipes)


@pytest.mark.parametrize("name", JUDGED)
def test_credit_of_exact_judges(name):
    one = by_chance()
    agree(given("judged")[name], JUDGED[name](one.log, one.known), one.log)


@pytest.mark.parametrize("name", WORDED)
def test_credit_of_judges_of_words_plans_and_experts(name):
    one = by_chance()
    agree(given("worded")[name], WORDED[name](one.log, one.mdp, one.known), one.log)


@functools.cache
def of_mistakes() -> Played:
    """The process with chance, where mistakes are early and much can go wrong after them."""
    with jax.enable_x64(True):
        mdp, policy = wide(*process(2))
        panel = {"best": BestAction("optimal"), "first_mistake": FirstMistake()}
        return played(mdp, policy, panel)


def checked(recipe):
    """Credit and cost of an intervention, and how it went back: step, action, continuations."""
    one, played_on = of_mistakes(), []
    branch = World.branch

    def recorded(self, key, batch, step, num, action):
        tails = branch(self, key, batch, step, num, action=action)
        played_on.append((step, action, tails))
        return tails

    def credit(batch):
        with mock.patch.object(World, "branch", recorded):
            return recipe.credit(KEY, one.world, batch), played_on.pop()

    with jax.enable_x64(True):
        return jax.jit(credit, compiler_options=QUICK)(one.batch)


@pytest.mark.parametrize("num", [32, 1])
def test_an_intervention_is_kept_if_a_continuation_from_it_succeeds(num):
    one, recipe = of_mistakes(), recipe_of(methods.INT)
    assert recipe.num_checks == 32
    given, (step, action, tails) = checked(dataclasses.replace(recipe, num_checks=num))
    rows = len(one.log["mask"])

    def by_row(x, *shape):
        return np.asarray(x).reshape(rows, *shape)

    step, action = by_row(step), by_row(action)
    value = by_row(given.value, *given.value.shape[2:])
    reward, live, acted = (
        by_row(getattr(tails, name), num, -1) for name in ("reward", "live", "action")
    )
    kept, played_steps = np.zeros(rows, bool), 0
    mistakes = words.mistakes(one.log, one.known)
    for i, (first, best) in mistakes.items():
        assert (step[i], action[i]) == (first, best)
        assert (acted[i, :, first] == best).all()
        assert (acted[i, :, :first] == one.log["action"][i, :first]).all()
        kept[i] = (reward[i].sum(axis=-1) > 0.5).any()
        played_steps += live[i, :, first:].sum()
    assert kept.any()
    # One continuation fails now and then.
    assert num == 32 or kept.sum() < len(mistakes)
    agree(value, words.intervened(one.log, one.mdp, one.known, kept), one.log)
    assert float(given.cost.env_steps) == played_steps


@pytest.mark.parametrize("name", CONTRIBUTED)
def test_credit_of_all_actions(name):
    one = by_chance()
    wanted = CONTRIBUTED[name](one.log, one.mdp, one.known)
    agree(given("judged")[name], wanted, one.log)


@pytest.mark.parametrize("name", BRANCHED)
def test_credit_of_branches(name):
    one = for_sure()
    wanted = BRANCHED[name](one.log, one.mdp, one.known)
    agree(given("branched")[name], wanted, one.log)


@functools.cache
def forked(even: bool) -> dict[str, list[np.ndarray]]:
    names = [name for name in FORKED if (name == "AT2PO") == even]
    return credits_of(either_way(even), {n: recipe_of(getattr(methods, n)) for n in names})


@pytest.mark.parametrize("name", FORKED)
def test_credit_of_trees(name):
    even = name == "AT2PO"
    one = either_way(even)
    value, weight = FORKED[name](one.log, one.mdp, one.known)
    for found, wanted in zip(forked(even)[name], (value, weight), strict=True):
        agree(found, wanted, one.log)


@pytest.mark.parametrize("form", ["gated", "helped", "margin"])
def test_roles_beside_a_solo_run_before_they_are_compared_in_the_group(form):
    """What CCPO's division by the group's deviation would hide: the size of the bonus."""
    one = for_sure()
    found = values_of(one, {form: BesideSolo(form)})[form]
    wanted = branches.roles(one.log, one.mdp, one.known, form)
    agree(found, wanted, one.log)


def test_the_gate_remembers_the_batches_before():
    """CCPO's first version: the statistics that are read are those from before the batch."""
    one = for_sure()
    source = BesideSolo("gated")

    def three(batch):
        other = batch._replace(reward=batch.reward * 0.5)
        state = source.init(KEY, one.world)
        for given in (batch, other):
            _, state = source(KEY, one.world, given, begin(given), state)
        return source(KEY, one.world, batch, begin(batch), state)[0].value

    with jax.enable_x64(True):
        value = np.asarray(jax.jit(three, compiler_options=QUICK)(one.batch))
    joint = np.array([outcome(one.log, i) for i in range(len(one.log["mask"]))])
    alone = np.array([branches.solo(one.log, one.mdp, one.known, i) for i in range(len(joint))])
    before = [(joint, alone), (joint * 0.5, alone)]
    wanted = branches.gated(one.log, joint, alone, before)
    agree(value.reshape(wanted.shape), wanted, one.log)
