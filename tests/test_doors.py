"""Doors: NumPy arrays and lists work at every one, floats of one type go on.

No nonsense is computed with, but refused.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import judges, oracle, policies
from casim.oracle import (
    closed_forms,
    coefficients,
    games,
    hindsight,
    information,
    moments,
    shapley,
    units,
)
from casim.simulate import World
from casim.targets import SegmentAdvantage
from casim.types import Trajectory
from casim.wellformed import check_labels
from tests import reference

ROOMS = (
    "belief",
    "blocks",
    "closed_forms",
    "coefficients",
    "contrast",
    "games",
    "hindsight",
    "information",
    "prompts",
    "shapley",
    "soft",
    "summary",
    "targets",
    "units",
    "values",
)
FUNCTIONS = {
    name: function
    for room in ROOMS
    for name, function in vars(importlib.import_module(f"casim.oracle.{room}")).items()
    if inspect.isfunction(function) and not name.startswith("_")
}
"""Of the oracle, by name."""
KEY = jax.random.key(3)
ROWS = 2
STATES, ACTIONS, STEPS = 5, 2, 4


class Given(NamedTuple):
    """What the doors are given."""

    mdp: Any
    policy: Any
    batch: Any
    truth: Any
    unit: Any
    """Of each step, `[T]`."""
    feature: Any
    """Of each transition, `[M, S, A, K]`."""
    latent: Any
    """Class of each state, `[S]`."""
    coalitions: Any
    """Their values, `[C]`."""


@functools.cache
def numpy() -> Given:
    """A process, its policy, and two episodes of zeros.

    The process has hidden state, a terminal state and a forced kernel.
    """
    with jax.enable_x64(False):
        mdp, policy = reference.random_mdp(45)
        truth = jax.jit(oracle.solve)(mdp, policy)
    labels, numbers = np.zeros((ROWS, STEPS), np.int32), np.zeros((ROWS, STEPS), np.float32)
    given = Given(
        mdp=mdp,
        policy=policy,
        batch=Trajectory(labels, labels, labels, numbers, numbers, np.ones((ROWS, STEPS), bool)),
        truth=truth,
        unit=np.array([0, 0, 1, 2], np.int32),
        feature=mdp.successor,
        latent=np.array([0, 1, 1, 0, 2], np.int32),
        coalitions=np.array([0.0, 1.0, 2.0, 4.0], np.float32),
    )
    return jax.tree.map(np.asarray, given)


def arrays() -> Given:
    return jax.tree.map(jnp.asarray, numpy())


def lists() -> Given:
    return jax.tree.map(lambda x: x.tolist(), numpy())


def game(g: Given):
    return oracle.taken_game(g.mdp, g.policy, g.batch, g.unit, 3)


def world() -> World:
    with jax.ensure_compile_time_eval():
        return World.make(arrays().mdp, arrays().policy)


def noise():
    return games.Noise(*np.full((2, ROWS, STEPS), 0.5, np.float32))


CALLS = {
    "all_coalitions": lambda g: games.all_coalitions(game(g), 3),
    "beliefs": lambda g: oracle.beliefs(g.mdp, g.batch),
    "coalition_values": lambda g: shapley.coalition_values(g.mdp, g.policy, g.batch, 3),
    "contrast": lambda g: oracle.contrast(
        g.mdp, oracle.Protocol(g.policy, g.policy, 0.5), g.batch, g.unit, 3
    ),
    "contribution": lambda g: oracle.contribution(g.mdp, g.policy, 1, g.feature, STATES),
    "critics": lambda g: oracle.critics(g.mdp, g.policy, g.batch, g.latent, 3),
    "difference_rewards": lambda g: shapley.difference_rewards(g.coalitions),
    "entropy_removed": lambda g: information.entropy_removed(
        oracle.outcome_information(g.mdp, g.policy, oracle.success_hindsight(g.mdp, g.policy)),
        g.batch,
    ),
    "expected_return": lambda g: oracle.expected_return(g.mdp, g.policy),
    "granularities": lambda g: units.granularities(g.mdp, g.truth, g.batch, units.sizes(g.mdp)),
    "history_values": lambda g: oracle.history_values(g.mdp, g.policy, g.batch),
    "implicit_reward": lambda g: oracle.implicit_reward(
        g.mdp, g.policy, oracle.soft_optimal(g.mdp, g.policy, 0.5), g.batch
    ),
    "latent_information": lambda g: oracle.latent_information(
        oracle.beliefs(g.mdp, g.batch), g.batch, g.latent, 3
    ),
    "merge": lambda g: units.merge(g.batch.reward, g.unit, g.unit, g.unit, 0.9),
    "nature_game": lambda g: games.nature_game(g.mdp, g.policy, g.batch, noise()),
    "optimal": lambda g: oracle.optimal(g.mdp),
    "outcome_information": lambda g: oracle.outcome_information(
        g.mdp, g.policy, oracle.success_hindsight(g.mdp, g.policy)
    ),
    "path_target": lambda g: oracle.path_target(SegmentAdvantage(), world(), g.truth, g.batch),
    "pointwise_information": lambda g: information.pointwise_information(
        oracle.success_hindsight(g.mdp, g.policy), g.batch
    ),
    "prompt_values": lambda g: oracle.prompt_values(g.mdp, g.truth, 1),
    "recorded_noise": lambda g: games.recorded_noise(KEY, g.unit, STEPS),
    "return_hindsight": lambda g: oracle.return_hindsight(g.mdp, g.policy, g.coalitions),
    "sample_contrast": lambda g: oracle.sample_contrast(
        KEY, g.mdp, oracle.Protocol(g.policy, g.policy, 0.5), g.batch, g.unit, 1, 3
    ),
    "sampled_shapley": lambda g: shapley.sampled_shapley(KEY, game(g), 3, 2),
    "shapley": lambda g: shapley.shapley(g.mdp, g.policy, g.batch, 3),
    "shapley_by_counts": lambda g: oracle.shapley_by_counts(game(g), 3),
    "shapley_values": lambda g: shapley.shapley_values(g.coalitions),
    "soft_optimal": lambda g: oracle.soft_optimal(g.mdp, g.policy, 0.5),
    "solve": lambda g: oracle.solve(g.mdp, g.policy),
    "solve_in_blocks": lambda g: oracle.solve_in_blocks(g.mdp, g.policy, 3),
    "state_hindsight": lambda g: oracle.state_hindsight(g.mdp, g.policy, 1),
    "success_gain": lambda g: information.success_gain(g.mdp, g.policy, g.batch),
    "success_hindsight": lambda g: oracle.success_hindsight(g.mdp, g.policy),
    "summary": lambda g: oracle.summary(g.mdp, g.truth),
    "taken_game": lambda g: oracle.taken_game(g.mdp, g.policy, g.batch, g.unit, None, noise()),
    "team_game": lambda g: oracle.team_game(g.mdp, g.policy, g.policy, g.unit),
    "unit_truth": lambda g: oracle.unit_truth(g.mdp, g.truth, g.batch, g.unit, 3),
    "variance_parts": lambda g: oracle.variance_parts(g.mdp, g.truth),
    "worth": lambda g: games.worth(game(g), jnp.ones((ROWS, 1, 3), bool)),
}
"""Every public function of the oracle that takes arrays, by its name."""
RECIPES = {
    "uniform": lambda g: policies.Uniform().table(g.mdp),
    "softmax": lambda g: policies.Softmax().table(g.mdp),
    "epsilon optimal": lambda g: policies.EpsilonOptimal().table(g.mdp),
    "entropy controlled": lambda g: policies.EntropyControlled().table(g.mdp),
    "judge": lambda g: judges.Judge("value", resolution=3).model(g.mdp, g.truth),
}


EAGER = {
    "check_support": lambda g: hindsight.check_support(
        g.mdp._replace(discount=np.zeros_like(g.mdp.discount)), np.arange(-16, 17) / 8
    ),
    "binary_group_scale": None,
    "reward_feature": lambda g: coefficients.reward_feature(g.mdp),
    "sizes": lambda g: units.sizes(g.mdp),
}
"""Not for use in jit; None takes no arrays."""


def outline(call, g: Given):
    """Shapes and types of a result, without JAX's weak types.

    Tracing is where NumPy arrays fail, and costs no compilation.
    """
    made = jax.eval_shape(lambda: call(g))
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), made)


def test_every_exported_function_of_the_oracle_is_tried():
    exported = {name for name in oracle.__all__ if name in FUNCTIONS}
    tried = {*CALLS, *EAGER}
    assert exported <= tried <= set(FUNCTIONS)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CALLS, *RECIPES])
def test_arrays_of_numpy_and_lists_of_another_precision_are_welcome(name, float64):
    """A process of NumPy arrays in single precision, and a policy of lists, which are double.

    All floats become so: a scan over the one could not carry what the other makes of it.
    """
    mixed = numpy()._replace(policy=lists().policy, unit=lists().unit)
    found = jax.tree.leaves(outline({**CALLS, **RECIPES}[name], mixed))
    floats = {x.dtype for x in found if x.dtype.kind == "f"}
    assert len(floats) == 1
    if name in CALLS and "policy" in inspect.signature(FUNCTIONS[name]).parameters:
        assert floats == {np.dtype(np.float64)}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CALLS, *RECIPES])
def test_nested_lists_do_what_arrays_do(name):
    call = {**CALLS, **RECIPES}[name]
    assert outline(call, lists()) == outline(call, arrays())


@pytest.mark.parametrize("kind", [numpy, lists])
def test_doors_outside_jit_take_them_too(kind):
    for call in filter(None, EAGER.values()):
        jax.tree.map(np.testing.assert_array_equal, call(kind()), call(arrays()))


def test_what_is_made_of_lists_has_the_numbers_of_the_enumeration():
    g = lists()
    out = jax.jit(lambda: oracle.solve(g.mdp, g.policy))()
    wanted = reference.exact(arrays().mdp, np.asarray(arrays().policy))
    np.testing.assert_allclose(out.value[:-1], wanted.value[:-1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(out.gradient, wanted.gradient, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", [numpy, lists])
def test_a_world_of_numpy_arrays_or_lists_is_the_same_world(kind):
    g, world = kind(), World.make(arrays().mdp, *[arrays().policy] * 3)
    made = World.make(g.mdp, g.policy, g.policy, g.policy)
    assert jax.tree.structure(made) == jax.tree.structure(world)
    jax.tree.map(np.testing.assert_array_equal, made, world)
    assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(made))


@pytest.mark.parametrize("kind", [numpy, lists])
def test_exact_moments_take_them_too(kind):
    g, (mdp, policy) = kind(), moments.precise(arrays().mdp, arrays().policy)
    again, table = moments.precise(g.mdp, g.policy)
    jax.tree.map(np.testing.assert_array_equal, (again, table), (mdp, policy))
    assert {x.dtype.kind for x in again} == {"f", "i", "b"}
    one, other = (moments.enumerate_trajectories(*x) for x in ((g.mdp, g.policy), (mdp, policy)))
    np.testing.assert_array_equal(one.probability, other.probability)


WRONG = {
    "three times": (lambda x: 3 * x, r"{}[0, 0, 0] must be finite probabilities in [0, 1], got"),
    "half": (lambda x: x / 2, r"{} row sum[0, 0] must be 1, got"),
    "missing": (lambda x: np.nan * x, r"{}[0, 0, 0] must be finite probabilities in [0, 1], got"),
    "short": (lambda x: x[:, :, :1], r"{} must have shape [M, O, A] = (3, 7, 2), got (3, 7, 1)"),
    "of states": (lambda x: x[:, :5], r"{} must have shape [M, O, A] = (3, 7, 2), got (3, 5, 2)"),
}
"""What is no policy table, and what is said of it."""
TABLES = {
    name: next(
        x
        for x in ("policy", "reference", "protocol")
        if x in inspect.signature(FUNCTIONS[name]).parameters
    )
    for name in CALLS
    if {"policy", "reference", "protocol"} & set(inspect.signature(FUNCTIONS[name]).parameters)
}
"""Which argument of each function is one."""


@pytest.mark.parametrize("name", TABLES)
def test_what_is_no_policy_is_refused_before_anything_is_computed(name):
    field = TABLES[name] + (".reference" if TABLES[name] == "protocol" else "")
    for change, message in WRONG.values():
        bad = arrays()._replace(policy=change(arrays().policy))
        with pytest.raises(ValueError, match="^" + re.escape(message.format(field))):
            CALLS[name](bad)


def test_under_jit_shapes_are_checked_and_values_cannot_be():
    mdp, policy = arrays().mdp, arrays().policy
    assert jax.eval_shape(oracle.solve, mdp, 3 * policy).value.shape == (STEPS + 1, STATES)
    with pytest.raises(ValueError, match="policy must have shape"):
        jax.eval_shape(oracle.solve, mdp, policy[:1])


@pytest.mark.parametrize("made", [moments.precise_truth, moments.enumerate_trajectories])
def test_exact_moments_refuse_what_is_no_policy(made):
    with pytest.raises(ValueError, match=r"policy\[0, 0, 0\] must be finite probabilities"):
        made(arrays().mdp, (3 * np.asarray(arrays().policy)).tolist())


def test_arrays_that_do_not_fit_each_other_are_refused():
    g = arrays()
    longer = jax.tree.map(lambda x: jnp.concatenate([x, x[:, :1]], axis=1), g.batch)
    for call, message in (
        (
            lambda: oracle.beliefs(g.mdp, longer),
            "batch must have 4 steps, those of the process, got shape (2, 5)",
        ),
        (
            lambda: oracle.beliefs(g.mdp, g.batch._replace(live=g.batch.live[:1])),
            "batch.live must have shape (2, 4), got (1, 4)",
        ),
        (
            lambda: oracle.summary(g.mdp, g.truth._replace(advantage=g.truth.advantage[1:])),
            "truth.advantage must have shape [T, S, A] = (4, 5, 2), got (3, 5, 2)",
        ),
        (
            lambda: oracle.unit_truth(g.mdp, g.truth, g.batch, g.unit[1:], 3),
            "unit must hold integers [T] of shape (4,), got int32 of shape (3,)",
        ),
        (
            lambda: oracle.optimal(g.mdp._replace(decision=g.mdp.decision.astype(int))),
            "decision must hold booleans, got int32",
        ),
        (
            lambda: oracle.optimal(g.mdp._replace(schedule=[0, 1, 2])),
            "segment must have shape (3,), got (4,)",
        ),
        (
            lambda: oracle.optimal(g.mdp._replace(start=[[1.0], [0.0, 1.0]])),
            "start must be an array of numbers, got [[1.0], [0.0, 1.0]]",
        ),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            call()


def test_numbers_that_make_no_sense_are_refused():
    g = arrays()
    protocol = oracle.Protocol(g.policy, g.policy)
    for call, message in (
        (lambda: oracle.state_hindsight(g.mdp, g.policy, 4), "step must be in [0, 3], got 4"),
        (
            lambda: oracle.contribution(g.mdp, g.policy, np.int64(-1), g.feature, 5),
            "step must be in [0, 3], got -1",
        ),
        (
            lambda: oracle.soft_optimal(g.mdp, g.policy, 0.0),
            "temperature must be in [1e-30, inf], got 0.0",
        ),
        (
            lambda: oracle.contrast(
                g.mdp, protocol._replace(lost=jnp.asarray(1.5)), g.batch, g.unit, 3
            ),
            "protocol.lost must be in [0.0, 1.0], got 1.5",
        ),
        (
            lambda: oracle.sample_contrast(KEY, g.mdp, protocol, g.batch, g.unit, 4, 2),
            "index must be in [0, 3], got 4",
        ),
        (
            lambda: oracle.sample_contrast(KEY, g.mdp, protocol, g.batch, g.unit, 0, -2),
            "num must be in [0, inf], got -2",
        ),
        (lambda: oracle.solve_in_blocks(g.mdp, g.policy, 0), "block must be in [1, inf], got 0"),
        (
            lambda: oracle.critics(g.mdp, g.policy, g.batch, g.latent, 2),
            "latent[4] must be in [0, 1], got np.int32(2)",
        ),
        (lambda: closed_forms.binary_group_scale(1.0, 4), "success must be in (0, 1), got 1.0"),
        (lambda: closed_forms.binary_group_scale(0.5, 1), "num must be in [2, inf], got 1"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            call()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (5, "x must be in [2, 4], got 5"),
        (np.int64(1), "x must be in [2, 4], got 1"),
        (jnp.asarray(9), "x must be in [2, 4], got 9"),
        ([2, 3, 7], "x[2] must be in [2, 4], got np.int64(7)"),
        (2.0, "x must be an integer in [2, 4], got 2.0"),
        (True, "x must be an integer in [2, 4], got True"),
        ([2, 3], "x must have shape () or (3,), got [2, 3] of shape (2,)"),
    ],
)
def test_a_label_that_there_is_not_is_named(labels, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        check_labels("x", labels, 5, [(), (3,)], low=2)


def test_labels_that_there_are_pass_and_traced_ones_cannot_be_read():
    for good in (4, np.int64(2), jnp.asarray(3), [2, 3, 4], np.arange(2, 5)):
        check_labels("x", good, 5, [(), (3,)], low=2)
    jax.eval_shape(lambda x: check_labels("x", x, 5), jnp.asarray(9))
    with pytest.raises(ValueError, match="x must be an integer"):
        jax.eval_shape(lambda x: check_labels("x", x, 5), jnp.asarray(2.0))
