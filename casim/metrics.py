"""Scores of an estimator: is the credit right, does it train, what does it cost. Arrays in, numbers out.

Every replicate is a fresh group of N trajectories. `measure` turns one chunk of replicates into sums; sums add
up, per block of replicates, so memory does not grow with their number; `finalise` turns them into scores with
95% intervals by the jackknife over blocks.

In maths, over decision steps, cells (t, s, a) weighted by w = P(s_t = s) pi(a | s), normalised by the signal
sum_w A^2 / sum_w: bias = sum_w (E[c | cell] - A)^2; centred_bias the same after subtracting
sum_a pi(a | s) E[c - A | t, s, a] (a state-only offset is harmless); variance = sum_w Var(c | cell).
For the gradient, with g = (1/N) sum_i sum_t discount^t c_it grad log pi(a_it) of a group and g* the exact one:
gradient_bias = |E g - g*|^2 / |g*|^2, gradient_variance = E|g - E g|^2 / |g*|^2, snr = |g*|^2 / E|g - g*|^2, so
1 / snr = gradient_bias + gradient_variance. Squared biases are estimated without the noise that squaring a mean
would add (products of different blocks, or the variance over R subtracted), so they can come out below zero.

References:
    Meulemans et al. 2023, arXiv:2306.16803 (bias, variance and SNR of the gradient); Tukey 1958 (jackknife).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from casim.dynamics import force
from casim.ops import class_sum
from casim.oracle.targets import along
from casim.types import MDP, Credit, Trajectory, Truth

TOLERANCE = 1e-3
"""A step matters if some action's |advantage| there exceeds this share of the largest in the task."""
STUDENT = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""97.5% quantiles of Student's t, by degrees of freedom."""


class Sums(NamedTuple):
    """Sums over replicates; every field adds up. JAX arrays from `measure`, NumPy arrays on the host."""

    groups: Any
    count: Any  # [T, S, A] visits of each cell
    error: Any  # [T, S, A] of c - advantage
    square: Any  # [T, S, A] of its square
    target_error: Any  # [T, S, A] of c - the estimator's own target; NaN without one
    sign: Any  # [2] right signs, steps that matter
    rank: Any  # [2] within-trajectory rank correlations, trajectories where it is defined
    precision: Any  # [2] precision among the top k steps, trajectories
    leakage: Any  # [2] share of |c| on steps that do not matter, trajectories with any credit
    trajectories: Any
    gradient_error: Any  # [M, O, A] of g - g*
    gradient_square: Any  # of |g - g*|^2
    cost: Any  # [4] env_steps, judge_calls, critic_updates, live steps of the batches


class Score(NamedTuple):
    """A score with its 95% interval; NaN where undefined, `count` says how many trajectories or cells define it."""

    value: float
    low: float
    high: float
    count: float


def measure(
    mdp: MDP, policy: Float[Array, "M O A"], truth: Truth, batch: Trajectory, credit: Credit, target: Array
) -> Sums:
    """Sums of one chunk: C groups of N trajectories, arrays `[C, N, T]` (costs `[C]`).

    `target` is what the estimator aims at, NaN where that has no exact value.
    """
    flat = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), batch)
    value = credit.value.reshape(flat.action.shape)
    decided = flat.live & mdp.decision[mdp.schedule][None, :]
    base, q_value, _ = along(truth, flat)
    advantage = q_value - base
    error = value - advantage
    own = value - target.reshape(error.shape)
    matters = matters_mask(mdp, truth)
    time = jnp.broadcast_to(jnp.arange(error.shape[1])[None, :], error.shape)
    here = matters[time, flat.state] & decided
    grad_error = jax.vmap(group_gradient, in_axes=(None, None, 0, 0))(mdp, policy, batch, credit.value)
    grad_error = grad_error - truth.gradient[None]

    _, states, actions = truth.q_value.shape
    index = flat.state * actions + flat.action

    def cells(x: Array) -> Array:
        return class_sum(jnp.where(decided, x, 0.0), index, states * actions).reshape(-1, states, actions)

    tolerance = TOLERANCE * jnp.max(jnp.abs(advantage_on_path(mdp, truth)))
    signed = decided & (jnp.abs(advantage) > tolerance)
    right = signed & (jnp.sign(value) == jnp.sign(advantage))
    pivotal = pivotal_steps(mdp, truth)
    return Sums(
        groups=jnp.asarray(credit.value.shape[0], jnp.float32),
        count=cells(jnp.ones_like(error)),
        error=cells(error),
        square=cells(error**2),
        target_error=cells(own),
        sign=jnp.stack([jnp.sum(right), jnp.sum(signed)]).astype(jnp.float32),
        rank=_defined(jax.vmap(rank_correlation)(value, advantage, decided)),
        precision=_defined(jax.vmap(precision_at_k, in_axes=(0, None, 0))(value, pivotal, decided)),
        leakage=_defined(jax.vmap(leakage)(value, here, decided)),
        trajectories=jnp.asarray(error.shape[0], jnp.float32),
        gradient_error=jnp.sum(grad_error, axis=0),
        gradient_square=jnp.sum(grad_error**2),
        cost=jnp.stack([*(jnp.sum(x) for x in credit.cost), jnp.sum(flat.live).astype(jnp.float32)]),
    )


