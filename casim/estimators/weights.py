"""How much of a step's credit the loss takes: masks, and shares of a trajectory.

References:
    Wang et al. 2025, arXiv:2506.01939 (the 80/20 entropy mask).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp

from casim.checks import check_choice, check_range
from casim.estimators.base import Part, entropy_of


@final
@dataclasses.dataclass(frozen=True)
class TopEntropy(Part):
    """Keeps the decisions of highest entropy, over the whole batch; the others weigh nothing.

    In maths: weight x 1[H_t >= the k-th largest H], k = ceil(share x decisions of the batch). Ties
    at the k-th are kept. In a log the entropies are those of the log.

    Attributes:
        share: of the decisions that are kept, in (0, 1].

    Raises:
        ValueError: a share out of its range, or a log without entropies.
    """

    share: float = 0.2
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("share", self.share, 1e-12, 1.0)

    def apply(self, world, batch, credit):
        taken = credit.weight > 0
        entropy = jnp.where(taken, entropy_of(world, batch), -jnp.inf)
        ranked = jnp.sort(entropy.reshape(-1), descending=True)
        wanted = jnp.ceil(self.share * jnp.sum(taken, dtype=entropy.dtype)).astype(int)
        least = ranked[jnp.maximum(wanted, 1) - 1]
        return credit._replace(weight=jnp.where(entropy >= least, credit.weight, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class OverLength(Part):
    """Divides the weights of a trajectory by a length, in decisions.

    Attributes:
        of: whose length: its "own" (each trajectory has one vote in the loss, as GRPO's first
            form), the "longest" of the batch, or the "mean" over the batch (each decision has one
            vote, as DAPO's).

    Raises:
        ValueError: an unknown length.
    """

    of: Literal["own", "longest", "mean"] = "own"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("own", "longest", "mean"))

    def apply(self, world, batch, credit):
        length = jnp.sum(batch.decided, axis=-1, keepdims=True).astype(credit.weight.dtype)
        if self.of == "longest":
            length = jnp.max(length)
        if self.of == "mean":
            length = jnp.mean(length, where=batch.counted[..., None])
        return credit._replace(weight=credit.weight / jnp.maximum(length, 1.0))
