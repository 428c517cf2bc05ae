"""ReasoningChain: its optimum, difficulties of prompts, the prefix trap, the length to choose."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import optimal
from casim.tasks import ReasoningChain
from tests import reference
from tests.enumeration import solve
from tests.reference import EPS

TASK = ReasoningChain(
    num_steps=3, tokens_per_step=4, fork_share=0.5, difficulty=(0.2, 0.9), finish=0.8, luck=0.15
)
"""Two forks, one procedural token and the token that may stop, in each of three steps."""
WRONG, OPEN, READY = range(3)
solve = jax.jit(solve)


def state(prompt: int, x: int) -> int:
    """Number of a state: the end comes first, then (prompt, x) in order."""
    return 1 + 3 * prompt + x


@pytest.fixture(scope="module")
def uniform():
    mdp = TASK.build()
    policy = jnp.full((mdp.prob.shape[0], mdp.start.shape[0], 3), 1 / 3)
    return mdp, jax.tree.map(np.asarray, solve(mdp, policy))


@pytest.mark.parametrize("horizon", [1, 3, 40])
def test_the_optimum_is_finish_plus_luck_on_the_rest_whatever_the_horizon(horizon):
    mdp = TASK.with_horizon(horizon).build()
    best = np.asarray(optimal(mdp).value[0])[np.asarray(mdp.start) > 0]
    np.testing.assert_allclose(best, 0.8 + 0.2 * 0.15, atol=horizon * 8 * EPS)


def test_without_forks_taken_right_a_prompt_goes_wrong_with_its_difficulty():
    """Always the wrong action at forks and never stopping: P(wrong at the end) = d.

    A wrong end has luck alone.
    """
    task = dataclasses.replace(TASK, finish=1.0)
    mdp = task.build()
    wrong = jnp.broadcast_to(jnp.eye(3)[1], (mdp.prob.shape[0], mdp.start.shape[0], 3))
    value = np.asarray(solve(mdp, wrong).value[0])
    for prompt, difficulty in enumerate(task.difficulty):
        assert value[state(prompt, OPEN)] == pytest.approx(
            1 - difficulty * (1 - 0.15), abs=32 * EPS
        )


def test_harder_prompts_have_lower_values_under_the_uniform_policy(uniform):
    _, truth = uniform
    assert truth.value[0, state(0, OPEN)] > truth.value[0, state(1, OPEN)] + 0.05


def test_only_forks_and_stops_matter(uniform):
    mdp, truth = uniform
    spread = np.ptp(truth.q_value, axis=2).max(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(spread > 1e-6), [0, 1, 3, 4, 5, 7, 8, 9])
    np.testing.assert_array_equal(np.asarray(mdp.segment), np.repeat(np.arange(3), 4))


def test_the_prefix_trap_a_wrong_fork_inside_a_success_is_still_a_loss():
    """Among successful episodes of a small chain many took a wrong fork.

    Its exact advantage is negative.
    """
    task = dataclasses.replace(
        TASK, num_steps=2, tokens_per_step=2, difficulty=(0.9,), correction=0.6
    )
    mdp = task.build()
    policy = reference.random_policy(3, mdp)
    paths = reference.enumerate_paths(mdp, policy)
    exact = reference.exact(mdp, policy)
    success = paths.returns(1.0) == 1
    slipped = paths.live[:, 0] & (paths.action[:, 0] != 0)
    share = paths.probability[success & slipped].sum() / paths.probability[success].sum()
    assert share > 0.2
    start = int(np.flatnonzero(np.asarray(mdp.start))[0])
    advantage = exact.q_value[0, start] - exact.value[0, start]
    assert advantage[1] < -0.01
    # A lucky guess: right outcome from a derivation that is wrong when it is answered.
    wrong = np.any((paths.state == state(0, WRONG)) & paths.live, axis=1)
    assert paths.probability[success & wrong].sum() > 0


def test_when_ready_going_on_can_only_lose(uniform):
    _, truth = uniform
    check = 3  # the last token of the first step; the last action stops
    for prompt in (0, 1):
        q = truth.q_value[check, state(prompt, READY)]
        assert q[2] == pytest.approx(1.0, abs=EPS)
        assert (q[:2] < 1.0).all()
        assert truth.q_value[check, state(prompt, WRONG), 2] == pytest.approx(0.15)


def test_without_the_choice_to_stop_every_episode_has_all_its_steps():
    mdp = dataclasses.replace(TASK, may_stop=False).build()
    policy = reference.random_policy(1, mdp)
    occupancy = np.asarray(solve(mdp, jnp.asarray(policy)).occupancy)
    np.testing.assert_allclose(occupancy.sum(1), 1, atol=16 * EPS)


@pytest.mark.parametrize(
    ("share", "tokens", "forks"),
    [(0.2, 50, 10), (0.5, 4, 2), (0.0, 5, 1), (1.0, 5, 4), (0.2, 100, 20)],
)
def test_the_share_of_forks_is_as_set(share, tokens, forks):
    task = ReasoningChain(fork_share=share, tokens_per_step=tokens)
    assert task.forks_per_step == forks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps must be in [1, inf], got 0"),
        ({"tokens_per_step": 1}, "tokens_per_step must be in [2, inf], got 1"),
        ({"difficulty": ()}, "number of difficulty entries must be in [1, inf], got 0"),
        ({"difficulty": (0.5, 1.5)}, "difficulty (an entry) must be in [0.0, 1.0], got 1.5"),
        ({"luck": -0.1}, "luck must be in [0.0, 1.0], got -0.1"),
        ({"fork_share": 2.0}, "fork_share must be in [0.0, 1.0], got 2.0"),
    ],
)
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        ReasoningChain(**settings)