def group_gradient(
    mdp: MDP, policy: Float[Array, "M O A"], batch: Trajectory, value: Float[Array, "N T"]
) -> Float[Array, "M O A"]:
    """(1/N) sum_i sum_t discount^t c_it grad log pi(a_it | o_it), with respect to the logits of the table."""
    kernel = jnp.broadcast_to(mdp.schedule[None, :], value.shape)
    decided = batch.live & mdp.decision[kernel]
    scaling = (mdp.discount ** jnp.arange(value.shape[1]))[None, :]
    weight = jnp.where(decided, scaling * value, 0.0) / value.shape[0]
    taken = jnp.zeros(policy.shape).at[kernel, batch.observation, batch.action].add(weight)
    return taken - force(mdp, policy) * jnp.sum(taken, axis=-1, keepdims=True)


def advantage_on_path(mdp: MDP, truth: Truth) -> Float[Array, "T S A"]:
    """The advantage of decisions that the policy can meet and take; 0 elsewhere."""
    acting = truth.state_policy[mdp.schedule] > 0
    met = (truth.occupancy > 0)[:, :, None] & mdp.decision[mdp.schedule][:, None, None]
    return jnp.where(acting & met, truth.advantage, 0.0)


def matters_mask(mdp: MDP, truth: Truth) -> Bool[Array, "T S"]:
    """Where some action's advantage exceeds the tolerance."""
    size = jnp.max(jnp.abs(advantage_on_path(mdp, truth)), axis=-1)
    return size > TOLERANCE * jnp.max(size)


def pivotal_steps(mdp: MDP, truth: Truth) -> Bool[Array, " T"]:
    """Steps at which the decision matters in some state that the policy meets."""
    return jnp.any(matters_mask(mdp, truth), axis=1)


def rank_correlation(value: Float[Array, " T"], truth: Float[Array, " T"], where: Bool[Array, " T"]) -> Array:
    """Spearman's correlation over the steps in `where`, ties at their mean rank; NaN if either is constant."""
    x, y = (_ranks(v, where) for v in (value, truth))
    varies = [jnp.max(jnp.where(where, v, -1.0)) > jnp.min(jnp.where(where, v, jnp.inf)) for v in (x, y)]
    n = jnp.maximum(jnp.sum(where), 1)
    x, y = (jnp.where(where, v - jnp.sum(jnp.where(where, v, 0.0)) / n, 0.0) for v in (x, y))
    spread = jnp.sqrt(jnp.sum(x**2) * jnp.sum(y**2))
    return jnp.where(varies[0] & varies[1], jnp.sum(x * y) / jnp.where(spread > 0, spread, 1.0), jnp.nan)


def precision_at_k(value: Float[Array, " T"], pivotal: Bool[Array, " T"], where: Bool[Array, " T"]) -> Array:
    """Share of pivotal steps among the k steps of largest |credit|, k = the number of pivotal steps.

    Steps that tie for the last places share them, so a constant credit scores chance level.
    """
    size = jnp.where(where, jnp.abs(value), -1.0)
    k = jnp.sum(pivotal & where)
    cut = jnp.sort(size)[::-1][jnp.maximum(k - 1, 0)]
    above, tied = size > cut, size == cut
    share = (k - jnp.sum(above)) / jnp.maximum(jnp.sum(tied), 1)
    found = jnp.sum(jnp.where(pivotal & where, above + tied * share, 0.0))
    return jnp.where(k > 0, found / jnp.maximum(k, 1), jnp.nan)


