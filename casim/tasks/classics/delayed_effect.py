"""DelayedEffect: the first action decides the last reward; all observations between are the same.

In maths: step 0 chooses z in {0, 1} (action 0, or any other); z is hidden. The last step pays +1 if
z = 0 and -1 if not; every step adds noise of N(0, noise^2). The steps between do nothing.

Optimum: 1. Under the uniform policy over two actions V = 0, A(0) = +1, A(1) = -1 and
Var(G) = 1 + T noise^2. The value of the aliased observation is 0 at every step, and with it
generalised advantage estimation credits a_0 with lambda^(T - 1) A in the mean (discount 1):
one-step bootstrapping never learns the task.

What it separates: whole returns and credit by hindsight from bootstrapping on what is seen.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503, figure 2 centre: T = 3 in public copies, noise of
    deviation 0 or 2. The copies disagree where the noise falls; here on every step. Normals as in
    `casim.tasks.classics.normal`. AgentCreditBench's world of the same name is
    `Bifurcation(horizon=16, pivots=(0,), gap=0.6)`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.classics.normal import normal
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

CHOOSE, WAIT, PAY = range(3)
UNDECIDED, GOOD, BAD = (-1,), (0,), (1,)
START, BLANK = 0, 1


@final
@dataclasses.dataclass(frozen=True)
class DelayedEffect(RuleTask):
    """One choice before an aliased chain: a POMDP. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 2.
        noise: standard deviation of the noise on every reward, at least 0.
        num_actions: at least 2; at step 0 all but action 0 are bad.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 3
    noise: float = 0.0
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {CHOOSE: Kind.TOOL, WAIT: Kind.THINK, PAY: Kind.THINK}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 2)
        check_integer("num_actions", self.num_actions, 2)
        check_range("noise", self.noise, 0.0, math.inf)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        code = np.full(self.horizon, WAIT)
        code[0] = CHOOSE
        code[-1] = PAY
        return Layout.first_apart(code)

    def start(self) -> dict:
        return {UNDECIDED: 1.0}

    def shows(self, code: int, state: tuple[int]) -> int:
        return START if state == UNDECIDED else BLANK

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        after = state
        if code == CHOOSE:
            after = GOOD if action == 0 else BAD
        mean = 0.0
        if code == PAY:
            mean = 1.0 if state == GOOD else -1.0
        rewards = normal(mean, self.noise)
        return [(after, p, reward) for p, reward in rewards]
