"""The regimes that the survey names: their sizes, and that dynamic programming reaches them."""

import jax
import numpy as np
import pytest

from casim.policies import Uniform
from casim.tasks import PRESETS
from casim.wellformed import check_mdp
from tests.enumeration import solve

STEPS = {
    "reasoning_500": 500,
    "reasoning_30k": 30_000,
    "agentic_100_turns": 100_000,
    "agentic_1m": 1_000_000,
}


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_has_the_length_in_its_name_and_few_kernels(name):
    mdp = check_mdp(PRESETS[name].build())
    assert mdp.schedule.shape == (STEPS[name],)
    assert mdp.prob.shape[0] <= 5
    if name == "agentic_100_turns":
        np.testing.assert_array_equal(np.bincount(mdp.turn), [1000] * 100)


def test_presets_are_the_ones_that_have_a_length_here():
    assert set(PRESETS) == set(STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_solved(name, optimised):
    """The value of the start is also the mean reward along the occupancy.

    That is forward against backward.
    """
    mdp = PRESETS[name].build()
    policy = Uniform().table(mdp)
    truth = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.jit(solve)(mdp, policy))
    kernel = np.asarray(mdp.schedule)
    mean = np.asarray((mdp.prob * mdp.reward).sum(-1), np.float64)
    earned = np.einsum("ts,tsa,tsa->", truth.occupancy, truth.state_policy[kernel], mean[kernel])
    assert truth.expected_return == pytest.approx(earned, rel=1e-3)
