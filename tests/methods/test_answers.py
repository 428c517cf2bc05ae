"""What the environment's answers earn: moved to the decision before them, or a bonus of its own."""

from __future__ import annotations

import functools

import jax
import numpy as np
import pytest

from casim import methods
from casim.estimators import Alternatives, BesideSolo, Chain, Judged, OntoDecisions, Sum
from casim.graders import Lexicon
from casim.simulate import World
from casim.tasks import Team
from tests import reference
from tests.enumeration import case, run
from tests.methods.every_action import judged
from tests.quick import QUICK

KEY = jax.random.key(2)


@functools.cache
def odd():
    """Rewards at every step, also at the environment's; early ends."""
    return case(binary=False, actions=2, prompt=False)


def moved(reward, decided, live):
    """Each reward of an answer on the decision before it, the first if none is before."""
    out = np.zeros(reward.shape)
    for i, t in np.argwhere(live):
        before = np.flatnonzero(decided[i, : t + 1])
        after = np.flatnonzero(decided[i])
        if len(after):
            out[i, before[-1] if len(before) else after[0]] += reward[i, t]
    return out


@functools.cache
def batches():
    """The trajectories with values of a log, the same with rewards moved by hand; decisions."""
    one = odd()
    batch = one.world.attach(jax.tree.map(lambda x: x[None], one.all.batch))
    value = 0.3 * np.asarray(batch.observation, np.float32) - 0.5
    batch = batch._replace(value=value)
    reward, live, decided = (np.asarray(x)[0] for x in (batch.reward, batch.live, batch.decided))
    by_hand = moved(reward, decided, live).astype(np.float32)
    assert np.abs(reward[live & ~decided]).max() > 0.5
    return batch, batch._replace(reward=by_hand[None]), decided


@functools.partial(jax.jit, compiler_options=QUICK)
def both(batch, other):
    world = odd().world

    def given(name, x):
        return methods.named_methods()[name].recipe.credit(KEY, world, x).value

    names = ("GAE_VERL", "RAGEN")
    return {name: (given(f"{name}_ANSWERS", batch), given(name, other)) for name in names}, {
        name: given(name, batch) for name in names
    }


@pytest.mark.slow
def test_rewards_of_answers_are_kept_by_the_decision_before_them():
    batch, by_hand, decided = batches()
    kept, lost = both(batch, by_hand)
    for name, (found, wanted) in kept.items():
        np.testing.assert_allclose(found[0][decided], wanted[0][decided], atol=1e-6)
        assert np.abs(np.asarray(lost[name] - found)[0][decided]).max() > 0.1


def test_the_sum_of_rewards_stays_and_goes_where_it_is_said():
    batch, by_hand, _ = batches()
    found = OntoDecisions("before").credit(KEY, None, batch).value
    np.testing.assert_allclose(found, by_hand.reward, atol=1e-6)
    last = OntoDecisions().credit(KEY, None, batch).value
    np.testing.assert_allclose(last.sum(-1), found.sum(-1), atol=1e-5)
    assert np.abs(np.asarray(last - found)).max() > 0.1


def test_bad_settings_raise(unhooked):
    with pytest.raises(ValueError, match="to must be one of"):
        OntoDecisions("after")


@pytest.mark.slow
def test_the_grounding_bonus_is_of_the_action_alone_and_of_the_last_turn_always():
    one = odd()
    world = judged(one, format=Lexicon("everywhere", words=(1,)))
    bonus = Sum(*methods.SPA_RL_GROUNDED.recipe.parts[1:])
    credit = run(bonus, KEY, world, one.all.batch)
    batch = one.world.attach(jax.tree.map(lambda x: x[None], one.all.batch))
    decided, turn, action = (np.asarray(x)[0] for x in (batch.decided, batch.turn, batch.action))
    wanted = np.zeros(decided.shape)
    for i in range(len(wanted)):
        (mine,) = np.nonzero(decided[i])
        ends = [t for t in mine if t == mine[-1] or turn[i, t] != turn[i, mine[mine > t][0]]]
        for t in ends:
            wanted[i, t] = 0.5 * (t == mine[-1] or action[i, t] == 1)
    np.testing.assert_allclose(np.asarray(credit.value)[decided], wanted[decided], atol=1e-6)
    assert len(np.unique(wanted[:, 0])) == 2
    assert [float(x) for x in credit.cost] == [0.0, 0.0, 0.0]
    paid = run(Judged("format", "turn"), KEY, world, one.all.batch)
    np.testing.assert_allclose(paid.cost.judge_calls, np.asarray(batch.live)[0, :, [0, 2]].sum())


@pytest.mark.slow
def test_agents_that_act_once_are_steps():
    """C3 and CCPO at the level of agents, in a team whose agents have a step each."""
    mdp = Team(num_agents=3, coupling=0.5, order="simultaneous", null_agent=1).build()
    world = World.make(mdp, reference.random_policy(1, mdp))
    batch = reference.rollout(world, KEY, 5)
    for by_agent, by_step in (
        (methods.C3_AGENTS.recipe, Alternatives(4, "step")),
        (
            methods.CCPO_AGENTS.recipe,
            Chain(BesideSolo("gated", "step"), methods.CCPO_AGENTS.recipe.parts[1]),
        ),
    ):
        one, other = (
            jax.jit(lambda key, x=x: run_of(x, key, world, batch), compiler_options=QUICK)(KEY)
            for x in (by_agent, by_step)
        )
        np.testing.assert_allclose(one, other, atol=1e-6)
        assert np.abs(np.asarray(one)).max() > 0.1


def run_of(recipe, key, world, batch):
    return recipe.credit(key, world, world.attach(jax.tree.map(lambda x: x[None], batch))).value
