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

_EVEN = (13, 15, 26, 6)
_ODD = (17, 29, 16, 24)
_ROTATION = (_EVEN, _ODD)
_PARITY = np.uint32(0x1BD11BDA)
"""Threefry's constant, from which the third word of its schedule is made."""
_OWN_STREAM = (0x9E3779B9, 0x7F4A7C15)
_GRID = 2.0**-24


def key_words(key: Key[Array, ""]) -> UInt32[Array, " 2"]:
    """The two words that key the hash, from a typed key of any generator.

    The constant sets this stream apart from JAX's own, which hashes small counters under the
    same words.
    """
    data = jax.random.key_data(key)
    pairs = data.reshape(-1, 2)
    words, *more = pairs  # one pair for JAX's default generator
    for pair in more:
        hashed = threefry(words, *pair)
        words = jnp.stack(hashed)
    own_stream = jnp.array(_OWN_STREAM, jnp.uint32)
    return words ^ own_stream


def threefry(
    words: UInt32[Array, " 2"],
    x0: Array,
    x1: Array,
) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds, elementwise over two equal shapes of uint32 counters."""
    key = (words[0], words[1])
    counter = (x0, x1)
    (hashed,) = threefry_together(key, [counter])
    return hashed


def threefry_together(
    words: tuple[Array, Array],
    counters: list[tuple[Array, Array]],
) -> list[tuple[Array, Array]]:
    """Several hashes round by round, not one after the other.

    A processor can run what does not wait.
    """
    first, second = words
    third = first ^ second ^ _PARITY
    schedule = (first, second, third)
    hashes = _keyed(counters, first, second)
    for group in range(5):
        for distance in _ROTATION[group % 2]:
            hashes = _mixed(hashes, distance)
        number = group + 1
        first = schedule[number % 3]
        after = (number + 1) % 3
        second = schedule[after]
        numbered = np.uint32(number)
        second = second + numbered
        hashes = _keyed(hashes, first, second)
    return hashes


def _keyed(
    hashes: list[tuple[Array, Array]],
    first: Array,
    second: Array,
) -> list[tuple[Array, Array]]:
    """Both words of every hash, with a word of the key added to each."""
    return [(x0 + first, x1 + second) for x0, x1 in hashes]


def _mixed(
    hashes: list[tuple[Array, Array]],
    distance: int,
) -> list[tuple[Array, Array]]:
    """A round."""
    added = [(x0 + x1, x1) for x0, x1 in hashes]
    return [(x0, x0 ^ _rotated(x1, distance)) for x0, x1 in added]


def _rotated(
    word: Array,
    distance: int,
) -> Array:
    """The bits of a word moved up, and those that fall out at the top put in below."""
    up = word << distance
    below = word >> (32 - distance)
    return up | below


def uniform(bits: Array) -> Array:
    """Uniform float32 on the grid of 2^-24 in [0, 1), from uint32 words."""
    place = bits >> 8
    number = place.astype(jnp.float32)
    return number * jnp.float32(_GRID)


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
    number = 2 if observed else 1
    pairs = jnp.arange(number)
    steps = step[:, None, :]
    of_step = 2 * steps
    of_pair = pairs[None, :, None]
    counter = of_step + of_pair
    num = episode.shape[0]
    shape = (*counter.shape, num)
    rows = episode[None, None, None, :]
    columns = counter[..., None]
    row = jnp.broadcast_to(rows, shape)
    column = jnp.broadcast_to(columns, shape)
    row = row.astype(jnp.uint32)
    column = column.astype(jnp.uint32)
    first, second = threefry(words, row, column)
    real = uniform(first)
    imaginary = uniform(second)
    return jax.lax.complex(real, imaginary)


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
    of_step = 2 * step
    of_pair = channel // 2
    counter = of_step + of_pair
    column = counter.astype(jnp.uint32)
    first, second = threefry(words, row, column)
    return uniform(first), uniform(second)


def single(
    words: UInt32[Array, " 2"],
    episode: Array,
    step: Array,
    channel: int,
) -> Array:
    """Uniforms at one channel, elementwise over equal shapes of episode and step addresses."""
    both = pair(words, episode, step, channel)
    return both[channel % 2]


def thresholds(prob: Float[Array, "*shape K"]) -> Float[Array, "*shape K-1"]:
    """Where a uniform must reach to pass outcome k: the index drawn is `sum_k (u >= threshold_k)`.

    In maths: the cumulative sums c_1..c_{K-1}, raised to 2 from the last outcome of positive
    probability on, so that rounding can never draw an outcome of probability 0.
    """
    possible = prob > 0
    total = jnp.cumsum(prob, axis=-1)
    # A blocked sum may round at an outcome of probability 0 too; it takes the sum before it
    # instead.
    cut = jnp.where(possible, total, 0.0)
    axis = cut.ndim - 1
    cut = jax.lax.cummax(cut, axis=axis)
    number = prob.shape[-1]
    outcomes = jnp.arange(number)
    index = jnp.broadcast_to(outcomes, prob.shape)
    reachable = jnp.where(possible, index, 0)
    last = jnp.max(reachable, axis=-1, keepdims=True)
    before = index[..., :-1]
    goes_on = before < last
    below = cut[..., :-1]
    threshold = jnp.where(goes_on, below, 2.0)
    return threshold.astype(jnp.float32)


def draw(
    threshold: Float[Array, "*batch cut"],
    noise: Float[Array, "*batch"],
) -> Int[Array, "*batch"]:
    """The outcome whose interval holds the uniform."""
    shown = noise[..., None]
    passed = shown >= threshold
    return jnp.sum(passed, axis=-1, dtype=jnp.int32)
