"""From what each step earned to what it is worth: sums over time.

In maths, of the value c that is handed in: `Whole` gives sum_u gamma_u c_u to every step, with
gamma_u the discounts of the steps before u; `ToGo` gives c_t + discount_t c_{t+1} + ...

References:
    Williams 1992; Sutton et al. 1999 (REINFORCE, and with rewards from each step on).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp

from casim.estimators.base import (
    Part,
    check_discount,
    check_taken,
    discount_of,
    keeps_discount,
    time_weights,
)
from casim.ops import returns_to_go
from casim.targets import Target, TrajectoryAdvantage


@final
@dataclasses.dataclass(frozen=True)
class Whole(Part):
    """The sum over the whole trajectory, broadcast to every step.

    Of the reward, its mean in a cell is the advantage plus V_t(s) and the rewards already earned:
    no function of the action, so the gradient is exact if the world's discount is 1. Below 1 the
    return, measured from the start, makes discount^t of the advantage, and step t is weighed by it
    twice: biased.

    Attributes:
        discount: of the sum, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: discount out of its range.
    """

    discount: float | None = None
    granularity: ClassVar[str] = "trajectory"
    target: ClassVar[Target] = TrajectoryAdvantage()
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        exact = discount == 1 and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        weight = time_weights(discount_of(world, batch, self.discount), batch)
        live = jnp.where(batch.live, weight * credit.value, 0.0)
        total = jnp.sum(live, axis=-1, keepdims=True)
        return credit._replace(value=jnp.where(batch.live, total, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class ToGo(Part):
    """The sum from each step on.

    Of the reward, its mean in a cell is Q_t(s, a): the gradient is exact at any discount that is
    the world's.

    Attributes:
        discount: of the sum, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: discount out of its range.
    """

    discount: float | None = None
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        return self.unbiased if keeps_discount(self.discount, discount) else frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        discount = discount_of(world, batch, self.discount)
        return credit._replace(value=returns_to_go(credit.value, discount, batch.live))
