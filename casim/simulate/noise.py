"""Addressed randomness: every random number is a pure function of (key, episode, step, channel).

In maths:

    word = Threefry-2x32_{20}(key; episode, 2 step + channel // 2)[channel % 2].

Because no number depends on how many others are drawn, a trajectory can be replayed from any step,
branched with common random numbers, or produced by another engine, with identical results. Uniforms
lie on a grid of 2^-24, so a simulated probability is within 6e-8 of the one in the table.

References:
    Salmon, Moraes, Dror and Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3".
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int, Key, UInt32

ACTION, TRANSITION, OBSERVATION, LATENT = range(4)
"""Channels of a step.

LATENT draws the start state at step 0 and a redrawn hidden state at a refed branch.
"""

_ROTATION = ((13, 15, 26, 6), (17, 29, 16, 24))


def key_words(key: Key[Array, ""]) -> UInt32[Array, " 2"]:
    """The two words that key the hash, from a typed key of any generator.

    The constant sets this stream apart from JAX's own, which hashes small counters under the
    same words.
    """
    words, *more = jax.random.key_data(key).reshape(-1, 2)  # one pair for JAX's default generator
    for pair in more:
        words = jnp.stack(threefry(words, *pair))
    return words ^ jnp.array([0x9E3779B9, 0x7F4A7C15], jnp.uint32)


def threefry(
    words: UInt32[Array, " 2"],
    x0: Array,
    x1: Array,
) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds, elementwise over two equal shapes of uint32 counters."""
    return threefry_together((words[0], words[1]), [(x0, x1)])[0]


def threefry_together(
    words: tuple[Array, Array],
    counters: list[tuple[Array, Array]],
) -> list[tuple[Array, Array]]:
    """Several hashes round by round, not one after the other.

    A processor can run what does not wait.
    """
    schedule = (*words, words[0] ^ words[1] ^ np.uint32(0x1BD11BDA))
    hashes = [(x0 + schedule[0], x1 + schedule[1]) for x0, x1 in counters]
    for group in range(5):
        for distance in _ROTATION[group % 2]:
            hashes = [(x0 + x1, x1) for x0, x1 in hashes]
            hashes = [(x0, x0 ^ _rotated(x1, distance)) for x0, x1 in hashes]
        first = schedule[(group + 1) % 3]
        second = schedule[(group + 2) % 3] + np.uint32(group + 1)
        hashes = [(x0 + first, x1 + second) for x0, x1 in hashes]
    return hashes


def _rotated(
    word: Array,
    distance: int,
) -> Array:
    """The bits of a word moved up, and those that fall out at the top put in below."""
    return (word << distance) | (word >> (32 - distance))


def uniform(bits: Array) -> Array:
    """Uniform float32 on the grid of 2^-24 in [0, 1), from uint32 words."""
    return (bits >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)


def step_noise(
    words: UInt32[Array, " 2"],
    episode: Int[Array, " N"],
    step: Int[Array, "B C"],
    observed: bool,
) -> Complex[Array, "B P C N"]:
    """Uniforms of B steps in each of C blocks of N episodes, two channels to a complex number.

    The real and imaginary parts of pair p are channels 2 p and 2 p + 1, the two words of one hash.
    XLA would evaluate the whole hash once for each array that reads it; one complex array is one
    evaluation.

    Args:
        words: from `key_words`.
        episode: address of each episode.
        step: address of each step.
        observed: also draw the pair of OBSERVATION and LATENT; the first does not depend on this.
    """
    pairs = jnp.arange(2 if observed else 1)
    counter = 2 * step[:, None, :] + pairs[None, :, None]
    shape = (*counter.shape, episode.shape[0])
    row = jnp.broadcast_to(episode[None, None, None, :], shape)
    column = jnp.broadcast_to(counter[..., None], shape)
    first, second = threefry(words, row.astype(jnp.uint32), column.astype(jnp.uint32))
    return jax.lax.complex(uniform(first), uniform(second))


def pair(
    words: UInt32[Array, " 2"],
    episode: Array,
    step: Array,
    channel: int,
) -> tuple[Array, Array]:
    """Uniforms at `channel` (even) and the next one, from one hash.

    The addresses have equal shapes and are taken elementwise.
    """
    row = episode.astype(jnp.uint32)
    counter = (2 * step + channel // 2).astype(jnp.uint32)
    first, second = threefry(words, row, counter)
    return uniform(first), uniform(second)


def single(
    words: UInt32[Array, " 2"],
    episode: Array,
    step: Array,
    channel: int,
) -> Array:
    """Uniforms at one channel, elementwise over equal shapes of episode and step addresses."""
    return pair(words, episode, step, channel)[channel % 2]


def thresholds(prob: Float[Array, "*shape K"]) -> Float[Array, "*shape K-1"]:
    """Where a uniform must reach to pass outcome k: the index drawn is `sum_k (u >= threshold_k)`.

    In maths: the cumulative sums c_1..c_{K-1}, raised to 2 from the last outcome of positive
    probability on, so that rounding can never draw an outcome of probability 0.
    """
    cut = jnp.where(prob > 0, jnp.cumsum(prob, axis=-1), 0.0)
    # A blocked sum may round at an outcome of probability 0 too; it takes the sum before it
    # instead.
    cut = jax.lax.cummax(cut, axis=cut.ndim - 1)[..., :-1]
    index = jnp.broadcast_to(jnp.arange(prob.shape[-1]), prob.shape)
    possible = jnp.where(prob > 0, index, 0)
    last = jnp.max(possible, axis=-1, keepdims=True)
    return jnp.where(index[..., :-1] < last, cut, 2.0).astype(jnp.float32)


def draw(
    threshold: Float[Array, "*batch cut"],
    noise: Float[Array, "*batch"],
) -> Int[Array, "*batch"]:
    """The outcome whose interval holds the uniform."""
    return jnp.sum(noise[..., None] >= threshold, axis=-1, dtype=jnp.int32)
