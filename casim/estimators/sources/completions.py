"""Completions: labels of steps by whether rollouts from their ends succeed.

In maths, N completions from the end s_{t+1} of a unit, y_k the rewards of the unit and the
discounted return of completion k:

    soft_t = (1 / N) sum_k y_k,        hard_t = 1{some y_k > success}.

For outcomes of 0 and 1 paid at the end, soft is (number correct) / N, with mean V(s_{t+1}), and
hard has mean 1 - (1 - V(s_{t+1}))^N: it saturates. After the last unit there is nothing to
complete: every y_k is what was earned.

References:
    Wang et al. 2024, arXiv:2312.08935 (Math-Shepherd). The mean of the hard label is derived here.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_choice, check_integer, check_range
from casim.discounts import product
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    discount_of,
    keeps_discount,
    required,
)
from casim.estimators.sources.boundaries import UNITS, Unit, play_on, units
from casim.ops import mean, run_sum


@final
@dataclasses.dataclass(frozen=True)
class Completions(Source):
    """Math-Shepherd's labels: what becomes of rollouts from the end of each unit.

    A label is a value and no change of value. By step, the mean of the soft one in a cell is
    Q_t(s, a) = A + V: as the credit of its own step it has the exact gradient, also for longer
    units at discount 1. Added up over steps it has not.

    Attributes:
        num: N, completions for each unit, at least 1.
        label: "soft" or "hard".
        unit: "step", "segment" or "turn".
        success: a completion is correct if it earns more than this.
        discount: of the returns, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    num: int = 8
    label: Literal["soft", "hard"] = "soft"
    unit: Unit = "segment"
    success: float = 0.5
    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_integer("num", self.num, 1)
        check_choice("label", self.label, ("soft", "hard"))
        check_choice("unit", self.unit, UNITS)
        check_range("success", self.success, -math.inf, math.inf)
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        whole = discount == 1 or self.unit == "step"
        exact = self.label == "soft" and whole and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        unit, size = units(world, self.unit)
        shape = batch.reward.shape
        first = jnp.searchsorted(unit, jnp.arange(size))
        length = jnp.diff(first, append=shape[-1])

        def from_boundary(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            own_key, step = inputs
            tails = play_on(
                own_key,
                world,
                batch,
                step,
                self.num,
                discount,
            )
            return tails.value, jnp.sum(tails.played)

        # Nothing is completed from the prompt, and nothing after the last unit.
        keys = jax.random.split(key, size - 1)
        value, used = jax.lax.map(from_boundary, (keys, first[1:]))
        after = jnp.moveaxis(value, 0, -2)
        nothing = jnp.zeros((*shape[:-1], 1, self.num), after.dtype)
        after = jnp.concatenate([after, nothing], axis=-2)
        steps = jnp.arange(shape[-1])
        within = product(discount, first[unit], steps)
        weight = jnp.broadcast_to(within, shape)
        earned = run_sum(weight * batch.reward, unit, size)
        over_unit = product(discount, first, first + length)
        over_unit = jnp.broadcast_to(over_unit, (size,))[:, None]
        later = jnp.broadcast_to(over_unit, after.shape) * after
        outcome = earned[..., None] + later
        label = self._label(outcome)
        of_step = label[..., unit]
        credit = jnp.where(batch.live, of_step, 0.0)
        used = jnp.sum(used)
        return credit, cost(env_steps=used)

    def _label(self, outcome: Float[Array, "P N U K"]) -> Float[Array, "P N U"]:
        """The label of each unit, from the outcomes of its completions."""
        if self.label == "soft":
            return mean(outcome, axis=-1)[..., 0]
        correct = outcome > self.success
        return jnp.any(correct, axis=-1).astype(outcome.dtype)
