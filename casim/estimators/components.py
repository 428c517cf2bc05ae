"""Credit of each part of the reward, added up.

References:
    Liu et al. 2026, arXiv:2601.05242 (GDPO).
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from typing import Any, final

import jax.numpy as jnp

from casim.checks import check_range
from casim.estimators.base import Estimator, begin
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class PerComponent(Estimator):
    """One estimator for each component of the reward, and the weighted sum of what they give.

    A trajectory for which a component is no number has none of it: it is no peer there and gets 0.

    Attributes:
        each: what is run on a batch whose reward is one component; it learns nothing.
        weights: of the components; none is 1 for each.

    Raises:
        ValueError: a weight that is not finite; when called, a batch without components, or
            another number of weights.
    """

    each: Estimator
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        for weight in self.weights:
            check_range("weights", weight, -1e12, 1e12)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.each.needs

    def __call__(self, key, world, batch, credit, state):
        if batch.component is None:
            raise ValueError("batch.component must hold the components of the reward, got None")
        number = batch.component.shape[-1]
        weights = self.weights or (1.0,) * number
        if len(weights) != number:
            raise ValueError(f"weights must be {number}, one for each component, got {weights}")

        def one(index: int) -> Any:
            alone = _only(batch, index)
            return self.each(key, world, alone, begin(alone), state)[0].value

        values = [weight * one(index) for index, weight in enumerate(weights)]
        return credit._replace(value=functools.reduce(operator.add, values)), state


def _only(batch: Batch, index: int) -> Batch:
    """The batch with one component as its reward."""
    assert batch.component is not None
    reward = batch.component[..., index]
    given = ~jnp.any(jnp.isnan(reward) & batch.live, axis=-1)
    scorable = given if batch.scorable is None else given & batch.scorable
    return batch._replace(reward=jnp.nan_to_num(reward), scorable=scorable)
