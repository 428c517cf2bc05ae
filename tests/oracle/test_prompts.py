"""Values of prompts, and credit relative to one's own, against written-out trajectories."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import path_target, prompt_values
from casim.simulate import World
from casim.targets import TrajectoryAdvantage
from casim.tasks import ReasoningChain, ToolChain
from casim.types import Trajectory
from tests import enumeration, reference

LABEL = np.array([1, 0, 0, 1, 2])
CLOSE = {"rtol": 1e-5, "atol": 2e-6}


@pytest.fixture(scope="module")
def given():
    """Start states of two prompts, of which one has several; label 2 is of none."""
    mdp, policy = reference.random_mdp(
        5, schedule=(2, 1, 0), observations=3, discount=reference.BY_KERNEL
    )
    start = np.array([0.25, 0.125, 0.125, 0.5, 0.0])
    mdp = mdp._replace(start=jnp.asarray(start, jnp.float32), prompt=jnp.asarray(LABEL))
    return mdp, policy, enumeration.solve(mdp, policy)


def test_the_value_of_a_prompt_is_the_mean_return_of_its_episodes(given):
    mdp, policy, truth = given
    paths = reference.enumerate_paths(mdp, policy)
    label = LABEL[paths.state[:, 0]]
    gain = paths.returns(reference.by_step(mdp))
    chance = np.bincount(label, paths.probability, 3)
    with np.errstate(invalid="ignore"):
        wanted = np.bincount(label, paths.probability * gain, 3) / chance
    got = np.asarray(prompt_values(mdp, truth))
    np.testing.assert_allclose(got, wanted, **CLOSE)
    assert np.isnan(got[2])
    assert abs(got[0] - got[1]) > 0.1


def test_one_prompt_is_worth_the_expected_return(given):
    mdp, _, truth = given
    one = mdp._replace(prompt=jnp.zeros(5, int))
    rounding = reference.EPS * np.abs(truth.value[0]).max()
    np.testing.assert_allclose(prompt_values(one, truth), [truth.expected_return], atol=rounding)


def test_trajectory_advantage_is_relative_to_the_prompt_of_the_trajectory(given):
    mdp, policy, truth = given
    paths = reference.enumerate_paths(mdp, policy)
    exact = reference.exact(mdp, policy)
    fields = (paths.state, paths.observation, paths.action, 0.0 * paths.reward, paths.reward)
    batch = Trajectory(*(jnp.asarray(x) for x in (*fields, paths.live)))
    batch = batch._replace(
        reward=batch.reward.astype(jnp.float32), log_prob=batch.log_prob.astype(jnp.float32)
    )
    world = World.make(mdp, jnp.asarray(policy))
    got = jax.jit(path_target, static_argnums=0)(TrajectoryAdvantage(), world, truth, batch)
    scale = reference.discounting(mdp)
    paid = paths.reward * scale
    earned = np.cumsum(paid, axis=1) - paid
    q_value = exact.q_value[np.arange(3)[None], paths.state, paths.action]
    of_state = np.asarray(prompt_values(mdp, truth))[LABEL]
    wanted = earned + scale * q_value - of_state[paths.state[:, :1]]
    np.testing.assert_allclose(got, np.where(paths.live, wanted, 0.0), **CLOSE)


def test_difficulties_are_prompts_and_hidden_modes_are_not():
    chain = ReasoningChain(num_steps=1, tokens_per_step=2, difficulty=(0.2, 0.9, 0.5))
    mdp = chain.build()
    start = np.asarray(mdp.start) > 0
    difficulty = [state[0] for state in np.array(chain.states())[start]]
    np.testing.assert_array_equal(np.asarray(mdp.prompt)[start], difficulty)
    np.testing.assert_array_equal(np.asarray(mdp.prompt)[~start], 0)
    assert not np.asarray(ToolChain(num_turns=1).build().prompt).any()
    np.testing.assert_array_equal(chain.observed().build().prompt, mdp.prompt)
