"""AmbiguousBandit: two noisy arms, and a state that tells almost surely which one was pulled.

In maths: action a in {0, 1} at step 0 leads to state a with probability 1 - crossover and to the
other one otherwise. The last step pays N(means[state], std^2); the steps between do nothing.

Values: Q(a) = (1 - crossover) means[a] + crossover means[1 - a], for the source Q = (1.9, 1.1).
Optimum: max_a Q(a) at discount 1.

What it separates: hindsight by the state, which names the action with odds
(1 - crossover) / crossover, from hindsight by the return, to which the noise makes both actions
likely.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503, figure 2 right: crossover 0.1, N(1, 1.5) and
    N(2, 1.5), read as standard deviations as in two public copies. Normals as in
    `casim.tasks.classics.normal`: both states pay the same outcomes. Action 0 is the better one
    here.
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

PULL, WAIT, PAY = range(3)
BEFORE = (-1,)


@final
@dataclasses.dataclass(frozen=True)
class AmbiguousBandit(RuleTask):
    """One pull, then a noisy reward; fully observed. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 2, the source's.
        means: expected reward of the two states, finite.
        std: standard deviation of both, at least 0.
        crossover: probability of the other state, in [0, 1].
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 2
    means: tuple[float, float] = (2.0, 1.0)
    std: float = 1.5
    crossover: float = 0.1
    discount: float = 1.0
    num_actions: ClassVar[int] = 2
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {PULL: Kind.TOOL, WAIT: Kind.OUTPUT, PAY: Kind.OUTPUT}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 2)
        check_integer("number of means", len(self.means), 2, 2)
        for mean in self.means:
            check_range("means (an entry)", mean, -math.inf, math.inf)
        check_range("std", self.std, 0.0, math.inf)
        check_range("crossover", self.crossover, 0.0, 1.0)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        code = np.full(self.horizon, WAIT)
        code[0], code[-1] = PULL, PAY
        return Layout.first_apart(code)

    def start(self) -> dict:
        return {BEFORE: 1.0}

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        if code == PULL:
            meant = ((action,), 1 - self.crossover, 0.0)
            other = ((1 - action,), self.crossover, 0.0)
            return [meant, other]
        if code == WAIT:
            return [(state, 1.0, 0.0)]
        mean = self.means[state[0]]
        rewards = normal(mean, self.std)
        return [(state, p, reward) for p, reward in rewards]
