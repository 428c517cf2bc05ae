"""Where every episode earns the same, what is measured against peers is exactly 0."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from casim.estimators import Vine
from casim.methods import GRPO
from casim.simulate import World
from casim.tasks import InformationSeeking
from tests.chains import grpo, rloo
from tests.enumeration import credit
from tests.reference import rollout

KEY = jax.random.key(0)


def always_asking() -> World:
    """Asks, is told the fact, and names it: every return is 1 less the price."""
    mdp = InformationSeeking(accuracy=1.0, cost=0.1).build()
    ask, choose = np.asarray(mdp.schedule)[[0, -1]]
    policy = np.full((*mdp.emission.shape[::2], 2), 0.5)
    policy[ask] = [1.0, 0.0]
    policy[choose, 1:] = np.eye(2)  # the first observation is shown to those who did not ask
    return World.make(mdp, jnp.asarray(policy, jnp.float32))


def test_equal_returns_earn_nothing():
    estimators = (
        GRPO,
        grpo(0.7, scale_over="batch"),
        rloo(0.9),
        Vine(num_branches=7, unit="step"),
        Vine(num_branches=7),
    )

    def every(world, batch):
        return [credit(estimator, KEY, world, batch).value for estimator in estimators]

    world = always_asking()
    batch = rollout(world, KEY, 7)
    np.testing.assert_allclose(batch.reward.sum(axis=1), 0.9, rtol=1e-6)
    for estimator, value in zip(estimators, jax.jit(every)(world, batch), strict=True):
        assert not np.asarray(value).any(), estimator
