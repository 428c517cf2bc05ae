"""Filters and sums that run in blocks of steps, against the same step by step.

Some tests are of where single precision could fail.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import signals
from casim.oracle import belief, summary
from casim.oracle.values import solve
from casim.simulate import World
from casim.simulate.belief import filter_to
from casim.types import Trajectory
from tests import reference
from tests.precise import compiled, wide
from tests.small import small_numbers

STEPS = 11
"""In 3 blocks of 4, the last one short."""
summaries = sys.modules["casim.oracle.summary"]  # its name in the package is that of the function


@pytest.fixture(scope="module")
def given():
    schedule = tuple(int(k) for k in np.random.default_rng(3).integers(0, 3, STEPS))
    mdp, policy = reference.random_mdp(
        6, schedule=schedule, observations=3, discount=reference.BY_KERNEL
    )
    world = World.make(mdp, jnp.asarray(policy))
    batch = jax.tree.map(np.asarray, reference.rollout(world, jax.random.key(4), 9))
    with jax.enable_x64(True):
        mdp, policy = jax.tree.map(jnp.asarray, wide(mdp, policy))
    return mdp, policy, batch


@pytest.mark.usefixtures("float64")
def test_the_filter_in_blocks_equals_the_filter_step_by_step(given, monkeypatch):
    mdp, _, batch = given
    ends, start = (
        jnp.asarray([0, 3, 4, 10, 7, 8, 5, 2, 9]),
        jnp.asarray([0.25, 0.125, 0.125, 0.1875, 0.3125]),
    )

    def both():
        return compiled(belief.beliefs)(mdp, batch), compiled(filter_to)(mdp, batch, ends, start)

    wanted = both()
    small_numbers(monkeypatch, "gpu", filtered=5)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    for out, one in zip(both(), wanted, strict=True):
        np.testing.assert_allclose(out, one, rtol=0, atol=1e-13)
    assert ((wanted[0] > 0.01) & (wanted[0] < 0.99)).any()
    assert not batch.live.all()


def test_a_state_that_was_unlikely_for_a_block_is_not_lost(monkeypatch):
    """State 0 explains the evidence 8^100 times better, but is excluded.

    Of the others, one is 1.5^2 times better.
    """
    steps, likely = (
        121,
        np.array([[0.875, 0.0625, 0.0625], [0.0625, 0.5625, 0.375], [0.0625, 0.375, 0.5625]]),
    )
    mdp, _ = reference.random_mdp(
        1,
        schedule=(0,) * steps,
        states=3,
        observations=3,
        terminal=False,
        discount=reference.BY_KERNEL,
    )
    stay = jnp.broadcast_to(jnp.arange(3)[None, :, None, None], mdp.successor.shape)
    emission = jnp.broadcast_to(
        jnp.asarray(likely.T, jnp.float32)[None].swapaxes(1, 2), mdp.emission.shape
    )
    mdp = mdp._replace(start=jnp.asarray([0.0, 0.5, 0.5]), successor=stay, emission=emission)
    seen = np.zeros((1, steps), int)
    seen[0, [40, 80]] = 1
    zero, live = jnp.zeros((1, steps)), jnp.ones((1, steps), bool)
    batch = Trajectory(
        jnp.asarray(seen), jnp.asarray(seen), jnp.asarray(seen) * 0, zero, zero, live
    )
    small_numbers(monkeypatch, "gpu", filtered=5)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    out = jax.jit(filter_to)(mdp, batch, jnp.asarray([steps - 1]), mdp.start)
    wanted = np.array([0.0, 1.5**2, 1.0]) / (1 + 1.5**2)
    np.testing.assert_allclose(out[0], wanted, atol=32 * reference.EPS)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("signal", ["value", "advantage"])
def test_sums_in_blocks_equal_sums_step_by_step(given, signal, monkeypatch):
    mdp, policy, _ = given
    truth = jax.jit(solve)(mdp, policy)
    table = truth.advantage
    # As it is before `jit`, which would not see the shorter chunks.
    label_range = signals.label_range.__wrapped__
    wanted = jax.jit(summary)(mdp, truth), label_range(mdp, truth, table, signal == "value")
    monkeypatch.setattr(summaries, "BLOCK_FROM", 5)
    monkeypatch.setattr(signals, "LABEL_CHUNK", 4)
    for name, value in jax.jit(lambda *x: summary(*x))(mdp, truth).items():
        np.testing.assert_allclose(value, wanted[0][name], rtol=1e-12, err_msg=name)
    np.testing.assert_allclose(
        label_range(mdp, truth, table, signal == "value"), wanted[1], rtol=1e-12, atol=1e-14
    )
