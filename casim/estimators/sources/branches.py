"""Vine: values of prefixes by fresh rollouts from them, and credit as the change of value.

In maths, for a unit of steps [b, e): c_t = sum_{b <= u < e} discount^(u - b) r_u + discount^(e - b)
Vhat(s_e) - Vhat(s_b) for all its steps, with Vhat the mean return of K rollouts from the restored
state and Vhat = 0 after the end. Not whitened.

With "step", for outcomes of 0 and 1 and a next state that is not the end,

    Var[c_t | s, a] = E[V' (1 - V')] / K + V (1 - V) / K + Var[V'],  V' = V(s_{t+1}).

References:
    Kazemnejad et al. 2024, arXiv:2410.01679 (VinePPO), and its code,
    math_episode_generator_with_mc_advantages.py. The variance is derived here.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from casim.checks import check_choice, check_integer
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    discount_of,
    keeps_discount,
    required,
)
from casim.estimators.sources.boundaries import (
    UNITS,
    Unit,
    gains,
    play_on,
    starts,
    unit_of,
    units,
    until_parting,
)
from casim.ops import mean, returns_to_go
from casim.simulate import World
from casim.targets import SegmentAdvantage, Target, TdError
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Vine(Source):
    """VinePPO at the boundaries of units.

    With unit "step" its mean in a cell is the advantage itself. With longer units, at discount 1,
    it is the advantage plus a function of the state alone, so the gradient is still exact; with
    discount < 1 a unit's credit is discounted to its first step, and its later steps weigh too
    little.

    In a log there is nothing to branch from: the values are those of the log.

    Attributes:
        num_branches: K, rollouts per boundary and trajectory, at least 1.
        unit: "step", "segment" or "turn".
        discount: of the values, in [0, 1]; None is the world's, see `discount_of`.
        shared: trajectories of a group that have seen and done the same up to a boundary share one
            estimate there, and pay once. So all share that of the prompt, and errors in a group are
            correlated. The state that is restored is that of the first of them: where states are
            hidden the estimate is unbiased for what the prefix is worth, not for the other states.
        max_units: values are estimated at the prompt and after this many units; those of later
            boundaries are the rewards to go of the trajectory itself. So the unit after the last
            estimate gets all that is left, and those that follow get 0. None estimates all.

    Raises:
        ValueError: a setting out of its range.
    """

    num_branches: int = 4
    unit: Unit = "segment"
    discount: float | None = None
    shared: bool = False
    max_units: int | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"target", "gradient"})

    def __post_init__(self) -> None:
        check_integer("num_branches", self.num_branches, 1)
        check_choice("unit", self.unit, UNITS)
        check_discount(self.discount)
        if self.max_units is not None:
            check_integer("max_units", self.max_units, 0)

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return TdError() if self.unit == "step" else SegmentAdvantage(self.unit)

    def claims(self, discount: float) -> frozenset[str]:
        if self.max_units is not None or not keeps_discount(self.discount, discount):
            return frozenset()
        whole = self.unit == "step" or discount == 1
        held = self.unbiased if whole else frozenset({"target"})
        return held - {"target"} if self.shared else held

    def give(self, key, world, batch):
        discount = discount_of(world, batch, self.discount)
        begins = starts(unit_of(batch, self.unit))
        if world is None and batch.value is not None:
            value, used = batch.value, jnp.zeros(())
        else:
            world = required(world, self)
            value, used = self._estimate(key, world, batch, discount)
        if self.max_units is None:
            credit = gains(batch, begins, value, discount)
            return credit, cost(env_steps=used)
        place = jnp.cumsum(begins, axis=-1) - 1
        late = place > self.max_units
        to_go = returns_to_go(batch.reward, discount, batch.live)
        filled = jnp.where(late, to_go, value)
        credit = gains(batch, begins, filled, discount)
        # The change of what was filled in is 0, but for its rounding.
        credit = jnp.where(late, 0.0, credit)
        return credit, cost(env_steps=used)

    def _estimate(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        discount: Array | float,
    ) -> tuple[Float[Array, "P N T"], Float[Array, ""]]:
        """At every step the value of the start of its unit, and the steps that were played."""
        unit, size = units(world, self.unit)
        number = size if self.max_units is None else min(size, self.max_units + 1)
        first = jnp.searchsorted(unit, jnp.arange(number))
        parting = until_parting(batch) if self.shared else None

        def at_boundary(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            own_key, step = inputs
            tails = play_on(
                own_key,
                world,
                batch,
                step,
                self.num_branches,
                discount,
            )
            value = mean(tails.value, axis=-1)[..., 0]
            if parting is None:
                return value, jnp.sum(tails.played)
            together = parting > step
            first_alike = jnp.argmax(together, axis=-1)
            member = jnp.arange(value.shape[1])[None, :]
            paid = jnp.where(first_alike == member, tails.played, 0.0)
            shared = jnp.take_along_axis(value, first_alike, axis=1)
            return shared, jnp.sum(paid)

        keys = jax.random.split(key, size)[:number]
        value, used = jax.lax.map(at_boundary, (keys, first))
        by_unit = jnp.moveaxis(value, 0, -1)
        estimated = jnp.minimum(unit, number - 1)
        return by_unit[..., estimated], jnp.sum(used)
