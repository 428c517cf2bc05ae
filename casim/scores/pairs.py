"""Squared biases and variances over cells, from products of what different blocks of replicates found.

In maths, for one cell with exact probability p = P(s_t = s) pi(a | s), let v_b and e_b be the means over the
trajectories of block b of the visits and of the visits' errors c - A, so E v_b = p and E e_b = p mu with mu the bias
in the cell. Dividing by the number of visits would be biased where credit couples the trajectories of a group: there
errors and visits correlate. So visits are known exactly, and corrected for: with any number beta from other blocks,

    x_b = e_b + beta (p - v_b)    has mean p mu,    y_b = e_b - beta v_b    has mean p (mu - beta),

and for two blocks i, j that share no replicate with each other or with beta

    E[x_i x_j] / p = p mu^2,    E[(d_i + d_j) / 2 - y_i y_j / p] = p Var(c),    d = sum of (error - beta)^2,

exactly, at any number of replicates. beta = 0 would do; the best beta is mu, which takes the noise of the visits away,
so beta is the mean error in a third of the blocks that holds neither i nor j, or the mean of the step where that third
never met the cell.
Each score is the mean over all pairs, and what it is without a block is the mean over the pairs without it: all that
is kept is the sum over the pairs that hold each block.

Arrays are read slab by slab of time. Memory: 32 bytes for every block and cell.

References:
    Horvitz and Thompson 1952 (dividing by the exact probability); Chernozhukov et al. 2018, arXiv:1608.00060
    (cross-fitting). The combination is derived for casim; `tests/metrics/test_unbiased.py` checks it.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from casim.metrics import Sums, unit_of
from casim.types import MDP, Truth

CELLS = ("count", "error", "square", "target_error")
"""Fields of `Sums` over cells (t, s, a)."""
BYTES_PER_CELL = 8 * len(CELLS)
SLAB_CELLS = {"cpu": 2**13}
ACCELERATOR_SLAB_CELLS = 2**19
"""Cells that are read at once, by platform: on a CPU what fits its cache."""


class CellPairs(NamedTuple):
    """Sums over cells; all add up over slabs of time. A is the advantage, V the value, in units of the task.

    The first four are sums over the pairs that hold each block.
    """

    bias: Any  # [B] of p mu^2
    centred: Any  # [B] the same, less its mean under the policy in each state
    target: Any  # [B] the same of c - the estimator's own target
    variance: Any  # [B] of p Var(c)
    square: Any  # [B] of p (mu^2 + Var(c))
    signal: Any  # of p A^2
    worth: Any  # of p V^2
    reach: Any  # of p |A| discount^t, which the length of the gradient cannot exceed by more than a factor
    decisions: Any  # of p
    infinite: Any  # cells with errors that are not finite
    aimless: Any  # cells without a target
    unit: Any  # of the task, in its rewards


class _Exact(NamedTuple):
    """What is known of each step, `[T, ...]` or a slab of it."""

    time: Array
    kernel: Array
    occupancy: Float[Array, "T S"]
    advantage: Float[Array, "T S A"]
    value: Float[Array, "T S"]


class _Found(NamedTuple):
    """What the blocks found in each cell, per trajectory, `[B, T, S, A]` or a slab of it."""

    visits: Array
    error: Array
    square: Array
    target: Array


class _Fixed(NamedTuple):
    """What all steps share."""

    decision: Bool[Array, " M"]
    state_policy: Float[Array, "M S A"]
    discount: Float[Array, ""]
    unit: Float[Array, ""]
    trajectories: Float[Array, " B"]
    """Of each block."""


def prepare(mdp: MDP, truth: Truth, num_blocks: int) -> None:
    """Compiles what `cell_pairs` needs for sums in so many blocks, once for every shape and place."""
    mdp, truth = _on_one_device((mdp, truth))
    shape = (num_blocks, *truth.advantage.shape)
    sharding = truth.advantage.sharding
    with jax.enable_x64(True):
        cell = jax.ShapeDtypeStruct(shape, jnp.float64, sharding=sharding)
        each = jax.ShapeDtypeStruct((num_blocks,), jnp.float64, sharding=sharding)
        _program(_arguments(mdp, truth, (cell,) * len(CELLS), each))


def cell_pairs(mdp: MDP, truth: Truth, blocks: Sums) -> CellPairs:
    """Everything that needs the cells, in double precision, on the first device of this process.

    Arrays that all devices hold would be read by a program made for all of them, which may add up in another order:
    on one, scores do not depend on the number of devices.

    Args:
        mdp: the process.
        truth: the exact values of the policy.
        blocks: sums with a leading block axis.
    """
    with jax.enable_x64(True):
        mdp, truth, blocks = _on_one_device((mdp, truth, blocks))
        cells = tuple(jnp.asarray(getattr(blocks, name), jnp.float64) for name in CELLS)
        trajectories = jnp.asarray(blocks.trajectories, jnp.float64)
        arguments = _arguments(mdp, truth, cells, trajectories)
        return jax.tree.map(np.asarray, _program(arguments)(*arguments))


def thirds(num_blocks: int) -> Bool[np.ndarray, "F B"]:
    """Which blocks each third of them holds; with fewer than three blocks one third that holds none."""
    if num_blocks < 3:
        return np.zeros((1, num_blocks), bool)
    return np.arange(num_blocks) * 3 // num_blocks == np.arange(3)[:, None]


def _on_one_device(tree: Any) -> Any:
    """The copies that the first device of this process holds."""
    return jax.tree.map(lambda x: jnp.asarray(x).addressable_data(0), tree)


def _arguments(mdp: MDP, truth: Truth, cells: tuple, trajectories: Any) -> tuple:
    exact = _Exact(
        time=jnp.arange(mdp.schedule.shape[0]),
        kernel=mdp.schedule,
        occupancy=truth.occupancy,
        advantage=truth.advantage,
        value=truth.value[:-1],
    )
    fixed = _Fixed(mdp.decision, truth.state_policy, mdp.discount, _unit(truth), trajectories)
    return fixed, exact, cells


_unit = jax.jit(unit_of)
_PROGRAMS: dict[object, Any] = {}


def _program(arguments: tuple) -> Any:
    _, exact, _ = arguments
    steps, *cell = exact.advantage.shape
    slab = SLAB_CELLS.get(jax.default_backend(), ACCELERATOR_SLAB_CELLS)
    width = max(1, min(steps, slab // max(1, math.prod(cell))))
    leaves = jax.tree.leaves(arguments)
    key = (width, *((x.shape, x.dtype, x.sharding) for x in leaves))
    if key not in _PROGRAMS:
        lowered = jax.jit(_slabs, static_argnums=0).lower(width, *arguments)
        _PROGRAMS[key] = lowered.compile()
    return _PROGRAMS[key]


def _slabs(width: int, known: _Fixed, exact: _Exact, cells: tuple) -> CellPairs:
    """The sums over slabs of `width` steps, one after the other."""
    steps = exact.kernel.shape[0]

    def slab(total: CellPairs, start: Array) -> tuple[CellPairs, None]:
        # The last slab is moved back to fit; what it repeats counts nothing.
        first = jnp.minimum(start, steps - width)
        fresh = first + jnp.arange(width) >= start
        here = _Exact(*(jax.lax.dynamic_slice_in_dim(x, first, width) for x in exact))
        found = (jax.lax.dynamic_slice_in_dim(x, first, width, axis=1) for x in cells)
        each = known.trajectories[:, None, None, None]
        means = _Found(*(jnp.where(fresh[:, None, None], x, 0.0) / each for x in found))
        return jax.tree.map(jnp.add, total, _over_slab(known, here, means, fresh)), None

    num = known.trajectories.shape[0]
    each, one = jnp.zeros(num), jnp.zeros(())
    zero = CellPairs(each, each, each, each, each, *(one,) * 7)
    total = jax.lax.scan(slab, zero, jnp.arange(0, steps, width))[0]
    return total._replace(unit=known.unit)


def _over_slab(known: _Fixed, exact: _Exact, found: _Found, fresh: Bool[Array, " T"]) -> CellPairs:
    """The sums over the cells of some steps."""
    policy = known.state_policy[exact.kernel].astype(jnp.float64)
    counts = fresh & known.decision[exact.kernel]
    reached = jnp.where(counts[:, None], exact.occupancy, 0.0).astype(jnp.float64)
    probability = reached[..., None] * policy
    finite = jnp.isfinite(found.error)
    aimed = jnp.isfinite(found.target)
    error = jnp.where(finite, found.error, 0.0)
    target = jnp.where(aimed, found.target, 0.0)
    square = jnp.where(jnp.isfinite(found.square), found.square, 0.0)
    found = _Found(found.visits, error, square, target)

    def with_third(third: tuple[Array, Array]) -> tuple[Array, Array, Array, Array]:
        return _products(known, third, found, probability, policy)

    held = jnp.asarray(thirds(known.trajectories.shape[0]))
    pairs = [jnp.sum(x, axis=0) for x in jax.lax.map(with_third, (held, _shares(held)))]
    discounting = known.discount.astype(jnp.float64) ** exact.time
    advantage = exact.advantage.astype(jnp.float64) / known.unit
    value = exact.value.astype(jnp.float64) / known.unit
    reach = discounting[:, None, None] * probability * jnp.abs(advantage)
    return CellPairs(
        *pairs,
        square=jnp.sum(square, axis=(1, 2, 3)),
        signal=jnp.sum(probability * advantage**2),
        worth=jnp.sum(reached * value**2),
        reach=jnp.sum(reach),
        decisions=jnp.sum(probability),
        infinite=jnp.sum(~finite, dtype=jnp.float64),
        aimless=jnp.sum(~aimed, dtype=jnp.float64),
        unit=jnp.zeros(()),
    )


def _shares(held: Bool[Array, "F B"]) -> Float[Array, "F B B"]:
    """How much each third says of a pair of blocks: those that hold neither of the two alike, the others nothing."""
    outside = ~held[:, :, None] & ~held[:, None, :]
    outside = outside & ~jnp.eye(held.shape[1], dtype=bool)[None]
    return outside / jnp.maximum(jnp.sum(outside, axis=0, keepdims=True), 1)


def _products(
    known: _Fixed,
    third: tuple[Bool[Array, " B"], Float[Array, "B B"]],
    found: _Found,
    probability: Float[Array, "T S A"],
    policy: Float[Array, "T S A"],
) -> tuple[Array, Array, Array, Array]:
    """What a third says: `[B]` sums over pairs of biases, centred biases, biases to the target, and variances."""
    members, share = third
    possible = probability > 0
    inverse = jnp.where(possible, 1.0 / jnp.where(possible, probability, 1.0), 0.0)
    weight = jnp.where(members, known.trajectories, 0.0)

    def expected(error: Array) -> Array:
        """beta: the mean error in the third, that of the step where it never met the cell."""
        visits = jnp.tensordot(weight, found.visits, axes=1)
        total = jnp.tensordot(weight, error, axes=1)
        of_step = jnp.sum(total, axis=(1, 2)) / jnp.maximum(jnp.sum(visits, axis=(1, 2)), 1.0)
        seen = visits > 0
        return jnp.where(seen, total / jnp.where(seen, visits, 1.0), of_step[:, None, None])

    def product(x: Float[Array, "B T S A"]) -> Float[Array, " B"]:
        # Partners first: a product over all cells would add them up in an order that depends on the threads.
        partners = jnp.tensordot(share, x, axes=1)
        return jnp.sum(x * inverse[None] * partners, axis=(1, 2, 3))

    beta, aim = (expected(x)[None] for x in (found.error, found.target))
    known_visits = jnp.where(possible, probability, 0.0)[None]
    small = found.error - beta * found.visits
    bias = small + beta * known_visits
    own = found.target + aim * (known_visits - found.visits)
    centred = bias - policy[None] * jnp.sum(bias, axis=-1, keepdims=True)
    spread = found.square - 2 * beta * found.error + beta**2 * found.visits
    spread = jnp.sum(spread, axis=(1, 2, 3))
    mean_spread = (spread[:, None] + spread[None, :]) / 2
    variance = jnp.sum(share * mean_spread, axis=1) - product(small)
    return product(bias), product(centred), product(own), variance
