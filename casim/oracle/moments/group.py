"""Exact expectation and variance of any deterministic estimator, by enumerating groups.

In maths, with the N members of a group independent, a group is a multiset of trajectory classes
u_1, ..., u_N of probability N! / prod_u count_u! prod_i P(u_i). With c the estimator's credit of
it, and E[c_t^2 | s, a] likewise,

    E[c_t | s, a] = sum_groups P (1/N) sum_i c_it P(s_t = s, a_t = a | u_i) / P(s_t = s, a_t = a).

The gradient g = (1/N) sum_i sum_t c_it z_it has

    E[g | group] = (1/N) sum_i c_i . E[z | u_i],
    Var(g | group) = (1/N^2) sum_i c_i' Cov(z | u_i) c_i,

because credit is constant within classes.

References:
    Derived for casim; `tests/oracle/test_moments_group.py` checks it against the enumeration of
    ordered groups.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from casim.checks import check_integer
from casim.oracle.moments.classes import Classes, View, make_classes, whole
from casim.oracle.moments.paths import enumerate_trajectories, precise
from casim.simulate import World
from casim.types import MDP, Credit, Trajectory

CHUNK = 2048
"""Groups that are scored at once."""
TOLERANCE = 1e-9
"""Credits that should be equal may differ by this share of the largest."""

Rule = Callable[[Any, World, Any], Credit]
"""An estimator that draws nothing: (key, world, batch [N, T]) -> Credit.

The world has the discount.
"""


class Moments(NamedTuple):
    """Exact moments of an estimator over fresh groups; NumPy float64.

    Cells (t, s, a) are those of decisions; `expectation` and `variance` are NaN where the policy
    never goes.
    """

    probability: Float[np.ndarray, "T S A"]
    """P(s_t = s, a_t = a, the policy decides)."""
    expectation: Float[np.ndarray, "T S A"]
    """E[c_t | s_t = s, a_t = a]."""
    variance: Float[np.ndarray, "T S A"]
    """Var(c_t | s_t = s, a_t = a)."""
    gradient: Float[np.ndarray, "M O A"]
    """E[g], with g = (1/N) sum_i sum_t w_t c_it grad log pi(a_it | o_it) of one group.

    w_t is the product of the discounts of the steps before t.
    """
    gradient_variance: Float[np.ndarray, "M O A"]
    """Variance of each component of g."""


def group_moments(
    mdp: MDP, policy: Any, estimator: Rule, num: int, sees: View = whole, limit: int = 3_000_000
) -> Moments:
    """Exact moments of an estimator on groups of `num` independent trajectories from P(s_0).

    The estimator runs in double precision. It must treat the members of a group alike, whatever
    their order, must not draw from its key, and must not tell apart what `sees` merges: this is
    tried on 2048 groups, with members permuted and replaced by others of their class.

    Args:
        mdp: a world whose trajectories can be listed.
        policy: the table `[M, O, A]`.
        estimator: called as `estimator(key, world, batch)`, with the process and the policy as
            world.
        num: N, the group size, at least 1.
        sees: what of a trajectory the estimator sees, see `casim.oracle.moments.classes`; the
            coarser, the fewer groups.
        limit: the largest number of groups to enumerate.

    Raises:
        ValueError: too many groups or trajectories, an invalid MDP or policy, credit that is not
            finite, or an estimator that is not as described above.
    """
    check_integer("num", num, 1)
    mdp, policy = precise(mdp, policy)
    classes = make_classes(mdp, policy, enumerate_trajectories(mdp, policy), sees)
    groups, weight = multisets(classes.probability, num, limit)
    credit = _scorer(estimator, num, mdp, policy)
    _check_symmetry(credit, classes, groups)
    count, steps = classes.score.shape[:2]
    first, second = np.zeros((count, steps)), np.zeros((count, steps, steps))
    square = np.zeros(classes.score.shape[-1])
    for begin in range(0, len(groups), CHUNK):
        group, share = groups[begin : begin + CHUNK], weight[begin : begin + CHUNK]
        value = credit(_batch(classes.member, classes.first[group]))
        each = share[:, None, None] * value / num
        np.add.at(first, group, each)
        np.add.at(second, group, each[..., :, None] * value[..., None, :])
        flat = value.reshape(len(group), 1, -1) @ classes.score[group].reshape(
            len(group), num * steps, -1
        )
        square += share @ (flat[:, 0] / num) ** 2
    return _assemble(classes, first, second, square, num, policy.shape)


def multisets(
    probability: Float[np.ndarray, " C"], num: int, limit: int
) -> tuple[np.ndarray, np.ndarray]:
    """All multisets of `num` classes, as sorted rows `[B, num]`, and their probabilities `[B]`.

    Raises:
        ValueError: there are more than `limit` of them.
    """
    size = len(probability)
    total = math.comb(size + num - 1, num)
    if total > limit:
        raise ValueError(
            f"number of groups of {num} from {size} classes must be in [1, {limit}], got {total}"
        )
    rows = itertools.combinations_with_replacement(range(size), num)
    groups = np.fromiter(itertools.chain.from_iterable(rows), np.int64, total * num).reshape(
        total, num
    )
    weight, run = np.full(total, float(math.factorial(num))), np.zeros(total)
    for i in range(num):
        run = np.where(groups[:, i] == groups[:, i - 1], run + 1, 1) if i else np.ones(total)
        weight *= probability[groups[:, i]] / run
    return groups, weight


def _scorer(estimator: Rule, num: int, mdp: MDP, policy: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Credit of up to CHUNK groups, `[B, N, T]` in NumPy float64."""
    with jax.enable_x64(True):
        world = World.make(*jax.tree.map(jnp.asarray, (mdp, policy)))
    program = jax.jit(
        jax.vmap(lambda batch, key: estimator(key, world, batch).value, in_axes=(0, None))
    )

    def credit(batch: Any, seed: int = 0) -> np.ndarray:
        size = len(batch.action)
        padded = (np.resize(x, (CHUNK, *x.shape[1:])) if size < CHUNK else x for x in batch)
        with jax.enable_x64(True):
            value = np.asarray(
                program(Trajectory(*(jnp.asarray(x) for x in padded)), jax.random.key(seed))
            )[:size]
        if not np.isfinite(value).all():
            raise ValueError(
                f"credit of {estimator!r} must be finite, "
                f"got {value[~np.isfinite(value)][0]} at N={num}"
            )
        return np.where(batch.live, value, 0.0)

    return credit


