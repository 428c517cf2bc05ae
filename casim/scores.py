"""Scores from sums: what `casim.metrics.measure` gives for every chunk, added up per block and made into numbers.

Sums are added in double precision on the device, in the order of the chunks, so memory does not grow with the number of
replicates and nothing is copied to the host before the end. `finalise` reads them slab by slab of time: each score is a
few sums over cells (t, s, a), for all blocks and for all but one, from which the 95% intervals follow by the jackknife.
The formulas of the scores are in `casim.metrics`.

Memory: 32 bytes for every block and cell.

References:
    Tukey 1958 (jackknife).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from casim.metrics import Score, Sums
from casim.types import MDP, Truth

STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5% quantiles of Student's t, by degrees of freedom."""
CELLS = ("count", "error", "square", "target_error")
"""Fields of `Sums` over cells (t, s, a)."""
BYTES_PER_CELL = 8 * len(CELLS)
SLAB_CELLS = {"cpu": 2**13}
ACCELERATOR_SLAB_CELLS = 2**21
"""Cells that are turned into scores at once, by platform: on a CPU what fits its cache."""


class NotFiniteError(ValueError):
    """An estimator gave credit that is NaN or infinite."""


class Blocks:
    """Sums per block of replicates, in float64 on the device."""

    def __init__(self, num_blocks: int):
        self._num_blocks = num_blocks
        self._sums: Sums | None = None

    def add(self, block: int, sums: Sums) -> None:
        """Adds one chunk's sums to a block, without waiting for them."""
        with jax.enable_x64(True):
            if self._sums is None:
                # Placed like what is added, so that the first addition and the others are one program.
                places = jax.tree.map(lambda x: x.sharding, sums)
                self._sums = jax.jit(_zeros, static_argnums=0, out_shardings=places)(self._num_blocks, sums)
            self._sums = _add(self._sums, np.int32(block), sums)

    @property
    def sums(self) -> Sums:
        """Arrays with a leading block axis, on the device.

        Raises:
            ValueError: nothing was added yet.
        """
        if self._sums is None:
            raise ValueError("blocks must hold at least 1 chunk of sums, got 0")
        return self._sums


def _zeros(num_blocks: int, like: Sums) -> Sums:
    return jax.tree.map(lambda x: jnp.zeros((num_blocks, *x.shape), jnp.float64), like)


@functools.partial(jax.jit, donate_argnums=0)
def _add(total: Sums, block: Array, new: Sums) -> Sums:
    """Adds in place: the sums of a million steps are gigabytes."""

    def one(total: Array, new: Array) -> Array:
        now = jax.lax.dynamic_index_in_dim(total, block, keepdims=False) + new.astype(jnp.float64)
        return jax.lax.dynamic_update_index_in_dim(total, now, block, axis=0)

    return jax.tree.map(one, total, new)


class Finished(NamedTuple):
    """What the sums of a row say."""

    scores: dict[str, Score]
    left_out: dict[str, list[float]]
    """Each score without each block of replicates in turn, in the order of the blocks: methods that were scored on the
    same groups are compared by pairs of these."""
    notes: dict[str, str]
    """Why a score is missing, or what to know of it, by its name."""


def finalise(mdp: MDP, truth: Truth, blocks: Sums) -> Finished:
    """All scores with their intervals, from sums per block (leading axis).

    Raises:
        ValueError: fewer than two groups in all.
        NotFiniteError: credit was not finite: its sums of errors are not.
    """
    num_groups = float(np.sum(np.asarray(blocks.groups)))
    if num_groups < 2:
        raise ValueError(f"replicates must be at least 2, got {num_groups:g}")
    cells = _over_cells(mdp, truth, blocks)
    if not cells.finite:
        raise NotFiniteError("credit must be finite, got NaN or infinity")
    rest = Sums(*(None if name in CELLS else np.asarray(x) for name, x in blocks._asdict().items()))
    gradient = np.asarray(truth.gradient, np.float64)
    num = len(rest.groups)
    every = [_scores(cells, index, _total(rest, index), gradient) for index in range(num + 1 if num > 1 else 1)]
    values, counts = every[0]
    left_out = {name: [one[name] for one, _ in every[1:]] for name in values}
    scores = {name: _interval(value, left_out[name], counts[name]) for name, value in values.items()}
    return Finished(scores, left_out, {})


