"""Addressed noise: a known hash, a uniform grid, and draws that respect probability 0."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32

from casim.simulate import noise
from tests.reference import assert_frequencies

WORDS = jnp.asarray([0x13198A2E, 0x03707344], jnp.uint32)


@functools.partial(jax.jit, static_argnames="observed")
def step_noise(episode, step, observed):
    """The noise by channel `[B, C, N]`: the real and imaginary parts of each pair in turn."""
    pairs = noise.step_noise(WORDS, episode, step[:, None], observed)[:, :, 0]
    return jnp.stack([pairs.real, pairs.imag], axis=2).reshape(len(step), -1, len(episode))


def test_threefry_equals_the_one_of_jax():
    counter = np.random.default_rng(0).integers(0, 2**32, (2, 501), dtype=np.uint32)
    for words in (WORDS, jnp.zeros(2, jnp.uint32), jnp.full(2, 2**32 - 1, jnp.uint32)):
        out = noise.threefry(words, *jnp.asarray(counter))
        np.testing.assert_array_equal(
            jnp.concatenate(out), threefry_2x32(words, jnp.asarray(counter.ravel()))
        )


def test_threefry_equals_the_published_vectors():
    """Known answers of Random123 1.09 (kat_vectors, threefry2x32 with 20 rounds)."""
    for words, counter, wanted in [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]:
        out = noise.threefry(jnp.asarray(words, jnp.uint32), *jnp.asarray(counter, jnp.uint32))
        assert tuple(int(x) for x in out) == wanted


def test_uniform_is_a_grid_in_0_1():
    bits = jnp.asarray([0, 255, 256, 2**31, 2**32 - 1], jnp.uint32)
    np.testing.assert_array_equal(noise.uniform(bits), [0.0, 0.0, 2.0**-24, 0.5, 1 - 2.0**-24])


def test_the_address_of_a_number_is_episode_step_and_channel():
    episode, step = jnp.asarray([0, 5, 70_000]), jnp.asarray([3, 1_000_000])
    block = np.asarray(step_noise(episode, step, observed=True))
    assert block.shape == (2, 4, 3)
    for b, t in enumerate([3, 1_000_000]):
        for n, i in enumerate([0, 5, 70_000]):
            words = [
                noise.threefry(WORDS, jnp.uint32(i), jnp.uint32(2 * t + pair)) for pair in (0, 1)
            ]
            wanted = [float(int(word) >> 8) * 2.0**-24 for pair in words for word in pair]
            np.testing.assert_array_equal(block[b, :, n], wanted)


def test_a_number_does_not_depend_on_what_is_drawn_with_it():
    whole = np.asarray(step_noise(jnp.arange(40), jnp.arange(17), observed=True))
    part = step_noise(jnp.arange(11, 14), jnp.arange(5, 12), observed=True)
    np.testing.assert_array_equal(part, whole[5:12, :, 11:14])


def test_observed_does_not_change_the_first_channels():
    whole = step_noise(jnp.arange(7), jnp.arange(5), observed=True)
    short = step_noise(jnp.arange(7), jnp.arange(5), observed=False)
    assert short.shape == (5, 2, 7)
    np.testing.assert_array_equal(short, whole[:, :2])


@pytest.mark.parametrize(
    "channel", [noise.ACTION, noise.TRANSITION, noise.OBSERVATION, noise.LATENT]
)
def test_single_equals_the_channel_of_step_noise(channel):
    whole = step_noise(jnp.arange(7), jnp.arange(5), observed=True)
    step, episode = jnp.asarray([4, 0, 2]), jnp.asarray([6, 1, 3])
    np.testing.assert_array_equal(
        noise.single(WORDS, episode, step, channel), whole[step, channel, episode]
    )


def test_noise_is_uniform_and_channels_are_independent():
    """Chi-square of marginals, and of pairs of channels, episodes and steps.

    Each has a false alarm of 1e-7.
    """
    x = np.asarray(step_noise(jnp.arange(500), jnp.arange(100), observed=True))
    cell = (x * 16).astype(int)
    for channel in range(4):
        assert_frequencies(np.bincount(cell[:, channel].ravel(), minlength=16), np.full(16, 1 / 16))
    pairs = [(cell[:, a], cell[:, b]) for a in range(4) for b in range(a)]
    pairs += [(cell[1:], cell[:-1]), (cell[:, :, 1:], cell[:, :, :-1])]
    for a, b in pairs:
        assert_frequencies(np.bincount((16 * a + b).ravel(), minlength=256), np.full(256, 1 / 256))


def test_different_keys_give_different_words_for_every_generator():
    keys = [jax.random.key(0), jax.random.key(1), jax.random.key(0, impl="rbg")]
    words = [tuple(int(w) for w in noise.key_words(key)) for key in keys]
    assert len(set(words)) == 3
    assert words[0] == tuple(int(w) for w in noise.key_words(jax.random.key(0)))


def sparse_rows(num_outcomes: int, num_rows: int = 300) -> np.ndarray:
    """Rows in float32 with many zeros, some down to one outcome, that miss 1 by rounding."""
    rng = np.random.default_rng(num_outcomes)
    rows = rng.dirichlet(np.full(num_outcomes, 0.5), num_rows)
    rows *= rng.random(rows.shape) < rng.random((num_rows, 1))
    rows[np.arange(num_rows), rng.integers(0, num_outcomes, num_rows)] += 1e-3
    return (rows / rows.sum(-1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    "num_outcomes", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (5, 33)), 300]
)
def test_no_draw_has_probability_0(num_outcomes):
    """At the ends of the grid, and at each threshold and its two neighbours on the grid."""
    rows = sparse_rows(num_outcomes)
    cut = np.asarray(noise.thresholds(jnp.asarray(rows)))
    grid = np.floor(np.minimum(cut, 1).astype(float) * 2**24)
    ends = np.broadcast_to([0, 2**24 - 1], (len(rows), 2))
    u = np.clip(np.concatenate([grid - 1, grid, grid + 1, ends], axis=1), 0, 2**24 - 1) / 2**24
    for row, c, points in zip(rows, cut, u.astype(np.float32), strict=True):
        outcome = np.sum(points[:, None] >= c, axis=-1)
        assert np.all(row[outcome] > 0)


def test_draw_counts_the_thresholds_passed():
    rows = sparse_rows(5, 40)
    cut = noise.thresholds(jnp.asarray(rows))
    u = np.random.default_rng(1).integers(0, 2**24, 40) / np.float32(2**24)
    wanted = [np.sum(x >= c) for x, c in zip(u, np.asarray(cut), strict=True)]
    np.testing.assert_array_equal(noise.draw(cut, jnp.asarray(u, jnp.float32)), wanted)


def test_a_single_outcome_is_always_drawn():
    cut = noise.thresholds(jnp.ones((3, 1)))
    assert cut.shape == (3, 0)
    np.testing.assert_array_equal(noise.draw(cut, jnp.asarray([0.0, 0.5, 0.99])), [0, 0, 0])


def test_draws_have_the_frequencies_asked_for():
    """Chi-square with a false alarm of 1e-7 for each of 4 rows of 6 outcomes.

    Each row is drawn from 200,000 times.
    """
    rows = (
        np.array(
            [[1, 0, 5, 26, 0, 0], [0, 0, 0, 32, 0, 0], [4, 4, 8, 8, 4, 4], [31, 0, 0, 0, 0, 1]]
        )
        / 32
    )
    u = np.asarray(step_noise(jnp.arange(20_000), jnp.arange(10), observed=False))[:, 1].ravel()
    for row in rows:
        cut = noise.thresholds(jnp.asarray(row, jnp.float32))
        count = np.bincount(
            noise.draw(jnp.broadcast_to(cut[None], (len(u), 5)), jnp.asarray(u)), minlength=6
        )
        if (row > 0).sum() == 1:
            assert count[row > 0] == len(u)
        else:
            assert_frequencies(count, row)
