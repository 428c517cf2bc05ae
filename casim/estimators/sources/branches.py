"""Vine: values of prefixes by fresh rollouts from them, and credit as the change of value.

In maths, for a unit of steps [b, e): c_t = sum_{b <= u < e} discount^(u - b) r_u + discount^(e - b)
Vhat(s_e) - Vhat(s_b) for all its steps, with Vhat the mean return of K rollouts from the restored
state and Vhat = 0 after the end. Not whitened; prefixes that coincide are not shared.

References:
    Kazemnejad et al. 2024, arXiv:2410.01679 (VinePPO).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from casim.checks import check_choice, check_integer
from casim.discounts import product
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    count,
    discount_of,
    keeps_discount,
    required,
)
from casim.ops import mean, run_sum, segment_broadcast, shift_left
from casim.simulate import World
from casim.targets import SegmentAdvantage, Target, TdError
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Vine(Source):
    """VinePPO at step or segment boundaries.

    With unit "step" its mean in a cell is the advantage itself. With segments, at discount 1, it is
    the advantage plus a function of the state alone, so the gradient is still exact; with discount
    < 1 a segment's credit is discounted to its first step, and its later steps weigh too little.

    Attributes:
        num_branches: K, rollouts per boundary and trajectory, at least 1.
        unit: "step" or "segment".
        discount: of the values, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    num_branches: int = 4
    unit: Literal["step", "segment"] = "segment"
    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"target", "gradient"})

    def __post_init__(self) -> None:
        check_integer("num_branches", self.num_branches, 1)
        check_choice("unit", self.unit, ("step", "segment"))
        check_discount(self.discount)

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return TdError() if self.unit == "step" else SegmentAdvantage()

    def claims(self, discount: float) -> frozenset[str]:
        if not keeps_discount(self.discount, discount):
            return frozenset()
        whole = self.unit == "step" or discount == 1
        return self.unbiased if whole else frozenset({"target"})

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        steps = jnp.arange(batch.reward.shape[-1])
        by_step = self.unit == "step"
        unit = steps if by_step else world.segment
        size = steps.shape[0] if by_step else world.num_segments
        first = jnp.searchsorted(unit, jnp.arange(size))

        def at_boundary(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            return self._value(*inputs, world, batch)

        inputs = (jax.random.split(key, size), first)
        value, used = jax.lax.map(at_boundary, inputs)
        value = jnp.moveaxis(value, 0, -1)
        after = shift_left(value)  # nothing is worth anything after the end
        length = jnp.diff(first, append=steps.shape[0])
        within = product(discount, first[unit], steps)
        each = jnp.broadcast_to(within, batch.reward.shape)
        earned = run_sum(batch.reward * each, unit, size)
        over_unit = jnp.broadcast_to(product(discount, first, first + length), after.shape)
        credit = earned + over_unit * after - value
        credit = jnp.where(batch.live, segment_broadcast(credit, unit), 0.0)
        return credit, cost(env_steps=jnp.sum(used))

    def _value(
        self,
        key: Array,
        step: Int[Array, ""],
        world: World,
        batch: Batch,
    ) -> tuple[Array, Array]:
        """Mean return from `step` over the branches of each row, and the live steps they took."""
        branch = world.branch(key, batch, step, self.num_branches)
        steps = jnp.arange(batch.reward.shape[-1])
        ahead = steps - step
        discount = discount_of(world, batch, self.discount)
        scaling = jnp.where(ahead >= 0, product(discount, step, steps), 0.0)
        returns = jnp.sum(branch.reward * jnp.broadcast_to(scaling, branch.reward.shape), axis=-1)
        fresh = branch.live & jnp.broadcast_to(ahead >= 0, branch.live.shape)
        return mean(returns, axis=-1)[..., 0], count(fresh)
