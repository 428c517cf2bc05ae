"""What the controls give, on the trajectories of a small world.

The world has an environment's step and early ends.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim.controls import CONTROLS, Control, shuffle
from casim.targets import Advantage
from tests import reference
from tests.enumeration import QUICK, as_groups, case, returns_to_go, solve

KEY = jax.random.key(0)
run = jax.jit(
    lambda control, key, world, truth, batch: jax.tree.map(
        lambda x: x[0] if x.ndim else x, control(key, world, truth, as_groups(world, batch))
    ),
    static_argnums=0,
    compiler_options=QUICK,
)
shuffle = jax.jit(shuffle, compiler_options=QUICK)


@pytest.fixture(scope="module")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="module")
def credit(given):
    truth = solve(given.mdp, given.policy)
    return {name: run(Control(name), KEY, given.world, truth, given.all.batch) for name in CONTROLS}


@pytest.fixture(scope="module")
def advantage(given):
    batch = jax.tree.map(np.asarray, given.all.batch)
    decided = batch.live & np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    return given.advantage[np.arange(4)[None, :], batch.state, batch.action] * decided, decided


def test_exact_is_the_advantage_of_decisions(credit, advantage):
    np.testing.assert_allclose(credit["exact"].value, advantage[0], atol=1e-5)


def test_zero_is_zero(credit):
    assert not np.asarray(credit["zero"].value).any()


def test_broadcast_is_the_discounted_return_on_every_live_step(given, credit):
    batch = given.all.batch
    wanted = returns_to_go(batch, 0.875)[:, :1] * np.asarray(batch.live)
    np.testing.assert_allclose(credit["broadcast"].value, wanted, atol=1e-5)


def test_shuffled_has_the_values_of_exact_on_every_row_and_moves_decision_steps_only(
    credit, advantage
):
    shuffled, exact = np.asarray(credit["shuffled"].value), np.asarray(credit["exact"].value)
    decided = advantage[1]
    assert not shuffled[~decided].any()
    for got, wanted, where in zip(shuffled, exact, decided, strict=True):
        np.testing.assert_array_equal(np.sort(got[where]), np.sort(wanted[where]))
    assert (shuffled != exact).any()


def test_shuffled_draws_every_order_alike():
    """Six orders of three decision steps, each expected equally often."""
    value = np.broadcast_to(np.array([1.0, 9.0, 2.0, 3.0, 8.0], np.float32), (6000, 5))
    where = np.broadcast_to(np.array([True, False, True, True, False]), (6000, 5))
    got = np.asarray(shuffle(KEY, value, where))
    np.testing.assert_array_equal(got[:, [1, 4]], value[:, [1, 4]])
    _, count = np.unique(got[:, [0, 2, 3]], axis=0, return_counts=True)
    assert len(count) == 6
    reference.assert_frequencies(count, np.ones(6) / 6)


def test_they_are_free_of_cost_and_score_as_the_advantage(credit):
    for name in CONTROLS:
        assert Control(name).target == Advantage()
        assert all(float(x) == 0.0 for x in credit[name].cost)


def test_an_unknown_name_raises(unhooked):
    with pytest.raises(ValueError, match="name must be one of"):
        Control("oracle")


def test_a_shuffle_is_the_same_in_both_precisions():
    value, where = np.arange(24.0).reshape(4, 6), np.ones((4, 6), bool)
    single = shuffle(jax.random.key(1), value.astype(np.float32), where)
    with jax.enable_x64(True):
        double = shuffle(jax.random.key(1), value, where)
    np.testing.assert_array_equal(single, double)
