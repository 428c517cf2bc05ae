"""Exact expectation and variance of any deterministic estimator, by enumerating batches.

In maths, with the N members of a group independent, a group is a multiset of trajectory classes
u_1, ..., u_N of probability N! / prod_u count_u! prod_i P(u_i), within the prompt, or the start
state, that the group shares. With c the estimator's credit of it, and E[c_t^2 | s, a] likewise,

    E[c_t | s, a] = sum_groups P (1/N) sum_i c_it P(s_t = s, a_t = a | u_i) / P(s_t = s, a_t = a).

The gradient g = (1/N) sum_i sum_t c_it z_it has

    E[g | group] = (1/N) sum_i c_i . E[z | u_i],
    Var(g | group) = (1/N^2) sum_i c_i' Cov(z | u_i) c_i,

because credit is constant within classes. A batch of P groups is a multiset of groups in the same
way, and the sums run over all its P N members.

References:
    Derived for casim; `tests/oracle/test_moments_group.py` checks it against the enumeration of
    ordered groups.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from casim.checks import check_choice, check_integer
from casim.oracle.moments.classes import Classes, View, make_classes, whole
from casim.oracle.moments.paths import enumerate_trajectories, precise
from casim.simulate import SHARES, World
from casim.types import MDP, Batch, Credit, Trajectory

CHUNK = 2048
"""Groups that are scored at once."""
TOLERANCE = 1e-9
"""Credits that should be equal may differ by this share of the largest."""


@runtime_checkable
class Rule(Protocol):
    """An estimator that draws nothing and remembers nothing."""

    def credit(
        self,
        key: Any,
        world: World,
        batch: Batch,
    ) -> Credit:
        """The credit of a batch `[1, N, T]`."""
        ...


class Given(NamedTuple):
    """The credit of the members of some batches, `[B, P N, T]`, in float64, 0 where not live."""

    value: np.ndarray
    product: np.ndarray
    """Value x weight: what the gradient takes."""


class Moments(NamedTuple):
    """Exact moments of an estimator over fresh batches; NumPy float64.

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
    """E[g], with g = (1/PN) sum_i sum_t w_t c_it grad log pi(a_it | o_it) of one batch.

    w_t is the product of the discounts of the steps before t.
    """
    gradient_variance: Float[np.ndarray, "M O A"]
    """Variance of each component of g."""


def group_moments(
    mdp: MDP,
    policy: Any,
    estimator: Rule,
    num: int,
    sees: View = whole,
    limit: int = 3_000_000,
    share: Literal["prompt", "state"] = "prompt",
    num_prompts: int = 1,
    behaviour: Any = None,
) -> Moments:
    """Exact moments of an estimator on batches of groups of `num` trajectories of one prompt.

    As a study draws them: what each group shares first, and given it independent trajectories. The
    estimator runs in double precision. It must treat the members of a group alike, and the groups
    of a batch, whatever their order, must not draw from its key, and must not tell apart what
    `sees` merges: this is tried on 2048 batches, with members permuted and replaced by others of
    their class.

    What a method does with one group is the same at any number of prompts, unless it compares
    groups: only such methods need more than one here, and have many more batches.

    Args:
        mdp: a world whose trajectories can be listed.
        policy: the table `[M, O, A]`.
        estimator: its `credit` is called with the process and the policy as world.
        num: N, the group size, at least 1.
        sees: what of a trajectory the estimator sees, see `casim.oracle.moments.classes`; the
            coarser, the fewer groups.
        limit: the largest number of batches to enumerate.
        share: what the members of a group have in common, as in `World.groups`: the "prompt", or
            the start "state".
        num_prompts: P, the groups of a batch, at least 1.
        behaviour: the table of who acts, whose trajectories are listed; None is the policy. The
            gradient is of the policy's logarithms.

    Raises:
        ValueError: too many batches or trajectories, an invalid MDP or policy, credit that is not
            finite, an unknown `share`, or an estimator that is not as described above.
    """
    check_integer("num", num, 1)
    check_integer("num_prompts", num_prompts, 1)
    check_choice("share", share, SHARES)
    if getattr(estimator, "stateful", False):
        raise ValueError(f"estimator must remember nothing from call to call, got {estimator!r}")
    mdp, policy = precise(mdp, policy)
    if behaviour is not None:
        _, behaviour = precise(mdp, behaviour)
    paths = enumerate_trajectories(mdp, policy if behaviour is None else behaviour)
    states = np.arange(len(mdp.start))
    shared = states if share == "state" else np.asarray(mdp.prompt)

    def seen(batch: Trajectory) -> np.ndarray:
        return _with_shared(shared, sees, batch)

    classes = make_classes(mdp, policy, paths, seen)
    groups, chance = _groups(shared, classes, num, limit)
    batches, weight = _batches(groups, chance, num_prompts, limit)
    credit = _scorer(estimator, (num_prompts, num), mdp, policy, behaviour)
    _check_symmetry(credit, classes, batches)
    totals = _Totals.zero(*classes.score.shape)
    for begin in range(0, len(batches), CHUNK):
        some = slice(begin, begin + CHUNK)
        batch = batches[some]
        given = credit(_members(classes.member, classes.first[batch]))
        members = batch.reshape(len(batch), -1)
        totals.add(classes, members, weight[some], given)
    return _assemble(classes, totals, num_prompts * num, policy.shape)


