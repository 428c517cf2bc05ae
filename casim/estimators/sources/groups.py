"""Group baselines: each return against the others of the same prompt, broadcast to every step.

In maths: GRPO (R_i - mean R) / (std R + epsilon); Dr. GRPO R_i - mean R; RLOO R_i - mean_{j != i}
R_j.

References:
    Shao et al. 2024, arXiv:2402.03300 (GRPO); Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO);
    Kool et al. 2019 and Ahmadian et al. 2024, arXiv:2402.14740 (RLOO).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    discount_of,
    episode_return,
    keeps_discount,
    to_steps,
)
from casim.ops import group_advantage, leave_one_out
from casim.targets import Target, TrajectoryAdvantage


@final
@dataclasses.dataclass(frozen=True)
class GroupRelative(Source):
    """GRPO, and Dr. GRPO with `scale="none"`.

    Its mean in a cell is kappa (Q_t(s, a) - V(prompt)), at discount 1 with reward only at the end:
    kappa = (N - 1) / N with scale "none", for any returns; with scale "group" and binary returns
    kappa = c_p(N) = (N - 1) / N E[std] / (p (1 - p)), the mean over Binomial(N, p) groups of the
    ddof = 1 standard deviation (derived for casim, epsilon -> 0). So the gradient has the right
    direction and the wrong length; with more than two return values even the direction is lost.

    Attributes:
        scale: "group" (GRPO), "batch" (here the same: one group is the batch), or "none" (Dr.
            GRPO).
        ddof: the standard deviation divides by N - ddof: 0 or 1.
        epsilon: added to the standard deviation, positive.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    scale: Literal["none", "group", "batch"] = "group"
    ddof: int = 1
    epsilon: float = 1e-6
    discount: float | None = None
    granularity: ClassVar[str] = "trajectory"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = TrajectoryAdvantage()
    needs: ClassVar[frozenset[str]] = frozenset({"group"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("scale", self.scale, ("none", "group", "batch"))
        check_integer("ddof", self.ddof, 0, 1)
        check_range("epsilon", self.epsilon, 1e-12, 1.0)
        check_discount(self.discount)

    def give(self, key, world, batch):
        returns = episode_return(batch, discount_of(world, batch, self.discount))
        advantage = group_advantage(returns, self.scale, self.ddof, self.epsilon)
        return to_steps(advantage, batch), cost()


@final
@dataclasses.dataclass(frozen=True)
class LeaveOneOut(Source):
    """RLOO: the return minus the mean of the others.

    Its mean in a cell is discount^t Q_t(s, a) plus the rewards already earned, minus V(prompt):
    exactly its target. (In a group that mixes prompts, V(prompt) is the mean over them.) At
    discount 1 the gradient is exact too; below 1 it is biased like that of `Return`.

    Attributes:
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: discount out of its range.
    """

    discount: float | None = None
    granularity: ClassVar[str] = "trajectory"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = TrajectoryAdvantage()
    needs: ClassVar[frozenset[str]] = frozenset({"group"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"target", "gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        if not keeps_discount(self.discount, discount):
            return frozenset()
        return self.unbiased if discount == 1 else frozenset({"target"})

    def give(self, key, world, batch):
        returns = episode_return(batch, discount_of(world, batch, self.discount))
        return to_steps(leave_one_out(returns), batch), cost()
