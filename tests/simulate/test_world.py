"""World.intervene and the rest of its doors."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import reference
from tests.reference import intervene, mean_and_error, rollout
from tests.simulate.samples import (
    COPIES,
    KEY,
    MANY,
    OTHER,
    ROWS,
    assert_same,
    branch,
    close,
    copy,
    gain,
)

MASKS = {
    "none": [0, 0, 0, 0],
    "all": [1, 1, 1, 1],
    "first and last": [1, 0, 0, 1],
    "second": [0, 1, 0, 0],
}


@pytest.mark.parametrize("mask", MASKS)
def test_interventions_have_the_expected_return_of_the_enumeration(small, batch, mask):
    """Given s_0 and the kept actions, within 5 standard errors in each row."""
    world, mdp, policy = small
    keep = np.broadcast_to(np.array(MASKS[mask], bool), (ROWS, 4))
    out = intervene(world, OTHER, batch, jnp.asarray(keep), MANY)
    mean = gain(out, mdp.discount[0]).mean(1)
    for i in range(ROWS):
        kept = keep[i] & np.asarray(batch.live[i])
        paths = reference.enumerate_paths(
            mdp,
            policy,
            start=np.arange(5) == int(batch.state[i, 0]),
            imposed=np.where(kept, np.asarray(batch.action[i]), -1),
        )
        assert close(mean[i], *mean_and_error(paths, mdp.discount[0], MANY))
        taken = np.asarray(out.action)[i] == np.asarray(batch.action[i])
        assert np.all(taken | ~kept | ~np.asarray(out.live)[i])


def test_an_intervention_that_keeps_nothing_under_the_same_key_is_the_rollout(small, batch):
    again = intervene(small[0], KEY, batch, jnp.zeros((ROWS, 4), bool), MANY)
    assert again.state.shape == (ROWS, MANY, 4)
    assert_same(copy(again, 0), batch)
    assert np.any(again.state[:, 1] != batch.state)


def test_probability_is_the_policy_as_it_acts(small, batch):
    world, mdp, policy = small
    other = policy[:, ::-1].copy()
    world = dataclasses.replace(world, reference=jnp.asarray(other))
    for table, out in (
        (policy, world.probability(batch)),
        (other, world.reference_probability(batch)),
    ):
        wanted = table[np.asarray(mdp.schedule)[None], np.asarray(batch.observation)]
        wanted[:, 2] = [1.0, 0.0]
        np.testing.assert_array_equal(out, wanted)
    branched = jax.tree.map(lambda x: jnp.stack([x] * COPIES, axis=1), batch)
    assert world.probability(branched).shape == (ROWS, COPIES, 4, 2)


def test_privileged_is_the_latent_state(small, batch):
    np.testing.assert_array_equal(small[0].privileged(batch), batch.state)


def test_the_units_and_the_discount_are_those_of_the_mdp(small):
    world, mdp, _ = small
    np.testing.assert_array_equal(world.segment, mdp.segment)
    assert float(world.discount) == 29 / 32


def test_without_a_reference_policy_its_probabilities_raise(small, batch):
    with pytest.raises(
        ValueError, match="reference must be a policy table in this world, got None"
    ):
        small[0].reference_probability(batch)


def test_without_a_judge_judging_raises(small, batch):
    for judge in (small[0].judge, small[0].judge_prompt):
        with pytest.raises(ValueError, match=r"judges must hold 'judge' in this world, got \[\]"):
            judge(KEY, batch)


def test_a_world_is_a_pytree_for_jit_and_vmap(small, batch, unhooked):
    """Three policies at once equal one after the other.

    Each branches at steps and to actions of its own.
    """
    world = small[0]
    assert len(jax.tree.leaves(world)) == len(world.mdp) + 1 + len(world.tables)
    tables = jnp.stack([world.policy, world.policy[:, ::-1], world.policy[..., ::-1]])
    worlds = jax.vmap(lambda table: dataclasses.replace(world, policy=table))(tables)
    keys = jax.random.split(KEY, 3)
    step = jnp.asarray(np.arange(3)[:, None] + np.arange(ROWS) % 2)
    split = jax.jit(jax.vmap(lambda w, k, t, a: w.branch(k, batch, t, COPIES, a)))
    out = split(worlds, keys, step, step[:, ::-1] % 2)
    for i in range(3):
        one = dataclasses.replace(world, policy=tables[i])
        wanted = branch(one, keys[i], batch, step[i], MANY, step[i, ::-1] % 2)
        assert_same(
            jax.tree.map(lambda x, i=i: x[i], out), jax.tree.map(lambda x: x[:, :COPIES], wanted)
        )


def test_replacing_the_policy_of_a_world_changes_what_it_draws(tool):
    never = jnp.zeros_like(tool.policy).at[..., 0].set(1.0)
    assert not np.any(rollout(dataclasses.replace(tool, policy=never), KEY, 20).action)
    assert np.any(rollout(tool, KEY, 20).action)
