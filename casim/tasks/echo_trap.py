"""EchoTrap: a repeatable harmless action that earns nothing.

In maths: the state is (g, e), g in {open, solved} and e whether the last turn was an echo. At the
last token of a turn action 0 works: it solves an open task with probability q; any other action
echoes: nothing happens but e = 1. The last step pays 1 if the task is solved.
q = 1 - (1 - solve)^(1 / num_turns), so that working at every turn succeeds with probability `solve`
whatever the number of turns. With w turns of work P(success) = 1 - (1 - q)^w.

Optimum: `solve`, by working at every turn. While the task is open A(echo) < 0, once it is solved
A = 0.

What it separates: credit from correlation with success. Every successful trajectory contains
echoes, and a broadcast of its reward rewards them; exact credit never does.

References:
    The echo trap of Wang et al. 2025 (RAGEN, arXiv:2504.20073) as named by Zhang 2026,
    arXiv:2604.09459; the table is casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.base import per_occasion
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

THINK, ACT, LAST = range(3)
OPEN, SOLVED = 0, 1


@final
@dataclasses.dataclass(frozen=True)
class EchoTrap(RuleTask):
    """Turns of work or echo; fully observed. The horizon is `num_turns`.

    Attributes:
        num_turns: at least 1; T = num_turns tokens_per_turn steps.
        tokens_per_turn: at least 1; the last of them acts.
        solve: success probability of working at every turn, in [0, 1].
        num_actions: at least 2; all but action 0 echo.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    num_turns: int = 10
    tokens_per_turn: int = 1
    solve: float = 0.9
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "num_turns"
    kinds: ClassVar = {THINK: Kind.THINK, ACT: Kind.TOOL, LAST: Kind.TOOL}

    def __post_init__(self) -> None:
        check_integer("num_turns", self.num_turns, 1)
        check_integer("tokens_per_turn", self.tokens_per_turn, 1)
        check_integer("num_actions", self.num_actions, 2)
        check_range("solve", self.solve, 0.0, 1.0)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        turn = np.repeat(np.arange(self.num_turns), self.tokens_per_turn)
        code = np.where(
            np.arange(len(turn)) % self.tokens_per_turn == self.tokens_per_turn - 1, ACT, THINK
        )
        code[-1] = LAST
        return Layout(code, segment=turn, turn=turn)

    def start(self) -> dict:
        return {(OPEN, 0): 1.0}

    def moves(self, code: int, state: tuple[int, int], action: int) -> list:
        task, _ = state
        if code == THINK:
            return [(state, 1.0, 0.0)]
        works = per_occasion(self.solve, self.num_turns) if action == 0 and task == OPEN else 0.0
        echo = int(action != 0)
        return [
            ((after, echo), p, float(code == LAST and after == SOLVED))
            for after, p in ((SOLVED, works), (task, 1 - works))
        ]
