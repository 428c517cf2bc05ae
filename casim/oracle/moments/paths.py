"""Every trajectory of a small world with its probability and exact values, in NumPy float64.

An MDP built in single precision is taken at its own numbers: they are widened, and rows that miss 1
by their rounding are divided by their sum, so that all exact answers about it agree with each other
to double precision.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from casim.doors import REAL
from casim.oracle.values import solve
from casim.types import MDP, Trajectory, Truth
from casim.wellformed import check_mdp, check_policy


class Enumeration(NamedTuple):
    """Every trajectory of positive probability.

    `trajectory` is a `Trajectory` of NumPy arrays `[num, T]`.
    """

    probability: np.ndarray
    trajectory: Any


def precise(
    mdp: MDP,
    policy: Any,
) -> tuple[Any, np.ndarray]:
    """The same process and policy in NumPy float64, with rows that sum to 1 in that precision.

    This is the door to whatever is exact in double precision, whatever the precision of JAX: NumPy
    arrays and lists are taken at their own numbers.

    Raises:
        ValueError: an array that `check_mdp` or `check_policy` refuses.
    """
    check_mdp(mdp)
    check_policy(policy, mdp)
    wide = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}
    arrays = {}
    for name, x in mdp._asdict().items():
        given = np.asarray(x)
        kind = np.float64 if name in REAL else wide[given.dtype.kind]
        arrays[name] = given.astype(kind)
    for name in ("start", "prob", "emission"):
        given = arrays[name]
        total = given.sum(axis=-1, keepdims=True)
        arrays[name] = given / total
    table = np.asarray(policy, np.float64)
    total = table.sum(axis=-1, keepdims=True)
    process = MDP(**cast(Any, arrays))
    return process, table / total


def weights(
    discount: float | np.ndarray,
    num_steps: int,
) -> np.ndarray:
    """The weight of each step in double precision: the product of the discounts before it.

    Args:
        discount: of each step, or one for all.
        num_steps: T.
    """
    given = np.asarray(discount, np.float64)
    each = np.broadcast_to(given, num_steps)
    if np.all(each == each[0]):
        steps = np.arange(num_steps)
        return each[0] ** steps
    later = np.cumprod(each[:-1])
    return np.append(1.0, later)


def discounting(
    mdp: Any,
) -> np.ndarray:
    """`casim.dynamics.discounting` of a process in NumPy, in double precision."""
    discounts = mdp.discount[mdp.schedule]
    return weights(discounts, len(discounts))


def precise_truth(
    mdp: MDP,
    policy: Any,
) -> Any:
    """`casim.oracle.solve` in double precision: a `Truth` of NumPy arrays.

    Raises:
        ValueError: as `precise`.
    """
    with jax.enable_x64(True):
        given = precise(mdp, policy)
        given = jax.tree.map(jnp.asarray, given)
        exact = jax.jit(solve)(*given)
        arrays = [np.asarray(x) for x in exact]
        return Truth(*cast(Any, arrays))


def count_trajectories(
    mdp: MDP,
    policy: np.ndarray,
) -> int:
    """How many trajectories `enumerate_trajectories` finds, without listing them.

    Args:
        mdp: the process, from `precise`.
        policy: the table, from `precise`.
    """
    states = len(mdp.start)
    start = np.asarray(mdp.start)
    ways = [int(x > 0) for x in start]
    for kernel in np.asarray(mdp.schedule):
        after = [0] * states
        # Python's integers do not overflow.
        for parent, row in _branches(mdp, policy, kernel):
            after[row] += ways[parent]
        ways = after
    return sum(ways)


def _branches(
    mdp: MDP,
    policy: np.ndarray,
    kernel: int,
) -> list[tuple[int, int]]:
    """Every way through one step, as the state before and the one after."""
    state = np.arange(len(mdp.start))
    everywhere = np.ones(len(state))
    parent, _, successor, _ = _expand(mdp, policy, kernel, state, everywhere)
    parents, successors = parent.tolist(), successor.tolist()
    return list(zip(parents, successors, strict=True))
    return list(pairs)


def enumerate_trajectories(
    mdp: MDP,
    policy: Any,
    limit: int = 2_000_000,
) -> Enumeration:
    """All trajectories of a small world, by breadth-first expansion in NumPy float64.

    Raises:
        ValueError: there are more than `limit` of them, or as `precise`.
    """
    mdp, policy = precise(mdp, policy)
    start = np.asarray(mdp.start)
    state = np.flatnonzero(start > 0)
    weight = start[state]
    columns: list[dict[str, np.ndarray]] = []
    for kernel in np.asarray(mdp.schedule):
        parent, fields, successor, weight = _expand(mdp, policy, kernel, state, weight)
        for column in columns:
            for name, x in column.items():
                column[name] = x[parent]
        columns.append(fields)
        state = successor
        if len(weight) > limit:
            raise ValueError(f"number of trajectories must be in [1, {limit}], got more")
    arrays = {}
    for name in columns[0]:
        by_step = [column[name] for column in columns]
        arrays[name] = np.stack(by_step, axis=1)
    batch = Trajectory(**cast(Any, arrays))
    return Enumeration(weight, batch)


def _expand(
    mdp: MDP,
    policy: np.ndarray,
    kernel: int,
    state: np.ndarray,
    weight: np.ndarray,
):
    """Every continuation of every path by one step.

    Of each: which path it continues, what happened, where it went, how likely.
    """
    observations = mdp.emission.shape[2]
    actions, slots = mdp.prob.shape[2:]
    shape = (len(state), observations, actions, slots)
    axes = np.indices(shape)
    parent, observation, action, slot = (x.ravel() for x in axes)
    before = state[parent]
    live = ~mdp.terminal[before]
    decides = live & mdp.decision[kernel]
    acts = policy[kernel, observation, action]
    is_first = action == 0
    chosen = np.where(decides, acts, is_first)
    moves = mdp.prob[kernel, before, action, slot]
    stays = slot == 0
    moved = np.where(live, moves, stays)
    seen = mdp.emission[kernel, before, observation]
    joint = weight[parent] * seen * chosen * moved
    keep = joint > 0
    cells = (parent, observation, action, slot, before, live, decides)
    parent, observation, action, slot, before, live, decides = (x[keep] for x in cells)
    taken = policy[kernel, observation, action]
    log_prob = np.log(taken)
    reward = mdp.reward[kernel, before, action, slot]
    successor = mdp.successor[kernel, before, action, slot]
    fields = {
        "state": before,
        "observation": observation,
        "action": action,
        "log_prob": np.where(decides, log_prob, 0.0),
        "reward": np.where(live, reward, 0.0),
        "live": live,
    }
    after = np.where(live, successor, before)
    return parent, fields, after, joint[keep]
