"""Two policies: rollouts follow one, what is asked about is the other, to the last bit."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from casim.simulate import Engine, World
from tests import reference
from tests.reference import intervene, rollout
from tests.simulate.samples import COPIES, KEY, MANY, OTHER, ROWS, assert_same

STEP, ACTION = 1, 1
TABLES = ("policy", "behaviour", "reference")


@pytest.fixture(scope="module")
def tables(small):
    """The policy, and one that differs from it in every row and never takes action 1 in one."""
    policy = small[2]
    behaviour = 0.75 * policy[:, :, ::-1] + 0.125
    behaviour[0, 0] = [1.0, 0.0]
    return np.asarray(policy), np.asarray(behaviour, np.float32)


@pytest.fixture(scope="module")
def both(small, tables):
    """A world whose behaviour is another policy."""
    policy, behaviour = tables
    return World.make(small[1], policy, behaviour)


@pytest.fixture(scope="module")
def other(small, tables):
    """The world whose policy is that behaviour."""
    return World.make(small[1], tables[1])


@pytest.fixture(scope="module")
def drawn(both):
    return rollout(both, KEY, ROWS)


def branched(world, batch, follow):
    step = jnp.full(ROWS, STEP)
    return reference.branch(world, OTHER, batch, step, COPIES, follow=follow)


ENGINES = [
    Engine.make("scan"),
    Engine.make("parallel", 2),
    pytest.param(Engine.make("fused"), marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES, ids=str)
def test_rollouts_are_those_of_the_behaviour_to_the_last_bit(both, other, drawn, engine):
    """Under every engine, their log-probabilities too."""
    one = dataclasses.replace(both, engine=engine)
    assert_same(rollout(one, KEY, ROWS), drawn)
    assert_same(rollout(dataclasses.replace(other, engine=engine), KEY, ROWS), drawn)
    assert_same(*(reference.groups(world, KEY, 1, ROWS) for world in (one, other)))


def test_a_branch_follows_the_policy_unless_told_otherwise(small, both, other, drawn):
    own = small[0]
    for follow, world in (("policy", own), ("behaviour", other)):
        found = branched(both, drawn, follow)
        wanted = branched(world, drawn, "policy")
        assert_same(found, wanted)
    assert_same(
        branched(both, drawn, "policy"),
        reference.branch(both, OTHER, drawn, jnp.full(ROWS, STEP), COPIES),
    )
    assert np.any(
        branched(both, drawn, "policy").action != branched(both, drawn, "behaviour").action
    )


def test_an_intervention_follows_the_policy_unless_told_otherwise(small, both, other, drawn):
    keep = jnp.broadcast_to(jnp.arange(4) == 2, (ROWS, 4))
    wanted = {"policy": small[0], "behaviour": other}
    for follow, world in wanted.items():
        found = intervene(both, OTHER, drawn, keep, COPIES, follow=follow)
        assert_same(found, intervene(world, OTHER, drawn, keep, COPIES))
    default = intervene(both, OTHER, drawn, keep, COPIES)
    assert_same(default, intervene(small[0], OTHER, drawn, keep, COPIES))


def test_the_doors_give_both_policies_along_a_trajectory(small, both, tables, drawn):
    """As they act, and the logarithms of what was taken."""
    mdp = small[1]
    kernel = np.asarray(mdp.schedule)[None]
    seen, action = np.asarray(drawn.observation), np.asarray(drawn.action)
    live, decided = np.asarray(drawn.live), np.asarray(mdp.decision)[kernel]
    doors = {
        "policy": (both.probability, both.policy_log_prob(drawn)),
        "behaviour": (both.behaviour_probability, drawn.log_prob),
    }
    for table, (door, log_prob) in zip(tables, doors.values(), strict=True):
        acting = table[kernel, seen]
        acting = np.where(decided[..., None], acting, [1.0, 0.0])
        np.testing.assert_array_equal(door(drawn), acting)
        taken = np.take_along_axis(acting, action[..., None].astype(int), axis=-1)[..., 0]
        wanted = np.where(live, np.log(taken), 0.0)
        np.testing.assert_allclose(log_prob, wanted, rtol=1e-6)
        assert not np.any(np.asarray(log_prob)[~(live & decided)])
    assert not live.all()


def test_the_log_probability_of_an_impossible_action_is_minus_infinity(small, tables, drawn):
    """Here of the policy, along what a behaviour took that takes everything."""
    policy, behaviour = tables
    world = World.make(small[1], behaviour, policy)
    batch = rollout(world, KEY, MANY)
    never = (np.asarray(batch.observation)[:, 0] == 0) & (np.asarray(batch.action)[:, 0] == 1)
    found = np.asarray(world.policy_log_prob(batch))[:, 0]
    assert never.any()
    np.testing.assert_array_equal(np.isneginf(found), never)


def test_without_a_behaviour_the_policy_is_its_own(small, batch):
    """Nothing is held twice, and the log-probabilities agree to the last bit."""
    world = small[0]
    assert world.policy_tables is None
    np.testing.assert_array_equal(world.policy_log_prob(batch), batch.log_prob)
    np.testing.assert_array_equal(world.behaviour_probability(batch), world.probability(batch))
    assert_same(branched(world, batch, "policy"), branched(world, batch, "behaviour"))


def test_the_log_probabilities_of_the_reference_need_one(small, tables, batch):
    world = World.make(small[1], tables[1], reference=tables[0])
    np.testing.assert_array_equal(world.reference_log_prob(batch), batch.log_prob)
    with pytest.raises(ValueError, match="reference must be a policy table in this world"):
        small[0].reference_log_prob(batch)


def test_who_is_followed_must_be_known(both, drawn, unhooked):
    with pytest.raises(ValueError, match=r"follow must be one of \('policy', 'behaviour'\), got"):
        both.branch(KEY, drawn, STEP, COPIES, follow="reference")
    with pytest.raises(ValueError, match=r"follow must be one of"):
        both.intervene(KEY, drawn, jnp.ones(drawn.live.shape, bool), COPIES, follow="mu")


@pytest.mark.parametrize("field", TABLES)
def test_every_policy_of_a_world_must_be_a_table(small, tables, field, unhooked):
    given = {"policy": tables[0]} | {field: 3 * tables[0]}
    with pytest.raises(ValueError, match=rf"{field}\[0, 0, 0\] must be finite probabilities"):
        World.make(small[1], **given)
