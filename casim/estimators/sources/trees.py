"""TreeVine: a trajectory among its siblings, at each level of a tree that is drawn around it.

In maths, with the levels l = 0, 1, ... starting at steps l M, q(child) = rewards of its edge, and
discounted V(child), V(node) = mean of q over its children: an edge of level l has the credit
q - V(parent) on all its steps.

A trainer grows one tree from the prompt and trains on all its edges. A batch of casim holds N
trajectories that are independent given the prompt, so they are the tree's first level: the children
of the prompt are the trajectories of the group. Every node below, on a trajectory or beside it, has
its other children drawn from its restored state; each plays on to the end, and is so the first
child of its own next node. So a group of N = 6 with 6 and 6 children below is a tree 6-6-6 of 216
leaves and 258 edges, of which 6 leaves are the batch and all other edges are charged.

References:
    Guo et al. 2025, arXiv:2505.23564 (SPO-tree), and its code, tree_episode_generator.py. How the
    tree is drawn around a batch is casim's own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_choice, check_integer
from casim.discounts import product
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    count,
    discount_of,
    keeps_discount,
    required,
)
from casim.ops import group_advantage, leave_one_out, mean
from casim.simulate import World
from casim.types import Trajectory, recorded


@final
@dataclasses.dataclass(frozen=True)
class TreeVine(Source):
    """What each edge of a trajectory earns more than the mean of its siblings.

    Less the mean of the others, at discount 1, its mean in a cell is the advantage plus a function
    of the state alone: the gradient is exact. Less the mean of all n children, its own included, it
    is (1 - 1 / n) times that, exactly.

    Attributes:
        branching: children of each node below the prompt, level by level, at least 2 each; the
            prompt's are the trajectories of the group.
        length: M, steps per level, at least 1; the last level goes on to the end. None cuts the
            horizon into levels of one length.
        baseline: the mean of "all" children, own included (its code's option "rloo" is this), that
            of the "others", or "scaled": of all, over their deviation + 1e-8, with n in the
            variance (its option "grpo").
        discount: in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    branching: tuple[int, ...] = (6, 6)
    length: int | None = None
    baseline: Literal["all", "others", "scaled"] = "all"
    discount: float | None = None
    granularity: ClassVar[str] = "segment"
    methodology: ClassVar[str] = "monte_carlo"
    needs: ClassVar[frozenset[str]] = frozenset({"group", "reset"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        object.__setattr__(self, "branching", tuple(self.branching))
        for number in self.branching:
            check_integer("branching", number, 2)
        if self.length is not None:
            check_integer("length", self.length, 1)
        check_choice("baseline", self.baseline, ("all", "others", "scaled"))
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        others = self.baseline == "others" and discount == 1
        exact = others and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def give(self, key, world, batch):
        world = required(world, self)
        num_steps = batch.action.shape[-1]
        first = self._first(num_steps)
        discount = discount_of(world, batch, self.discount)
        growth = _Growth(
            world,
            self.branching,
            first,
            discount,
        )
        edges, used = growth.edges(key, recorded(batch), 0)
        # At the prompt the siblings are the group; below, they stand beside each trajectory.
        of_group = self._relative(edges[0], batch.counted)
        below = [self._own(children) for children in edges[1:]]
        by_level = jnp.stack([of_group, *below], axis=-1)
        steps = jnp.arange(num_steps)
        begun = jnp.searchsorted(jnp.asarray(first), steps, side="right")
        by_step = by_level[..., begun - 1]
        shown = batch.live & batch.counted[..., None]
        credit = jnp.where(shown, by_step, 0.0)
        return credit, cost(env_steps=used)

    def _first(self, num_steps: int) -> tuple[int, ...]:
        """The first step of each level that begins before the end."""
        levels = len(self.branching) + 1
        length = self.length
        if length is None:
            length = math.ceil(num_steps / levels)
        every = range(0, levels * length, length)
        return tuple(step for step in every if step < num_steps)

    def _own(self, children: Float[Array, "*rows C"]) -> Float[Array, "*rows"]:
        """The first child, relative to its parent."""
        relative = self._relative(children)
        return relative[..., 0]

    def _relative(
        self,
        children: Float[Array, "*nodes C"],
        where: Bool[Array, "*nodes C"] | None = None,
    ) -> Float[Array, "*nodes C"]:
        """Children relative to their parent."""
        if self.baseline == "others":
            return leave_one_out(children, where)
        scale = "group" if self.baseline == "scaled" else "none"
        return group_advantage(
            children,
            scale,
            ddof=0,
            epsilon=1e-8,
            where=where,
        )


@dataclasses.dataclass(frozen=True)
class _Growth:
    """How a tree grows."""

    world: World
    branching: tuple[int, ...]
    first: tuple[int, ...]
    """The first step of each level."""
    discount: Array | float

    def edges(
        self,
        key: Key[Array, ""],
        path: Trajectory,
        level: int,
    ) -> tuple[list[Array], Array]:
        """What the edges of trajectories `[*rows, T]` are worth from a level on, and the cost.

        Of its own level `[*rows]`; of each one below `[*rows, C]`, with all children of the node on
        the trajectory, its own first.
        """
        earned = self._earned(path, level)
        if level + 1 == len(self.first):
            return [earned], jnp.zeros(())
        own_key, later_key = jax.random.split(key)
        start = self.first[level + 1]
        number = self.branching[level] - 1
        siblings = self.world.branch(own_key, path, start, number)
        played = count(siblings.live[..., start:])
        children = jax.tree.map(_beside, path, siblings)
        below, used = self.edges(later_key, children, level + 1)
        nearest, *deeper = below
        node = mean(nearest, axis=-1)[..., 0]
        over_level = product(
            self.discount,
            self.first[level],
            start,
        )
        worth = earned + over_level * node
        on_path = [level[..., 0, :] for level in deeper]
        return [worth, nearest, *on_path], used + played

    def _earned(self, path: Trajectory, level: int) -> Float[Array, "*rows"]:
        """The rewards of a level, discounted to its first step."""
        first = self.first[level]
        num_steps = path.reward.shape[-1]
        ends = (*self.first[1:], num_steps)
        steps = jnp.arange(first, ends[level])
        reward = path.reward[..., first : ends[level]]
        weight = product(self.discount, first, steps)
        weight = jnp.broadcast_to(weight, reward.shape)
        return jnp.sum(weight * reward, axis=-1)


def _beside(own: Array, siblings: Array) -> Array:
    """A trajectory and its siblings, on one axis, its own first."""
    first = own[..., None, :]
    first = first.astype(siblings.dtype)
    return jnp.concatenate([first, siblings], axis=-2)
