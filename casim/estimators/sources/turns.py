"""Advantages of turns, and of the tokens in them, by the values of one table.

In maths, with a stretch of steps for each unit k, from its first decision up to that of the next:
R_k what it earns, D_k the product of the discounts of its steps, V_k the value before its first
decision, 0 after the end:

    delta_k = R_k + D_k V_{k+1} - V_k,    A_k = delta_k + D_k lambda A_{k+1}.

Where each decision is a unit this is GAE over the policy's own tokens, to which the environment's
answers belong; where a turn is one, every token of the turn gets A_k. Two clocks differ: if every
token discounts, what early tokens of a long turn get shrinks with its wording; if only the end of a
turn does, the errors of its tokens add up to the error of the turn.

The two levels of RAGEN, with E the ends of turns and v the values at tokens:

    A^H_i = r_i + gamma_H v_{i+1} - v_i + gamma_H lambda A^H_{i+1}    over i in E,
    r_i := A^H_i + v_i at i in E,

then GAE over the tokens of each turn, which ends with its last token.

References:
    Li et al. 2025, arXiv:2512.17008 (Turn-PPO); Wen et al. 2024, arXiv:2405.15821 (POAD and what it
    is compared with, and its code); Wang et al. 2025, arXiv:2504.20073 (RAGEN, and its code).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, NamedTuple, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_choice, check_range
from casim.estimators.accumulate import last_of
from casim.estimators.base import discount_of
from casim.estimators.sources.boundaries import UNITS, Unit, unit_of
from casim.estimators.sources.tables import TableCritic
from casim.ops import Discount, returns_to_go, shift_left
from casim.recurrence import affine_scan
from casim.simulate import World
from casim.types import Batch

CLOCKS = ("step", "decision", "turn")
"""What a discount of one's own counts."""
ENDS = ("reward", "turn")


@final
@dataclasses.dataclass(frozen=True)
class UnitGae(TableCritic):
    """GAE over units of steps: every step of a unit gets the advantage of the unit.

    With lambda = 1, or values that are exact, the mean of a unit's advantage is that of what its
    tokens did together; at discount 1 the gradient is exact with lambda = 1, whatever the table.

    Attributes:
        lambda_: of the advantage, in [0, 1].
        fit: "monte_carlo", "td", or "traces"; of a batch without values. This and the next are
            those of `TableCritic`.
        num_rollouts: fresh rollouts for the fit, or 0 for the scored batch itself.
        critic_lambda: of the TD fit, in [0, 1].
        num_sweeps: of the TD fit, at least 1.
        learning_rate: of the TD fit, in (0, 1].
        discount: of values and advantage, in [0, 1]; None is the world's, see `discount_of`.
        unit: "step" (each decision is one), "segment" or "turn".
        clock: what a discount of one's own counts: every "step"; every "decision" of the policy,
            with what the environment's tokens after it earn; or only the last step of each "turn".
        bootstrap: where the value after a turn is read: before the "first" token of the next turn,
            or before its "last".
        start: what stands for the value before a trajectory's first unit: its own "value", or the
            mean return of the "others" of its group, 0 where there are none.

    Raises:
        ValueError: a setting out of its range.
    """

    unit: Unit = "turn"
    clock: Literal["step", "decision", "turn"] = "step"
    bootstrap: Literal["first", "last"] = "first"
    start: Literal["value", "others"] = "value"
    granularity: ClassVar[str] = "turn"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("unit", self.unit, UNITS)
        check_choice("clock", self.clock, CLOCKS)
        check_choice("bootstrap", self.bootstrap, ("first", "last"))
        check_choice("start", self.start, ("value", "others"))

    def discounts(self, world, batch):
        return clocked(self.discount, self.clock, world, batch)

    def advantage(self, batch, value, discount):
        counted = batch.counted[..., None]
        live = batch.live & counted
        unit = unit_of(batch, self.unit)
        begins = first_decisions(batch, unit)
        value = jnp.where(live, value, 0.0)
        later = following(value, begins)
        if self.bootstrap == "last":
            at_end = _at_end(value, batch)
            at_last = following(at_end, begins)
            is_last = last_decisions(batch)
            later = jnp.where(is_last, at_last, later)
        if self.start == "others":
            so_far = jnp.cumsum(begins, axis=-1)
            first = begins & (so_far == 1)
            baseline = _return_of_others(batch, first, discount)
            of_row = baseline[..., None]
            value = jnp.where(first, of_row, value)
        over = stretches(batch, begins, discount)
        total = over.advantage(begins, value, later, self.lambda_)
        each = spread(total, begins)
        return jnp.where(live, each, 0.0)


