"""Where a tree is forked: which points may be, and how each is scored.

In maths, a point that n actions were taken at has the score x / n, or x - .05 (n - 1), with x the
mean of -log pi of those actions, the entropy of the policy, or what a judge says.

References:
    See `casim.estimators.sources.forks`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.estimators.base import count
from casim.estimators.sources.boundaries import over_stretch, starts
from casim.estimators.sources.forked import Tree
from casim.simulate import World
from casim.types import Batch, Trajectory

SCORES = ("surprisal", "entropy", "judge", "random")
"""What can say where to fork."""
PER_FORK = 0.05
"""What a point loses for each time that it was forked before."""


class Aim(NamedTuple):
    """What says where a tree is forked; see `casim.estimators.sources.forks.Forks`."""

    by: Literal["surprisal", "entropy", "judge", "random"]
    damping: Literal["over", "less"]
    where: Literal["decision", "turn"]
    judge: str

    def allowed(
        self,
        batch: Batch,
    ) -> Bool[Array, "P N T"]:
        """The steps at which a trajectory may be left."""
        if self.where == "decision":
            return batch.decision
        return batch.decision & starts(runs(batch))

    def siblings(
        self,
        tree: Tree,
    ) -> Float[Array, "P M T"]:
        """How many actions were taken where a point is, or where the row took its own."""
        if self.where == "decision":
            return tree.number
        # The first action of a row's own was taken at a point of its parent.
        of_parent = jnp.take_along_axis(tree.number, tree.parent[..., None], axis=1)
        steps = jnp.arange(tree.number.shape[-1])
        first_own = steps[None, None] == tree.leave[..., None]
        return jnp.where(first_own, of_parent, tree.number)

    def open(
        self,
        tree: Tree,
        batch: Batch,
        can: Bool[Array, "P M T"],
    ) -> Bool[Array, "P M T"]:
        """Where a point may be forked that can be left: a turn only where another follows."""
        if self.where == "decision":
            return can
        return can & (followed(tree, batch) | prompt(can))

    def crucial(
        self,
        key: Key[Array, ""],
        world: World,
        path: Trajectory,
        new: Bool[Array, "P N T"],
    ) -> tuple[Float[Array, "P N T"], Float[Array, ""]]:
        """How crucial each point is, and how many of those that are new were scored."""
        nothing = jnp.zeros((), jnp.float32)
        if self.by == "judge":
            said = world.judge(key, path, self.judge)
            scored = jnp.isfinite(said)
            return jnp.nan_to_num(said), count(scored & new)
        if self.by == "entropy":
            return entropy_along(world, path), nothing
        return jnp.zeros_like(path.reward), nothing

    def score(
        self,
        key: Key[Array, ""],
        tree: Tree,
        batch: Batch,
        at_start: Float[Array, "P M T"],
    ) -> Float[Array, "P M T"]:
        """What a point has of what is largest where it forks, damped as when the round began."""
        if self.by == "random":
            like = tree.number
            return jax.random.uniform(key, like.shape, like.dtype)
        number = jnp.maximum(at_start, 1.0)
        score = self._undamped(tree, batch)
        if self.damping == "over":
            return score / number
        return score - PER_FORK * (number - 1)

    def _undamped(
        self,
        tree: Tree,
        batch: Batch,
    ) -> Float[Array, "P M T"]:
        if self.by != "surprisal":
            return tree.crucial
        if self.where == "decision":
            return tree.surprisal / jnp.maximum(tree.number, 1.0)
        # A last turn at the prompt stands for the prompt, which nothing led to.
        of_turn = surprisal_of_turns(tree.path, batch)
        return jnp.where(followed(tree, batch), of_turn, 0.0)


def prompt(
    can: Bool[Array, "P M T"],
) -> Bool[Array, "P M T"]:
    """The first point of the first row."""
    first = jnp.cumsum(can, axis=-1) == 1
    rows = jnp.arange(can.shape[1])
    first_row = (rows == 0)[None, :, None]
    return can & first & first_row


def followed(
    tree: Tree,
    batch: Batch,
) -> Bool[Array, "P M T"]:
    """The steps of the turns that are a row's own and that another turn follows."""
    steps = jnp.arange(tree.number.shape[-1])
    own = steps[None, None] >= tree.leave[..., None]
    decided = tree.path.live & batch.decision[:, :1]
    number = runs(batch)
    run = jnp.broadcast_to(number[:, :1], decided.shape)
    of_decided = jnp.where(decided, run, 0)
    last = jnp.max(of_decided, axis=-1, keepdims=True)
    return own & (run < last)


def surprisal_of_turns(
    path: Trajectory,
    batch: Batch,
) -> Float[Array, "P M T"]:
    """The mean -log pi of the decisions of each row's turn, on all steps of it."""
    decided = path.live & batch.decision[:, :1]
    begins = starts(runs(batch))
    begins = jnp.broadcast_to(begins[:, :1], decided.shape)
    surprisal = jnp.where(decided, -path.log_prob, 0.0)
    total = over_stretch(surprisal, begins)
    number = over_stretch(decided.astype(total.dtype), begins)
    return total / jnp.maximum(number, 1.0)


def runs(
    batch: Batch,
) -> Int[Array, "P N T"]:
    """Numbers the runs of decisions: the environment's steps end one, and so does a turn."""
    unit = jnp.where(batch.decision, batch.turn, -1)
    return jnp.cumsum(starts(unit), axis=-1)


def entropy_along(
    world: World,
    path: Trajectory,
) -> Float[Array, "*rows T"]:
    """Of the policy at each step, in nats; 0 after the end."""
    chance = world.probability(path)
    # 0 log 0 is 0.
    safe = jnp.where(chance > 0, chance, 1.0)
    entropy = -jnp.sum(chance * jnp.log(safe), axis=-1)
    return jnp.where(path.live, entropy, 0.0)


def largest(
    score: Float[Array, "P M T"],
) -> tuple[Int[Array, " P"], Int[Array, " P"], Bool[Array, " P"]]:
    """Row and step of the largest score of each group, the first of equals; and if there is any."""
    flat = score.reshape(len(score), -1)
    best = jnp.argmax(flat, axis=1)
    steps = score.shape[-1]
    exists = jnp.isfinite(jnp.max(flat, axis=1))
    return best // steps, best % steps, exists
