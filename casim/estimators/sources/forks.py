"""Forks: trajectories that leave those of the group where it seems to matter, and what they say.

`Forks` grows one tree of each group, a fork at a time, wherever the score of a point is largest. In
maths, with the leaves worth the undiscounted sum of the rewards of their trajectory, V(node) = mean
of V over its children, and an edge (node, action) -> child: c = V(child) - V(node), or V(child)
itself. The children of the prompt are the trajectories of the group. A trainer trains on all edges;
here it is the trajectories of the group that have credit, and the others are charged.

`Siblings` forks every trajectory by itself, at the M decisions of highest entropy, K - 1 times
each: c = G - mean of the siblings' G, from the fork to the next one.

References:
    Shen et al. 2025, arXiv:2512.04949 (CARL); Zong et al. 2026, arXiv:2601.04767 (AT2PO), and its
    code, vllm_rollout_with_tools_tree_offline.py; He et al. 2026, arXiv:2607.14171 (BPO). How a
    tree is drawn around a batch is casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Estimator,
    Source,
    add_costs,
    check_discount,
    cost,
    count,
    discount_of,
    required,
    time_of,
)
from casim.estimators.sources.boundaries import over_stretch, play_on, starts
from casim.ops import returns_to_go
from casim.recurrence import affine_scan
from casim.simulate import JUDGE, World
from casim.types import Batch, Trajectory, recorded

SCORES = ("surprisal", "entropy", "judge", "random")
"""What can say where to fork."""


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

    def __call__(self, key, world, batch, credit, state):
        world = required(world, self)
        tree = grow(self, key, world, batch)
        value, forked = self._valued(tree, world, batch)
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
        world: World,
        batch: Batch,
    ) -> tuple[Float[Array, "P N T"], Bool[Array, "P N T"]]:
        """What the group's actions are worth, and whether their points have other children."""
        members = batch.action.shape[1]
        leaf = self._leaves(tree)
        if self.children == "surprisal":
            weight = jnp.exp(_of_turns(tree.path, batch))
        else:
            weight = jnp.ones_like(tree.number)
        node, child = backed_up(tree, leaf, weight)
        # The prompt is the first row's point.
        prompt = node[:, :1, :1]
        node = node[:, :members].at[:, :, 0].set(prompt[..., 0])
        number = tree.number[:, :members].at[:, :, 0].set(tree.number[:, :1, 0])
        value = child[:, :members]
        if self.give == "gain":
            value = value - node
        if self.give == "above":
            value = value - prompt
        return value, batch.decided & (number > 1)

    def _leaves(self, tree: Tree) -> Float[Array, "P M"]:
        """What each trajectory of the tree earned."""
        live = tree.path.live & tree.there[..., None]
        outcome = jnp.sum(
            jnp.where(
                live,
                tree.path.reward,
                0.0,
            ),
            axis=-1,
        )
        if self.leaves == "raw":
            return outcome
        mean = jnp.mean(
            outcome,
            axis=1,
            where=tree.there,
            keepdims=True,
        )
        away = outcome - mean
        variance = jnp.mean(
            away**2,
            axis=1,
            where=tree.there,
            keepdims=True,
        )
        return away / (jnp.sqrt(variance) + 1e-6)