@final
@dataclasses.dataclass(frozen=True)
class BilevelGae(TableCritic):
    """GAE over turns, whose outcome is the reward of GAE over the tokens of each, as in RAGEN.

    With one turn it is GAE over the tokens of the policy. In its code a turn ends where the reward
    is not 0: one that earns exactly 0 is not seen to end, and belongs to the next. Where the last
    token earns 0 the code fails; here the tokens after the last reward are a turn of their own,
    which the upper level does not see.

    Attributes:
        lambda_: of both levels, in [0, 1].
        fit: "monte_carlo", "td", or "traces"; of a batch without values. This and the next are
            those of `TableCritic`.
        num_rollouts: fresh rollouts for the fit, or 0 for the scored batch itself.
        critic_lambda: of the TD fit, in [0, 1].
        num_sweeps: of the TD fit, at least 1.
        learning_rate: of the TD fit, in (0, 1].
        discount: of tokens, in [0, 1]; None is the world's, see `discount_of`.
        turn_discount: gamma_H, of turns, in [0, 1].
        ends: where turns end: at each "reward" that is not 0, as in the code, or at the last
            decision of each "turn", which then earns what the turn does.

    Raises:
        ValueError: a setting out of its range.
    """

    turn_discount: float = 0.95
    ends: Literal["reward", "turn"] = "reward"
    granularity: ClassVar[str] = "token"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("turn_discount", self.turn_discount, 0.0, 1.0)
        check_choice("ends", self.ends, ENDS)

    def advantage(self, batch, value, discount):
        counted = batch.counted[..., None]
        live = batch.live & counted
        decided = batch.decided & counted
        value = jnp.where(live, value, 0.0)
        reward, ends = self._ends(batch, live)
        # The upper level: from end to end.
        next_end = following(value, ends)
        error = reward + self.turn_discount * next_end - value
        decay = self.turn_discount * self.lambda_
        above = affine_scan(decay, error, ends, reverse=True)
        reward = jnp.where(ends, above + value, reward)
        # The lower one: each turn's tokens, up to its end.
        goes_on = decided & ~ends & ~last_of(decided)
        factor = jnp.where(goes_on, discount, 0.0)
        next_token = following(value, decided)
        error = reward + factor * next_token - value
        total = affine_scan(factor * self.lambda_, error, decided, reverse=True)
        return jnp.where(decided, total, 0.0)

    def _ends(
        self,
        batch: Batch,
        live: Bool[Array, "P N T"],
    ) -> tuple[Float[Array, "P N T"], Bool[Array, "P N T"]]:
        """The rewards, and the steps at which turns end."""
        reward = jnp.where(live, batch.reward, 0.0)
        if self.ends == "reward":
            return reward, reward != 0
        begins = first_decisions(batch, batch.turn)
        ends = last_decisions(batch)
        of_turn = stretches(batch, begins, 1.0)
        earned = spread(of_turn.earned, begins)
        return jnp.where(ends, earned, 0.0), ends


class Stretches(NamedTuple):
    """What runs of steps, each from its first step up to that of the next, earn and discount.

    At the first step of each; at others, from there to the end of the run.
    """

    earned: Float[Array, "P N T"]
    passed: Float[Array, "P N T"]
    """The product of the discounts of its steps."""

    def advantage(
        self,
        begins: Bool[Array, "P N T"],
        value: Float[Array, "P N T"],
        later: Float[Array, "P N T"],
        lambda_: float,
    ) -> Float[Array, "P N T"]:
        """A_k at the first step of each run, of the values before it and after it."""
        error = self.earned + self.passed * later - value
        decay = self.passed * lambda_
        return affine_scan(decay, error, begins, reverse=True)


