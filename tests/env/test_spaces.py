"""Discrete and Box: what they hold, what they draw, what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.env import Box, Discrete

KEYS = jax.random.split(jax.random.key(3), 400)


def test_discrete_draws_every_member_alike():
    space = Discrete(5)
    drawn = jax.vmap(space.sample)(KEYS)
    assert drawn.dtype == space.dtype == jnp.int32
    # 400 draws, mean 80 and standard deviation 8 of each count: 5 standard deviations
    assert np.all(np.abs(np.bincount(np.asarray(drawn), minlength=5) - 80) < 40)
    assert np.all(jax.vmap(space.contains)(drawn))


@pytest.mark.parametrize(
    ("x", "inside"), [(0, True), (4, True), (5, False), (-1, False), (1.0, False), ([1], False)]
)
def test_discrete_contains_its_integers_only(x, inside):
    assert bool(Discrete(5).contains(x)) is inside


def test_box_draws_from_its_range():
    space = Box(-0.5, 2.0, (3, 2))
    drawn = np.asarray(jax.vmap(space.sample)(KEYS))
    assert drawn.shape == (400, 3, 2)
    assert drawn.dtype == space.dtype == np.float32
    assert np.all(jax.vmap(space.contains)(drawn))
    # the extremes of 2,400 uniform draws miss an end by 1% with chance 0.99^2400 = 3e-11
    assert drawn.min() < -0.5 + 0.025
    assert drawn.max() > 2.0 - 0.025


@pytest.mark.parametrize(
    ("x", "inside"),
    [([-0.5, 2.0], True), ([0.0, 2.1], False), ([-0.6, 0.0], False), ([0.0, 1.0, 1.0], False)],
)
def test_box_contains_its_shape_and_range_only(x, inside):
    assert bool(Box(-0.5, 2.0, (2,)).contains(x)) is inside


def test_impossible_spaces_raise():
    with pytest.raises(ValueError, match=r"n must be in \[1, inf\], got 0"):
        Discrete(0)
    with pytest.raises(ValueError, match=r"low must be below high = 1.0, got 1.0"):
        Box(1.0, 1.0, (2,))
    with pytest.raises(ValueError, match=r"shape \(a size\) must be in \[1, inf\], got 0"):
        Box(0.0, 1.0, (2, 0))
