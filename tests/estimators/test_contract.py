"""What holds for every estimator on every task, and what each of them refuses."""

from __future__ import annotations

import dataclasses
import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.estimators import (
    ESTIMATORS,
    PARTS,
    Baseline,
    Chain,
    Estimator,
    Gae,
    GaeNetwork,
    Hindsight,
    InformationGain,
    Part,
    ProcessReward,
    Shapley,
    Source,
    Sum,
    ToGo,
    Vine,
    Whole,
)
from casim.judges import Judge
from casim.methods import GRPO, REINFORCE, REWARD_TO_GO, RLOO
from casim.oracle import path_target
from casim.scores import group_gradient
from casim.simulate import World
from casim.targets import TARGETS, Advantage
from casim.tasks import Bifurcation, ToolChain, VariableTurns
from casim.vocabulary import CLAIMS, GRANULARITIES, METHODOLOGIES, NEEDS
from tests import reference
from tests.enumeration import QUICK, assert_mean, credit, solve

SIZE, CHUNK, CALLS = 3, 500, 20
SMALL = {
    Bifurcation: Bifurcation(
        horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, filler_entropy=0.4, num_segments=2
    ),
    ToolChain: ToolChain(
        num_turns=2,
        tokens_per_turn=2,
        reliability=0.8,
        damage=0.7,
        repair=0.25,
        observation_noise=0.1,
        unverified=0.2,
    ),
    VariableTurns: VariableTurns(
        num_turns=4, tokens_per_turn=2, stop_rewards=(0.2, 1.0, 0.4), noise=0.3
    ),
}
"""A chain, a POMDP, episodes that the policy ends: the worlds that an estimator can meet.

They differ in shape.
"""
INSTANCES = {
    Vine: Vine(2),
    Gae: Gae(num_rollouts=4),
    GaeNetwork: GaeNetwork(num_rollouts=4, hidden=3, num_updates=5, minibatch=7),
    Hindsight: Hindsight(num_rollouts=8),
    Shapley: Shapley(3),
}
CHAINS = {method.name: method for method in (REINFORCE, REWARD_TO_GO, GRPO, RLOO)}
"""Chains of parts, one of each sort."""


def instance(kind: type[Estimator]) -> Estimator:
    return INSTANCES.get(kind, kind())


RECIPES = {kind.__name__: instance(kind) for kind in ESTIMATORS} | CHAINS


def claims(name: str) -> frozenset[str]:
    """What is claimed at discount 1, which all tasks here have."""
    recipe = RECIPES[name]
    return recipe.claims_at(1.0) if name in CHAINS else recipe.claims(1.0)


@functools.cache
def setting(task):
    mdp = SMALL[task].build()
    policy = jnp.asarray(reference.random_policy(1, mdp))
    truth = solve(mdp, policy)
    return World.make(mdp, policy, judges={"judge": Judge().model(mdp, truth)}), truth


jitted = functools.partial(jax.jit, compiler_options=QUICK)
rollouts = jitted(
    jax.vmap(lambda key, world: world.rollout(jax.random.fold_in(key, 0), SIZE), in_axes=(0, None))
)
alone = jitted(credit, static_argnums=0)
gradients = jitted(jax.vmap(group_gradient, in_axes=(None, None, 0, 0)))


@functools.partial(jitted, static_argnums=0)
def credits_of(estimator, keys, world, batch):
    """Credit of many groups, under jit and vmap."""
    return jax.vmap(lambda key, batch: credit(estimator, jax.random.fold_in(key, 1), world, batch))(
        keys, batch
    )


@functools.partial(jitted, static_argnums=0)
def error_sums(aim, world, truth, batch, value):
    """Sums of credit less target over the visits of each cell, per group."""

    def one(batch, value):
        target = path_target(aim, world, truth, batch)
        cell = (
            jnp.broadcast_to(jnp.arange(value.shape[1])[None, :], value.shape),
            batch.state,
            batch.action,
        )
        return (
            jnp.zeros(truth.q_value.shape).at[cell].add(jnp.where(batch.live, value - target, 0.0))
        )

    return jax.vmap(one)(batch, value)


@functools.cache
def batches(task, seed=0):
    """Keys and groups `[CHUNK, SIZE, T]` of them."""
    keys = jax.random.split(jax.random.key(seed), CHUNK)
    return keys, rollouts(keys, setting(task)[0])


@functools.cache
def outcome(name, task, seed=0):
    """Groups, and their credit."""
    keys, batch = batches(task, seed)
    given = credits_of(RECIPES[name], keys, setting(task)[0], batch)
    return jax.tree.map(np.asarray, (batch, given))


