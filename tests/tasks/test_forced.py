"""Forced: inserted steps change no value, advantage or occupancy of the others.

And they have no advantage of their own.
"""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.tasks import Bifurcation, Forced, HackableProcess, ToolChain
from casim.wellformed import check_mdp
from tests.enumeration import solve
from tests.reference import EPS, random_policy

TASK = ToolChain(
    num_turns=4, tokens_per_turn=2, observation_noise=0.2, repair=0.3, replay_noise=0.5
)
solve = jax.jit(solve)


@pytest.mark.parametrize(
    ("every", "unit", "number"),
    [
        (1, "turn", 3),
        pytest.param(2, "turn", 1, marks=pytest.mark.slow),
        pytest.param(3, "segment", 2, marks=pytest.mark.slow),
        pytest.param(1, "step", 11, marks=pytest.mark.slow),
    ],
)
def test_all_other_steps_keep_their_values_to_the_bit_and_their_occupancy(every, unit, number):
    forced = Forced(TASK, every=every, unit=unit)
    plain, mdp = TASK.build(), check_mdp(forced.build())
    policy = random_policy(1, mdp)
    inserted = np.asarray(mdp.schedule) == plain.prob.shape[0]
    assert inserted.sum() == number
    one = solve(plain, jnp.asarray(policy[:-1, :-1]))
    two = solve(mdp, jnp.asarray(policy))
    np.testing.assert_array_equal(np.asarray(two.q_value)[~inserted], one.q_value)
    # Occupancies are divided by their sum at every step, forced ones too, which rounds.
    np.testing.assert_allclose(np.asarray(two.occupancy)[~inserted], one.occupancy, rtol=11 * EPS)
    assert not np.asarray(two.advantage)[inserted].any()
    np.testing.assert_array_equal(
        np.asarray(mdp.decision)[np.asarray(mdp.schedule)[inserted]], False
    )
    np.testing.assert_allclose(np.asarray(two.gradient)[:-1, :-1], one.gradient, atol=11 * EPS)


def test_a_forced_turn_is_a_turn_and_a_segment_of_its_own():
    mdp = Forced(ToolChain(num_turns=3, tokens_per_turn=1)).build()
    # call, output, forced, call, output, forced, call, output
    np.testing.assert_array_equal(mdp.turn, [0, 0, 1, 2, 2, 3, 4, 4])
    np.testing.assert_array_equal(mdp.segment, [0, 1, 2, 3, 4, 5, 6, 7])


def test_a_forced_segment_lies_in_the_turn_around_it_and_a_forced_step_in_the_segment():
    chain = Bifurcation(horizon=4, num_segments=2)
    by_segment, by_step = (
        Forced(chain, unit="segment").build(),
        Forced(chain, unit="step", every=2).build(),
    )
    np.testing.assert_array_equal(by_segment.segment, [0, 0, 1, 2, 2])
    np.testing.assert_array_equal(by_segment.turn, [0] * 5)
    np.testing.assert_array_equal(by_step.segment, [0, 0, 0, 1, 1])


def test_a_blank_symbol_is_shown_there_and_nowhere_else():
    mdp = Forced(TASK).build()
    emission = np.asarray(mdp.emission)
    assert (emission[-1, :, -1] == 1).all()
    assert not emission[:-1, :, -1].any()


def test_it_keeps_the_horizon_the_replay_and_what_judges_believe():
    forced = Forced(TASK, every=2)
    assert (forced.horizon, forced.with_horizon(9)) == (4, Forced(TASK.with_horizon(9), every=2))
    assert forced.replay == TASK.replay
    hack = HackableProcess(horizon=6, num_segments=3)
    believed = Forced(hack, unit="segment").believed()
    np.testing.assert_array_equal(believed.reward[:-1], hack.believed().reward)


def test_bad_settings_raise(unhooked):
    with pytest.raises(ValueError, match=re.escape("every must be in [1, inf], got 0")):
        Forced(TASK, every=0)
    with pytest.raises(
        ValueError, match=re.escape("unit must be one of ('turn', 'segment', 'step'), got 'token'")
    ):
        Forced(TASK, unit="token")
