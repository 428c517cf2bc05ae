"""Sums over cells, in double precision: squared biases, variances, and what they are relative to.

How the squares are freed of noise is in `casim.scores.crossing`. Arrays are read slab by slab of
time. Memory: 32 bytes for every block and cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from casim.discounts import weights
from casim.platforms import numbers
from casim.scores.crossing import Found, Known, cross, over_all
from casim.scores.sums import Sums, unit_of
from casim.types import MDP, Truth

CELLS = ("count", "error", "square", "target_error")
"""Fields of `Sums` over cells (t, s, a)."""
BYTES_PER_CELL = 8 * len(CELLS)


class CellPairs(NamedTuple):
    """Sums over cells; all add up over slabs of time.

    A is the advantage, V the value, in units of the task, mu and Var those of `crossing`. The first
    four are sums over the pairs that hold each block.
    """

    bias: Any  # [B] of p mu^2
    centred: Any  # [B] the same, less its mean under the policy in each state
    target: Any  # [B] the same of c - the estimator's own target
    variance: Any  # [B] of p Var(c)
    square: Any  # [B] of p (mu^2 + Var(c))
    signal: Any  # of p A^2
    worth: Any  # of p V^2
    reach: Any  # of p |A| weight; the gradient's length exceeds it by no more than a factor
    decisions: Any  # of p
    infinite: Any  # cells with errors that are not finite
    aimless: Any  # cells without a target
    unit: Any  # of the task, in its rewards


class Exact(NamedTuple):
    """What is known of each step, `[T, ...]` or a slab of it."""

    weight: Float[Array, " T"]
    kernel: Array
    occupancy: Float[Array, "T S"]
    advantage: Float[Array, "T S A"]
    value: Float[Array, "T S"]


class Fixed(NamedTuple):
    """What all steps share."""

    decision: Bool[Array, " M"]
    state_policy: Float[Array, "M S A"]
    unit: Float[Array, ""]
    trajectories: Float[Array, " B"]
    """Of each block."""


def prepare(mdp: MDP, truth: Truth, num_blocks: int) -> None:
    """Compiles what `cell_pairs` needs for sums in so many blocks.

    Once for every shape and place.
    """
    mdp, truth = on_one_device((mdp, truth))
    sharding = truth.advantage.sharding

    def like(shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(
            shape,
            jnp.float64,
            sharding=sharding,
        )

    with jax.enable_x64(True):
        cell = like((num_blocks, *truth.advantage.shape))
        cells = (cell,) * len(CELLS)
        trajectories = like((num_blocks,))
        arguments = arguments_of(mdp, truth, cells, trajectories)
        _program(arguments)


def cell_pairs(mdp: MDP, truth: Truth, blocks: Sums) -> CellPairs:
    """Everything that needs the cells, in double precision, on the first device of this process.

    Arrays that all devices hold would be read by a program made for all of them, which may add up
    in another order: on one, scores do not depend on the number of devices.

    Args:
        mdp: the process.
        truth: the exact values of the policy.
        blocks: sums with a leading block axis.
    """
    with jax.enable_x64(True):
        fields = tuple(getattr(blocks, name) for name in CELLS)
        needed = (mdp, truth, fields, blocks.trajectories)
        mdp, truth, fields, trajectories = on_one_device(needed)
        cells = tuple(jnp.asarray(x, jnp.float64) for x in fields)
        trajectories = jnp.asarray(trajectories, jnp.float64)
        arguments = arguments_of(mdp, truth, cells, trajectories)
        program = _program(arguments)
        return jax.tree.map(np.asarray, program(*arguments))


def on_one_device(tree: Any) -> Any:
    """The copies that the first device of this process holds."""
    return jax.tree.map(_on_one_device, tree)


def _on_one_device(x: Any) -> Array:
    alone = isinstance(x, jax.Array) and len(x.sharding.device_set) == 1
    # As it is: `asarray` and `addressable_data` would take most of the time that scores of a small
    # study take.
    return x if alone else jnp.asarray(x).addressable_data(0)


def arguments_of(
    mdp: MDP,
    truth: Truth,
    cells: tuple,
    trajectories: Any,
) -> tuple[Fixed, Exact, tuple]:
    """What the program takes, after the width of a slab."""
    exact = Exact(
        weight=jax.device_put(_weights(mdp), truth.advantage.sharding),
        kernel=mdp.schedule,
        occupancy=truth.occupancy,
        advantage=truth.advantage,
        value=truth.value[:-1],
    )
    fixed = Fixed(
        mdp.decision,
        truth.state_policy,
        _unit(truth),
        trajectories,
    )
    return fixed, exact, cells


def _weights(mdp: MDP) -> Float[Array, " T"]:
    """The weight of each step. One discount for all kernels is one number: less to compile."""
    each = np.asarray(mdp.discount, np.float64)[np.asarray(mdp.schedule)]
    alike = np.all(each == each[0])
    return weights(jnp.asarray(each[0] if alike else each), len(each))


_unit = jax.jit(unit_of)
_PROGRAMS: dict[object, Any] = {}


def _program(arguments: tuple[Fixed, Exact, tuple]) -> Any:
    """The compiled program for arguments of these shapes and places."""
    _, exact, _ = arguments
    width = slab_width(exact.advantage.shape)
    leaves = jax.tree.leaves(arguments)
    shapes = [(x.shape, x.dtype, x.sharding) for x in leaves]
    key = (width, *shapes)
    if key not in _PROGRAMS:
        program = jax.jit(_slabs, static_argnums=0)
        lowered = program.lower(width, *arguments)
        _PROGRAMS[key] = lowered.compile()
    return _PROGRAMS[key]


def slab_width(shape: tuple[int, ...]) -> int:
    """How many steps are read at once."""
    steps, *cells = shape
    of_step = max(1, math.prod(cells))
    return max(1, min(steps, numbers().slab // of_step))


def _slabs(
    width: int,
    known: Fixed,
    exact: Exact,
    cells: tuple,
) -> CellPairs:
    """The sums over slabs of `width` steps, one after the other."""
    zero = _zero(known.trajectories)
    total = over_slabs(width, known, exact, cells, _over_slab, zero)
    return total._replace(unit=known.unit)


def over_slabs(
    width: int,
    known: Fixed,
    exact: Any,
    cells: tuple,
    of_slab: Callable[[Fixed, Any, Found, Bool[Array, " T"]], Any],
    zero: Any,
) -> Any:
    """Adds up what `of_slab` makes of `width` steps after `width` steps, from `zero` on.

    It is given what is known and what was found of the steps, and which of them are new.
    """
    _, steps, *_ = cells[0].shape
    trajectories = known.trajectories[:, None, None, None]

    def slab(total: Any, start: Array) -> tuple[Any, None]:
        # The last slab is moved back to fit; what it repeats counts nothing.
        first = jnp.minimum(start, steps - width)
        fresh = first + jnp.arange(width) >= start

        def cut(x: Array, axis: int) -> Array:
            return jax.lax.dynamic_slice_in_dim(x, first, width, axis)

        def mean(x: Array) -> Array:
            here = cut(x, 1)
            counted = jnp.where(fresh[:, None, None], here, 0.0)
            return counted / trajectories

        here = jax.tree.map(lambda x: cut(x, 0), exact)
        found = Found(*(mean(x) for x in cells))
        new = of_slab(known, here, found, fresh)
        return jax.tree.map(jnp.add, total, new), None

    # Moved and not filled up: a copy of all cells would be gigabytes.
    starts = jnp.arange(0, steps, width)
    total, _ = jax.lax.scan(slab, zero, starts)
    return total


def _zero(trajectories: Float[Array, " B"]) -> CellPairs:
    """The sums over no cell."""
    (num,) = trajectories.shape
    per_block = [jnp.zeros(num)] * 5
    single = [jnp.zeros(())] * 7
    return CellPairs(*per_block, *single)


def _over_slab(
    known: Fixed,
    exact: Exact,
    found: Found,
    fresh: Bool[Array, " T"],
) -> CellPairs:
    """The sums over the cells of some steps."""
    here = known_of(known, exact, fresh)
    finite = finite_of(found)
    crossed = cross(here, finite)
    advantage = exact.advantage.astype(jnp.float64) / known.unit
    value = exact.value.astype(jnp.float64) / known.unit
    probability = here.probability
    reached = _reached(known, exact, fresh)
    reach = exact.weight[:, None, None] * probability * jnp.abs(advantage)
    return CellPairs(
        *crossed,
        square=over_all(finite.square),
        signal=jnp.sum(probability * advantage**2),
        worth=jnp.sum(reached * value**2),
        reach=jnp.sum(reach),
        decisions=jnp.sum(probability),
        infinite=_count_infinite(found.error),
        aimless=_count_infinite(found.target),
        unit=jnp.zeros(()),
    )


def known_of(
    known: Fixed,
    exact: Exact,
    fresh: Bool[Array, " T"],
) -> Known:
    """What is exact of the cells of some steps, of those that are new and decide."""
    policy = known.state_policy[exact.kernel]
    policy = policy.astype(jnp.float64)
    reached = _reached(known, exact, fresh)
    return Known(
        reached[..., None] * policy,
        policy,
        known.trajectories,
    )


def _reached(
    known: Fixed,
    exact: Exact,
    fresh: Bool[Array, " T"],
) -> Float[Array, "T S"]:
    """P(s_t = s), 0 at steps that count nothing."""
    counts = fresh & known.decision[exact.kernel]
    reached = jnp.where(counts[:, None], exact.occupancy, 0.0)
    return reached.astype(jnp.float64)


def finite_of(found: Found) -> Found:
    """What was found, 0 where it is not finite."""
    return found._replace(
        error=_or_zero(found.error),
        square=_or_zero(found.square),
        target=_or_zero(found.target),
    )


def _or_zero(x: Array) -> Array:
    """The entries that are finite, 0 for the others."""
    finite = jnp.isfinite(x)
    return jnp.where(finite, x, 0.0)


def _count_infinite(x: Array) -> Float[Array, ""]:
    """How many entries are not finite."""
    finite = jnp.isfinite(x)
    return jnp.sum(~finite, dtype=jnp.float64)
