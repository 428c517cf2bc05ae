"""Draws name their type: in double precision the same numbers are drawn."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.oracle import taken_game
from casim.oracle.shapley import sampled_shapley
from tests.enumeration import QUICK, run, solve

KEY = jax.random.key(3)


quickly = functools.partial(jax.jit, compiler_options=QUICK)
rollout = quickly(lambda key, world: world.rollout(key, 4))
judged = quickly(lambda key, world, batch: world.judge(key, batch))


@quickly
def orders(key, mdp, policy, batch):
    """Marginals in random orders, of the oracle."""
    game = taken_game(mdp, policy, batch, mdp.segment, 3)
    return sampled_shapley(key, game, 3, 2).value


def drawn():
    """Whatever draws, by name, in the precision of JAX as it is now."""
    mdp = casim.Bifurcation(6, (2,), num_segments=3).build()
    policy = casim.Softmax(scale=0.5, seed=0).table(mdp)
    judge = casim.Judge(fidelity=0.6, density=0.5)
    world = casim.World.make(mdp, policy, judges={"judge": judge.model(mdp, solve(mdp, policy))})
    batch = rollout(KEY, world)
    network = casim.GaeNetwork(num_rollouts=4, hidden=3, num_updates=5, minibatch=7)
    return {
        "policy": policy,
        "rollout": jnp.stack([batch.state, batch.action]),
        "judge": judged(KEY, world, batch),
        "minibatches": network._picks(KEY, jnp.array([6, 4, 3, 5]), 6),
        "network": run(network, KEY, world, batch).value,
        "orders": run(casim.Shapley(2), KEY, world, batch).value,
        "orders of the oracle": orders(KEY, mdp, policy, batch),
    }


@pytest.mark.slow
def test_double_precision_draws_the_same_numbers():
    single = drawn()
    with jax.enable_x64(True):
        double = drawn()
    assert double["policy"].dtype == np.float64
    for name, numbers in single.items():
        np.testing.assert_allclose(double[name], numbers, atol=1e-5, err_msg=name)
