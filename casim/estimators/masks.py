"""Masks by what a step is: what it was likely to be, or whether it has any credit.

In maths: weight x 1{pi(a_t | o_t) <= h}, with pi of whoever acted; weight x 1{c_t != 0}.

References:
    Guo et al. 2025, arXiv:2505.23564 (SPO: both).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp

from casim.checks import check_range
from casim.estimators.base import Part, behaviour_log_prob_of, check_taken


@final
@dataclasses.dataclass(frozen=True)
class Unlikely(Part):
    """Keeps the decisions that had no more than some probability; the others weigh nothing.

    It looks at the action, so what it keeps is not a sample of the policy's actions: it biases.

    Attributes:
        threshold: the probability, in (0, 1].

    Raises:
        ValueError: a threshold out of its range.
    """

    threshold: float = 0.9
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("threshold", self.threshold, 1e-12, 1.0)

    def apply(self, world, batch, credit):
        kept = jnp.exp(behaviour_log_prob_of(batch)) <= self.threshold
        return credit._replace(weight=jnp.where(kept, credit.weight, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class Nonzero(Part):
    """Keeps the decisions whose value is not 0; the others weigh nothing.

    What trains stays the same, but a length after it counts only what is kept.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        return credit._replace(weight=jnp.where(credit.value != 0, credit.weight, 0.0))
