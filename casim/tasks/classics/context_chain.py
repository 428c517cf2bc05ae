"""ContextChain: bits shown at the start are asked for at the end, and nothing else remembers them.

In maths: the state is a context of b fair bits and a query q uniform on {0, ..., b - 1}, both
fixed. The context is shown at steps 0 and 1 and q at the last step; the steps between show a blank.
T = memory_length + 1. The action at the last step pays +1 if it equals bit q and -1 if not.

Optimum: 1 for a policy that remembers, as in the fully observed twin; 0 for reactive policies
(memory_length >= 2), which all earn 0. At the question A = +-1 for the uniform policy in every
state, and yet its policy gradient is 0.

What it separates: credit by the latent state from credit that the agent can use, for which V is
that of the aliased observation, 0.

References:
    Osband et al. 2019 (bsuite, arXiv:1908.03568), memory chain, as released: its episodes have
    memory_length + 1 steps and the context is shown twice. The source shows the time as well;
    casim's own MemoryChain is another task.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

WAIT, SHOW, ASK = 0, 1, 2
"""Codes add up: with memory_length 1 the last step shows the context as well."""
BLANK = -1


@final
@dataclasses.dataclass(frozen=True)
class ContextChain(RuleTask):
    """A context, a wait, a question: a POMDP. The horizon is `memory_length`.

    Attributes:
        memory_length: at least 1; there is one step more.
        num_bits: b, in [1, 8]; there are b 2^b states.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    memory_length: int = 10
    num_bits: int = 1
    discount: float = 1.0
    num_actions: ClassVar[int] = 2
    knob: ClassVar[str] = "memory_length"
    kinds: ClassVar = {
        WAIT: Kind.THINK,
        SHOW: Kind.THINK,
        ASK: Kind.ANSWER,
        SHOW + ASK: Kind.ANSWER,
    }

    def __post_init__(self) -> None:
        check_integer("memory_length", self.memory_length, 1)
        check_integer("num_bits", self.num_bits, 1, 8)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        step = np.arange(self.memory_length + 1)
        code = SHOW * (step <= 1) + ASK * (step == self.memory_length)
        return Layout.first_apart(code)

    def start(self) -> dict:
        number = self.num_bits * 2**self.num_bits
        return {
            (context, query): 1 / number
            for context in range(2**self.num_bits)
            for query in range(self.num_bits)
        }

    def shows(self, code: int, state: tuple[int, int]) -> tuple[int, int]:
        context, query = state
        return (context if code & SHOW else BLANK, query if code & ASK else BLANK)

    def moves(self, code: int, state: tuple[int, int], action: int) -> list:
        context, query = state
        bit = (context >> query) & 1
        reward = 0.0
        if code & ASK:
            reward = 1.0 if action == bit else -1.0
        return [(state, 1.0, reward)]
