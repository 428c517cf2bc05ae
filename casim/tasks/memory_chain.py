"""MemoryChain: what is stored at one turn decides another, many turns later.

In maths: a fact f, uniform on {0, ..., F - 1}, is shown at the last token of turn `write_turn`
alone, where action a stores the symbol a (the write). In each of the next `delay` turns the first
token loses what is stored with probability q, with 1 - q = retention^(1 / delay). In the last of
them, the turn of use, the last token but one reads: action 0 shows what is stored from then on, any
other action does not; the last token answers: action a pays 1 if a = f. All other tokens do
nothing.

Optimum of an agent that sees what is shown: retention + (1 - retention) / F. (Seeing the fact
itself: 1.) Against storing a wrong symbol, storing f is worth `retention` to an agent that reads
and repeats what it read.

What it separates: credit that must reach back over `delay` turns in which every observation is the
same. Traces decay as (discount lambda)^steps, an observation-indexed critic is blind in between,
and counterfactual credit is not.

References:
    The question of memory credit (stored at turn 5, needed at turn 25) of Zhang 2026,
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

THINK, WRITE, HOLD, READ, ANSWER = range(5)
NOTHING = -1


@final
@dataclasses.dataclass(frozen=True)
class MemoryChain(RuleTask):
    """Turns between a write and its use: a POMDP. The horizon is `delay`.

    Attributes:
        delay: turns from the write to the use, at least 1;
            T = (write_turn + delay + 1) tokens_per_turn steps.
        write_turn: index of the turn in which the fact is shown, at least 0.
        tokens_per_turn: at least 3.
        num_facts: F, at least 2, and the number of actions.
        retention: probability that what is stored lasts until its use, in [0, 1].
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    delay: int = 20
    write_turn: int = 5
    tokens_per_turn: int = 3
    num_facts: int = 2
    retention: float = 0.9
    discount: float = 1.0
    knob: ClassVar[str] = "delay"
    kinds: ClassVar = {
        THINK: Kind.THINK,
        WRITE: Kind.MEMORY,
        HOLD: Kind.THINK,
        READ: Kind.MEMORY,
        ANSWER: Kind.ANSWER,
    }

    def __post_init__(self) -> None:
        check_integer("delay", self.delay, 1)
        check_integer("write_turn", self.write_turn, 0)
        check_integer("tokens_per_turn", self.tokens_per_turn, 3)
        check_integer("num_facts", self.num_facts, 2)
        check_range("retention", self.retention, 0.0, 1.0)
        check_range("discount", self.discount, 0.0, 1.0)

    @property
    def num_actions(self) -> int:
        return self.num_facts

    def layout(self) -> Layout:
        turns, tokens = self.write_turn + self.delay + 1, self.tokens_per_turn
        code = np.full((turns, tokens), THINK)
        code[self.write_turn + 1 :, 0] = HOLD
        code[self.write_turn, -1] = WRITE
        code[-1, -2:] = READ, ANSWER
        turn = np.repeat(np.arange(turns), tokens)
        return Layout(code.ravel(), segment=turn, turn=turn)

    def start(self) -> dict:
        return {(fact, NOTHING, NOTHING): 1 / self.num_facts for fact in range(self.num_facts)}

    def shows(self, code: int, state: tuple[int, int, int]) -> int:
        fact, _, told = state
        return fact if code == WRITE else told

    def moves(self, code: int, state: tuple[int, int, int], action: int) -> list:
        fact, stored, told = state
        if code == WRITE:
            return [((fact, action, told), 1.0, 0.0)]
        if code == HOLD:
            lost = per_occasion(1 - self.retention, self.delay)
            return [((fact, NOTHING, told), lost, 0.0), (state, 1 - lost, 0.0)]
        if code == READ and action == 0:
            return [((fact, stored, stored), 1.0, 0.0)]
        return [(state, 1.0, float(code == ANSWER and action == fact))]