def leakage(value: Float[Array, " T"], matters: Bool[Array, " T"], where: Bool[Array, " T"]) -> Array:
    """Share of the absolute credit on steps that do not matter; NaN if there is no credit."""
    size = jnp.where(where, jnp.abs(value), 0.0)
    total = jnp.sum(size)
    return jnp.where(total > 0, jnp.sum(jnp.where(matters, 0.0, size)) / jnp.where(total > 0, total, 1.0), jnp.nan)


def _ranks(x: Array, where: Array) -> Array:
    x = jnp.where(where, x, jnp.inf)
    ordered = jnp.sort(x)
    sides = [jnp.searchsorted(ordered, x, side=side, method="sort") for side in ("left", "right")]
    return (sides[0] + sides[1]) / 2.0


def _defined(x: Array) -> Array:
    """Sum and number of the entries that are not NaN."""
    fine = jnp.isfinite(x)
    return jnp.stack([jnp.sum(jnp.where(fine, x, 0.0)), jnp.sum(fine).astype(x.dtype)])


class Blocks:
    """Sums per block of replicates, in float64 on the host."""

    def __init__(self, num_blocks: int):
        self._num_blocks = num_blocks
        self._sums: Sums | None = None

    def add(self, block: int, sums: Sums) -> None:
        """Adds one chunk's sums to a block."""
        fresh = jax.tree.map(lambda x: np.asarray(x, np.float64), sums)
        if self._sums is None:
            self._sums = Sums(*(np.zeros((self._num_blocks, *np.shape(x))) for x in fresh))
        for total, new in zip(self._sums, fresh, strict=True):
            total[block] += new

    @property
    def sums(self) -> Sums:
        """Arrays with a leading block axis.

        Raises:
            ValueError: nothing was added yet.
        """
        if self._sums is None:
            raise ValueError("blocks must hold at least 1 chunk of sums, got 0")
        return self._sums


def finalise(mdp: MDP, truth: Truth, blocks: Sums) -> dict[str, Score]:
    """All scores with their intervals, from sums per block (leading axis).

    Raises:
        ValueError: fewer than two groups in all.
    """
    num_groups = float(blocks.groups.sum())
    if num_groups < 2:
        raise ValueError(f"replicates must be at least 2, got {num_groups:g}")
    exact = _Exact.make(mdp, truth)
    values, counts = _scores(exact, blocks)
    num = len(blocks.groups)
    left_out = (
        [_scores(exact, Sums(*(np.delete(x, b, axis=0) for x in blocks)))[0] for b in range(num)] if num > 1 else []
    )
    return {name: _interval(value, [x[name] for x in left_out], counts[name]) for name, value in values.items()}


def _interval(value: float, left_out: list[float], count: float) -> Score:
    num = len(left_out)
    if num < 2 or not np.isfinite([value, *left_out]).all():
        return Score(value, np.nan, np.nan, count)
    spread = np.sqrt((num - 1) / num * np.sum((np.array(left_out) - np.mean(left_out)) ** 2))
    half = STUDENT[num - 1] * spread
    return Score(value, value - half, value + half, count)


class _Exact(NamedTuple):
    weight: np.ndarray  # [T, S, A], decision cells
    policy: np.ndarray  # [T, S, A]
    signal: float  # sum of weight * A^2 over sum of weight
    gradient: np.ndarray

    @classmethod
    def make(cls, mdp: MDP, truth: Truth) -> _Exact:
        schedule = np.asarray(mdp.schedule)
        policy = np.asarray(truth.state_policy, np.float64)[schedule]
        weight = np.asarray(truth.occupancy, np.float64)[:, :, None] * policy
        weight = weight * np.asarray(mdp.decision)[schedule][:, None, None]
        signal = np.sum(weight * np.asarray(truth.advantage, np.float64) ** 2) / np.sum(weight)
        return cls(weight, policy, float(signal), np.asarray(truth.gradient, np.float64))


