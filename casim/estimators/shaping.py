"""What is added to the reward before anything else: penalties of long answers.

In maths, with len the live steps of a trajectory, L the longest allowed and B a buffer before it:
r += min(-(len - (L - B)) / B x factor, 0), on the last live step.

References:
    Yu et al. 2025, arXiv:2503.14476 (DAPO), and the code of verl and OpenRLHF.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax.numpy as jnp

from casim.checks import check_integer, check_range
from casim.estimators.accumulate import last_of
from casim.estimators.base import Part, check_taken


@final
@dataclasses.dataclass(frozen=True)
class Overlong(Part):
    """Takes reward from trajectories that end within a buffer before the longest length.

    It changes the objective, not only its estimate.

    Attributes:
        longest: L in steps, at least 1; None is the number of steps of the arrays.
        buffer: B as a share of L, in (0, 1].
        factor: what a trajectory of length L loses, at least 0.
        capped: whether longer ones than L lose no more, as in OpenRLHF; in verl they do.

    Raises:
        ValueError: a setting out of its range.
    """

    longest: int | None = None
    buffer: float = 0.2
    factor: float = 1.0
    capped: bool = False
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        if self.longest is not None:
            check_integer("longest", self.longest, 1)
        check_range("buffer", self.buffer, 1e-6, 1.0)
        check_range("factor", self.factor, 0.0, math.inf)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        longest = batch.action.shape[-1] if self.longest is None else self.longest
        buffer = self.buffer * longest
        live = batch.live & batch.counted[..., None]
        length = jnp.sum(live, axis=-1, keepdims=True).astype(credit.value.dtype)
        excess = jnp.maximum(length - (longest - buffer), 0.0)
        if self.capped:
            excess = jnp.minimum(excess, buffer)
        penalty = self.factor * excess / buffer
        taken = jnp.where(last_of(live), penalty, 0.0)
        return credit._replace(value=credit.value - taken)
