"""Cutting time in blocks, against NumPy and loops."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from casim.blocks import Blocks, ceil, cut, fold, join, starts

CUTS = (Blocks.of_length(11, 4), Blocks.of_number(11, 3), Blocks.roots(11), Blocks.of_length(4, 4))


@pytest.mark.parametrize("blocks", CUTS)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_blocks_hold_the_steps_in_order_and_join_gives_them_back(blocks, axis):
    shape = [3, 5]
    shape.insert(axis if axis >= 0 else len(shape), blocks.steps)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    whole = axis % x.ndim
    parts = np.asarray(cut(jnp.asarray(x), blocks, axis, fill=7))
    assert parts.shape[whole : whole + 2] == (blocks.number, blocks.length)
    for t in range(blocks.number * blocks.length):
        place = (slice(None),) * whole + (t // blocks.length, t % blocks.length)
        wanted = x.take(t, axis=whole) if t < blocks.steps else 7
        np.testing.assert_array_equal(parts[place], wanted)
    np.testing.assert_array_equal(join(jnp.asarray(parts), blocks, whole), x)


def test_blocks_say_their_sizes():
    assert Blocks.of_length(11, 4) == (11, 3, 4)
    assert Blocks.of_number(11, 3) == (11, 3, 4)
    assert Blocks.roots(101) == (101, 10, 11)
    assert Blocks.of_length(11, 4).missing == 1
    assert Blocks.of_length(11, 4).of_step.tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2]
    assert [ceil(t, 4) for t in (0, 1, 4, 5)] == [0, 1, 1, 2]


@pytest.mark.parametrize("reverse", [False, True])
def test_maps_of_blocks_and_their_starts_equal_a_loop(reverse):
    """x_t = f_t x_{t-1} + c_t: a block is the map x -> F x + C."""
    rng = np.random.default_rng(1)
    factor, term = rng.uniform(0.5, 1.5, (2, 11)).astype(np.float32)
    blocks = Blocks.of_length(11, 4)
    order = range(11)[::-1] if reverse else range(11)
    before, x = np.zeros(11), 2.0
    for t in order:
        before[t] = x
        x = factor[t] * x + term[t]

    def step(map_, now):
        return now[0] * map_[0], now[0] * map_[1] + now[1]

    # What fills up the last block leaves everything as it is.
    parts = (cut(jnp.asarray(factor), blocks, fill=1), cut(jnp.asarray(term), blocks))
    maps = fold(step, (jnp.ones(3), jnp.zeros(3)), parts, reverse)
    found = starts(lambda x, map_: map_[0] * x + map_[1], jnp.float32(2), maps, reverse)
    wanted = before[[3, 7, 10]] if reverse else before[[0, 4, 8]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
