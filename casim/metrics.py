"""Sums that the scores of an estimator are made of: is the credit right, does it train, what does it cost.

Every replicate is a fresh group of N trajectories. `measure` turns one chunk of replicates into sums; sums add up, per
block of replicates, so memory does not grow with their number; `casim.scores` turns them into scores with 95%
intervals.

In maths, over decision steps, cells (t, s, a) weighted by w = P(s_t = s) pi(a | s), normalised by the signal
sum_w A^2: bias = sum_w (E[c | cell] - A)^2; centred_bias the same after subtracting sum_a pi(a | s) E[c - A | t, s, a]
(a state-only offset is harmless); variance = sum_w Var(c | cell). For the gradient, with
g = (1/N) sum_i sum_t discount^t c_it grad log pi(a_it) of a group and g* the exact one:
gradient_bias = |E g - g*|^2 / |g*|^2, gradient_variance = E|g - E g|^2 / |g*|^2, snr = |g*|^2 / E|g - g*|^2, so
1 / snr = gradient_bias + gradient_variance; snr_aligned is the snr of k g with the best number k:
cos^2 / (1 - cos^2) with cos^2 = <E g, g*>^2 / (|g*|^2 E|g|^2).

Credit, advantages and gradients are measured in a unit of the task (`unit_of`), so that squares of very large or very
small rewards stay in the range of single precision.

References:
    Meulemans et al. 2023, arXiv:2306.16803 (bias, variance and SNR of the gradient). The SNR after the best number is
    derived for casim.
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
CREDIT_BITS = 20
"""Credit smaller than 2^-20 (1e-6) of the largest credit counts as 0 in signs and leakage: it may be rounding."""
EXPONENTS = 256
"""Sizes of groups' credit: the exponents of a number in single precision, 0 for credit that is 0."""
SUM_BLOCK = 1024
"""Steps that are added up one by one."""


class Sums(NamedTuple):
    """Sums over replicates; every field adds up, in `casim.scores.Blocks`. Credit is in units of `unit_of`."""

    groups: Any
    count: Any  # [T, S, A] visits of each cell
    error: Any  # [T, S, A] of c - advantage
    square: Any  # [T, S, A] of its square
    target_error: Any  # [T, S, A] of c - the estimator's own target; NaN without one
    sizes: Any  # [E] groups, by the exponent E of their largest |c|
    sign: Any  # [E, 2] right signs, steps that matter, by that exponent of their group
    rank: Any  # [2] within-trajectory rank correlations, trajectories where it is defined
    precision: Any  # [2] precision among the top k steps, trajectories
    leakage: Any  # [E, 2] share of |c| on steps that do not matter, trajectories with any credit
    trajectories: Any
    gradient_error: Any  # [M, O, A] of g - g*
    gradient_square: Any  # [2] of |g - g*|^2, of |g|^2
    cost: Any  # [4] env_steps, judge_calls, critic_updates, live steps of the batches


class Score(NamedTuple):
    """A score with its 95% interval; NaN where undefined, `count` says how many groups or trajectories define it."""

    value: float
    low: float
    high: float
    count: float


class _Steps(NamedTuple):
    """A chunk seen step by step: C groups of N trajectories, arrays `[C, N, T]`, credit in units of the task."""

    value: Float[Array, "C N T"]
    advantage: Float[Array, "C N T"]
    target: Float[Array, "C N T"]
    decided: Bool[Array, "C N T"]
    cell: Int[Array, "C N T"]
    """s A + a."""
    matters: Bool[Array, "C N T"]
    """Some action matters in this state at this step."""


