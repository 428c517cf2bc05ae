"""TMaze: a cue at the start tells where to turn at the end of a corridor without marks.

In maths: the cue z is a fair coin. The place is x = t, from 0 to N, whatever is done; x = 0 shows
the cue, x = N is the junction, and the corridor between looks the same everywhere. At the junction
action z pays +1 and any other -1.

Optimum: 1 for a policy that remembers the cue, as in the fully observed twin; 0 for reactive
policies. With two actions all of those earn 0, and the value of the aliased observations is 0,
while A = +-1 in the states of the junction under the uniform policy.

What it separates: credit by the latent state from credit that the agent can use: what the first is
certain of, the policy gradient of a reactive policy is blind to.

References:
    Bakker 2001, Reinforcement learning with long short-term memory: T-maze of corridor length N.
    The agent walks by itself here, and the rewards are casim's.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

START, CORRIDOR, JUNCTION = range(3)
ALIKE, CROSSING = 2, 3
"""Observations; the others are the cues 0 and 1."""


@final
@dataclasses.dataclass(frozen=True)
class TMaze(RuleTask):
    """A cue, a corridor, a turn: a POMDP. The horizon is `corridor`.

    Attributes:
        corridor: N, at least 1; there is one step more.
        num_actions: at least 2.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    corridor: int = 10
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "corridor"
    kinds: ClassVar = {START: Kind.THINK, CORRIDOR: Kind.THINK, JUNCTION: Kind.ANSWER}

    def __post_init__(self) -> None:
        check_integer("corridor", self.corridor, 1)
        check_integer("num_actions", self.num_actions, 2)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        code = np.full(self.corridor + 1, CORRIDOR)
        code[0] = START
        code[-1] = JUNCTION
        return Layout.first_apart(code)

    def start(self) -> dict:
        return {(0,): 0.5, (1,): 0.5}

    def shows(self, code: int, state: tuple[int]) -> int:
        shown = {START: state[0], CORRIDOR: ALIKE, JUNCTION: CROSSING}
        return shown[code]

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        reward = 0.0
        if code == JUNCTION:
            reward = 1.0 if action == state[0] else -1.0
        return [(state, 1.0, reward)]
