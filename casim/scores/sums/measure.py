"""One chunk of groups turned into sums."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.ops import Discount
from casim.scores.sums.exact import exact_sum, with_count
from casim.scores.sums.gradient import gradient_sums, of_taken, weighted
from casim.scores.sums.matters import TOLERANCE, advantage_on_path, pivotal_steps
from casim.scores.sums.sizes import by_exponent, counted, largest_exponent
from casim.scores.sums.steps import Steps, steps_of
from casim.scores.sums.trajectory import leakage, precision_at_k, rank_correlation
from casim.scores.sums.unit import unit_of
from casim.sums import cell_sums
from casim.types import MDP, Credit, Trajectory, Truth


class Sums(NamedTuple):
    """Sums over replicates; every field adds up, in `casim.scores.Blocks`.

    Credit is in units of `unit_of`.
    """

    groups: Any
    """Batches: what is drawn anew in each replicate."""
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
    effective: Any  # [2] share of effective decisions, batches in which any has weight
    support: Any  # [2] decisions with weight, decisions
    cost: Any  # [4] env_steps, judge_calls, critic_updates, live steps of the batches


def measure(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    truth: Truth,
    batch: Trajectory,
    credit: Credit,
    target: Float[Array, "C *group T"],
    discount: Discount | None = None,
) -> Sums:
    """Sums of one chunk: C batches, arrays `[C, P, N, T]` (costs `[C]`).

    Args:
        mdp: the process.
        policy: its policy.
        truth: the exact values of that policy.
        batch: the trajectories.
        credit: what the estimator gave to them.
        target: what the estimator aims at, NaN where that has no exact value.
        discount: that of the world, see `group_gradient`.
    """
    groups, *of_group, horizon = batch.action.shape
    num = math.prod(of_group)
    flat = (groups, num, horizon)
    batch = jax.tree.map(lambda x: x.reshape(flat), batch)
    actions = credit.value.shape[credit.weight.ndim :]
    value = credit.value.reshape(*flat, *actions)
    weight = credit.weight.reshape(flat)
    scale = 1.0 / unit_of(truth)
    taken = of_taken(value, batch)
    steps = steps_of(mdp, truth, batch, taken, target.reshape(flat), scale)
    gradient_error, gradient_square = gradient_sums(
        mdp,
        policy,
        truth,
        batch,
        weighted(scale * value, weight),
        scale,
        discount,
    )
    count, error, square, target_error = _cells(steps, truth)
    exponent = largest_exponent(steps)
    largest = scale * jnp.max(jnp.abs(advantage_on_path(mdp, truth)))
    pivotal = pivotal_steps(mdp, truth)
    return Sums(
        groups=jnp.asarray(groups, jnp.float32),
        count=count,
        error=error,
        square=square,
        target_error=target_error,
        sizes=by_exponent(exponent, jnp.ones((groups, 1)))[:, 0],
        sign=by_exponent(exponent, _signs(steps, exponent, TOLERANCE * largest)),
        rank=_ranks(steps),
        precision=_precisions(steps, pivotal),
        leakage=by_exponent(exponent, _leakages(steps, exponent)),
        trajectories=jnp.asarray(groups * num, jnp.float32),
        gradient_error=gradient_error,
        gradient_square=gradient_square,
        effective=_effective(steps, weight),
        support=_support(steps, weight),
        cost=_costs(batch, credit),
    )


def _cells(
    steps: Steps,
    truth: Truth,
) -> Float[Array, "4 T S A"]:
    """Visits of each cell, and sums of the error, of its square, of the error beside the target."""
    horizon, states, actions = truth.advantage.shape
    visit = jnp.ones_like(steps.value)
    error = steps.value - steps.advantage
    target_error = steps.value - steps.target
    fields = jnp.stack([visit, error, error**2, target_error], axis=-1)
    fields = jnp.where(steps.decided[..., None], fields, 0.0)
    total = cell_sums(
        fields.reshape(-1, horizon, 4),
        steps.cell.reshape(-1, horizon),
        states * actions,
    )
    total = jnp.moveaxis(total, -1, 0)
    return total.reshape(4, horizon, states, actions)


def _signs(
    steps: Steps,
    exponent: Int[Array, " C"],
    tolerance: Float[Array, ""],
) -> Float[Array, "C 2"]:
    """Right signs and steps that have one, of each group."""
    has_sign = jnp.abs(steps.advantage) > tolerance
    signed = steps.decided & has_sign
    given = jnp.sign(counted(steps, exponent))
    right = signed & (given == jnp.sign(steps.advantage))
    counts = [jnp.sum(x, axis=(1, 2)) for x in (right, signed)]
    return jnp.stack(counts, axis=-1).astype(jnp.float32)


def _ranks(steps: Steps) -> Float[Array, "2"]:
    """Rank correlations of all trajectories, added up, and how many have one."""
    each = _each_trajectory(rank_correlation)
    ranks = each(steps.value, steps.advantage, steps.decided)
    return exact_sum(with_count(ranks), axis=(0, 1))


def _precisions(
    steps: Steps,
    pivotal: Array,
) -> Float[Array, "2"]:
    """Precisions of all trajectories, added up, and how many have one."""
    each = _each_trajectory(
        lambda value, where: precision_at_k(value, pivotal, where),
    )
    precisions = each(steps.value, steps.decided)
    return exact_sum(with_count(precisions), axis=(0, 1))


def _leakages(
    steps: Steps,
    exponent: Int[Array, " C"],
) -> Float[Array, "C 2"]:
    """Leakages of the trajectories of each group, added up, and how many have any credit."""
    here = steps.matters & steps.decided
    each = _each_trajectory(leakage)
    leakages = each(counted(steps, exponent), here, steps.decided)
    return exact_sum(with_count(leakages), axis=1)


def _effective(
    steps: Steps,
    weight: Float[Array, "C N T"],
) -> Float[Array, "2"]:
    """(sum w)^2 / sum w^2 over the decisions of each batch, a share of their number, added up."""
    counted = jnp.where(steps.decided, weight, 0.0)
    decisions = jnp.sum(steps.decided, axis=(1, 2))
    # Squares are in units of the largest, so that they stay in range.
    largest = jnp.max(jnp.abs(counted), axis=(1, 2))
    has_weight = largest > 0
    unit = jnp.where(has_weight, largest, 1.0)
    relative = counted / unit[:, None, None]
    total = jnp.sum(relative, axis=(1, 2))
    square = jnp.sum(relative**2, axis=(1, 2))
    share = total**2 / jnp.where(has_weight, square * decisions, 1.0)
    return exact_sum(with_count(jnp.where(has_weight, share, jnp.nan)), axis=0)


def _support(
    steps: Steps,
    weight: Float[Array, "C N T"],
) -> Float[Array, "2"]:
    """Decisions with any weight, and decisions."""
    has_weight = steps.decided & (weight != 0)
    counts = [jnp.sum(x) for x in (has_weight, steps.decided)]
    return jnp.stack(counts).astype(jnp.float32)


def _each_trajectory(score: Callable[..., Array]) -> Callable[..., Array]:
    """A score of a trajectory `[T]` for all `[C, N, T]`."""
    return jax.vmap(jax.vmap(score))


def _costs(
    batch: Trajectory,
    credit: Credit,
) -> Float[Array, "4"]:
    """What the calls used, and the live steps of the batches."""
    used = [jnp.sum(x) for x in credit.cost]
    live = jnp.sum(batch.live)
    return jnp.stack([*used, live]).astype(jnp.float32)
