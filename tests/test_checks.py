"""Every bad setting or array raises a `ValueError` with the field, the range and the value."""

from __future__ import annotations

import re

import jax.numpy as jnp
import numpy as np
import pytest

from casim import checks, wellformed
from casim.simulate import World
from casim.types import MDP
from tests import reference


@pytest.fixture(scope="module")
def mdp():
    return reference.random_mdp(0)[0]


@pytest.fixture(scope="module")
def policy():
    return reference.random_mdp(0)[1]


def changed(mdp: MDP, field: str, index, value) -> MDP:
    """The MDP with one entry of one array set to something else."""
    array = np.array(getattr(mdp, field))
    array[index] = value
    return mdp._replace(**{field: array})


def test_a_good_mdp_comes_back_as_it_is(mdp):
    assert wellformed.check_mdp(mdp) is mdp


@pytest.mark.parametrize("seed", range(5))
def test_every_random_mdp_of_the_tests_is_good(seed):
    mdp, policy = reference.random_mdp(seed)
    wellformed.check_mdp(mdp)
    wellformed.check_policy(policy, mdp)


@pytest.mark.parametrize("name", ["bifurcation", "tool_chain"])
def test_every_task_builds_a_good_mdp(name):
    task = reference.small_tasks()[name]
    wellformed.check_mdp(task.build())
    wellformed.check_mdp(task.observed().build())