def _batch(members: Any, rows: np.ndarray) -> Any:
    return Trajectory(*(x[rows] for x in members))


def _check_symmetry(
    credit: Callable[..., np.ndarray], classes: Classes, groups: np.ndarray
) -> None:
    """Compares groups with the same groups permuted and of members drawn at random."""
    rng = np.random.default_rng(0)
    some = groups[rng.choice(len(groups), CHUNK, replace=len(groups) < CHUNK)]
    order = rng.permuted(np.broadcast_to(np.arange(some.shape[1]), some.shape), axis=1)
    value = np.take_along_axis(
        credit(_batch(classes.member, classes.first[some])), order[..., None], axis=1
    )
    moved = np.take_along_axis(some, order, axis=1)
    rows = classes.first[moved] + rng.integers(classes.size[moved])
    error = np.abs(credit(_batch(classes.member, rows), seed=1) - value).max()
    if error > TOLERANCE * max(1.0, np.abs(value).max()):
        raise ValueError(
            "estimator must draw nothing, treat members alike and see no more of a trajectory "
            f"than `sees` keeps, got credits that differ by {error:.2g}"
        )


def _assemble(
    classes: Classes,
    first: np.ndarray,
    second: np.ndarray,
    square: np.ndarray,
    num: int,
    shape: tuple[int, ...],
) -> Moments:
    """Moments from P-weighted sums of the credit and its products, per class and step."""
    cell = np.einsum("c,ctsa->tsa", classes.probability, classes.cell)
    time = np.arange(first.shape[1])
    total = [np.einsum("ct,ctsa->tsa", x, classes.cell) for x in (first, second[:, time, time])]
    mean, mean_square = (
        np.divide(x, cell, out=np.full(cell.shape, np.nan), where=cell > 0) for x in total
    )
    gradient = np.einsum("ct,ctp->p", first, classes.score)
    within = np.einsum("ctu,cptu->p", second, classes.covariance, optimize=True) / num
    return Moments(
        probability=cell,
        expectation=mean,
        variance=np.maximum(mean_square - mean**2, 0.0),
        gradient=gradient.reshape(shape),
        gradient_variance=np.maximum(square - gradient**2 + within, 0.0).reshape(shape),
    )
