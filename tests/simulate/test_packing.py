"""States packed in words, against plain lists; bits, against Python's integers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from casim.simulate.packing import Packing, count_ones, lowest_one, ones_below

LANES = 5


@pytest.mark.parametrize("states", [1, 2, 8, 9, 16, 17, 32])
def test_what_is_put_in_a_place_is_found_there(states):
    packing = Packing(states)
    held = np.random.default_rng(states).integers(states, size=(states, LANES))
    words = packing.empty(LANES)
    for place in range(states):
        words = packing.put(
            words, place if place % 2 else jnp.int32(place), jnp.asarray(held[place])
        )
    for place in range(states):
        np.testing.assert_array_equal(packing.get(words, place), held[place])
    each = np.arange(LANES) * 3 % states
    np.testing.assert_array_equal(
        packing.get(words, jnp.asarray(each)), held[each, np.arange(LANES)]
    )
    assert len(words) == packing.words == -(-states // packing.fields)


@pytest.mark.parametrize("states", [3, 8, 16, 19])
def test_every_state_is_in_its_own_place(states):
    packing = Packing(states)
    words = packing.every(LANES)
    for place in range(states):
        np.testing.assert_array_equal(packing.get(words, place), place)
    assert not packing.met(words).any()


@pytest.mark.parametrize("states", [5, 16, 30])
def test_states_have_met_only_where_all_are_the_same(states):
    packing = Packing(states)
    words = packing.empty(LANES)
    for place in range(states):
        words = packing.put(
            words, place, jnp.asarray([0, 1, states - 1, 2, 2 - (place == states - 1)])
        )
    np.testing.assert_array_equal(packing.met(words), [True, True, True, True, False])


def test_bits_are_counted_and_found():
    bits = np.asarray([0, 1, 0b101000, 2**31, 2**32 - 1], np.uint32)
    place = np.asarray([4, 1, 5, 31, 31])
    np.testing.assert_array_equal(count_ones(jnp.asarray(bits)), [int(b).bit_count() for b in bits])
    np.testing.assert_array_equal(lowest_one(jnp.asarray(bits)), [32, 0, 3, 31, 0])
    wanted = [(int(b) & ((1 << int(p)) - 1)).bit_count() for b, p in zip(bits, place, strict=True)]
    np.testing.assert_array_equal(ones_below(jnp.asarray(bits), jnp.asarray(place)), wanted)
