"""Scores of an estimator: is the credit right, does it train, what does it cost. Arrays in, numbers out.

Every replicate is a fresh group of N trajectories. `measure` turns one chunk of replicates into sums; sums add
up, per block of replicates, so memory does not grow with their number; `casim.scores` turns them into scores with
95% intervals.

In maths, over decision steps, cells (t, s, a) weighted by w = P(s_t = s) pi(a | s), normalised by the signal
sum_w A^2 / sum_w: bias = sum_w (E[c | cell] - A)^2; centred_bias the same after subtracting
sum_a pi(a | s) E[c - A | t, s, a] (a state-only offset is harmless); variance = sum_w Var(c | cell).
For the gradient, with g = (1/N) sum_i sum_t discount^t c_it grad log pi(a_it) of a group and g* the exact one:
gradient_bias = |E g - g*|^2 / |g*|^2, gradient_variance = E|g - E g|^2 / |g*|^2, snr = |g*|^2 / E|g - g*|^2, so
1 / snr = gradient_bias + gradient_variance. Squared biases are estimated without the noise that squaring a mean
would add (products of different blocks, or the variance over R subtracted), so they can come out below zero.

References:
    Meulemans et al. 2023, arXiv:2306.16803 (bias, variance and SNR of the gradient).
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from casim.dynamics import force
from casim.ops import class_sum
from casim.oracle.targets import advantage_along
from casim.types import MDP, Credit, Trajectory, Truth

TOLERANCE = 1e-3
"""A step matters if some action's |advantage| there exceeds this share of the largest in the task."""
SUM_BLOCK = 1024
"""Steps that are added up one by one."""


