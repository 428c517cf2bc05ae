"""Forks: trajectories that leave those of the group where it seems to matter, and what they say.

`Forks` grows one tree of each group, a fork at a time, wherever the score of a point is largest. In
maths, with the leaves worth the undiscounted sum of the rewards of their trajectory, V(node) = mean
of V over its children, and an edge (node, action) -> child: c = V(child) - V(node), or V(child)
itself. The children of the prompt are the trajectories of the group. A trainer trains on all edges;
here it is the trajectories of the group that have credit, and the others are charged.

References:
    Shen et al. 2025, arXiv:2512.04949 (CARL); Zong et al. 2026, arXiv:2601.04767 (AT2PO), and its
    code, vllm_rollout_with_tools_tree_offline.py.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice, check_integer
from casim.estimators.base import Estimator, add_costs, cost, count, required
from casim.estimators.sources.forked import Tree, backed_up
from casim.estimators.sources.points import SCORES, Aim, largest, surprisal_of_turns
from casim.simulate import JUDGE, World
from casim.types import Batch, recorded


@final
@dataclasses.dataclass(frozen=True)
class Forks(Estimator):
    """What each action of a trajectory is worth in a tree that is forked where it matters.

    Less the mean of all children of its point, its own included, the credit of an action is (1 - 1
    / n) times what it is less the mean of the others. Which points are forked depends on the
    trajectories, by "surprisal" on the action itself, so states and actions are weighed anew.

    Attributes:
        num: forks of each group in all, at least 0.
        rounds: in which they are made, at least 1: in a round no point is forked again before all
            others are, and no trajectory that is new.
        by: what is largest where it forks: the mean "surprisal" -log pi of the actions taken there,
            or of those of the turn; or the "entropy" of the policy, or what a "judge" of steps
            says, each as `damping` says; or "random", any point.
        damping: for points that were forked before: "over" divides by the actions taken there;
            "less" takes off .05 for each but the first.
        where: at any "decision"; or at the "turn", which is then scored as a whole, for every
            trajectory that takes one, and is drawn anew from its first decision on. The last turn
            of a trajectory is not, but from the prompt there may always be another.
        leaves: "raw" outcomes, or their "scaled" ones: less the mean over the deviation + 1e-6 of
            all leaves of the tree, n in the variance.
        children: V(node) is their "mean", or weighs them by "surprisal": exp of the mean -log pi of
            the turn that each begins.
        give: "gain" V(child) - V(node), "value" V(child), or "above" V(child) - V(prompt).
        only_forked: actions where there is no other child weigh nothing.
        judge: the name of the judge that it asks.

    Raises:
        ValueError: a setting out of its range.
    """

    num: int = 16
    rounds: int = 16
    by: Literal["surprisal", "entropy", "judge", "random"] = "surprisal"
    damping: Literal["over", "less"] = "over"
    where: Literal["decision", "turn"] = "decision"
    leaves: Literal["raw", "scaled"] = "raw"
    children: Literal["mean", "surprisal"] = "mean"
    give: Literal["gain", "value", "above"] = "gain"
    only_forked: bool = True
    judge: str = JUDGE
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"

    def __post_init__(self) -> None:
        check_integer("num", self.num, 0)
        check_integer("rounds", self.rounds, 1)
        check_choice("by", self.by, SCORES)
        check_choice("damping", self.damping, ("over", "less"))
        check_choice("where", self.where, ("decision", "turn"))
        check_choice("leaves", self.leaves, ("raw", "scaled"))
        check_choice("children", self.children, ("mean", "surprisal"))
        check_choice("give", self.give, ("gain", "value", "above"))

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        asks = {"judge"} if self.by == "judge" else set()
        return frozenset({"group", "reset", *asks})

    @property
    def aim(self) -> Aim:
        """What says where to fork."""
        return Aim(self.by, self.damping, self.where, self.judge)

    def __call__(self, key, world, batch, credit, state):
        world = required(world, self)
        tree = grow(self, key, world, batch)
        value, forked = self._valued(tree, batch)
        shown = batch.live & batch.counted[..., None]
        kept = forked if self.only_forked else shown
        used = cost(env_steps=tree.env_steps, judge_calls=tree.judge_calls)
        given = credit._replace(
            value=jnp.where(shown, value, 0.0),
            weight=jnp.where(kept, credit.weight, 0.0),
            cost=add_costs(credit.cost, used),
        )
        return given, state

    def _valued(
        self,
        tree: Tree,
        batch: Batch,
    ) -> tuple[Float[Array, "P N T"], Bool[Array, "P N T"]]:
        """What the group's actions are worth, and whether their points have other children."""
        members = batch.action.shape[1]
        leaf = self._leaves(tree)
        if self.children == "surprisal":
            weight = jnp.exp(surprisal_of_turns(tree.path, batch))
        else:
            weight = jnp.ones_like(tree.number)
        node, child = backed_up(tree, leaf, weight)
        # The prompt is the first row's point.
        prompt = node[:, :1, :1]
        node = _from_prompt(node[:, :members])
        number = _from_prompt(tree.number[:, :members])
        value = child[:, :members]
        if self.give == "gain":
            value = value - node
        if self.give == "above":
            value = value - prompt
        return value, batch.decided & (number > 1)

    def _leaves(
        self,
        tree: Tree,
    ) -> Float[Array, "P M"]:
        """What each trajectory of the tree earned."""
        there = tree.there[..., None]
        live = tree.path.live & there
        earned = jnp.where(live, tree.path.reward, 0.0)
        outcome = jnp.sum(earned, axis=-1)
        if self.leaves == "raw":
            return outcome

        def over_tree(
            x: Float[Array, "P M"],
        ) -> Float[Array, "P 1"]:
            return jnp.mean(x, axis=1, where=tree.there, keepdims=True)

        away = outcome - over_tree(outcome)
        variance = over_tree(away**2)
        deviation = jnp.sqrt(variance)
        return away / (deviation + 1e-6)