def stretches(
    batch: Batch,
    begins: Bool[Array, "P N T"],
    discount: Discount,
) -> Stretches:
    """The runs of a batch that begin where it is said; each ends with the episode at the latest."""
    counted = batch.counted[..., None]
    live = batch.live & counted
    each = jnp.broadcast_to(discount, batch.reward.shape)
    next_lives = shift_left(live, False)
    next_begins = shift_left(begins, True)
    goes_on = next_lives & ~next_begins
    within = jnp.where(goes_on, each, 0.0)
    reward = jnp.where(live, batch.reward, 0.0)
    earned = affine_scan(within, reward, reverse=True)
    at_last = jnp.where(goes_on, 0.0, each)
    passed = affine_scan(within, at_last, reverse=True)
    return Stretches(earned, passed)


def following(
    x: Float[Array, "*rows T"],
    where: Bool[Array, "*rows T"],
) -> Float[Array, "*rows T"]:
    """What x is at the next step in `where`, and 0 after the last."""
    return affine_scan(0.0, x, where, reverse=True, exclusive=True)


def spread(
    x: Float[Array, "*rows T"],
    begins: Bool[Array, "*rows T"],
) -> Float[Array, "*rows T"]:
    """What x is at the first step of each run, on all steps of it, and 0 before the first run."""
    kept = jnp.where(begins, 0.0, 1.0)
    first = jnp.where(begins, x, 0.0)
    return affine_scan(kept, first)


def first_decisions(
    batch: Batch,
    unit: Int[Array, "P N T"],
) -> Bool[Array, "P N T"]:
    """The first decision of each unit."""
    counted = batch.counted[..., None]
    decided = batch.decided & counted
    # From 1 on, so that 0 says that there is no decision before.
    label = unit.astype(jnp.int32) + 1
    number = label.astype(batch.reward.dtype)
    before = affine_scan(0.0, number, decided, exclusive=True)
    return decided & (before != label)


def last_decisions(
    batch: Batch,
) -> Bool[Array, "P N T"]:
    """The last decision of each turn."""
    counted = batch.counted[..., None]
    decided = batch.decided & counted
    label = batch.turn.astype(jnp.int32) + 1
    number = label.astype(batch.reward.dtype)
    after = following(number, decided)
    return decided & (after != label)


def _return_of_others(
    batch: Batch,
    first: Bool[Array, "P N T"],
    discount: Discount,
) -> Float[Array, "P N"]:
    """The mean of the returns from the first decision on, of the others of the group."""
    live = batch.live & batch.counted[..., None]
    future = returns_to_go(batch.reward, discount, live)
    earned = jnp.sum(future, axis=-1, where=first)
    counted = batch.counted
    total = jnp.sum(earned, axis=1, keepdims=True, where=counted)
    number = jnp.sum(counted, axis=1, keepdims=True)
    others = number - 1
    earned_by_others = total - earned
    mean = earned_by_others / jnp.maximum(others, 1)
    return jnp.where(others > 0, mean, 0.0)


def _at_end(
    value: Float[Array, "P N T"],
    batch: Batch,
) -> Float[Array, "P N T"]:
    """The value before the last decision of the turn of each step."""
    ends = last_decisions(batch)
    return affine_scan(0.0, value, ends, reverse=True)


def clocked(
    own: float | None,
    clock: Literal["step", "decision", "turn"],
    world: World | None,
    batch: Batch,
) -> Discount:
    """The discount of each step, where one of one's own counts only what the clock says."""
    discount = discount_of(world, batch, own)
    if own is None or clock == "step":
        return discount
    counts = _counts(clock, world, batch)
    return jnp.where(counts, discount, 1.0)


def _counts(
    clock: str,
    world: World | None,
    batch: Batch,
) -> Bool[Array, "*#shape T"]:
    """The steps that a clock counts: of the world, or of a log."""
    if clock == "decision":
        # What the environment's tokens earn is earned by the decision before them.
        decision = batch.decision if world is None else world.decision
        return shift_left(decision, True)
    turn = batch.turn if world is None else world.turn
    next_turn = shift_left(turn, -1)
    return turn != next_turn
