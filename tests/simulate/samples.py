"""Sizes and comparisons that the tests of `World` share."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from casim.simulate import World
from tests import reference

KEY, OTHER = jax.random.key(7), jax.random.key(8)
HORIZON = 149  # three chunks of 50 steps, the last one padded
LONG = tuple((0, 2, 1, 2, 0, 2, 2)[t % 7] for t in range(HORIZON))
ROWS, COPIES, MANY = 13, 3, 4096  # rows of the small world, and copies of each
SIGMA = 5.0  # two-sided false alarm 6e-7 per comparison; a few hundred comparisons in this file


def make(mdp, policy, **kwargs) -> World:
    return World.make(mdp, jnp.asarray(policy), **kwargs)


def branch(world, key, batch, step, num, action=None, replay="restored", prompt=None):
    """The compiled `World.branch`, always with one step and one action per row.

    So few shapes are compiled.
    """
    rows = batch.action.shape[:1]
    step = jnp.broadcast_to(jnp.asarray(step), rows)
    action = None if action is None else jnp.broadcast_to(jnp.asarray(action), rows)
    return reference.branch(world, key, batch, step, num, action, replay, prompt)


def assert_same(one, two, where=None):
    """Equal to the last bit, everywhere or at the steps in `where`."""
    for name, x, y in zip(one._fields, one, two, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        np.testing.assert_array_equal(
            x if where is None else x[where], y if where is None else y[where], err_msg=name
        )


def copy(batch, index):
    """One copy of each row of a branched batch."""
    return jax.tree.map(lambda x: x[:, index], batch)


def gain(batch, discount, first=0) -> np.ndarray:
    reward = np.asarray(batch.reward, float)[..., first:]
    return reward @ float(discount) ** np.arange(reward.shape[-1])


def close(mean, wanted, error, trifle=1e-6):
    """Within SIGMA standard errors.

    The trifle covers outcomes without variance, summed in float32.
    """
    return abs(mean - wanted) <= SIGMA * error + trifle