def measure(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    truth: Truth,
    batch: Trajectory,
    credit: Credit,
    target: Float[Array, "C N T"],
) -> Sums:
    """Sums of one chunk: C groups of N trajectories, arrays `[C, N, T]` (costs `[C]`).

    Args:
        mdp: the process.
        policy: its policy.
        truth: the exact values of that policy.
        batch: the trajectories.
        credit: what the estimator gave to them.
        target: what the estimator aims at, NaN where that has no exact value.
    """
    groups, num, _ = batch.action.shape
    scale = 1.0 / unit_of(truth)
    steps = _steps(mdp, truth, batch, credit.value, target, scale)
    gradient = jax.vmap(group_gradient, in_axes=(None, None, 0, 0))(mdp, policy, batch, steps.value)
    gradient_error = gradient - scale * truth.gradient[None]
    count, error, square, target_error = _cells(steps, truth)
    size = largest_exponent(steps)
    largest = scale * jnp.max(jnp.abs(advantage_on_path(mdp, truth)))
    pivotal = pivotal_steps(mdp, truth)
    ranked = jax.vmap(jax.vmap(rank_correlation))(steps.value, steps.advantage, steps.decided)
    precise = jax.vmap(jax.vmap(precision_at_k, in_axes=(0, None, 0)), in_axes=(0, None, 0))
    return Sums(
        groups=jnp.asarray(groups, jnp.float32),
        count=count,
        error=error,
        square=square,
        target_error=target_error,
        sizes=_by_size(size, jnp.ones((groups, 1)))[:, 0],
        sign=_by_size(size, _signs(steps, size, TOLERANCE * largest)),
        rank=exact_sum(_defined(ranked), axis=(0, 1)),
        precision=exact_sum(_defined(precise(steps.value, pivotal, steps.decided)), axis=(0, 1)),
        leakage=_by_size(size, _leakages(steps, size)),
        trajectories=jnp.asarray(groups * num, jnp.float32),
        gradient_error=jnp.sum(gradient_error, axis=0),
        gradient_square=jnp.stack([jnp.sum(gradient_error**2), jnp.sum(gradient**2)]),
        cost=jnp.stack([*(jnp.sum(x) for x in credit.cost), jnp.sum(batch.live)]).astype(jnp.float32),
    )


def unit_of(truth: Truth) -> Float[Array, ""]:
    """The power of two next below the largest |V| of a task, 1 if all values are 0: dividing by it is exact."""
    largest = jnp.max(jnp.abs(truth.value))
    _, exponent = jnp.frexp(largest)
    return jnp.where(largest > 0, jnp.ldexp(jnp.ones_like(largest), exponent - 1), 1.0)


def _steps(mdp: MDP, truth: Truth, batch: Trajectory, value: Array, target: Array, scale: Array) -> _Steps:
    """What the sums read, with credit and truth in units of the task."""
    actions = truth.advantage.shape[2]
    time = jnp.broadcast_to(jnp.arange(value.shape[-1])[None, None, :], value.shape)
    decision = mdp.decision[mdp.schedule]
    return _Steps(
        value=scale * value,
        advantage=scale * jax.vmap(advantage_along, in_axes=(None, 0))(truth, batch),
        target=scale * target,
        decided=batch.live & decision[None, None, :],
        cell=batch.state.astype(jnp.int32) * actions + batch.action,
        matters=matters_mask(mdp, truth)[time, batch.state],
    )


def _cells(steps: _Steps, truth: Truth) -> Float[Array, "4 T S A"]:
    """Visits of each cell, and sums of the error, of its square and of the error beside the estimator's target."""
    horizon, states, actions = truth.advantage.shape
    error = steps.value - steps.advantage
    fields = jnp.stack([jnp.ones_like(error), error, error**2, steps.value - steps.target], axis=-1)
    fields = jnp.where(steps.decided[..., None], fields, 0.0)
    flat = fields.reshape(-1, *fields.shape[2:])
    total = cell_sums(flat, steps.cell.reshape(-1, horizon), states * actions)
    return jnp.moveaxis(total, -1, 0).reshape(4, horizon, states, actions)