class _Totals(NamedTuple):
    """Sums over batches, weighed by their probability and divided by P N; added to in place."""

    value: Float[np.ndarray, "C T"]
    value_square: Float[np.ndarray, "C T"]
    product: Float[np.ndarray, "C T"]
    """Of value x weight."""
    products: Float[np.ndarray, "C T T"]
    """Of those of two steps."""
    square: Float[np.ndarray, " P"]
    """Of the squared gradient of each parameter, given the classes."""

    @classmethod
    def zero(
        cls,
        count: int,
        steps: int,
        parameters: int,
    ) -> _Totals:
        """No batches."""
        value, value_square, product = np.zeros((3, count, steps))
        products = np.zeros((count, steps, steps))
        return cls(value, value_square, product, products, np.zeros(parameters))

    def add(
        self,
        classes: Classes,
        group: np.ndarray,
        share: np.ndarray,
        given: Given,
    ) -> None:
        """Adds batches, `[B, P N]` classes, of these probabilities."""
        num = group.shape[1]
        each = share[:, None, None] / num
        value = each * given.value
        product = each * given.product
        pairs = product[..., :, None] * given.product[..., None, :]
        _add_by_class(self.value, group, value)
        _add_by_class(self.value_square, group, value * given.value)
        _add_by_class(self.product, group, product)
        _add_by_class(self.products, group, pairs)
        self.square[:] += share @ _gradient_square(classes.score, group, given.product)


def _add_by_class(
    total: Float[np.ndarray, "C *shape"],
    group: Int[np.ndarray, "B PN"],
    x: Float[np.ndarray, "B PN *shape"],
) -> None:
    """Adds what members have to the totals of their classes, in place.

    Entry by entry of the shape, which takes a fifth of the time of `numpy.add.at`.
    """
    label = group.ravel()
    columns = np.ascontiguousarray(x.reshape(len(label), -1).T)
    by_column = total.reshape(len(total), -1).T
    for entry, column in zip(by_column, columns, strict=True):
        entry += np.bincount(label, column, minlength=len(total))


def _gradient_square(
    score: Float[np.ndarray, "C T P"],
    group: Int[np.ndarray, "B PN"],
    product: Float[np.ndarray, "B PN T"],
) -> Float[np.ndarray, "B P"]:
    """The squared mean gradient of each parameter, given the classes of a batch."""
    batches, num = group.shape
    by_step = score[group].reshape(batches, -1, score.shape[-1])
    credit = product.reshape(batches, 1, -1)
    gradient = (credit @ by_step)[:, 0] / num
    return gradient**2


def _with_shared(
    shared: np.ndarray,
    sees: View,
    batch: Trajectory,
) -> np.ndarray:
    """What is seen, and what a group shares: classes are within one.

    Args:
        shared: a label `[S]` of each start state.
        sees: what the estimator sees.
        batch: trajectories `[num, T]`.
    """
    label = shared[batch.state[:, 0]]
    return np.concatenate([sees(batch), label[:, None]], axis=1)


