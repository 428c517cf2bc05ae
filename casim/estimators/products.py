"""One estimator's credit times, or seen beside, that of another.

In maths, with x the value handed in and y that of the other: `TimesOther` gives x y, or x sign(y);
`Agreeing` gives weight x 1{sign(x) = sign(y)}.

References:
    Li et al. 2024, arXiv:2411.00809 (segments whose sign is that of the outcome). See the recipes
    for the others.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, final

import jax.numpy as jnp

from casim.checks import check_choice
from casim.estimators.base import Estimator, add_costs, begin, check_taken


class _Beside(Estimator):
    """What hands its batch to another estimator too, which begins anew from the reward."""

    other: Estimator

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.other.needs

    @property
    def judges(self) -> frozenset[str]:
        return self.other.judges

    @property
    def stateful(self) -> bool:
        return self.other.stateful

    def init(self, key, world) -> Any:
        return self.other.init(key, world)

    def _beside(self, key, world, batch, credit, state) -> tuple[Any, Any, Any]:
        """The other's value, what both cost, and what the other remembers."""
        check_taken(credit, self)
        given, after = self.other(key, world, batch, begin(batch), state)
        check_taken(given, self)
        return given.value, add_costs(credit.cost, given.cost), after


@final
@dataclasses.dataclass(frozen=True)
class TimesOther(_Beside):
    """The value times that of another estimator, or times its sign.

    Attributes:
        other: the estimator.
        by: its "value" or its "sign"; the sign of 0 is 0.

    Raises:
        ValueError: an unknown word.
    """

    other: Estimator
    by: Literal["value", "sign"] = "value"

    def __post_init__(self) -> None:
        check_choice("by", self.by, ("value", "sign"))

    def __call__(self, key, world, batch, credit, state):
        value, used, after = self._beside(key, world, batch, credit, state)
        factor = jnp.sign(value) if self.by == "sign" else value
        return credit._replace(value=credit.value * factor, cost=used), after


@final
@dataclasses.dataclass(frozen=True)
class Agreeing(_Beside):
    """Keeps the decisions whose value has the sign of another estimator's; others weigh nothing.

    A value of 0 agrees with nothing but 0. It looks at what comes after the step if the other does:
    what it keeps is no fair sample, and biases.

    Attributes:
        other: the estimator.
    """

    other: Estimator

    def __call__(self, key, world, batch, credit, state):
        value, used, after = self._beside(key, world, batch, credit, state)
        agrees = jnp.sign(credit.value) == jnp.sign(value)
        weight = jnp.where(agrees, credit.weight, 0.0)
        return credit._replace(weight=weight, cost=used), after
