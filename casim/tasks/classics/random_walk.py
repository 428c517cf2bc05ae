"""RandomWalk: a walk that nobody steers, and its values.

In maths: states 1, ..., n; the start is the middle one; every step goes to s - 1 or s + 1, half
each, whatever the action. Arriving at 0 pays -1 and at n + 1 pays +1; both end the episode. Nothing
else pays.

Values at discount 1 and without end of time: V(s) = 2 s / (n + 1) - 1. Cut after T steps the
expected return loses E[V(s_T); still walking]. The values are odd about the middle, so they are
orthogonal to the slowest mode of the walk and

    |V_0(s) - V(s)| <= cos(2 pi / (n + 1))^T (sum_s V(s)^2)^(1/2);

derived for casim.

Optimum: that of every policy; 0 from the middle. Every advantage is 0.

What it separates: nothing about actions. It is where bootstrapping is compared with whole returns:
how fast, and how far off, a learned value is. Credit that is not 0 is luck.

References:
    Sutton and Barto 2018, Reinforcement Learning, 2nd ed., sections 7.1 and 12.1: 19 states, with
    the values -0.9, -0.8, ..., 0.9.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

WALK = 0


@final
@dataclasses.dataclass(frozen=True)
class RandomWalk(RuleTask):
    """A symmetric random walk between two ends; fully observed. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 1. The source has none; from the middle of 19 states an episode takes
            100 steps in the mean, and the default cuts about 5 in a million.
        num_states: n, odd and at least 1.
        num_actions: at least 1; all alike.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 1000
    num_states: int = 19
    num_actions: int = 1
    discount: float = 1.0
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {WALK: Kind.THINK}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 1)
        check_integer("num_states", self.num_states, 1)
        check_integer("num_actions", self.num_actions, 1)
        check_range("discount", self.discount, 0.0, 1.0)
        if self.num_states % 2 == 0:
            raise ValueError(f"num_states must be odd, got {self.num_states!r}")

    def layout(self) -> Layout:
        nothing = np.zeros(self.horizon, int)
        return Layout(np.full(self.horizon, WALK), segment=nothing)

    def start(self) -> dict:
        return {((self.num_states + 1) // 2,): 1.0}

    def ends(self, state: tuple[int]) -> bool:
        return state[0] in (0, self.num_states + 1)

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        left, right = state[0] - 1, state[0] + 1
        return [
            ((left,), 0.5, -float(left == 0)),
            ((right,), 0.5, float(right == self.num_states + 1)),
        ]
