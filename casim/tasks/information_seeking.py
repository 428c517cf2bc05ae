"""InformationSeeking: paying for an observation that makes a later choice better.

In maths: a fact z, uniform on {0, ..., F - 1}, is hidden. At step 0 action 0 asks: it costs `cost`,
and the answer y that is shown from then on equals z with probability `accuracy` and is any other
fact with equal probability otherwise; any other action asks nothing. At the last step action a in
{0, ..., F - 1} pays 1 if a = z. The steps between do nothing.

Optimum: max(accuracy - cost, 1 / F) at discount 1 (best reactive policy; accuracy >= 1 / F).
Under a policy that then follows y, A(ask) - A(not) = accuracy - cost - 1 / F.

What it separates: the agent's own values from those of a clairvoyant judge. To a judge that knows z
and plays on optimally, asking is worth exactly -cost, the wrong sign whenever the information is
worth its price.

References:
    Clairvoyant bias: called so in casim; the world is casim's own. Howard 1966, "Information value
    theory".
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

ASK, WAIT, CHOOSE = range(3)
UNKNOWN = -1


@final
@dataclasses.dataclass(frozen=True)
class InformationSeeking(RuleTask):
    """One question, a wait, one choice: a POMDP. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 2.
        num_facts: F, at least 2, and the number of actions.
        accuracy: probability that the answer is right, in [1 / num_facts, 1].
        cost: price of asking, in [0, 1].
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 4
    num_facts: int = 2
    accuracy: float = 0.95
    cost: float = 0.1
    discount: float = 1.0
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {ASK: Kind.TOOL, WAIT: Kind.THINK, CHOOSE: Kind.ANSWER}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 2)
        check_integer("num_facts", self.num_facts, 2)
        check_range("accuracy", self.accuracy, 1 / self.num_facts, 1.0)
        check_range("cost", self.cost, 0.0, 1.0)
        check_range("discount", self.discount, 0.0, 1.0)

    @property
    def num_actions(self) -> int:
        return self.num_facts

    def layout(self) -> Layout:
        code = np.full(self.horizon, WAIT)
        code[0] = ASK
        code[-1] = CHOOSE
        if self.horizon == 2:
            return Layout(code, segment=np.arange(2))
        steps = np.arange(self.horizon)
        is_last = steps == self.horizon - 1
        return Layout(code, segment=np.minimum(steps, 1) + is_last)

    def start(self) -> dict:
        chance = 1 / self.num_facts
        return {(fact, UNKNOWN): chance for fact in range(self.num_facts)}

    def shows(self, code: int, state: tuple[int, int]) -> int:
        return state[1]

    def moves(self, code: int, state: tuple[int, int], action: int) -> list:
        fact, _ = state
        if code == ASK and action == 0:
            wrong = (1 - self.accuracy) / (self.num_facts - 1)
            return [
                ((fact, told), self.accuracy if told == fact else wrong, -self.cost)
                for told in range(self.num_facts)
            ]
        pays = code == CHOOSE and action == fact
        return [(state, 1.0, float(pays))]
