"""Squares without the square of the noise: products of what different blocks of replicates found.

In maths, for one cell with exact probability p = P(s_t = s) pi(a | s), let v_b and e_b be the means
over the trajectories of block b of the visits and of the visits' errors c - A, so E v_b = p and
E e_b = p mu with mu the bias in the cell. Dividing by the number of visits would be biased where
credit couples the trajectories of a group: there errors and visits correlate. So visits are known
exactly, and corrected for: with any number beta from other blocks,

    x_b = e_b + beta (p - v_b)    has mean p mu,    y_b = e_b - beta v_b    has mean p (mu - beta),

and for two blocks i, j that share no replicate with each other or with beta

    E[x_i x_j] / p = p mu^2,    E[(d_i + d_j) / 2 - y_i y_j / p] = p Var(c),

with d the sum of (error - beta)^2, exactly, at any number of replicates. beta = 0 would do; the
best beta is mu, which takes the noise of the visits away, so beta is the mean error in a third of
the blocks that holds neither i nor j, or the mean of the step where that third never met the cell.
Each score is the mean over all pairs, and what it is without a block is the mean over the pairs
without it: all that is kept is the sum over the pairs that hold each block.

References:
    Horvitz and Thompson 1952 (dividing by the exact probability); Chernozhukov et al. 2018,
    arXiv:1608.00060 (cross-fitting). The combination is derived for casim;
    `tests/scores/test_unbiased.py` checks it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

PerBlock = Float[Array, " B"]
PerBin = Float[Array, "B *bins"]
PerCell = Float[Array, "T S A"]
BlocksCell = Float[Array, "B T S A"]


class Found(NamedTuple):
    """What the blocks found in each cell, per trajectory."""

    visits: BlocksCell
    error: BlocksCell
    square: BlocksCell
    target: BlocksCell


class Known(NamedTuple):
    """What is exact of each cell."""

    probability: PerCell
    """Of a decision there, p."""
    policy: PerCell
    trajectories: PerBlock
    """Of each block."""


class Crossed(NamedTuple):
    """Sums over cells, all or by bin, and over the pairs that hold each block."""

    bias: PerBin
    """p mu^2."""
    centred: PerBin
    """The same, less its mean under the policy in each state."""
    target: PerBin
    """The same of c - the estimator's own target."""
    variance: PerBin
    """p Var(c)."""


class _Third(NamedTuple):
    members: Bool[Array, " B"]
    share: Float[Array, "B B"]
    """How much the third says of each pair of blocks."""


def over_all(x: BlocksCell) -> PerBlock:
    """Sums over all cells."""
    return jnp.sum(x, axis=(1, 2, 3))


def cross(
    known: Known,
    found: Found,
    over: Callable[[BlocksCell], PerBin] = over_all,
) -> Crossed:
    """All pairs, each by the thirds that hold neither of the two.

    Args:
        known: what is exact.
        found: what the blocks found.
        over: adds up cells, all of them or apart for each of several bins.
    """
    (num_blocks,) = known.trajectories.shape
    members = jnp.asarray(thirds(num_blocks))
    every = _Third(members, _shares(members))

    def one(third: _Third) -> Crossed:
        return _by_third(known, third, found, over)

    each = jax.lax.map(one, every)
    return Crossed(*(jnp.sum(x, axis=0) for x in each))


def thirds(num_blocks: int) -> Bool[np.ndarray, "F B"]:
    """Which blocks each third of them holds.

    With fewer than three blocks there is one third, which holds none.
    """
    if num_blocks < 3:
        return np.zeros((1, num_blocks), bool)
    block = np.arange(num_blocks)
    third = block * 3 // num_blocks
    return third == np.arange(3)[:, None]


def _shares(members: Bool[Array, "F B"]) -> Float[Array, "F B B"]:
    """How much each third says of a pair of blocks.

    Those that hold neither of the two say as much as each other, the others nothing.
    """
    _, num_blocks = members.shape
    absent = ~members
    without_first = absent[:, :, None]
    without_second = absent[:, None, :]
    outside = without_first & without_second
    same = jnp.eye(num_blocks, dtype=bool)
    outside = outside & ~same[None]
    num_outside = jnp.sum(outside, axis=0, keepdims=True)
    return outside / jnp.maximum(num_outside, 1)


def _by_third(
    known: Known,
    third: _Third,
    found: Found,
    over: Callable[[BlocksCell], PerBin],
) -> Crossed:
    """What one third says, whose blocks give beta."""
    probability = known.probability
    possible = probability > 0
    safe = jnp.where(possible, probability, 1.0)
    inverse = jnp.where(possible, 1.0 / safe, 0.0)
    visits = jnp.where(possible, probability, 0.0)[None]
    weight = jnp.where(third.members, known.trajectories, 0.0)

    def product(x: BlocksCell) -> PerBin:
        # Partners first: a product over all cells would add them up in an order that depends on
        # the threads.
        partners = jnp.tensordot(third.share, x, axes=1)
        products = x * inverse[None] * partners
        return over(products)

    beta = _mean_error(weight, found.visits, found.error)
    aim = _mean_error(weight, found.visits, found.target)
    beyond = found.error - beta * found.visits
    bias = beyond + beta * visits
    target = found.target + aim * (visits - found.visits)
    # The policy is a factor of what is added up here: the sum is P(s_t = s) times the mean of mu.
    of_state = jnp.sum(bias, axis=-1, keepdims=True)
    offset = known.policy[None] * of_state
    centred = bias - offset
    spread = _mean_spread(third.share, beta, found, over)
    return Crossed(
        bias=product(bias),
        centred=product(centred),
        target=product(target),
        variance=spread - product(beyond),
    )


def _mean_error(
    weight: PerBlock,
    visits: BlocksCell,
    error: BlocksCell,
) -> Float[Array, "1 T S A"]:
    """beta: the mean error in a third, that of the step where it never met the cell."""
    count = jnp.tensordot(weight, visits, axes=1)
    total = jnp.tensordot(weight, error, axes=1)
    step_count = jnp.sum(count, axis=(1, 2))
    step_total = jnp.sum(total, axis=(1, 2))
    of_step = step_total / jnp.maximum(step_count, 1.0)
    met = count > 0
    safe = jnp.where(met, count, 1.0)
    mean = jnp.where(
        met,
        total / safe,
        of_step[:, None, None],
    )
    return mean[None]


def _mean_spread(
    share: Float[Array, "B B"],
    beta: Float[Array, "1 T S A"],
    found: Found,
    over: Callable[[BlocksCell], PerBin],
) -> PerBin:
    """Sums over the pairs that hold each block of (d_i + d_j) / 2."""
    mixed = 2 * beta * found.error
    square = beta**2 * found.visits
    spread = found.square - mixed + square
    spread = over(spread)
    pairs = spread[:, None] + spread[None, :]
    mean = pairs / 2
    bins = (1,) * (spread.ndim - 1)
    weight = share.reshape(*share.shape, *bins)
    return jnp.sum(weight * mean, axis=1)