def _scores(exact: _Exact, blocks: Sums) -> tuple[dict[str, float], dict[str, float]]:
    """Scores, and how many cells or trajectories define each."""
    total = Sums(*(x.sum(axis=0) for x in blocks))
    mean, own = (_divide(x, blocks.count) for x in (blocks.error, blocks.target_error))
    offset = np.sum(np.where(exact.policy > 0, exact.policy * mean, 0.0), axis=-1, keepdims=True)
    bias, centred, target = (_squared_bias(exact, x) for x in (mean, mean - offset, own))
    spread = _divide(total.square - total.count * _divide(total.error, total.count) ** 2, total.count - 1)
    variance = _weighted(exact, spread, total.count > 1)
    steps = total.count.sum()
    gradient, counts = _gradient_scores(exact, total), {}
    values = {
        "bias": bias[0] / exact.signal,
        "centred_bias": centred[0] / exact.signal,
        "target_bias": target[0] / exact.signal,
        "variance": variance[0] / exact.signal,
        "rmse": np.sqrt(total.square.sum() / steps),
        "sign_accuracy": _ratio(total.sign),
        "rank_correlation": _ratio(total.rank),
        "precision_at_k": _ratio(total.precision),
        "leakage": _ratio(total.leakage),
        **gradient,
        **dict(
            zip(("env_steps", "judge_calls", "critic_updates", "batch_steps"), total.cost / total.groups, strict=True)
        ),
    }
    counts = dict.fromkeys(values, float(total.groups))
    counts |= {"bias": bias[1], "centred_bias": centred[1], "target_bias": target[1], "variance": variance[1]}
    counts |= {"rmse": steps, "sign_accuracy": total.sign[1], "rank_correlation": total.rank[1]}
    counts |= {"precision_at_k": total.precision[1], "leakage": total.leakage[1]}
    return {k: float(v) for k, v in values.items()}, {k: float(v) for k, v in counts.items()}


def _gradient_scores(exact: _Exact, total: Sums) -> dict[str, float]:
    groups, norm = total.groups, np.sum(exact.gradient**2)
    error = total.gradient_error / groups
    mean_square = total.gradient_square / groups
    bessel = groups / (groups - 1) if groups > 1 else np.nan  # one group alone, as in a jackknife over two
    variance = (mean_square - np.sum(error**2)) * bessel
    bias = np.sum(error**2) - variance / groups
    mean = exact.gradient + error
    along = np.sum(mean * exact.gradient)
    length = np.sum(mean**2) - variance / groups
    return {
        "gradient_cosine": along / np.sqrt(norm * length) if length > 0 and norm > 0 else np.nan,
        "gradient_slope": _safe(along, norm),
        "gradient_error": np.sqrt(_safe(np.sum(error**2), norm)),
        "gradient_bias": _safe(bias, norm),
        "gradient_variance": _safe(variance, norm),
        "snr": _safe(norm, bias + variance),
    }


def _squared_bias(exact: _Exact, mean: np.ndarray) -> tuple[float, float]:
    """Weighted mean of the squared cell means, from products of different blocks `[B, T, S, A]`."""
    seen = np.isfinite(mean)
    blocks = seen.sum(axis=0)
    filled = np.where(seen, mean, 0.0)
    product = filled.sum(axis=0) ** 2 - (filled**2).sum(axis=0)
    return _weighted(exact, _divide(product, blocks * (blocks - 1.0)), blocks > 1)


def _weighted(exact: _Exact, x: np.ndarray, seen: np.ndarray) -> tuple[float, float]:
    """Mean over the decision cells that were seen, and their number."""
    where = seen & (exact.weight > 0) & np.isfinite(x)
    weight = np.where(where, exact.weight, 0.0)
    return _safe(np.sum(weight * np.where(where, x, 0.0)), weight.sum()), float(where.sum())


def _divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.divide(x, y, out=np.full(np.broadcast_shapes(x.shape, y.shape), np.nan), where=y > 0)


def _ratio(pair: np.ndarray) -> float:
    return _safe(pair[0], pair[1])


def _safe(x: float, y: float) -> float:
    return float(x / y) if y != 0 else np.nan