class Sums(NamedTuple):
    """Sums over replicates; every field adds up, in `casim.scores.Blocks`."""

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
    time = jnp.broadcast_to(jnp.arange(value.shape[1])[None, :], value.shape)
    advantage = advantage_along(truth, flat)
    error = value - advantage
    own = value - target.reshape(error.shape)
    matters = matters_mask(mdp, truth)
    here = matters[time, flat.state] & decided
    grad_error = jax.vmap(group_gradient, in_axes=(None, None, 0, 0))(mdp, policy, batch, credit.value)
    grad_error = grad_error - truth.gradient[None]

    states, actions = truth.advantage.shape[1:]
    index = flat.state.astype(jnp.int32) * actions + flat.action
    fields = jnp.stack([jnp.ones_like(error), error, error**2, own], axis=-1)
    cells = cell_sums(jnp.where(decided[..., None], fields, 0.0), index, states * actions)
    count, total, square, own_total = jnp.moveaxis(cells.reshape(-1, states, actions, 4), -1, 0)
    tolerance = TOLERANCE * jnp.max(jnp.abs(advantage_on_path(mdp, truth)))
    signed = decided & (jnp.abs(advantage) > tolerance)
    right = signed & (jnp.sign(value) == jnp.sign(advantage))
    pivotal = pivotal_steps(mdp, truth)
    return Sums(
        groups=jnp.asarray(credit.value.shape[0], jnp.float32),
        count=count,
        error=total,
        square=square,
        target_error=own_total,
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
    kernels, observations, actions = policy.shape
    decided = batch.live & mdp.decision[mdp.schedule][None, :]
    scaling = (mdp.discount ** jnp.arange(value.shape[1]))[None, :]
    weight = jnp.where(decided, scaling * value, 0.0) / value.shape[0]
    index = batch.observation.astype(jnp.int32) * actions + batch.action
    taken = kernel_sums(weight, index, jnp.asarray(mdp.schedule), kernels, observations * actions).reshape(policy.shape)
    return taken - force(mdp, policy) * jnp.sum(taken, axis=-1, keepdims=True)


def cell_sums(x: Float[Array, "N T F"], index: Int[Array, "N T"], size: int) -> Float[Array, "T C F"]:
    """Sums of F fields over the trajectories at each step, apart for each of `size` classes.

    On a CPU by scattering, which touches every entry once; elsewhere by comparing with every class, because there
    scattering adds in an order that changes from run to run.
    """
    ways = (functools.partial(way, size=size) for way in (cells_by_scattering, cells_by_comparing))
    return jax.lax.platform_dependent(x, index, **dict(zip(("cpu", "default"), ways, strict=True)))


def cells_by_scattering(x: Array, index: Array, size: int) -> Array:
    """See `cell_sums`."""
    time = jnp.broadcast_to(jnp.arange(x.shape[1])[None, :], index.shape)
    return jnp.zeros((x.shape[1], size, x.shape[2]), x.dtype).at[time, index].add(x)


def cells_by_comparing(x: Array, index: Array, size: int) -> Array:
    """See `cell_sums`."""
    return jnp.stack([class_sum(x[..., i], index, size) for i in range(x.shape[2])], axis=-1)


def kernel_sums(
    x: Float[Array, "N T"], index: Int[Array, "N T"], schedule: Int[Array, " T"], kernels: int, size: int
) -> Float[Array, "M C"]:
    """Sums over trajectories and over the steps of each kernel, apart for each of `size` classes.

    First within blocks of steps, then over blocks: a float that adds up a million steps one by one loses digits.
    By platform as in `cell_sums`.
    """
    ways = (functools.partial(way, kernels=kernels, size=size) for way in (kernels_by_scattering, kernels_by_comparing))
    return jax.lax.platform_dependent(x, index, schedule, **dict(zip(("cpu", "default"), ways, strict=True)))


def kernels_by_scattering(x: Array, index: Array, schedule: Array, kernels: int, size: int) -> Array:
    """See `kernel_sums`."""
    steps = schedule.shape[0]
    blocks = max(1, min(-(-steps // SUM_BLOCK), steps // (16 * kernels)))
    block = jnp.arange(steps) // -(-steps // blocks)
    place = jnp.broadcast_to((block * kernels + schedule)[None, :], index.shape)
    total = jnp.zeros((blocks * kernels, size), x.dtype).at[place, index].add(x)
    return jnp.sum(total.reshape(blocks, kernels, size), axis=0)


def kernels_by_comparing(x: Array, index: Array, schedule: Array, kernels: int, size: int) -> Array:
    """See `kernel_sums`."""
    steps = schedule.shape[0]
    blocks = -(-steps // (8 * SUM_BLOCK))
    width = -(-steps // blocks)

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, blocks * width - steps)])
        return jnp.moveaxis(x.reshape(*x.shape[:-1], blocks, width), -2, 0)

    def add(total: Array, inputs: tuple) -> tuple[Array, None]:
        x, index, schedule = inputs
        member = jax.nn.one_hot(schedule, kernels, dtype=x.dtype)
        return total + jnp.matmul(member.T, class_sum(x, index, size), precision="highest"), None

    inputs = tuple(split(y) for y in (x, index, schedule))
    return jax.lax.scan(add, jnp.zeros((kernels, size), x.dtype), inputs)[0]


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
    """Spearman's correlation over the steps in `where`, ties at their mean rank; NaN if either is constant.

    Two sorts in all: by the truth, which takes the values along, and by the value, which takes the truth's ranks.
    """
    num = jnp.sum(where)
    first, second = (jnp.where(where, _sortable(x), LAST) for x in (truth, value))
    first, second = _sort_pairs(first, second)
    second, rank = _sort_pairs(second, _double_ranks(first))
    inside = jnp.arange(where.shape[0]) < num
    # Twice a mean rank is an integer; about its mean, num - 1, and scaled so that squares stay small.
    x, y = (
        jnp.where(inside, (rank - (num - 1)).astype(value.dtype) / jnp.maximum(num, 1), 0.0)
        for rank in (rank, _double_ranks(second))
    )
    spread = jnp.sqrt(jnp.sum(x**2) * jnp.sum(y**2))
    return jnp.where(spread > 0, jnp.sum(x * y) / jnp.where(spread > 0, spread, 1.0), jnp.nan)


def precision_at_k(value: Float[Array, " T"], pivotal: Bool[Array, " T"], where: Bool[Array, " T"]) -> Array:
    """Share of pivotal steps among the k steps of largest |credit|, k = the number of pivotal steps.

    Steps that tie for the last places share them, so a constant credit scores chance level.
    """
    size = jnp.where(where, _sortable(jnp.abs(value)), -1)
    k = jnp.sum(pivotal & where)

    def bit(i: Array, cut: Array) -> Array:
        trial = cut | jnp.left_shift(jnp.int32(1), (30 - i).astype(jnp.int32))
        return jnp.where(jnp.sum(size >= trial) >= k, trial, cut)

    # The k-th largest without sorting: the largest number that k entries reach, bit by bit.
    cut = jax.lax.fori_loop(0, 31, bit, jnp.zeros((), jnp.int32))
    above, tied = size > cut, size == cut
    share = (k - jnp.sum(above)) / jnp.maximum(jnp.sum(tied), 1)
    found = jnp.sum(jnp.where(pivotal & where, above + tied * share, 0.0))
    return jnp.where(k > 0, found / jnp.maximum(k, 1), jnp.nan)


def leakage(value: Float[Array, " T"], matters: Bool[Array, " T"], where: Bool[Array, " T"]) -> Array:
    """Share of the absolute credit on steps that do not matter; NaN if there is no credit."""
    size = jnp.where(where, jnp.abs(value), 0.0)
    total = jnp.sum(size)
    return jnp.where(total > 0, jnp.sum(jnp.where(matters, 0.0, size)) / jnp.where(total > 0, total, 1.0), jnp.nan)


LAST = np.int32(2**31 - 1)


def _sortable(x: Float[Array, " T"]) -> Int[Array, " T"]:
    """Integers in the order of the floats; they sort several times faster."""
    bits = jax.lax.bitcast_convert_type(x.astype(jnp.float32) + 0.0, jnp.int32)  # -0 + 0 = 0
    return jnp.where(bits < 0, bits ^ LAST, bits)


def _sort_pairs(key: Int[Array, " T"], companion: Int[Array, " T"]) -> tuple[Int[Array, " T"], Int[Array, " T"]]:
    """Both in the order of the first, sorted as one number of 64 bits: faster than sorting pairs."""
    with jax.enable_x64(True):
        low = companion.astype(jnp.uint32).astype(jnp.int64)
        both = jax.lax.sort((key.astype(jnp.int64) << 32) | low, is_stable=False)
        return (both >> 32).astype(jnp.int32), both.astype(jnp.int32)


def _double_ranks(ordered: Int[Array, " T"]) -> Int[Array, " T"]:
    """Twice the mean rank, from 0, of sorted entries: the first place of each run of ties plus the last."""
    place = jnp.arange(ordered.shape[0], dtype=jnp.int32)
    rises = ordered[1:] != ordered[:-1]
    edge = jnp.ones((1,), bool)
    first = jax.lax.cummax(jnp.where(jnp.concatenate([edge, rises]), place, 0))
    last = jax.lax.cummin(jnp.where(jnp.concatenate([rises, edge]), place, LAST), reverse=True)
    return first + last


def _defined(x: Array) -> Array:
    """Sum and number of the entries that are not NaN."""
    fine = jnp.isfinite(x)
    return jnp.stack([jnp.sum(jnp.where(fine, x, 0.0)), jnp.sum(fine).astype(x.dtype)])
