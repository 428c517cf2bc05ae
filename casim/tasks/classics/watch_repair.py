"""WatchRepair: an expense now for a profit that is known only after the delivery.

In maths: one of the brands, each as likely, is shown. At step 0 action 0 declines, any other
repairs. The last step pays a repaired watch of brand b with price[b] - repair[b] - delivery[b] -
general, plus noise of N(0, noise^2), and nothing if declined. The steps between are the delivery:
the policy decides nothing there.

Values: Q(b, repair) - Q(b, decline) = -1.5, +3.5, +3.5, -1.5. Optimum: repair brands 1 and 2 (of
0, ..., 3), 1.75 in the mean.

What it separates: methods by how their error grows with the delay, where one decision explains the
whole return.

References:
    Arjona-Medina et al. 2018 (RUDDER, arXiv:1806.07857), the pocket watch of the demonstration
    code, with its optimal policy (no, yes, yes, no): 50 steps; general costs of 18 in all, which
    are 0.36 a step there and are charged at the end here, whatever the horizon. Its README reckons
    an example with a repair cost of 5 for brand 1 where table and code say 4; the README calls the
    spread of the delivery costs a variance and the code uses it as a standard deviation. Only the
    means are carried over, so `noise` is a setting of casim.
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

DECIDE, DELIVER, SELL = range(3)
OPEN, DECLINED, REPAIRED = -1, 0, 1


@final
@dataclasses.dataclass(frozen=True)
class WatchRepair(RuleTask):
    """One decision, a delivery, a profit; fully observed. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 2.
        price: by brand, finite; at least one brand.
        repair: cost by brand, finite.
        delivery: cost by brand, finite.
        general: cost of every repair, finite.
        noise: standard deviation of the profit of a repair, at least 0.
        num_actions: at least 2; all but action 0 repair.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 50
    price: tuple[float, ...] = (18.0, 28.0, 31.0, 59.0)
    repair: tuple[float, ...] = (1.0, 4.0, 5.0, 24.5)
    delivery: tuple[float, ...] = (0.5, 2.5, 4.5, 18.0)
    general: float = 18.0
    noise: float = 0.0
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {DECIDE: Kind.TOOL, DELIVER: Kind.OUTPUT, SELL: Kind.OUTPUT}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 2)
        number = len(self.price)
        check_integer("number of price", number, 1)
        for field in ("price", "repair", "delivery"):
            values = getattr(self, field)
            check_integer(f"number of {field}", len(values), number, number)
            for value in values:
                check_range(f"{field} (an entry)", value, -math.inf, math.inf)
        check_range("general", self.general, -math.inf, math.inf)
        check_range("noise", self.noise, 0.0, math.inf)
        check_integer("num_actions", self.num_actions, 2)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> Layout:
        code = np.full(self.horizon, DELIVER)
        code[0] = DECIDE
        code[-1] = SELL
        return Layout.first_apart(code)

    def start(self) -> dict:
        number = len(self.price)
        return {(brand, OPEN): 1 / number for brand in range(number)}

    def moves(
        self,
        code: int,
        state: tuple[int, int],
        action: int,
    ) -> list:
        brand, status = state
        if code == DECIDE:
            after = DECLINED if action == 0 else REPAIRED
            return [((brand, after), 1.0, 0.0)]
        if code == DELIVER or status == DECLINED:
            return [(state, 1.0, 0.0)]
        earned = self.price[brand] - self.repair[brand]
        profit = earned - self.delivery[brand] - self.general
        rewards = normal(profit, self.noise)
        return [(state, p, reward) for p, reward in rewards]