def _groups(
    shared: np.ndarray,
    classes: Classes,
    num: int,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """All groups of start states with one label, `[B, N]`, and their probabilities `[B]`.

    Raises:
        ValueError: there are more than `limit` of them.
    """
    each = shared[classes.member.state[classes.first, 0]]
    every, weight = [], []
    for label in np.unique(each):
        (own,) = np.nonzero(each == label)
        chance = classes.probability[own].sum()
        groups, share = multisets(classes.probability[own] / chance, num, limit)
        limit = limit - len(groups)
        every.append(own[groups])
        weight.append(chance * share)
    return np.concatenate(every), np.concatenate(weight)


def _batches(
    groups: np.ndarray,
    weight: np.ndarray,
    num_prompts: int,
    limit: int,
) -> tuple[np.ndarray, np.ndarray]:
    """All batches of so many groups, `[B, P, N]`, and their probabilities `[B]`.

    Raises:
        ValueError: there are more than `limit` of them.
    """
    if num_prompts == 1:
        return groups[:, None], weight
    which, share = multisets(weight, num_prompts, limit)
    return groups[which], share


def multisets(
    probability: Float[np.ndarray, " C"],
    num: int,
    limit: int,
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
    numbers = itertools.chain.from_iterable(rows)
    groups = np.fromiter(numbers, np.int64, total * num)
    groups = groups.reshape(total, num)
    orders = float(math.factorial(num))
    weight = np.full(total, orders)
    run = np.ones(total)
    for i in range(num):
        member = groups[:, i]
        if i > 0:
            repeats = member == groups[:, i - 1]
            run = np.where(repeats, run + 1, 1)
        weight *= probability[member] / run
    return groups, weight


@functools.partial(jax.jit, static_argnums=0)
def _credit(
    estimator: Rule,
    world: World,
    batches: Trajectory,
    key: Any,
) -> tuple[Array, Array]:
    """Value and weight of batches `[B, P, N, T]`; compiled once for all worlds of one shape."""

    def one(
        batch: Trajectory,
    ) -> tuple[Array, Array]:
        given = estimator.credit(key, world, world.attach(batch))
        if given.value.ndim > given.weight.ndim:
            raise ValueError("estimator must credit the action taken, got credit of all actions")
        return given.value, given.weight

    return jax.vmap(one)(batches)


def _scorer(
    estimator: Rule,
    sizes: tuple[int, int],
    mdp: MDP,
    policy: np.ndarray,
    behaviour: np.ndarray | None,
) -> Callable[..., Given]:
    """Credit of up to CHUNK batches of these sizes P and N."""
    with jax.enable_x64(True):
        world = World.make(*jax.tree.map(jnp.asarray, (mdp, policy, behaviour)))

    def credit(
        batch: Any,
        seed: int = 0,
    ) -> Given:
        size = len(batch.action)

        def padded_to_chunk(x: np.ndarray) -> np.ndarray:
            if size >= CHUNK:
                return x
            return np.resize(x, (CHUNK, *x.shape[1:]))

        padded = map(padded_to_chunk, batch)
        with jax.enable_x64(True):
            batches = Trajectory(*(jnp.asarray(x) for x in padded))
            found = _credit(estimator, world, batches, jax.random.key(seed))
            value, weight = (np.asarray(x)[:size] for x in found)
        for x in (value, weight):
            if not np.isfinite(x).all():
                first = x[~np.isfinite(x)][0]
                where = f"P={sizes[0]}, N={sizes[1]}"
                raise ValueError(f"credit of {estimator!r} must be finite, got {first} at {where}")
        value = np.where(batch.live, value, 0.0)
        members = (size, -1, value.shape[-1])
        return Given(value.reshape(members), (value * weight).reshape(members))

    return credit


def _members(
    members: Any,
    rows: np.ndarray,
) -> Any:
    return Trajectory(*(x[rows] for x in members))


def _check_symmetry(
    credit: Callable[..., Given],
    classes: Classes,
    batches: np.ndarray,
) -> None:
    """Compares batches with the same ones permuted, and of members drawn at random."""
    rng = np.random.default_rng(0)
    number = len(batches)
    drawn = rng.choice(number, CHUNK, replace=number < CHUNK)
    some = batches[drawn]
    order = _shuffled(rng, some.shape)
    flat = some.reshape(len(some), -1)
    moved = np.take_along_axis(flat, order, axis=1).reshape(some.shape)
    rows = classes.first[moved] + rng.integers(classes.size[moved])
    one = credit(_members(classes.member, classes.first[some]))
    other = credit(_members(classes.member, rows), seed=1)
    for wanted, found in zip(one, other, strict=True):
        wanted = np.take_along_axis(wanted, order[..., None], axis=1)
        error = np.abs(found - wanted).max()
        if error > TOLERANCE * max(1.0, np.abs(wanted).max()):
            raise ValueError(
                "estimator must draw nothing, treat members alike and see no more of a trajectory "
                f"than `sees` keeps, got credits that differ by {error:.2g}"
            )


def _shuffled(
    rng: np.random.Generator,
    shape: tuple[int, ...],
) -> np.ndarray:
    """For each batch an order of its members, `[B, P N]`: of groups, and within each group."""
    batches, prompts, num = shape
    in_order = np.tile(np.arange(prompts), (batches, 1))
    group = rng.permuted(in_order, axis=1)
    in_order = np.broadcast_to(np.arange(num), shape)
    member = rng.permuted(in_order, axis=2)
    return (num * group[..., None] + member).reshape(batches, -1)


def _assemble(
    classes: Classes,
    totals: _Totals,
    num: int,
    shape: tuple[int, ...],
) -> Moments:
    """Moments from the sums over groups."""
    cell = np.einsum("c,ctsa->tsa", classes.probability, classes.cell)
    mean, mean_square = (
        _over(np.einsum("ct,ctsa->tsa", x, classes.cell), cell)
        for x in (totals.value, totals.value_square)
    )
    gradient = np.einsum("ct,ctp->p", totals.product, classes.score)
    within = np.einsum("ctu,cptu->p", totals.products, classes.covariance, optimize=True) / num
    variance = totals.square - gradient**2 + within
    return Moments(
        probability=cell,
        expectation=mean,
        variance=np.maximum(mean_square - mean**2, 0.0),
        gradient=gradient.reshape(shape),
        gradient_variance=np.maximum(variance, 0.0).reshape(shape),
    )


def _over(
    total: np.ndarray,
    cell: np.ndarray,
) -> np.ndarray:
    """A mean in each cell, NaN where the policy never goes."""
    never = np.full(cell.shape, np.nan)
    return np.divide(total, cell, out=never, where=cell > 0)
