"""Targets that are read off values, against their formulas with enumerated values."""

from __future__ import annotations

import dataclasses
import functools

import jax
import numpy as np
import pytest

from casim.oracle import path_target
from casim.oracle.shapley import shapley
from casim.targets import (
    Advantage,
    LogGain,
    SegmentAdvantage,
    Shapley,
    Subgoal,
    Target,
    TdError,
    TrajectoryAdvantage,
)
from tests.enumeration import QUICK, assert_cells, case, cell_mean, solve, td_error

path_target = jax.jit(path_target, static_argnums=0, compiler_options=QUICK)
shapley = jax.jit(shapley, static_argnums=3, compiler_options=QUICK)


@pytest.fixture(scope="module")
def given():
    return case(binary=False, actions=2, prompt=False, discount=0.875)


@pytest.fixture(scope="module")
def target(given):
    truth = solve(given.mdp, given.policy)

    @functools.cache
    def at(recipe):
        value = path_target(recipe, given.world, truth, given.all.batch)
        return None if value is None else np.asarray(value, np.float64)

    return at


def along(given, table):
    """An array [T, S] or [T, S, A] read along every trajectory, 0 where not live."""
    batch = jax.tree.map(np.asarray, given.all.batch)
    index = (np.arange(4)[None, :], batch.state, batch.action)[: table.ndim]
    return table[index] * batch.live


def test_advantage(given, target):
    np.testing.assert_allclose(target(Advantage()), along(given, given.advantage), atol=1e-5)


def test_td_error(given, target):
    np.testing.assert_allclose(target(TdError()), td_error(given), atol=1e-5)
    assert_cells(given.all, given.mdp, target(TdError()), given.advantage)


def test_td_errors_sum_to_the_return_less_the_value_of_the_prompt(given, target):
    batch, scale = given.all.batch, 0.875 ** np.arange(4)
    wanted = (
        np.asarray(batch.reward, np.float64) @ scale
        - given.exact.value[0, np.asarray(batch.state)[:, 0]]
    )
    np.testing.assert_allclose(target(TdError()) @ scale, wanted, atol=1e-5)


def test_trajectory_advantage(given, target):
    reward, scale = np.asarray(given.all.batch.reward, np.float64), 0.875 ** np.arange(4)
    earned = np.cumsum(reward * scale, axis=1) - reward * scale
    wanted = earned + scale * along(given, given.exact.q_value) - given.exact.expected_return
    np.testing.assert_allclose(
        target(TrajectoryAdvantage()), wanted * np.asarray(given.all.batch.live), atol=1e-5
    )


def test_segment_advantage(given, target):
    state, live = np.asarray(given.all.batch.state), np.asarray(given.all.batch.live)
    reward = np.asarray(given.all.batch.reward, np.float64)
    wanted = np.zeros(state.shape)
    for first, end in ((0, 2), (2, 4)):  # the two segments of two steps
        after = given.exact.value[end, state[:, end]] * live[:, end] if end < 4 else 0.0
        gain = reward[:, first] + 0.875 * reward[:, first + 1] + 0.875**2 * after
        wanted[:, first:end] = (gain - given.exact.value[first, state[:, first]])[:, None]
    np.testing.assert_allclose(target(SegmentAdvantage()), wanted * live, atol=1e-5)


def test_log_gain():
    given = case()  # binary returns, discount 1: values are probabilities
    truth = solve(given.mdp, given.policy)
    batch = jax.tree.map(np.asarray, given.all.batch)
    value = along(given, given.exact.value[:4])
    after = td_error(given) + value
    wanted = np.log(np.maximum(after, 0.01)) - np.log(np.maximum(value, 0.01))
    got = path_target(LogGain(), given.world, truth, given.all.batch)
    np.testing.assert_allclose(got, wanted * batch.live, atol=1e-4)
    assert (after[batch.live] == 0).any()


def test_log_gain_has_a_mean_below_zero_under_the_policy():
    given = case()
    truth = solve(given.mdp, given.policy)
    got = path_target(LogGain(), given.world, truth, given.all.batch)
    mean, mass = cell_mean(given.mdp, given.all, got)
    state_mean = np.nansum(mean * mass, axis=-1)[mass.sum(-1) > 0]
    assert len(state_mean) > 5
    assert (state_mean < 1e-6).all()
    assert state_mean.min() < -0.01


def test_shapley(given, target):
    phi = np.asarray(shapley(given.mdp, given.policy, given.all.batch, 2), np.float64)
    live = np.asarray(given.all.batch.live)
    np.testing.assert_allclose(target(Shapley()), phi[:, [0, 0, 1, 1]] * live, atol=1e-6)


def test_a_target_without_an_exact_value_is_none(given):
    truth = solve(given.mdp, given.policy)
    many = dataclasses.replace(given.world, num_segments=13)
    assert path_target(Shapley(), many, truth, given.all.batch) is None
    assert path_target(Subgoal(), given.world, truth, given.all.batch) is None
    assert path_target(Unknown(), given.world, truth, given.all.batch) is None


@dataclasses.dataclass(frozen=True)
class Unknown(Target):
    """A recipe of which the oracle knows nothing."""
