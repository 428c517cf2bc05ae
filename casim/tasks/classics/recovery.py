"""Recovery: a bad step that a later one can mend.

In maths: at step 0 action 0 is good and any other is bad. At step 1 action 0 recovers a bad state;
after a good step nothing matters. The last step pays 1 if the state is good or recovered. The steps
between do nothing.

Optimum: 1. Under the uniform policy over two actions V = 0.75, A(bad) = -0.25 and, after it,
A(recover) = +0.5 (discount 1).

What it separates: the credit of an action from its credit on selected trajectories. Over those that
went bad, recovered and succeeded, a centred broadcast gives the bad step 1 - V = +0.25; over all
bad steps it gives -0.25, which is right: the sign is wrong by selection and not by bias.

References:
    The recovery world of AgentCreditBench.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

WAIT, CHOOSE, MEND, PAY = 0, 1, 2, 4
"""Codes add up: with two steps, the second mends and pays."""
OPEN, GOOD, BAD = (-1,), (0,), (1,)


@final
@dataclasses.dataclass(frozen=True)
class Recovery(RuleTask):
    """A mistake and a chance to mend it; fully observed. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 2, the source's.
        num_actions: at least 2; action 0 is the good one.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 2
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {
        WAIT: Kind.THINK,
        CHOOSE: Kind.TOOL,
        MEND: Kind.TOOL,
        PAY: Kind.THINK,
        MEND + PAY: Kind.TOOL,
    }

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 2)
        check_integer("num_actions", self.num_actions, 2)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        step = np.arange(self.horizon)
        last = self.horizon - 1
        code = CHOOSE * (step == 0)
        code = code + MEND * (step == 1)
        code = code + PAY * (step == last)
        return Layout(code, segment=np.minimum(step, 2))

    def start(self) -> dict:
        return {OPEN: 1.0}

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        after = state
        if code == CHOOSE:
            after = GOOD if action == 0 else BAD
        elif code & MEND and action == 0:
            after = GOOD
        return [(after, 1.0, float(bool(code & PAY) and after == GOOD))]
