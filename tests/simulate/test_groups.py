"""Groups: prompts drawn with replacement, and what the episodes of one have in common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.simulate import World
from tests import reference
from tests.quick import QUICK

P, N = 3000, 3
KEY = jax.random.key(5)
LABEL = np.array([0, 1, 0, 1, 0])
"""Prompts of the start states of a little process."""


@pytest.fixture(scope="module")
def world():
    mdp, policy = reference.random_mdp(3)
    start = np.array([0.1, 0.25, 0.0, 0.35, 0.3], np.float32)
    mdp = mdp._replace(start=jnp.asarray(start), prompt=jnp.asarray(LABEL))
    return World.make(mdp, policy)


def drawn(world, share):
    draw = jax.jit(lambda world: world.groups(KEY, P, N, share), compiler_options=QUICK)
    return draw(world)


@pytest.fixture(scope="module")
def batch(world):
    return drawn(world, "prompt")


def test_a_group_has_one_prompt_and_groups_are_independent(world, batch):
    label = np.asarray(world.mdp.prompt)
    start = np.asarray(world.mdp.start, np.float64)
    states = np.asarray(batch.state[:, :, 0])
    np.testing.assert_array_equal(label[states], np.asarray(batch.prompt)[:, None] * np.ones(N))
    chance = np.array([start[label == which].sum() for which in (0, 1)])
    reference.assert_frequencies(np.bincount(np.asarray(batch.prompt), minlength=2), chance)


def test_what_is_hidden_is_drawn_for_each_episode_given_the_prompt(world, batch):
    """Frequencies of pairs of start states of one group: independent, given the prompt."""
    label = np.asarray(world.mdp.prompt)
    start = np.asarray(world.mdp.start, np.float64)
    states = np.asarray(batch.state[:, :, 0]).astype(int)
    for which in (0, 1):
        given = np.where(label == which, start, 0.0)
        given = given / given.sum()
        pairs = states[np.asarray(batch.prompt) == which]
        assert (given > 0).sum() > 1
        count = np.zeros((len(start), len(start)))
        np.add.at(count, (pairs[:, 0], pairs[:, 2]), 1)
        wanted = given[:, None] * given[None, :]
        possible = wanted > 0
        assert not count[~possible].any()
        reference.assert_frequencies(count[possible], wanted[possible])


def test_a_shared_state_is_one_for_the_group(world):
    states = np.asarray(drawn(world, "state").state[:, :, 0])
    assert (states == states[:, :1]).all()
    start = np.asarray(world.mdp.start, np.float64)
    count = np.bincount(states[:, 0].astype(int), minlength=len(start))
    reference.assert_frequencies(count[start > 0], start[start > 0])


@pytest.mark.slow
def test_a_refed_branch_knows_the_prompt_of_its_row(world):
    """At the first step the belief is P(s_0 | prompt, o_0); the states of no other are drawn."""
    group = reference.groups(world, jax.random.key(1), 40, 2)
    refed = jax.jit(
        lambda world, batch: world.branch(KEY, batch, 0, 200, replay="refed"),
        compiler_options=QUICK,
    )
    states = np.asarray(refed(world, group).state[..., 0]).astype(int)
    start = np.asarray(world.mdp.start, np.float64)
    shows = np.asarray(world.mdp.emission, np.float64)[int(world.mdp.schedule[0])]
    counts = {}
    for p, i in np.ndindex(40, 2):
        key = int(group.prompt[p]), int(group.observation[p, i, 0])
        if group.live[p, i, 0]:
            count = np.bincount(states[p, i], minlength=len(start))
            counts[key] = counts.get(key, 0) + count
    assert {prompt for prompt, _ in counts} == {0, 1}
    terminal = np.asarray(world.mdp.terminal)
    for (prompt, seen), count in counts.items():
        belief = np.where((prompt == LABEL) & ~terminal, start * shows[:, seen], 0.0)
        assert not count[belief == 0].any()
        if (belief > 0).sum() > 1:
            reference.assert_frequencies(count[belief > 0], belief[belief > 0] / belief.sum())


def test_one_group_is_a_rollout_where_all_is_one_prompt(world):
    mdp = world.mdp._replace(prompt=jnp.zeros_like(world.mdp.prompt))
    one = World.make(mdp, world.policy)
    group = reference.groups(one, KEY, 1, 7)
    alone = reference.rollout(one, KEY, 7)
    for name in alone._fields:
        np.testing.assert_array_equal(getattr(group, name)[0], getattr(alone, name))


def test_the_layout_is_that_of_the_world(world, batch):
    mdp = world.mdp
    schedule = np.asarray(mdp.schedule)
    for name, wanted in {
        "decision": np.asarray(mdp.decision)[schedule],
        "kind": np.asarray(mdp.kind)[schedule],
        "discount": np.asarray(mdp.discount)[schedule],
        "turn": mdp.turn,
        "segment": mdp.segment,
        "agent": mdp.agent,
    }.items():
        np.testing.assert_array_equal(getattr(batch, name)[7, 1], wanted, err_msg=name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2), r"num_prompts must be in \[1, inf\], got 0"),
        ((2, 0), r"num must be in \[1, inf\], got 0"),
        ((2, 2, "seed"), "share must be one of"),
    ],
)
def test_nonsense_is_refused(world, arguments, message, unhooked):
    with pytest.raises(ValueError, match=message):
        world.groups(KEY, *arguments)


def test_trajectories_of_another_shape_have_no_layout(world):
    with pytest.raises(ValueError, match=r"trajectory must have shape \[P, N, T\], got \(2, 4\)"):
        world.attach(world.rollout(KEY, 2))