def mixed(task):
    """The number of a group in which some succeed and some fail, its key and its trajectories."""
    keys, batch = batches(task)
    total = np.asarray(batch.reward).sum(axis=(1, 2))
    index = int(np.flatnonzero((total > 0) & (total < SIZE))[0])
    return index, jax.random.fold_in(keys[index], 1), jax.tree.map(lambda x: x[index], batch)


each_class = pytest.mark.parametrize("kind", ESTIMATORS, ids=lambda kind: kind.__name__)
every = pytest.mark.parametrize("name", RECIPES)


def pairs(names, simulated=ToolChain):
    """Every recipe on every task.

    Those that simulate take long to compile, and take one task among the fast tests, or none.
    """
    out = []
    for name in names:
        simulates = RECIPES[name].needs & {"reset", "critic"}
        for task in SMALL:
            slow = task is VariableTurns or (simulates and task is not simulated)
            mark = pytest.mark.slow if slow else ()
            out.append(pytest.param(name, task, id=f"{name}-{task.__name__}", marks=mark))
    return pytest.mark.parametrize(("name", "task"), out)


def test_the_list_holds_every_estimator_once():
    public = {
        x
        for x in vars(casim.estimators).values()
        if inspect.isclass(x) and issubclass(x, Estimator)
    }
    interfaces = {Estimator, Source, Part, Chain, Sum}
    listed = (*ESTIMATORS, *PARTS)
    assert set(listed) == public - interfaces
    assert len(set(listed)) == len(listed)


@each_class
def test_the_taxonomy_is_from_the_allowed_sets(kind):
    assert kind.granularity in GRANULARITIES
    assert kind.methodology in METHODOLOGIES
    assert type(instance(kind).target) in TARGETS
    needs = instance(kind).needs
    assert isinstance(needs, frozenset)
    assert needs <= set(NEEDS)
    assert isinstance(kind.unbiased, frozenset)
    assert kind.unbiased <= set(CLAIMS)


@each_class
def test_it_is_a_final_frozen_hashable_recipe_that_prints_what_makes_it(kind):
    estimator = instance(kind)
    assert kind.__final__
    assert not kind.__subclasses__()
    assert hash(estimator) == hash(dataclasses.replace(estimator))
    assert eval(repr(estimator)) == estimator
    for field in dataclasses.fields(estimator):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(estimator, field.name, getattr(estimator, field.name))


@pytest.mark.slow
@pairs(RECIPES)
def test_credit_is_finite_and_0_after_the_end_and_costs_are_not_negative(name, task):
    batch, credit = outcome(name, task)
    assert credit.value.shape == batch.action.shape == (CHUNK, SIZE, batch.action.shape[2])
    assert credit.value.dtype == np.float32
    assert np.isfinite(credit.value).all()
    assert credit.value.any()
    assert not credit.value[~batch.live].any()
    for cost in credit.cost:
        assert cost.shape == (CHUNK,)
        assert cost.dtype == np.float32
        assert (cost >= 0).all()
    used = {
        "env_steps": {"reset", "critic"},
        "judge_calls": {"judge"},
        "critic_updates": {"critic"},
    }
    for kind, needs in used.items():
        assert (getattr(credit.cost, kind) > 0).all() == bool(RECIPES[name].needs & needs), kind


@pytest.mark.slow
@every
def test_it_is_the_same_without_vmap_and_does_not_read_the_hidden_state_unless_it_may(name):
    """In a world with a hidden state, a scrambled record of it changes nothing.

    That is so for those without a door to it.
    """
    index, key, batch = mixed(ToolChain)
    world, _ = setting(ToolChain)
    recipe = RECIPES[name]
    credit = alone(recipe, key, world, batch)
    np.testing.assert_allclose(credit.value, outcome(name, ToolChain)[1].value[index], atol=1e-4)
    if not recipe.needs & {"reset", "judge", "privileged"}:
        scrambled = batch._replace(state=world.mdp.start.shape[0] - 1 - batch.state)
        blind = alone(recipe, key, world, scrambled)
        np.testing.assert_array_equal(blind.value, credit.value)
    other = alone(recipe, jax.random.key(77), world, batch).value
    differs = (np.asarray(other) != np.asarray(credit.value)).any()
    assert differs == bool(recipe.needs & {"reset", "critic"})


@every
def test_a_world_is_required_exactly_where_the_batch_is_not_enough(name):
    index, key, batch = mixed(Bifurcation)
    if RECIPES[name].needs <= {"group"}:
        logged = alone(RECIPES[name], key, None, batch)
        wanted = outcome(name, Bifurcation)[1].value[index]
        np.testing.assert_allclose(logged.value, wanted, atol=1e-5)
    else:
        with pytest.raises(ValueError, match=f"world must be given to {name}.*got None"):
            alone(RECIPES[name], key, None, batch)


