"""Worlds and rollouts that several tests of `World` read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.simulate import World
from casim.tasks import ToolChain
from tests import reference
from tests.reference import rollout
from tests.simulate.samples import COPIES, KEY, LONG, ROWS, make


@pytest.fixture(scope="session")
def small():
    """4 steps, hidden state, a terminal state, a kernel without decision."""
    mdp, policy = reference.random_mdp(45)
    return make(mdp, policy), mdp, policy


@pytest.fixture(scope="session")
def seen():
    """The same with the state shown."""
    mdp, policy = reference.random_mdp(22, hidden=False)
    return make(mdp, policy), mdp, policy


@pytest.fixture(scope="session")
def long():
    return make(*reference.random_mdp(23, schedule=LONG, terminal=False))


@pytest.fixture(scope="session")
def long_batch(long):
    return rollout(long, KEY, 6)


@pytest.fixture(scope="session")
def many(small):
    return jax.tree.map(np.asarray, rollout(small[0], KEY, 100_000))


@pytest.fixture(scope="session")
def batch(many):
    return jax.tree.map(lambda x: jnp.asarray(x[:ROWS]), many)


@pytest.fixture(scope="session")
def prompted(seen):
    """Episodes of the observed world from state 1."""
    return rollout(seen[0], KEY, ROWS * COPIES, jnp.asarray(1))


@pytest.fixture(scope="session")
def tool():
    """A world whose prompt text (the first output) leaves two hidden modes possible."""
    mdp = ToolChain(num_turns=2, tokens_per_turn=2, observation_noise=0.3).build()
    return World.make(mdp, jnp.full((mdp.prob.shape[0], 4, 2), 0.5))
