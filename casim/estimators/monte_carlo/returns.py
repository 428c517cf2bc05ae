"""Return and reward-to-go: REINFORCE without a baseline.

In maths: c_t = G_0 for every step of the trajectory, or c_t = G_t, the rewards from t on.

References:
    Williams 1992; Sutton et al. 1999.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

from casim.checks import check_range
from casim.estimators.base import Estimator, cost, episode_return, to_steps
from casim.ops import returns_to_go
from casim.types import Credit


@final
@dataclasses.dataclass(frozen=True)
class Return(Estimator):
    """The whole return, broadcast to every step.

    Its mean in a cell is the advantage plus V_t(s) and the rewards already earned: no function of the action,
    so the gradient is exact if the discount is 1. With discount < 1 it weighs late steps too much or too
    little (the return is measured from the start), and is biased.

    Raises:
        ValueError: discount outside [0, 1].
    """

    discount: float = 1.0
    granularity: ClassVar[str] = "trajectory"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[str] = "trajectory_advantage"
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_range("discount", self.discount, 0.0, 1.0)

    def __call__(self, key, world, batch) -> Credit:
        return Credit(to_steps(episode_return(batch, self.discount), batch), cost())


@final
@dataclasses.dataclass(frozen=True)
class RewardToGo(Estimator):
    """The rewards from each step on. Its mean in a cell is Q_t(s, a): the gradient is exact at any discount.

    Raises:
        ValueError: discount outside [0, 1].
    """

    discount: float = 1.0
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[str] = "advantage"
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_range("discount", self.discount, 0.0, 1.0)

    def __call__(self, key, world, batch) -> Credit:
        return Credit(returns_to_go(batch.reward, self.discount, batch.live), cost())