def _from_prompt(x: Float[Array, "P N T"]) -> Float[Array, "P N T"]:
    """The first row's first step, at the first step of all rows."""
    of_first = x[:, :1, 0]
    first_step = x.at[:, :, 0]
    return first_step.set(of_first)


class Place(NamedTuple):
    """A point of each group's tree."""

    row: Int[Array, " P"]
    step: Int[Array, " P"]
    exists: Bool[Array, " P"]


def grow(
    recipe: Forks,
    key: Key[Array, ""],
    world: World,
    batch: Batch,
) -> Tree:
    """The tree of each group, with all of its forks."""
    aim = recipe.aim
    own_key, judge_key = jax.random.split(key)
    tree = _planted(recipe, judge_key, world, batch)
    if recipe.num == 0:
        return tree
    per_round = -(-recipe.num // recipe.rounds)
    members = batch.action.shape[1]
    rows = jnp.arange(members + recipe.num)
    shape = tree.number.shape
    allowed = aim.allowed(batch)
    can = jnp.broadcast_to(allowed[:, :1], shape)

    def fork(
        carry: tuple[Tree, Array, Array],
        index: Int[Array, ""],
    ) -> tuple[tuple[Tree, Array, Array], None]:
        tree, at_start, again = carry
        begins = index % per_round == 0
        at_start = jnp.where(begins, aim.siblings(tree), at_start)
        again = jnp.where(begins, 0, again)
        own = jax.random.fold_in(own_key, index)
        score_key = jax.random.fold_in(own, 1)
        score = aim.score(score_key, tree, batch, at_start)
        # In a round no row that is new, and nothing again before all others.
        round_ = index // per_round
        known = rows < members + round_ * per_round
        open_ = aim.open(tree, batch, can)
        open_ = open_ & tree.path.live & known[None, :, None]
        open_ = open_ & (at_start > 0)
        forks = jnp.where(open_, again, recipe.num)
        least = jnp.min(forks, axis=(1, 2), keepdims=True)
        first_turn = open_ & (again == least)
        score = jnp.where(first_turn, score, -jnp.inf)
        row, step, exists = largest(score)
        every = jnp.arange(len(row))
        again = again.at[every, row, step].add(1)
        place = Place(row, step, exists)
        new_row = members + index
        tree = _forked(
            aim,
            own,
            world,
            batch,
            tree,
            place,
            new_row,
        )
        return (tree, at_start, again), None

    never = jnp.zeros(shape, int)
    start = (tree, tree.number, never)
    each = jnp.arange(recipe.num)
    (tree, _, _), _ = jax.lax.scan(fork, start, each)
    return tree


def _planted(
    recipe: Forks,
    key: Key[Array, ""],
    world: World,
    batch: Batch,
) -> Tree:
    """The tree before any fork: the trajectories of the group, and room for the others."""
    room = ((0, 0), (0, recipe.num), (0, 0))
    members = batch.action.shape[1]
    group = recorded(batch)
    counted = batch.counted
    there = jnp.pad(counted, room[:2])

    def with_room(x: Array) -> Array:
        return jnp.pad(x, room)

    order = jnp.arange(members + recipe.num)
    leave = jnp.where(order == 0, -1, 0)
    decided = batch.decided & counted[..., None]
    number = decided.astype(batch.reward.dtype)
    surprisal = jnp.where(decided, -group.log_prob, 0.0)
    aim = recipe.aim
    crucial, calls = aim.crucial(key, world, group, group.live)
    return Tree(
        path=jax.tree.map(with_room, group),
        parent=jnp.zeros(there.shape, jnp.int32),
        leave=jnp.broadcast_to(leave, there.shape),
        there=there,
        # All begin at the prompt, which is the first row's.
        number=with_room(_at_prompt(number)),
        surprisal=with_room(_at_prompt(surprisal)),
        crucial=with_room(crucial),
        env_steps=jnp.zeros((), jnp.float32),
        judge_calls=calls,
    )


def _at_prompt(
    x: Float[Array, "P N T"],
) -> Float[Array, "P N T"]:
    """What the rows have at the first step, all of it in the first row."""
    first_step = x[:, :, 0]
    total = jnp.sum(first_step, axis=1)
    cleared = x.at[:, :, 0].set(0.0)
    return cleared.at[:, 0, 0].set(total)


def _forked(
    aim: Aim,
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    tree: Tree,
    place: Place,
    new_row: Int[Array, ""],
) -> Tree:
    """The tree with one more row in each group, which leaves it at that place, if there is one."""
    groups, _, num_steps = batch.action.shape
    row, step, possible = place
    every = jnp.arange(groups)

    def of_row(x: Array) -> Array:
        return x[every, row]

    left = jax.tree.map(of_row, tree.path)
    # A row's first own action was taken at a point of its parent.
    first_own = step == of_row(tree.leave)
    parent = jnp.where(first_own, of_row(tree.parent), row)
    branch_key, judge_key = jax.random.split(key)
    branch = world.branch(branch_key, left, step, 1)
    new = jax.tree.map(_only_copy, branch, tree.path)
    steps = jnp.arange(num_steps)[None, :]
    since = step[:, None]
    own = (steps >= since) & possible[:, None]
    played = own & new.live
    decision = batch.decision[:, 0]
    decided = played & decision
    # Its first decision is one more action at the place; later ones are at points of its own.
    later = decided & (steps > since)
    surprise = jnp.where(decided, -new.log_prob, 0.0)
    at_first = jnp.take_along_axis(surprise, since, axis=1)
    first_surprise = at_first[:, 0]
    later_surprise = jnp.where(later, surprise, 0.0)
    asked = played[:, None]
    crucial, calls = aim.crucial(judge_key, world, branch, asked)

    def in_row(
        x: Array,
        own: Array,
    ) -> Array:
        place = x.at[:, new_row]
        return place.set(own.astype(x.dtype))

    def at_place(
        x: Array,
        more: Array,
    ) -> Array:
        place = x.at[every, parent, step]
        return place.add(more.astype(x.dtype))

    number = at_place(tree.number, possible)
    surprisal = at_place(tree.surprisal, first_surprise)
    return Tree(
        path=jax.tree.map(in_row, tree.path, new),
        parent=in_row(tree.parent, parent),
        leave=in_row(tree.leave, step),
        there=in_row(tree.there, possible),
        number=in_row(number, later),
        surprisal=in_row(surprisal, later_surprise),
        crucial=in_row(tree.crucial, crucial[:, 0]),
        env_steps=tree.env_steps + count(played),
        judge_calls=tree.judge_calls + calls,
    )


def _only_copy(
    x: Array,
    like: Array,
) -> Array:
    """The one branch of each group, in the type of what it joins."""
    return x[:, 0].astype(like.dtype)
