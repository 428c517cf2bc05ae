"""Return and reward-to-go: REINFORCE without a baseline.

In maths: c_t = G_0 for every step of the trajectory, or c_t = G_t, the rewards from t on.

References:
    Williams 1992; Sutton et al. 1999.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    discount_of,
    episode_return,
    keeps_discount,
    to_steps,
)
from casim.ops import returns_to_go
from casim.targets import Advantage, Target, TrajectoryAdvantage


@final
@dataclasses.dataclass(frozen=True)
class Return(Source):
    """The whole return, broadcast to every step.

    Its mean in a cell is the advantage plus V_t(s) and the rewards already earned: no function of
    the action, so the gradient is exact if the world's discount is 1. Below 1 the return, measured
    from the start, makes discount^t of the advantage, and step t is weighed by it twice: biased.

    Attributes:
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: discount out of its range.
    """

    discount: float | None = None
    granularity: ClassVar[str] = "trajectory"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = TrajectoryAdvantage()
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        exact = discount == 1 and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def give(self, key, world, batch):
        returns = episode_return(batch, discount_of(world, batch, self.discount))
        return to_steps(returns, batch), cost()


@final
@dataclasses.dataclass(frozen=True)
class RewardToGo(Source):
    """The rewards from each step on.

    Its mean in a cell is Q_t(s, a): the gradient is exact at any discount that is the world's.

    Attributes:
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: discount out of its range.
    """

    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        return self.unbiased if keeps_discount(self.discount, discount) else frozenset()

    def give(self, key, world, batch):
        discount = discount_of(world, batch, self.discount)
        return returns_to_go(batch.reward, discount, batch.live), cost()
