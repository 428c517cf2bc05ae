"""Siblings: what was done beside what else might have been, from the same restored context.

In maths, at the start b of each unit, with the state restored, n - 1 siblings are drawn from the
policy beside the trajectory itself. r_i is the mean return from b on over `leaves` continuations
after the unit of sibling i, q_i what a judge says of its prefix at the end of the unit. Its credit
is, with the mean over the others j != i (or over all, its own included),

    "reward"    r_i - mean_j r_j,
    "value"     q_i - mean_j q_j,
    "assisted"  r_i - (1 - alpha) mean_j r_j - alpha mean_j q_j.

Left out of their mean, r_i meets a baseline that does not know its action: the credit of a single
step has mean A, and that of a longer unit A and a number of what happened before, whatever the
judge says. Divided by the deviation of the siblings it does not, see docs/group-bias.md.

References:
    Chen et al. 2026, arXiv:2603.06859 (C3), and its code, c3/credit/c3/provider.py.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    count,
    discount_of,
    keeps_discount,
    required,
)
from casim.estimators.sources.absent import (
    PLAYERS,
    Player,
    lived_from,
    players,
    return_from,
    weight_from,
)
from casim.ops import group_advantage, leave_one_out
from casim.ops import mean as mean_of
from casim.simulate import JUDGE, World
from casim.types import Batch, Trajectory, recorded

SIGNALS = ("reward", "value", "assisted")


@final
@dataclasses.dataclass(frozen=True)
class Alternatives(Source):
    """Leave-one-out at a restored context, on all steps of the unit.

    Every step that is played is charged, and the judge for every sibling that it reads. A step that
    the trajectory did not reach has none.

    Attributes:
        num: n, the trajectory itself included, at least 1; one alone gets 0.
        unit: "step", "segment", "turn", or "agent", each of which acts in one run of steps.
        leaves: continuations of each sibling after its unit, at least 1; after the last unit there
            is one.
        signal: "reward", "value" or "assisted".
        judge: of values, asked where the signal is not the reward.
        alpha: how much of the baseline is the judge's, in [0, 1].
        own: whether one's own is in the mean.
        scale: divides by the deviation of the siblings' credits, after centring them.
        epsilon: added to that deviation, at least 0.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    num: int = 4
    unit: Player = "turn"
    leaves: int = 1
    signal: Literal["reward", "value", "assisted"] = "reward"
    judge: str = JUDGE
    alpha: float = 1.0
    own: bool = False
    scale: bool = False
    epsilon: float = 1e-6
    discount: float | None = None
    granularity: ClassVar[str] = "turn"
    methodology: ClassVar[str] = "monte_carlo"
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_integer("num", self.num, 1)
        check_choice("unit", self.unit, PLAYERS)
        check_integer("leaves", self.leaves, 1)
        check_choice("signal", self.signal, SIGNALS)
        check_range("alpha", self.alpha, 0.0, 1.0)
        check_range("epsilon", self.epsilon, 0.0, 1.0)
        check_discount(self.discount)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        asks = self.signal != "reward"
        return frozenset({"reset", "judge"} if asks else {"reset"})

    def claims(self, discount: float) -> frozenset[str]:
        kept = keeps_discount(self.discount, discount)
        plain = not (self.own or self.scale)
        exact = self.signal != "value" and plain and self.num > 1
        whole = self.unit == "step" or discount == 1
        return self.unbiased if kept and exact and whole else frozenset()

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        label, size = players(world, self.unit)

        def of_unit(inputs: tuple[Array, Array]) -> tuple[Array, Array, Array]:
            own_key, index = inputs
            member = label == index
            first = jnp.argmax(member)
            last = first + jnp.sum(member) - 1
            return self._beside(
                own_key,
                world,
                batch,
                (first, last),
                discount,
            )

        keys = jax.random.split(key, size)
        value, played, asked = jax.lax.map(of_unit, (keys, jnp.arange(size)))
        credit = jnp.moveaxis(value, 0, -1)[..., label]
        shown = batch.live & batch.counted[..., None]
        used = cost(env_steps=jnp.sum(played), judge_calls=jnp.sum(asked))
        return jnp.where(shown, credit, 0.0), used

    def _beside(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        ends: tuple[Int[Array, ""], Int[Array, ""]],
        discount: Array | float,
    ) -> tuple[Float[Array, "P N"], Float[Array, ""], Float[Array, ""]]:
        """The credit of one unit of every trajectory, the steps played and the answers given."""
        first, _ = ends
        branch_key, leaf_key, judge_key = jax.random.split(key, 3)
        fresh = world.branch(branch_key, batch, first, self.num - 1)
        every = jax.tree.map(_with_own, recorded(batch), fresh)
        played = lived_from(fresh, first)
        reward, more = self._rewards(leaf_key, world, every, ends, discount)
        said, asked = reward, jnp.zeros(())
        if self.signal != "reward":
            score = world.judge(judge_key, every, self.judge)
            said = self._prefix(score, every, ends, discount)
            there = jnp.take(every.live, first, axis=-1)
            asked = count(there)
        credit = self._credit(reward, said)
        return credit[..., 0], played + more, asked

    def _rewards(
        self,
        key: Key[Array, ""],
        world: World,
        every: Trajectory,
        ends: tuple[Int[Array, ""], Int[Array, ""]],
        discount: Array | float,
    ) -> tuple[Float[Array, "P N K"], Float[Array, ""]]:
        """The mean return of each sibling over its leaves, and the steps played after its unit."""
        first, last = ends
        value = return_from(every, first, discount)
        if self.leaves == 1:
            return value, jnp.zeros(())
        steps = every.action.shape[-1]
        goes_on = last + 1 < steps
        after = jnp.minimum(last + 1, steps - 1)
        leaf = world.branch(key, every, after, self.leaves - 1)
        returns = return_from(leaf, first, discount)
        total = value + jnp.sum(returns, axis=-1)
        average = total / self.leaves
        played = jnp.where(goes_on, lived_from(leaf, after), 0.0)
        return jnp.where(goes_on, average, value), played

    def _prefix(
        self,
        score: Float[Array, "P N K T"],
        every: Trajectory,
        ends: tuple[Int[Array, ""], Int[Array, ""]],
        discount: Array | float,
    ) -> Float[Array, "P N K"]:
        """What a judge makes of a unit: its rewards before its last step, and the word there."""
        first, last = ends
        steps = jnp.arange(score.shape[-1])
        inside = (steps >= first) & (steps <= last)
        within = jnp.broadcast_to(inside, score.shape) & every.live
        number = jnp.sum(within, axis=-1, keepdims=True)
        place = jnp.cumsum(within, axis=-1)
        is_last = within & (place == number)
        told = jnp.where(is_last, jnp.nan_to_num(score), 0.0)
        earned = jnp.where(within & ~is_last, every.reward, 0.0)
        weight = weight_from(first, score.shape, discount)
        return jnp.sum(weight * (told + earned), axis=-1)

    def _credit(
        self,
        reward: Float[Array, "P N K"],
        said: Float[Array, "P N K"],
    ) -> Float[Array, "P N K"]:
        """The credit of every sibling."""
        if self.num == 1:
            return jnp.zeros_like(reward)
        if self.signal == "reward":
            credit = self._less_others(reward)
        elif self.signal == "value":
            credit = self._less_others(said)
        else:
            by_reward = self._less_others(reward)
            guess = said - self._less_others(said)
            by_judge = reward - guess
            credit = (1.0 - self.alpha) * by_reward + self.alpha * by_judge
        if not self.scale:
            return credit
        return group_advantage(credit, "group", ddof=1, epsilon=self.epsilon)

    def _less_others(self, x: Float[Array, "P N K"]) -> Float[Array, "P N K"]:
        """Each less the mean of the others, or of all."""
        return x - mean_of(x, axis=-1) if self.own else leave_one_out(x)


def _with_own(
    own: Array,
    fresh: Array,
) -> Array:
    """The trajectory itself before what was drawn."""
    return jnp.concatenate([own[..., None, :], fresh], axis=-2)