@pairs([name for name in RECIPES if claims(name)], simulated=None)
def test_what_it_claims_to_be_unbiased_for_it_is(name, task):
    """Over 10,000 groups; each test fails by chance once in a million."""
    world, truth = setting(task)
    chunks = [outcome(name, task, seed) for seed in range(CALLS)]
    if "gradient" in claims(name):
        parts = [
            gradients(world.mdp, world.policy, batch, credit.value) for batch, credit in chunks
        ]
        gradient, wanted = np.concatenate(parts), np.asarray(truth.gradient, np.float64)
        decided = np.asarray(world.mdp.decision)
        assert_mean(gradient[:, decided], wanted[decided])
        slope = np.tensordot(gradient, wanted, axes=3) / np.sum(wanted**2)
        assert_mean(slope, np.array(1.0))
    for claim in claims(name) - {"gradient"}:
        aim = RECIPES[name].target if claim == "target" else Advantage()
        error = np.concatenate(
            [error_sums(aim, world, truth, batch, credit.value) for batch, credit in chunks]
        )
        assert_mean(error, np.zeros(error.shape[1:]))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (Whole, "discount", 1.5),
        (Whole, "discount", float("nan")),
        (ToGo, "discount", -0.1),
        (Baseline, "scale_over", "sometimes"),
        (Baseline, "ddof", 2),
        (Baseline, "ddof", True),
        (Baseline, "epsilon", -1e-6),
        (Baseline, "epsilon", 1.1),
        (Vine, "num_branches", 0),
        (Vine, "num_branches", 2.0),
        (Vine, "unit", "agent"),
        (Vine, "max_units", -1),
        (Vine, "discount", -1.0),
        (Gae, "fit", "neural"),
        (Gae, "num_rollouts", -1),
        (Gae, "num_sweeps", 0),
        (Gae, "lambda_", 1.1),
        (Gae, "critic_lambda", -0.1),
        (Gae, "discount", 1.1),
        (Gae, "learning_rate", 0.0),
        (Gae, "learning_rate", 1.5),
        (Gae, "gaps", "filled"),
        (Gae, "steps", 0),
        (GaeNetwork, "num_rollouts", 0),
        (GaeNetwork, "hidden", 0),
        (GaeNetwork, "num_updates", 0),
        (GaeNetwork, "minibatch", 0),
        (GaeNetwork, "lambda_", -0.5),
        (GaeNetwork, "discount", 1.5),
        (GaeNetwork, "learning_rate", 0.0),
        (GaeNetwork, "learning_rate", float("inf")),
        (Hindsight, "condition", "future"),
        (Hindsight, "num_rollouts", 0),
        (Hindsight, "num_bins", 1),
        (Hindsight, "prior", 0.0),
        (Hindsight, "prior", float("inf")),
        (Hindsight, "discount", 1.5),
        (Hindsight, "fit", "counts"),
        (ProcessReward, "form", "max"),
        (ProcessReward, "temperature", 0.0),
        (ProcessReward, "temperature", float("inf")),
        (Shapley, "num_permutations", 0),
        (Shapley, "unit", "token"),
        (Shapley, "discount", 1.5),
        (InformationGain, "form", "ratio"),
        (InformationGain, "of", "truth"),
        (InformationGain, "ends", "all"),
        (InformationGain, "offset", 0.0),
        (InformationGain, "attempts", 0),
        (InformationGain, "floor", 0.0),
        (InformationGain, "floor", 1.0),
    ],
)
def test_bad_settings_raise(kind, field, value, unhooked):
    with pytest.raises(ValueError, match=f"{field} must be"):
        kind(**{field: value})


def test_the_field_tested_above_are_all_there_are():
    (mark,) = test_bad_settings_raise.pytestmark
    tested = {(kind, field) for kind, field, _ in mark.args[1] if kind in ESTIMATORS}
    free = {
        (ProcessReward, "baseline"),
        (ProcessReward, "judge"),  # a name, which worlds know
        (InformationGain, "judge"),
        (GaeNetwork, "seed"),
        (Vine, "shared"),
        (Shapley, "unions"),
        (Shapley, "reader"),
    }
    assert tested | free == {
        (kind, field.name) for kind in ESTIMATORS for field in dataclasses.fields(kind)
    }


@pytest.mark.parametrize("method", [GRPO, RLOO], ids=lambda method: method.name)
def test_equal_returns_give_no_credit(method):
    _, key, batch = mixed(Bifurcation)
    flat = batch._replace(reward=jnp.full_like(batch.reward, 0.5))
    assert not np.asarray(alone(method, key, None, flat).value).any()
