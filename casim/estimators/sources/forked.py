"""The tree that a group and what forked off it make, and how values are backed up in it.

In maths, V(node) = weighted mean of V over its children, and an edge (node, action) -> child has
the value of its child. The children of the prompt are the trajectories of the group.

References:
    See `casim.estimators.sources.forks`. How a tree is drawn around a batch is casim's own.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.types import Trajectory


class Tree(NamedTuple):
    """The trajectories of each group and those that forked off; M of them.

    A point (row, step) is where the row takes its action; rows share the points before they left
    their parents, which are the parents' own.
    """

    path: Trajectory
    """`[P, M, T]`."""
    parent: Int[Array, "P M"]
    leave: Int[Array, "P M"]
    """The step whose action is the first of its own; -1 for the first row, who owns the prompt."""
    there: Bool[Array, "P M"]
    number: Float[Array, "P M T"]
    """How many actions were taken at each point; 0 where none is decided or it is another's."""
    surprisal: Float[Array, "P M T"]
    """-log pi of those actions, added up."""
    crucial: Float[Array, "P M T"]
    """What the judge says, or the entropy of the policy there."""
    env_steps: Float[Array, ""]
    judge_calls: Float[Array, ""]


class Backed(NamedTuple):
    """Values in a tree."""

    node: Float[Array, "P M T"]
    """Of every point."""
    child: Float[Array, "P M T"]
    """Of what the row's action leads to."""


def backed_up(
    tree: Tree,
    leaf: Float[Array, "P M"],
    weight: Float[Array, "P M T"],
) -> Backed:
    """The values of a tree, from its leaves back.

    Args:
        tree: of each group.
        leaf: what each trajectory is worth.
        weight: of what the row's action leads to, among the children of its point.
    """
    there = tree.there.astype(leaf.dtype)

    def to_parents(
        x: Float[Array, "P M"],
    ) -> Float[Array, "P M"]:
        def of_group(
            row: Float[Array, " M"],
            parent: Int[Array, " M"],
        ) -> Float[Array, " M"]:
            nothing = jnp.zeros_like(row)
            return nothing.at[parent].add(row)

        of_groups = jax.vmap(of_group)
        return of_groups(x, tree.parent)

    def step(
        after: Float[Array, "P M"],
        now: tuple[Array, Array],
    ) -> tuple[Array, tuple[Array, Array]]:
        time, weighs = now
        weighs = weighs * there
        joins = tree.leave == time
        joining = jnp.where(joins, weighs, 0.0)
        number = weighs + to_parents(joining)
        total = weighs * after
        joining = jnp.where(joins, total, 0.0)
        from_leaves = to_parents(joining)
        total = total + from_leaves
        has_children = number > 0
        safe = jnp.where(has_children, number, 1.0)
        mean = total / safe
        value = jnp.where(has_children, mean, after)
        # Exactly as it was where there is one child.
        has_more = number > weighs
        value = jnp.where(has_more, value, after)
        return value, (value, after)

    num_steps = weight.shape[-1]
    steps = jnp.arange(num_steps)
    weights = jnp.moveaxis(weight, -1, 0)
    given = (steps, weights)
    _, found = jax.lax.scan(step, leaf, given, reverse=True)
    node, child = (jnp.moveaxis(x, 0, -1) for x in found)
    return Backed(node, child)
