"""What makes no sense is refused by `World`, and nothing at all is a batch like any other."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.judges import Judge
from casim.simulate import Engine, World
from tests.simulate.samples import KEY, ROWS

STEP, MANY_STEPS = jnp.ones(ROWS, int), np.array([0, 1, 2, 3, 3, 2, 1, 0, 3, 2, 3, 99, 2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": -1}, "num must be in [0, inf], got -1"),
        ({"num": 2.5}, "num must be an integer in [0, inf], got 2.5"),
        ({"num": True}, "num must be an integer in [0, inf], got True"),
        ({"prompt": 99}, "prompt must be in [0, 4], got 99"),
        ({"prompt": -1}, "prompt must be in [0, 4], got -1"),
        ({"prompt": np.int64(5)}, "prompt must be in [0, 4], got 5"),
        ({"prompt": 1.0}, "prompt must be an integer in [0, 4], got 1.0"),
        ({"prompt": np.array([1, 2])}, "prompt must have shape (), got"),
        ({"first": -3}, "first must be in [0, 2147483647], got -3"),
        ({"first": 0.5}, "first must be an integer in"),
    ],
)
def test_a_rollout_of_nonsense_is_refused(small, unhooked, arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        small[0].rollout(KEY, **{"num": 3, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"step": 4}, "step must be in [0, 3], got 4"),
        ({"step": np.int64(99)}, "step must be in [0, 3], got 99"),
        ({"step": jnp.asarray(-1)}, "step must be in [0, 3], got -1"),
        ({"step": MANY_STEPS}, "step[11] must be in [0, 3], got"),
        ({"step": 1.7}, "step must be an integer in [0, 3], got 1.7"),
        ({"step": np.array([1, 2])}, "step must have shape () or (13,), got"),
        ({"action": 9}, "action must be in [0, 1], got 9"),
        ({"action": -2}, "action must be in [0, 1], got -2"),
        ({"action": -1}, "action must be in [0, 1], got -1"),
        ({"action": MANY_STEPS}, "action[2] must be in [0, 1], got"),
        ({"action": 0.5}, "action must be an integer in [0, 1], got 0.5"),
        ({"num": -1}, "num must be in [0, inf], got -1"),
        ({"num": 1.5}, "num must be an integer in [0, inf], got 1.5"),
        ({"prompt": 5, "replay": "refed"}, "prompt must be in [0, 4], got 5"),
        ({"replay": "again"}, "replay must be one of ('restored', 'refed'), got 'again'"),
    ],
)
def test_a_branch_of_nonsense_is_refused(small, batch, unhooked, arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        small[0].branch(KEY, batch, **{"step": 1, "num": 2, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num": -1}, "num must be in [0, inf], got -1"),
        ({"num": 1.5}, "num must be an integer in [0, inf], got 1.5"),
        (
            {"keep": jnp.ones(4, bool)},
            "keep must be booleans of shape (13, 4), got bool of shape (4,)",
        ),
        (
            {"keep": jnp.ones((13, 4), int)},
            "keep must be booleans of shape (13, 4), got int32 of shape (13, 4)",
        ),
        (
            {"keep": np.ones((13, 4))},
            "keep must be booleans of shape (13, 4), got float32 of shape (13, 4)",
        ),
    ],
)
def test_an_intervention_of_nonsense_is_refused(small, batch, unhooked, arguments, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        small[0].intervene(KEY, batch, **{"keep": jnp.ones((ROWS, 4), bool), "num": 2, **arguments})


def test_a_batch_of_another_number_of_steps_is_refused(small, batch):
    world = dataclasses.replace(small[0], reference=small[0].policy)
    short = jax.tree.map(lambda x: x[:, :3], batch)
    for call in (
        lambda: world.branch(KEY, short, 1, 2),
        lambda: world.intervene(KEY, short, jnp.ones((ROWS, 3), bool), 2),
        lambda: world.probability(short),
        lambda: world.reference_probability(short),
        lambda: world.judge(KEY, short),
        lambda: world.judge_prompt(KEY, short),
    ):
        with pytest.raises(
            ValueError,
            match=re.escape("batch must have 4 steps, those of the process, got shape (13, 3)"),
        ):
            call()


def test_a_world_refuses_a_recipe_for_a_judge_and_a_policy_that_is_none(small, unhooked):
    world, mdp, policy = small
    with pytest.raises(
        ValueError,
        match=r"judges\['judge'\] must be a judge made by the `model` of its recipe, got Judge\(",
    ):
        World.make(mdp, policy, judges={"judge": Judge()})
    with pytest.raises(ValueError, match=r"policy\[0, 0, 0\] must be finite probabilities"):
        dataclasses.replace(world, policy=3 * world.policy)
    with pytest.raises(ValueError, match=r"reference must have shape"):
        dataclasses.replace(world, reference=world.policy[:1])


def test_under_jit_types_are_checked_and_values_cannot_be(small, batch, unhooked):
    branch = jax.eval_shape(lambda step: small[0].branch(KEY, batch, step, 2), jnp.asarray(99))
    assert branch.state.shape == (ROWS, 2, 4)
    with pytest.raises(ValueError, match="step must be an integer in"):
        jax.eval_shape(lambda step: small[0].branch(KEY, batch, step, 2), jnp.asarray(1.0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "engine",
    [
        Engine.make("scan"),
        Engine.make("parallel", 2),
        pytest.param(Engine.make("fused", 2), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_no_rows_and_no_copies_are_batches_like_others(small, batch, engine):
    """Such a batch goes through every engine.

    The fused one leaves it to another, because a kernel of no threads cannot be started.
    """
    world = dataclasses.replace(small[0], engine=engine)
    none = jax.tree.map(lambda x: x[:0], batch)

    @jax.jit
    def empty(batch, none):
        some, nothing = jnp.ones((ROWS, 4), bool), jnp.ones((0, 4), bool)
        no_rows = [
            world.branch(KEY, none, 1, 2, 1),
            world.branch(KEY, none, 1, 2, replay="refed"),
            world.intervene(KEY, none, nothing, 2),
        ]
        no_copies = [
            world.branch(KEY, batch, STEP, 0),
            world.branch(KEY, batch, 1, 0, replay="refed"),
            world.intervene(KEY, batch, some, 0),
        ]
        return [world.rollout(KEY, 0)], no_rows, no_copies

    for made, shape in zip(empty(batch, none), [(0, 4), (0, 2, 4), (ROWS, 0, 4)], strict=True):
        for out in made:
            assert {x.shape for x in out} == {shape}
            assert [x.dtype for x in out] == [x.dtype for x in batch]
