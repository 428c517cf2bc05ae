"""Shortcut: a way that always arrives, and a quicker one.

In maths: positions 0, ..., n - 1; the start is 0 and n - 1 is final. Action 0 = short goes to the
final position. Any other = long goes one position on, or with probability `slip` to the final one;
from n - 2 every action arrives. A step costs `cost` and arriving pays `final_reward` besides; at
the defaults a step pays -1 and an arrival 0.

Values of the uniform policy over two actions, discount 1 and the defaults: V(n - 2) = 0 and
V(i) = (1 - slip) (V(i + 1) - 1) / 2, so for 5 positions V = (-0.7436, -0.6525, -0.45, 0) and
A(0, short) = +0.7436.

Optimum: final_reward - cost, by the shortcut at once (discount 1).

What it separates: what would have happened anyway from what an action caused. The final position is
reached whatever is done, so hindsight on it says nothing about the action, though every return
contains its reward.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503, figure 2 left. Public copies differ in the reward of
    the arrival, in the start and in whether the shortcut slips as well; this is a copy with slip on
    the long way and no reward on arrival. An agent on the way is at position t at step t, so
    positions share a kernel and a row of the policy (the last but one has its own);
    `casim.dynamics.untie` gives each its own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

WAY, LAST = 0, 1
WALKING, FINAL = (0,), (1,)
SHORT = 0


@final
@dataclasses.dataclass(frozen=True)
class Shortcut(RuleTask):
    """A chain with a shortcut at every position; fully observed. The horizon is `num_positions`.

    Attributes:
        num_positions: n, at least 3; T = n - 1 steps.
        slip: probability that the long way arrives at once, in [0, 1].
        cost: of a step, at least 0.
        final_reward: of the arrival, finite.
        num_actions: at least 2; all but action 0 go the long way.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    num_positions: int = 5
    slip: float = 0.1
    cost: float = 1.0
    final_reward: float = 1.0
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "num_positions"
    kinds: ClassVar = {WAY: Kind.TOOL, LAST: Kind.TOOL}

    def __post_init__(self) -> None:
        check_integer("num_positions", self.num_positions, 3)
        check_range("slip", self.slip, 0.0, 1.0)
        check_range("cost", self.cost, 0.0, math.inf)
        check_range("final_reward", self.final_reward, -math.inf, math.inf)
        check_integer("num_actions", self.num_actions, 2)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        steps = self.num_positions - 1
        return Layout(
            np.where(np.arange(steps) == steps - 1, LAST, WAY), segment=np.zeros(steps, int)
        )

    def start(self) -> dict:
        return {WALKING: 1.0}

    def ends(self, state: tuple[int]) -> bool:
        return state == FINAL

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        arrives = 1.0 if code == LAST or action == SHORT else self.slip
        final = (FINAL, arrives, self.final_reward - self.cost)
        stays = (state, 1 - arrives, -self.cost)
        return [final, stays]
