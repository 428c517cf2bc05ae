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
    arrays = {name: np.asarray(x) for name, x in mdp._asdict().items()}
    arrays = {
        name: x.astype(np.float64 if name in REAL else wide[x.dtype.kind])
        for name, x in arrays.items()
    }
    for name in ("start", "prob", "emission"):
        total = arrays[name].sum(axis=-1, keepdims=True)
        arrays[name] = arrays[name] / total
    table = np.asarray(policy, np.float64)
    total = table.sum(axis=-1, keepdims=True)
    return MDP(**cast(Any, arrays)), table / total


def weights(
    discount: float | np.ndarray,
    num_steps: int,
) -> np.ndarray:
    """The weight of each step in double precision: the product of the discounts before it.

    Args:
        discount: of each step, or one for all.
        num_steps: T.
    """
    each = np.broadcast_to(np.asarray(discount, np.float64), num_steps)
    if np.all(each == each[0]):
        return each[0] ** np.arange(num_steps)
    return np.append(1.0, np.cumprod(each[:-1]))


def discounting(
    mdp: Any,
) -> np.ndarray:
    """`casim.dynamics.discounting` of a process in NumPy, in double precision."""
    return weights(mdp.discount[mdp.schedule], len(mdp.schedule))


def precise_truth(
    mdp: MDP,
    policy: Any,
) -> Any:
    """`casim.oracle.solve` in double precision: a `Truth` of NumPy arrays.

    Raises:
        ValueError: as `precise`.
    """
    with jax.enable_x64(True):
        given = jax.tree.map(jnp.asarray, precise(mdp, policy))
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
    ways = [int(x > 0) for x in np.asarray(mdp.start)]
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
    return list(zip(parent.tolist(), successor.tolist(), strict=True))


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
        columns = [{name: x[parent] for name, x in column.items()} for column in columns]
        columns.append(fields)
        state = successor
        if len(weight) > limit:
            raise ValueError(f"number of trajectories must be in [1, {limit}], got more")
    arrays = {}
    for name in columns[0]:
        by_step = [column[name] for column in columns]
        arrays[name] = np.stack(by_step, axis=1)
    return Enumeration(weight, Trajectory(**cast(Any, arrays)))


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
    parent, observation, action, slot = (x.ravel() for x in np.indices(shape))
    before = state[parent]
    live = ~mdp.terminal[before]
    decides = live & mdp.decision[kernel]
    acts = policy[kernel, observation, action]
    chosen = np.where(decides, acts, action == 0)
    moves = mdp.prob[kernel, before, action, slot]
    moved = np.where(live, moves, slot == 0)
    seen = mdp.emission[kernel, before, observation]
    joint = weight[parent] * seen * chosen * moved
    keep = joint > 0
    parent, observation, action, slot, before, live, decides = (
        x[keep] for x in (parent, observation, action, slot, before, live, decides)
    )
    fields = {
        "state": before,
        "observation": observation,
        "action": action,
        "log_prob": np.where(decides, np.log(policy[kernel, observation, action]), 0.0),
        "reward": np.where(live, mdp.reward[kernel, before, action, slot], 0.0),
        "live": live,
    }
    return (
        parent,
        fields,
        np.where(live, mdp.successor[kernel, before, action, slot], before),
        joint[keep],
    )