def _interval(value: float, left_out: list[float], count: float) -> Score:
    num = len(left_out)
    if num < 2 or not np.isfinite([value, *left_out]).all():
        return Score(value, np.nan, np.nan, count)
    spread = np.sqrt((num - 1) / num * np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
    half = STUDENT[num - 1] * spread
    return Score(value, value - half, value + half, count)


class Mean(NamedTuple):
    """A weighted mean over cells, in parts that add up over slabs of time: `[B + 1]`, first over all blocks."""

    total: Any
    weight: Any
    cells: Any


class CellSums(NamedTuple):
    """Sums over cells; all add up over slabs of time, but `finite`."""

    bias: Mean
    centred: Mean
    target: Mean
    variance: Mean
    steps: Any  # [B + 1] visits
    square: Any  # [B + 1]
    signal: Any  # [2] of weight * A^2, and of the weight
    finite: Any


def prepare(mdp: MDP, truth: Truth, num_blocks: int) -> None:
    """Compiles what `finalise` needs for sums in so many blocks, once for every shape and place."""
    shape = (num_blocks, *truth.advantage.shape)
    with jax.enable_x64(True):
        cell = jax.ShapeDtypeStruct(shape, jnp.float64, sharding=truth.advantage.sharding)
        _program(_exact(mdp, truth), (cell,) * len(CELLS))


def _over_cells(mdp: MDP, truth: Truth, blocks: Sums) -> CellSums:
    """Everything that needs the cells, in double precision, on the device."""
    exact = _exact(mdp, truth)
    with jax.enable_x64(True):
        cells = tuple(jnp.asarray(getattr(blocks, name), jnp.float64) for name in CELLS)
        return jax.tree.map(np.asarray, _program(exact, cells)(*exact, *cells))


def _exact(mdp: MDP, truth: Truth) -> tuple[Array, ...]:
    return mdp.decision, truth.state_policy, mdp.schedule, truth.occupancy, truth.advantage


_PROGRAMS: dict[object, Any] = {}


def _program(exact: tuple, cells: tuple) -> Any:
    steps, *cell = exact[-1].shape
    slab = SLAB_CELLS.get(jax.default_backend(), ACCELERATOR_SLAB_CELLS)
    width = max(1, min(steps, slab // max(1, math.prod(cell))))
    key = (width, *((x.shape, x.dtype, x.sharding) for x in (*exact, *cells)))
    if key not in _PROGRAMS:
        _PROGRAMS[key] = jax.jit(_slabs, static_argnums=0).lower(width, *exact, *cells).compile()
    return _PROGRAMS[key]


def _slabs(
    width: int, decision: Array, state_policy: Array, schedule: Array, occupancy: Array, advantage: Array, *cells: Array
) -> CellSums:
    """The sums over slabs of `width` steps, one after the other."""
    steps, exact = schedule.shape[0], (schedule, occupancy, advantage)

    def slab(total: CellSums, start: Array) -> tuple[CellSums, None]:
        # The last slab is moved back to fit; what it repeats counts nothing.
        first = jnp.minimum(start, steps - width)
        fresh = first + jnp.arange(width) >= start
        kernel, occupancy, advantage = (jax.lax.dynamic_slice_in_dim(x, first, width) for x in exact)
        here = (jax.lax.dynamic_slice_in_dim(x, first, width, axis=1) for x in cells)
        policy = state_policy[kernel].astype(jnp.float64)
        weight = jnp.where((fresh & decision[kernel])[:, None], occupancy.astype(jnp.float64), 0.0)[:, :, None] * policy
        new = _slab(policy, weight, advantage.astype(jnp.float64), fresh[None, :, None, None], *here)
        added = jax.tree.map(jnp.add, total, new)
        return added._replace(finite=total.finite & new.finite), None

    none = jnp.zeros(cells[0].shape[0] + 1, jnp.float64)
    mean = Mean(none, none, none)
    init = CellSums(mean, mean, mean, mean, none, none, none[:2], jnp.asarray(True))
    return jax.lax.scan(slab, init, jnp.arange(0, steps, width))[0]


def _slab(
    policy: Array, weight: Array, advantage: Array, fresh: Array, count: Array, error: Array, square: Array, own: Array
) -> CellSums:
    """The sums of one slab: exact numbers `[t, S, A]`, sums of scores `[B, t, S, A]`."""
    finite = jnp.all(jnp.isfinite(error))
    count, error, square = (jnp.where(fresh, x, 0.0) for x in (count, error, square))
    seen = count > 0
    mean, aim = (jnp.where(seen, x / jnp.maximum(count, 1.0), 0.0) for x in (error, own))
    # A state's offset is known where all the actions that the policy takes there were seen.
    known = jnp.all(seen | (policy == 0)[None], axis=-1, keepdims=True)
    offset = jnp.sum(policy[None] * mean, axis=-1, keepdims=True)
    pairs = ((mean, seen), (mean - offset, seen & known), (aim, seen & jnp.isfinite(aim)))
    means = [_Pairs.make(jnp.where(where, x, 0.0), where) for x, where in pairs]
    each = (count, error, square)
    whole = tuple(jnp.sum(x, axis=0) for x in each)

    def without(index: Array) -> tuple:
        """Without block `index - 1`: squared means from products of different blocks, and what is not squared."""
        block, out = jnp.maximum(index - 1, 0), (index > 0).astype(jnp.float64)
        visits, errors, squares = (x - out * y[block] for x, y in zip(whole, each, strict=True))
        spread = (squares - errors**2 / jnp.maximum(visits, 1.0)) / jnp.maximum(visits - 1, 1.0)
        variance = _mean(weight, spread, visits > 1)
        return *(x.without(block, out, weight) for x in means), variance, jnp.sum(visits), jnp.sum(squares)

    parts = jax.lax.map(without, jnp.arange(count.shape[0] + 1))
    signal = jnp.stack([jnp.sum(weight * advantage**2), jnp.sum(weight)])
    return CellSums(*[*parts, signal, finite])


class _Pairs(NamedTuple):
    """What the products of different blocks' means need."""

    mean: Array  # [B, t, S, A], 0 where not seen
    seen: Array
    total: Array  # [t, S, A]
    square: Array
    blocks: Array

    @classmethod
    def make(cls, mean: Array, seen: Array) -> _Pairs:
        return cls(
            mean, seen, jnp.sum(mean, axis=0), jnp.sum(mean**2, axis=0), jnp.sum(seen, axis=0, dtype=jnp.float64)
        )

    def without(self, block: Array, out: Array, weight: Array) -> Mean:
        """The weighted mean of squared means, without a block if `out` is 1."""
        mean, blocks = out * self.mean[block], self.blocks - out * self.seen[block]
        product = (self.total - mean) ** 2 - (self.square - mean**2)
        return _mean(weight, product / jnp.maximum(blocks * (blocks - 1), 1.0), blocks > 1)


def _mean(weight: Array, x: Array, seen: Array) -> Mean:
    """Over the decision cells that were seen."""
    where = seen & (weight > 0)
    total = jnp.sum(jnp.where(where, weight * x, 0.0))
    return Mean(total, jnp.sum(jnp.where(where, weight, 0.0)), jnp.sum(where, dtype=jnp.float64))


def _total(blocks: Sums, index: int) -> Sums:
    """The sums of all blocks but number `index - 1`."""
    keep = np.arange(len(blocks.groups)) != index - 1
    return Sums(*(None if x is None else x[keep].sum(axis=0) for x in blocks))


def _scores(
    cells: CellSums, index: int, total: Sums, gradient: np.ndarray
) -> tuple[dict[str, float], dict[str, float]]:
    """Scores without block `index - 1`, and how many cells or trajectories define each."""
    signal = _ratio(cells.signal)
    parts = {
        "bias": cells.bias,
        "centred_bias": cells.centred,
        "target_bias": cells.target,
        "variance": cells.variance,
    }
    costs = zip(("env_steps", "judge_calls", "critic_updates", "batch_steps"), total.cost / total.groups, strict=True)
    steps = cells.steps[index]
    values = {
        **{name: _safe(part.total[index], part.weight[index]) / signal for name, part in parts.items()},
        "rmse": np.sqrt(_safe(cells.square[index], steps)),
        "sign_accuracy": _ratio(total.sign),
        "rank_correlation": _ratio(total.rank),
        "precision_at_k": _ratio(total.precision),
        "leakage": _ratio(total.leakage),
        **_gradient_scores(gradient, total),
        **dict(costs),
    }
    counts = dict.fromkeys(values, float(total.groups))
    counts |= {name: part.cells[index] for name, part in parts.items()}
    counts |= {"rmse": steps, "sign_accuracy": total.sign[1], "rank_correlation": total.rank[1]}
    counts |= {"precision_at_k": total.precision[1], "leakage": total.leakage[1]}
    return {k: float(v) for k, v in values.items()}, {k: float(v) for k, v in counts.items()}


def _gradient_scores(exact: np.ndarray, total: Sums) -> dict[str, float]:
    groups, norm = total.groups, np.sum(exact**2)
    error = total.gradient_error / groups
    mean_square = total.gradient_square / groups
    bessel = groups / (groups - 1) if groups > 1 else np.nan  # one group alone, as in a jackknife over two
    variance = (mean_square - np.sum(error**2)) * bessel
    bias = np.sum(error**2) - variance / groups
    mean = exact + error
    along = np.sum(mean * exact)
    length = np.sum(mean**2) - variance / groups
    return {
        "gradient_cosine": along / np.sqrt(norm * length) if length > 0 and norm > 0 else np.nan,
        "gradient_slope": _safe(along, norm),
        "gradient_error": np.sqrt(_safe(np.sum(error**2), norm)),
        "gradient_bias": _safe(bias, norm),
        "gradient_variance": _safe(variance, norm),
        "snr": _safe(norm, bias + variance),
    }


def _ratio(pair: np.ndarray) -> float:
    return _safe(pair[0], pair[1])


def _safe(x: float, y: float) -> float:
    return float(x / y) if y != 0 else np.nan