def largest_exponent(steps: _Steps) -> Int[Array, " C"]:
    """The exponent of the largest |c| of each group, 0 if it gave no credit."""
    size = jnp.where(steps.decided, jnp.abs(steps.value), 0.0).astype(jnp.float32)
    largest = jnp.max(size, axis=(1, 2))
    return jax.lax.bitcast_convert_type(largest, jnp.int32) >> 23


def _counted(steps: _Steps, size: Int[Array, " C"]) -> Float[Array, "C N T"]:
    """Credit at decisions, 0 where it is less than 2^-CREDIT_BITS of the largest of its group."""
    least = jnp.ldexp(jnp.float32(1.0), size - 127 - CREDIT_BITS)
    counts = steps.decided & (jnp.abs(steps.value) >= least[:, None, None])
    return jnp.where(counts, steps.value, 0.0)


def _signs(steps: _Steps, size: Int[Array, " C"], tolerance: Array) -> Float[Array, "C 2"]:
    """Right signs and steps that have one, of each group."""
    signed = steps.decided & (jnp.abs(steps.advantage) > tolerance)
    right = signed & (jnp.sign(_counted(steps, size)) == jnp.sign(steps.advantage))
    return jnp.stack([jnp.sum(right, axis=(1, 2)), jnp.sum(signed, axis=(1, 2))], axis=-1).astype(jnp.float32)


def _leakages(steps: _Steps, size: Int[Array, " C"]) -> Float[Array, "C 2"]:
    """Leakages of the trajectories of each group, added up, and how many have any credit."""
    here = steps.matters & steps.decided
    each = jax.vmap(jax.vmap(leakage))(_counted(steps, size), here, steps.decided)
    return exact_sum(_defined(each), axis=1)


def _by_size(size: Int[Array, " C"], x: Float[Array, "C F"]) -> Float[Array, "E F"]:
    """Sums over groups, apart for each exponent of their credit."""
    member = size[None, :] == jnp.arange(EXPONENTS)[:, None]
    return exact_sum(jnp.where(member[..., None], x[None], 0.0), axis=1)


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
    Ranks are added up as integers, whose sum does not depend on the order: so it is the same on any number of devices.
    """
    num = jnp.sum(where)
    first, second = (jnp.where(where, _sortable(x), LAST) for x in (truth, value))
    first, second = _sort_pairs(first, second)
    second, rank = _sort_pairs(second, _double_ranks(first))
    inside = jnp.arange(where.shape[0]) < num
    # Twice a mean rank is an integer; less its mean, num - 1, it is centred.
    x, y = (jnp.where(inside, twice - (num - 1), 0) for twice in (rank, _double_ranks(second)))
    with jax.enable_x64(True):
        products = [jnp.sum(p.astype(jnp.int64) * q) for p, q in ((x, y), (x, x), (y, y))]
        both, own, other = (product.astype(jnp.float64) for product in products)
        spread = jnp.sqrt(own * other)
        defined = spread > 0
        correlation = jnp.where(defined, both / jnp.where(defined, spread, 1.0), jnp.nan)
        return correlation.astype(value.dtype)


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


def exact_sum(x: Float[Array, "*shape"], axis: int | tuple[int, ...]) -> Array:
    """Sums of multiples of 2^-32: the same in any order, so on any number of devices.

    In maths: 2^-32 sum round(2^32 x), in integers; totals must stay below 2^31.
    """
    with jax.enable_x64(True):
        whole = jnp.round(x.astype(jnp.float64) * 2.0**32).astype(jnp.int64)
        total = jnp.sum(whole, axis=axis).astype(jnp.float64) / 2.0**32
        return total.astype(x.dtype)


def _defined(x: Float[Array, "*shape N"]) -> Float[Array, "*shape N 2"]:
    """Each entry and 1; twice 0 where it is NaN."""
    fine = jnp.isfinite(x)
    return jnp.stack([jnp.where(fine, x, 0.0), fine.astype(x.dtype)], axis=-1)