def grow(
    recipe: Forks,
    key: Key[Array, ""],
    world: World,
    batch: Batch,
) -> Tree:
    """The tree of each group, with all of its forks."""
    own_key, judge_key = jax.random.split(key)
    tree = _planted(recipe, judge_key, world, batch)
    if recipe.num == 0:
        return tree
    per_round = -(-recipe.num // recipe.rounds)
    members = batch.action.shape[1]
    rows = jnp.arange(members + recipe.num)
    can = jnp.broadcast_to(_points(recipe, batch)[:, :1], tree.number.shape)

    def fork(
        carry: tuple[Tree, Array, Array],
        index: Int[Array, ""],
    ) -> tuple[tuple[Tree, Array, Array], None]:
        tree, at_start, again = carry
        begins = index % per_round == 0
        at_start = jnp.where(begins, _siblings(recipe, tree), at_start)
        again = jnp.where(begins, 0, again)
        own = jax.random.fold_in(own_key, index)
        score = _score(recipe, jax.random.fold_in(own, 1), tree, batch, at_start)
        # In a round no row that is new, and nothing again before all others.
        known = rows < members + index // per_round * per_round
        open_ = can & tree.path.live & known[None, :, None] & (at_start > 0)
        if recipe.where == "turn":
            open_ = open_ & (_followed(tree, batch) | _prompt(can))
        least = jnp.min(jnp.where(open_, again, recipe.num), axis=(1, 2), keepdims=True)
        score = jnp.where(open_ & (again == least), score, -jnp.inf)
        row, step, possible = _largest(score)
        again = again.at[jnp.arange(len(row)), row, step].add(1)
        tree = _forked(recipe, own, world, batch, tree, (row, step, possible), index)
        return (tree, at_start, again), None

    start = tree, tree.number, jnp.zeros(tree.number.shape, int)
    return jax.lax.scan(fork, start, jnp.arange(recipe.num))[0][0]


def _siblings(recipe: Forks, tree: Tree) -> Float[Array, "P M T"]:
    """How many actions were taken where a point is, or where the row took its own."""
    if recipe.where == "decision":
        return tree.number
    # The first action of a row's own was taken at a point of its parent.
    of_parent = jnp.take_along_axis(tree.number, tree.parent[..., None], axis=1)
    steps = jnp.arange(tree.number.shape[-1])
    first_own = steps[None, None] == tree.leave[..., None]
    return jnp.where(first_own, of_parent, tree.number)


def _prompt(can: Bool[Array, "P M T"]) -> Bool[Array, "P M T"]:
    """The first point of the first row."""
    first = jnp.cumsum(can, axis=-1) == 1
    rows = jnp.arange(can.shape[1])
    return can & first & (rows == 0)[None, :, None]


def _followed(tree: Tree, batch: Batch) -> Bool[Array, "P M T"]:
    """The steps of the turns that are a row's own and that another turn follows."""
    steps = jnp.arange(tree.number.shape[-1])
    own = steps[None, None] >= tree.leave[..., None]
    decided = tree.path.live & batch.decision[:, :1]
    run = jnp.broadcast_to(_runs(batch)[:, :1], decided.shape)
    last = jnp.max(jnp.where(decided, run, 0), axis=-1, keepdims=True)
    return own & (run < last)


def _of_turns(path: Trajectory, batch: Batch) -> Float[Array, "P M T"]:
    """The mean -log pi of the decisions of each row's turn, on all steps of it."""
    decided = path.live & batch.decision[:, :1]
    begins = jnp.broadcast_to(starts(_runs(batch))[:, :1], decided.shape)
    total = over_stretch(jnp.where(decided, -path.log_prob, 0.0), begins)
    number = over_stretch(decided.astype(total.dtype), begins)
    return total / jnp.maximum(number, 1.0)


def _largest(
    score: Float[Array, "P M T"],
) -> tuple[Int[Array, " P"], Int[Array, " P"], Bool[Array, " P"]]:
    """Row and step of the largest score of each group, the first of equals; and if there is any."""
    flat = score.reshape(len(score), -1)
    best = jnp.argmax(flat, axis=1)
    steps = score.shape[-1]
    return best // steps, best % steps, jnp.isfinite(jnp.max(flat, axis=1))


def _planted(
    recipe: Forks,
    key: Key[Array, ""],
    world: World,
    batch: Batch,
) -> Tree:
    """The tree before any fork: the trajectories of the group, and room for the others."""
    room = ((0, 0), (0, recipe.num), (0, 0))
    members = batch.action.shape[1]
    path = jax.tree.map(lambda x: jnp.pad(x, room), recorded(batch))
    counted = batch.counted
    there = jnp.pad(counted, room[:2])
    order = jnp.arange(members + recipe.num)
    leave = jnp.broadcast_to(
        jnp.where(
            order == 0,
            -1,
            0,
        ),
        there.shape,
    )
    decided = batch.decided & counted[..., None]
    number = decided.astype(batch.reward.dtype)
    surprisal = jnp.where(decided, -recorded(batch).log_prob, 0.0)
    # All begin at the prompt, which is the first row's.
    number, surprisal = (_at_prompt(x) for x in (number, surprisal))
    group = recorded(batch)
    crucial, calls = _crucial(recipe, key, world, group, group.live)
    return Tree(
        path,
        jnp.zeros(there.shape, jnp.int32),
        leave,
        there,
        jnp.pad(number, room),
        jnp.pad(surprisal, room),
        jnp.pad(crucial, room),
        jnp.zeros((), jnp.float32),
        calls,
    )


def _at_prompt(x: Float[Array, "P N T"]) -> Float[Array, "P N T"]:
    """What the rows have at the first step, all of it in the first row."""
    total = jnp.sum(x[:, :, 0], axis=1)
    return x.at[:, :, 0].set(0.0).at[:, 0, 0].set(total)


def _points(recipe: Forks, batch: Batch) -> Bool[Array, "P N T"]:
    """The steps at which a trajectory may be left."""
    if recipe.where == "decision":
        return batch.decision
    return batch.decision & starts(_runs(batch))


def _runs(batch: Batch) -> Int[Array, "P N T"]:
    """Numbers the runs of decisions: the environment's steps end one, and so does a turn."""
    unit = jnp.where(batch.decision, batch.turn, -1)
    return jnp.cumsum(starts(unit), axis=-1)


def _crucial(
    recipe: Forks,
    key: Key[Array, ""],
    world: World,
    path: Trajectory,
    new: Bool[Array, "P N T"],
) -> tuple[Float[Array, "P N T"], Float[Array, ""]]:
    """How crucial each point is, and how many of those that are new were scored."""
    if recipe.by == "judge":
        said = world.judge(key, path, recipe.judge)
        return jnp.nan_to_num(said), count(jnp.isfinite(said) & new)
    if recipe.by == "entropy":
        return _entropy(world, path), jnp.zeros((), jnp.float32)
    return jnp.zeros_like(path.reward), jnp.zeros((), jnp.float32)


def _score(
    recipe: Forks,
    key: Key[Array, ""],
    tree: Tree,
    batch: Batch,
    at_start: Float[Array, "P M T"],
) -> Float[Array, "P M T"]:
    """What a point has of what is largest where it forks, damped as when the round began."""
    if recipe.by == "random":
        return jax.random.uniform(
            key,
            tree.number.shape,
            tree.number.dtype,
        )
    score = tree.crucial
    if recipe.by == "surprisal":
        of_point = tree.surprisal / jnp.maximum(tree.number, 1.0)
        # A last turn at the prompt stands for the prompt, which nothing led to.
        of_turn = jnp.where(_followed(tree, batch), _of_turns(tree.path, batch), 0.0)
        score = of_turn if recipe.where == "turn" else of_point
    number = jnp.maximum(at_start, 1.0)
    if recipe.damping == "over":
        return score / number
    return score - 0.05 * (number - 1)


def _forked(
    recipe: Forks,
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    tree: Tree,
    where: tuple[Int[Array, " P"], Int[Array, " P"], Bool[Array, " P"]],
    index: Int[Array, ""],
) -> Tree:
    """The tree with one more row in each group, from that step of that row on, if there is one."""
    groups, members, steps = batch.action.shape
    row, step, possible = where
    every = jnp.arange(groups)
    left = jax.tree.map(lambda x: x[every, row], tree.path)
    # A row's first own action was taken at a point of its parent.
    first_own = step == tree.leave[every, row]
    row = jnp.where(first_own, tree.parent[every, row], row)
    branch_key, judge_key = jax.random.split(key)
    branch = world.branch(branch_key, left, step, 1)
    new = jax.tree.map(
        lambda x, like: x[:, 0].astype(like.dtype),
        branch,
        tree.path,
    )
    place = members + index
    own = jnp.arange(steps)[None, :] >= step[:, None]
    played = own & new.live & possible[:, None]
    decided = played & batch.decision[:, 0]
    later = decided & (jnp.arange(steps)[None, :] > step[:, None])
    surprise = jnp.where(decided, -new.log_prob, 0.0)
    first = jnp.take_along_axis(surprise, step[:, None], axis=1)[:, 0]
    one = possible.astype(tree.number.dtype)
    crucial, calls = _crucial(
        recipe,
        judge_key,
        world,
        branch,
        played[:, None],
    )
    return Tree(
        jax.tree.map(
            lambda x, y: x.at[:, place].set(y),
            tree.path,
            new,
        ),
        tree.parent.at[:, place].set(row.astype(tree.parent.dtype)),
        tree.leave.at[:, place].set(step.astype(tree.leave.dtype)),
        tree.there.at[:, place].set(possible),
        tree.number.at[every, row, step].add(one).at[:, place].set(later.astype(one.dtype)),
        tree.surprisal.at[every, row, step]
        .add(first)
        .at[:, place]
        .set(jnp.where(later, surprise, 0.0)),
        tree.crucial.at[:, place].set(crucial[:, 0]),
        tree.env_steps + count(played),
        tree.judge_calls + calls,
    )


def backed_up(
    tree: Tree,
    leaf: Float[Array, "P M"],
    weight: Float[Array, "P M T"],
) -> tuple[Float[Array, "P M T"], Float[Array, "P M T"]]:
    """The value of every point, and of what the row's action leads to.

    Args:
        tree: of each group.
        leaf: what each trajectory is worth.
        weight: of what the row's action leads to, among the children of its point.
    """
    there = tree.there.astype(leaf.dtype)

    def to_parents(x: Float[Array, "P M"]) -> Float[Array, "P M"]:
        return jax.vmap(lambda row, at: jnp.zeros_like(row).at[at].add(row))(x, tree.parent)

    def step(
        after: Float[Array, "P M"],
        now: tuple[Array, Array],
    ) -> tuple[Array, tuple[Array, Array]]:
        time, weighs = now
        weighs = weighs * there
        joins = tree.leave == time
        total = weighs * after
        number = weighs + to_parents(jnp.where(joins, weighs, 0.0))
        total = total + to_parents(jnp.where(joins, total, 0.0))
        value = jnp.where(
            number > 0,
            total
            / jnp.where(
                number > 0,
                number,
                1.0,
            ),
            after,
        )
        # Exactly as it was where there is one child.
        value = jnp.where(number > weighs, value, after)
        return value, (value, after)

    steps = jnp.arange(weight.shape[-1])
    given = (steps, jnp.moveaxis(weight, -1, 0))
    _, (node, child) = jax.lax.scan(step, leaf, given, reverse=True)
    return jnp.moveaxis(node, 0, -1), jnp.moveaxis(child, 0, -1)


def _entropy(world: World, path: Trajectory) -> Float[Array, "*rows T"]:
    """Of the policy at each step, in nats; 0 after the end."""
    chance = world.probability(path)
    safe = jnp.where(chance > 0, chance, 1.0)
    entropy = -jnp.sum(chance * jnp.log(safe), axis=-1)
    return jnp.where(path.live, entropy, 0.0)


@final
@dataclasses.dataclass(frozen=True)
class Siblings(Source):
    """Each trajectory beside siblings that leave it at its decisions of highest entropy.

    From a fork on, at discount 1, the credit given the point is the advantage plus a function of
    it, exactly: siblings do not contain it. Before the first fork it is that of the first fork,
    faded: given what came before the fork its mean is 0 whatever was done, so it teaches nothing.

    Attributes:
        num: M, forks of each trajectory, at least 1.
        siblings: K, trajectories at a fork, its own included, at least 2.
        fade: of the credit before the first fork, per step, in [0, 1]; 0 is none.
        discount: in [0, 1]; None is the world's.

    Raises:
        ValueError: a setting out of its range.
    """

    num: int = 2
    siblings: int = 4
    fade: float = 0.0
    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})

    def __post_init__(self) -> None:
        check_integer("num", self.num, 1)
        check_integer("siblings", self.siblings, 2)
        check_range("fade", self.fade, 0.0, 1.0)
        check_discount(self.discount)

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        future = returns_to_go(batch.reward, discount, batch.live)
        decided = batch.decided & batch.counted[..., None]
        entropy = jnp.where(
            decided,
            _entropy(world, recorded(batch)),
            -jnp.inf,
        )
        ranked = jnp.argsort(-entropy, axis=-1, stable=True)
        number = min(self.num, batch.action.shape[-1])
        value = jnp.zeros_like(future)
        forked = jnp.zeros(batch.live.shape, bool)
        used = jnp.zeros((), jnp.float32)
        for place in range(number):
            step = ranked[..., place]
            there = jnp.take_along_axis(
                decided,
                step[..., None],
                axis=-1,
            )[..., 0]
            own_key = jax.random.fold_in(key, place)
            tails = play_on(
                own_key,
                world,
                batch,
                step,
                self.siblings - 1,
                discount,
            )
            own = jnp.take_along_axis(
                future,
                step[..., None],
                axis=-1,
            )[..., 0]
            gain = own - jnp.mean(tails.value, axis=-1)
            here = there[..., None] & (time_of(batch) == step[..., None])
            value = jnp.where(here, gain[..., None], value)
            forked = forked | here
            used = used + jnp.sum(jnp.where(there, tails.played, 0.0))
        return self._spread(
            value,
            forked,
            batch,
        ), cost(env_steps=used)

    def _spread(
        self,
        value: Float[Array, "P N T"],
        forked: Bool[Array, "P N T"],
        batch: Batch,
    ) -> Float[Array, "P N T"]:
        """From the forks to the steps after them, and before the first."""
        keep = jnp.where(forked, 0.0, 1.0)
        here = jnp.where(forked, value, 0.0)
        after = affine_scan(keep, here)
        before = affine_scan(self.fade * keep, here, reverse=True)
        begun = jnp.cumsum(forked, axis=-1) > 0
        return jnp.where(
            batch.live,
            jnp.where(
                begun,
                after,
                before,
            ),
            0.0,
        )
