"""DiscountingChain: the first action chooses how long to wait for the reward.

In maths: step 0 chooses a in {0, ..., A - 1}; choice a pays 1 as the d_a-th reward of the episode,
at step d_a - 1, and 1 + bonus if a is the favoured one. d = (*early, horizon), so the last choice
pays at the very end. No other step matters.

Optimum: max_a discount^(d_a - 1) (1 + bonus 1{a = favoured}). With the last choice favoured and
d_0 = 1 it is right to wait if and only if discount >= (1 + bonus)^(-1 / (horizon - 1)); for the
source, 1.1^(-1/99) = 0.99904.

What it separates: discounting as part of the question from discounting as a convenience of the
method: credit computed at a lower discount than the task's ranks the actions wrongly.

References:
    Osband et al. 2019 (bsuite, arXiv:1908.03568), discounting chain: rewards at 1, 3, 10, 30, 100,
    one of them 1.1. The source shows choice and time; here the choice is shown, and the time only
    by the steps that can pay.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

WAIT, CHOOSE = 0, 1
UNDECIDED = (-1,)


@final
@dataclasses.dataclass(frozen=True)
class DiscountingChain(RuleTask):
    """One choice among delays; fully observed. The horizon is the number of steps.

    Attributes:
        horizon: T, the longest delay, above all of `early`.
        early: the other delays, at least one, rising from at least 1.
        favoured: the choice that pays the bonus, in [0, number of early].
        bonus: at least 0.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 100
    early: tuple[int, ...] = (1, 3, 10, 30)
    favoured: int = 4
    bonus: float = 0.1
    discount: float = 1.0
    knob: ClassVar[str] = "horizon"

    def __post_init__(self) -> None:
        check_integer("number of early", len(self.early), 1)
        low = 1
        for delay in self.early:
            check_integer("early (an entry)", delay, low)
            low = delay + 1
        check_integer("horizon", self.horizon, low)
        check_integer("favoured", self.favoured, 0, len(self.early))
        check_range("bonus", self.bonus, 0.0, math.inf)
        check_range("discount", self.discount, 0.0, 1.0)

    @property
    def delays(self) -> tuple[int, ...]:
        """After how many steps each choice pays."""
        return (*self.early, self.horizon)

    @property
    def num_actions(self) -> int:
        return len(self.delays)

    @property
    def kinds(self) -> dict[int, Kind]:
        return dict.fromkeys((WAIT, *self.delays), Kind.THINK) | {CHOOSE: Kind.TOOL}

    def layout(self) -> Layout:
        count = np.arange(1, self.horizon + 1)
        matters = np.isin(count, (CHOOSE, *self.delays))
        return Layout(np.where(matters, count, WAIT), segment=np.minimum(count - 1, 1))

    def start(self) -> dict:
        return {UNDECIDED: 1.0}

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        choice = action if code == CHOOSE else state[0]
        pays = code == self.delays[choice]
        return [((choice,), 1.0, pays * (1 + self.bonus * (choice == self.favoured)))]
