"""UmbrellaChain: one early action decides the end, under rewards that are pure noise.

In maths: the state is (has, needs), two fair coins at the start. The action at step 0 sets has.
Every step but the last pays +1 or -1 by a fair coin; the last pays +1 if has = needs and -1 if not.

Optimum: 1, as the coins cancel. Whatever is done later, Q_0 = +1 for the right first action and -1
for the wrong one; with a uniform first action A = +-1 and Var(G) = T: T - 1 coins and the outcome.
Var(G) = T - 1 when the first action is right.

What it separates: a signal of fixed size from noise that grows with the horizon; with
`num_distractors`, estimators that count observations from those that do not: each bit doubles what
must be told apart.

References:
    Osband et al. 2019 (bsuite, arXiv:1908.03568), umbrella chain. The source shows 20 distractor
    bits and the time; here a bit is noise in the observation, drawn afresh at every step, and the
    time is shown at the first and last step only.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

WAIT, PICK, PAY = 0, 1, 2
"""Codes add up: with one step, it picks and pays."""


@final
@dataclasses.dataclass(frozen=True)
class UmbrellaChain(RuleTask):
    """One action that counts, and coins; the state is shown. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 1.
        num_distractors: bits of noise in the observation, in [0, 8]; there are
            4 2^num_distractors observations.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 20
    num_distractors: int = 0
    discount: float = 1.0
    num_actions: ClassVar[int] = 2
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {WAIT: Kind.THINK, PICK: Kind.TOOL, PAY: Kind.THINK, PICK + PAY: Kind.TOOL}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 1)
        check_integer("num_distractors", self.num_distractors, 0, 8)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        step = np.arange(self.horizon)
        code = PICK * (step == 0) + PAY * (step == self.horizon - 1)
        return Layout.first_apart(code)

    def start(self) -> dict:
        return {(has, needs): 0.25 for has in (0, 1) for needs in (0, 1)}

    def shows(
        self,
        code: int,
        state: tuple[int, int],
    ) -> dict:
        noises = 2**self.num_distractors
        return {(*state, noise): 1 / noises for noise in range(noises)}

    def moves(
        self,
        code: int,
        state: tuple[int, int],
        action: int,
    ) -> list:
        has, needs = state
        after = (action if code & PICK else has, needs)
        if code & PAY:
            return [(after, 1.0, 1.0 if after[0] == needs else -1.0)]
        return [(after, 0.5, 1.0), (after, 0.5, -1.0)]
