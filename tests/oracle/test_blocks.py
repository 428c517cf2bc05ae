"""Values in blocks against the sequential scan and double precision.

Lengths are awkward, or a million steps.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import oracle
from casim.oracle import blocks
from casim.oracle.moments import precise_truth
from casim.policies import Softmax
from casim.tasks import KeyToDoor, ReasoningChain, ToolChain
from casim.types import Truth
from tests import reference
from tests.precise import wide

solve = jax.jit(oracle.solve)
EPS = reference.EPS


@functools.cache
def in_blocks(block):
    return jax.jit(functools.partial(oracle.solve_in_blocks, block=block))


def assert_same(one: Truth, two: Truth, tolerance: float):
    for name in Truth._fields:
        x, y = (np.asarray(getattr(truth, name), np.float64) for truth in (one, two))
        np.testing.assert_allclose(
            x, y, rtol=0, atol=tolerance * max(1.0, np.abs(y).max()), err_msg=name
        )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize(
    ("steps", "block"),
    [
        pytest.param(1, 3, marks=pytest.mark.slow),
        (7, 3),
        pytest.param(5, 8, marks=pytest.mark.slow),
    ],
)
def test_blocks_of_any_length_give_what_the_scan_gives(steps, block):
    """Terminal states, hidden states, a discount.

    The last block is full or not; there is one block, or there are blocks of one step.
    """
    schedule = tuple(int(k) for k in np.random.default_rng(steps).integers(0, 3, steps))
    mdp, policy = wide(*reference.random_mdp(21, schedule=schedule, discount=reference.BY_KERNEL))
    mdp = jax.tree.map(jnp.asarray, mdp)
    one, two = solve(mdp, jnp.asarray(policy)), in_blocks(block)(mdp, jnp.asarray(policy))
    assert_same(two, one, 1e-13)


def test_accelerators_solve_long_episodes_in_blocks_and_cpus_scan():
    assert blocks.solver(10**6, "cpu") is oracle.solve
    assert blocks.solver(100, "gpu") is oracle.solve
    assert blocks.solver(10**6, "gpu") is oracle.solve_in_blocks


LONG = {
    "sums of thousands": (KeyToDoor(length=2000, scale=1.0), 64),
    "termination": (ReasoningChain(num_steps=100), 128),
    "discount": (ToolChain(num_turns=500, repair=0.3, observation_noise=0.1, discount=0.999), 100),
}


@pytest.mark.parametrize(
    "name",
    [
        "sums of thousands",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("termination", "discount")),
    ],
)
def test_in_single_precision_both_are_within_rounding_of_double_precision(name):
    task, block = LONG[name]
    mdp = task.build()
    policy = Softmax(seed=2).table(mdp)
    wanted = precise_truth(mdp, np.asarray(policy))
    met = wanted.occupancy[:, :, None] > 0
    largest = max(1.0, np.abs(wanted.value).max())
    for truth in (solve(mdp, policy), in_blocks(block)(mdp, policy)):
        assert np.abs(truth.value - wanted.value).max() <= 4 * EPS * largest
        assert np.abs((truth.advantage - wanted.advantage) * met).max() <= 4 * EPS * largest
        assert np.abs(truth.occupancy - wanted.occupancy).max() <= 64 * EPS
        earned = np.abs(wanted.past_reward * met[..., 0])
        assert np.abs((truth.past_reward - wanted.past_reward) * met[..., 0]).max() <= 1e-4 * max(
            1.0, earned.max()
        )


@pytest.mark.slow
def test_a_million_steps_are_as_precise_as_a_thousand(optimised):
    """The advantages of single calls are about 1e-5 there: what counts is their relative error."""
    mdp = ToolChain(num_turns=250_000, repair=0.3, observation_noise=0.1).build()
    policy = Softmax(seed=2).table(mdp)
    wanted = precise_truth(mdp, np.asarray(policy))
    met = wanted.occupancy[:, :, None] > 0
    step_by_step = jax.jit(oracle.solve)
    blockwise = jax.jit(functools.partial(oracle.solve_in_blocks, block=1024))
    for truth in (step_by_step(mdp, policy), blockwise(mdp, policy)):
        assert np.abs(truth.value - wanted.value).max() <= 4 * EPS
        error = np.abs((np.asarray(truth.advantage, np.float64) - wanted.advantage) * met).max()
        assert error <= 64 * EPS * np.abs(wanted.advantage * met).max()
        assert np.abs(truth.occupancy - wanted.occupancy).max() <= 1e-4


@pytest.mark.slow
def test_rare_outcomes_keep_their_digits_wherever_they_are_listed():
    """A hazard of 1e-6 before its complement: one minus that would be off by a twentieth."""
    mdp = ToolChain(num_turns=300_000, tokens_per_turn=1, repair=0.5).build()
    mdp = mdp._replace(
        schedule=mdp.schedule[-4:], segment=mdp.segment[:4], turn=mdp.turn[:4], agent=mdp.agent[:4]
    )
    policy = Softmax(seed=1).table(mdp)
    truth, wanted = solve(mdp, policy), precise_truth(mdp, np.asarray(policy))
    matters = np.abs(wanted.advantage) > 1e-9
    assert matters.any()
    assert np.abs(wanted.advantage).max() < 1e-5
    np.testing.assert_allclose(
        np.asarray(truth.advantage)[matters], wanted.advantage[matters], rtol=32 * EPS
    )