@pytest.mark.parametrize(
    ("field", "index", "value", "message"),
    [
        ("prob", (1, 3, 0, 5), 0.25, "prob row sum[1, 3, 0] must be 1, got np.float64(1.25)"),
        (
            "prob",
            (2, 4, 1, 0),
            -0.5,
            "prob[2, 4, 1, 0] must be finite probabilities in [0, 1], got np.float64(-0.5)",
        ),
        (
            "prob",
            (2, 4, 1, 0),
            np.nan,
            "prob[2, 4, 1, 0] must be finite probabilities in [0, 1], got np.float64(nan)",
        ),
        (
            "emission",
            (0, 3, 6),
            1.5,
            "emission[0, 3, 6] must be finite probabilities in [0, 1], got np.float64(1.5)",
        ),
        ("start", slice(None), 0.0, "start row sum must be 1, got 0.0"),
        (
            "start",
            4,
            np.inf,
            "start[4] must be finite probabilities in [0, 1], got np.float64(inf)",
        ),
        ("reward", (2, 0, 1, 3), np.nan, "reward[2, 0, 1, 3] must be finite, got np.float32(nan)"),
        (
            "reward",
            (0, 1, 0, 2),
            -np.inf,
            "reward[0, 1, 0, 2] must be finite, got np.float32(-inf)",
        ),
        ("successor", (1, 2, 1, 4), 5, "successor[1, 2, 1, 4] must be in [0, 4], got np.int32(5)"),
        (
            "successor",
            (1, 2, 1, 4),
            -1,
            "successor[1, 2, 1, 4] must be in [0, 4], got np.int32(-1)",
        ),
        ("schedule", 3, 3, "schedule[3] must be in [0, 2], got np.int32(3)"),
        ("schedule", 0, -1, "schedule[0] must be in [0, 2], got np.int32(-1)"),
        ("agent", 2, -1, "agent[2] must be in [0, inf], got np.int32(-1)"),
        (
            "segment",
            slice(None),
            [0, 0, 2, 2],
            "segment[2] must be numbered 0, 1, 2, ... in order of time, got",
        ),
        (
            "segment",
            slice(None),
            [0, 1, 0, 1],
            "segment[2] must be numbered 0, 1, 2, ... in order of time, got",
        ),
        ("segment", slice(None), [1, 1, 2, 2], "segment[0] must be in [0, 0], got 1"),
        (
            "turn",
            slice(None),
            [0, 2, 2, 3],
            "turn[1] must be numbered 0, 1, 2, ... in order of time, got",
        ),
        ("turn", 0, -1, "turn[0] must be in [0, 0], got -1"),
        ("discount", 1, 1.5, "discount[1] must be in [0.0, 1.0], got"),
        ("discount", 2, -0.1, "discount[2] must be in [0.0, 1.0], got"),
        ("discount", 0, np.nan, "discount[0] must be in [0.0, 1.0], got"),
        ("prompt", 3, -1, "prompt[3] must be in [0, 4], got"),
        ("prompt", 1, 5, "prompt[1] must be in [0, 4], got"),
        ("prompt", 4, 2, "prompt must hold labels 0, 1, 2, ... without gaps, got no 1"),
    ],
)
def test_a_bad_entry_is_named_with_its_place_range_and_value(mdp, field, index, value, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        wellformed.check_mdp(changed(mdp, field, index, value))


SHAPES = {
    "start": "(5,)",
    "successor": "(3, 5, 2, 6)",
    "reward": "(3, 5, 2, 6)",
    "terminal": "(5,)",
    "decision": "(3,)",
    "kind": "(3,)",
    "segment": "(4,)",
    "turn": "(4,)",
    "agent": "(4,)",
    "emission": "(3, 5, 7)",
    "discount": "(3,)",
    "prompt": "(5,)",
}


@pytest.mark.parametrize("field", SHAPES)
def test_a_wrong_shape_is_named(mdp, field, unhooked):
    bad = np.concatenate([np.asarray(getattr(mdp, field))] * 2)
    message = f"{field} must have shape {SHAPES[field]}, got {bad.shape}"
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        wellformed.check_mdp(mdp._replace(**{field: bad}))


def test_a_discount_for_all_kernels_and_labels_that_are_no_integers_are_refused(mdp, unhooked):
    with pytest.raises(ValueError, match=re.escape("discount must have shape (3,), got ()")):
        wellformed.check_mdp(mdp._replace(discount=np.array(0.9)))
    with pytest.raises(ValueError, match="prompt must hold integers, got float"):
        wellformed.check_mdp(mdp._replace(prompt=np.zeros(5)))


@pytest.mark.parametrize("field", ["prob", "emission", "schedule"])
def test_a_wrong_number_of_axes_is_named(mdp, field, unhooked):
    with pytest.raises(ValueError, match=r"prob, emission, schedule must have shapes .*, got"):
        wellformed.check_mdp(mdp._replace(**{field: np.asarray(getattr(mdp, field))[None]}))


def test_a_horizon_of_0_is_named(mdp, unhooked):
    empty = {field: jnp.zeros(0, int) for field in ("schedule", "segment", "turn", "agent")}
    with pytest.raises(
        ValueError, match=re.escape("horizon (length of schedule) must be in [1, inf], got 0")
    ):
        wellformed.check_mdp(mdp._replace(**empty))


@pytest.mark.parametrize(
    ("index", "value", "message"),
    [
        ((2, 6, 1), 0.999, "policy row sum[2, 6] must be 1, got"),
        (
            (0, 3, 0),
            -0.25,
            "policy[0, 3, 0] must be finite probabilities in [0, 1], got np.float64(-0.25)",
        ),
        (
            (1, 0, 1),
            np.nan,
            "policy[1, 0, 1] must be finite probabilities in [0, 1], got np.float64(nan)",
        ),
    ],
)
def test_a_bad_policy_entry_is_named(mdp, policy, index, value, message):
    bad = policy.copy()
    bad[index] = value
    makers = (
        lambda: wellformed.check_policy(bad, mdp),
        lambda: World.make(mdp, jnp.asarray(bad)),
    )
    for make in makers:
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            make()
    with pytest.raises(ValueError, match=re.escape(message.partition(" must")[2])):
        World.make(mdp, jnp.asarray(policy), reference=jnp.asarray(bad))


@pytest.mark.parametrize("shape", [(3, 7), (3, 5, 2), (2, 7, 2), (3, 7, 3)])
def test_a_policy_of_the_wrong_shape_is_named(mdp, shape):
    message = f"policy must have shape [M, O, A] = (3, 7, 2), got {shape}"
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        wellformed.check_policy(np.full(shape, 0.5), mdp)


def test_float32_rows_that_miss_1_by_rounding_are_good():
    rows = np.random.default_rng(0).dirichlet(np.ones(200), 100).astype(np.float32)
    assert np.any(rows.astype(float).sum(-1) != 1)
    wellformed.check_probability("rows", rows)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_value_in_range_passes(value):
    checks.check_range("x", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [-1e-9, 1.5, float("nan"), float("inf")])
def test_a_value_out_of_range_is_named(value):
    with pytest.raises(ValueError, match=re.escape(f"x must be in [0.0, 1.0], got {value!r}")):
        checks.check_range("x", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [True, 2.0, "2", None])
def test_a_value_that_is_no_integer_is_named(value, unhooked):
    with pytest.raises(
        ValueError, match=re.escape(f"x must be an integer in [1, 5], got {value!r}")
    ):
        checks.check_integer("x", value, 1, 5)


def test_integers_of_numpy_are_integers(unhooked):
    checks.check_integer("x", np.int64(3), 1, 5)
    with pytest.raises(ValueError, match=r"x must be in \[1, 5\], got .*6"):
        checks.check_integer("x", np.int64(6), 1, 5)


def test_an_unknown_choice_is_named():
    checks.check_choice("x", "b", ("a", "b"))
    with pytest.raises(ValueError, match=re.escape("x must be one of ('a', 'b'), got 'c'")):
        checks.check_choice("x", "c", ("a", "b"))


def test_a_repeated_value_is_named():
    checks.check_distinct("x", (3, 1, 2))
    with pytest.raises(ValueError, match=re.escape("x must hold distinct values, got 1 twice")):
        checks.check_distinct("x", (3, 1, 2, 1))
