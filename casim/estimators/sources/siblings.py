"""Trajectories beside siblings that leave them where the policy is least sure.

Every trajectory is forked by itself, at the M decisions of highest entropy, K - 1 times each:
c = G - mean of the siblings' G, from the fork to the next one.

References:
    He et al. 2026, arXiv:2607.14171 (BPO).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_integer, check_range
from casim.estimators.base import Source, check_discount, cost, discount_of, required, time_of
from casim.estimators.sources.boundaries import play_on
from casim.estimators.sources.points import entropy_along
from casim.ops import returns_to_go
from casim.recurrence import affine_scan
from casim.types import Batch, recorded


@final
@dataclasses.dataclass(frozen=True)
class Siblings(Source):
    """Each trajectory beside siblings that leave it at its decisions of highest entropy.

    From a fork on, at discount 1, the credit given the point is the advantage plus a function of
    it, exactly: siblings do not contain it. Before the first fork it is that of the first fork,
    faded: given what came before the fork its mean is 0 whatever was done, so it teaches nothing.

    Attributes:
        num: M, forks of each trajectory, at least 1.
        siblings: K, trajectories at a fork, its own included, at least 2.
        fade: of the credit before the first fork, per step, in [0, 1]; 0 is none.
        discount: in [0, 1]; None is the world's.

    Raises:
        ValueError: a setting out of its range.
    """

    num: int = 2
    siblings: int = 4
    fade: float = 0.0
    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})

    def __post_init__(self) -> None:
        check_integer("num", self.num, 1)
        check_integer("siblings", self.siblings, 2)
        check_range("fade", self.fade, 0.0, 1.0)
        check_discount(self.discount)

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        future = returns_to_go(batch.reward, discount, batch.live)
        decided = batch.decided & batch.counted[..., None]
        entropy = entropy_along(world, recorded(batch))
        among_decisions = jnp.where(decided, entropy, -jnp.inf)
        ranked = jnp.argsort(-among_decisions, axis=-1, stable=True)
        number = min(self.num, batch.action.shape[-1])
        value = jnp.zeros_like(future)
        forked = jnp.zeros(batch.live.shape, bool)
        used = jnp.zeros((), jnp.float32)
        for place in range(number):
            step = ranked[..., place]
            there = _at(decided, step)
            own_key = jax.random.fold_in(key, place)
            others = self.siblings - 1
            tails = play_on(own_key, world, batch, step, others, discount)
            of_siblings = jnp.mean(tails.value, axis=-1)
            gain = _at(future, step) - of_siblings
            here = time_of(batch) == step[..., None]
            here = here & there[..., None]
            value = jnp.where(here, gain[..., None], value)
            forked = forked | here
            played = jnp.where(there, tails.played, 0.0)
            used = used + jnp.sum(played)
        value = self._spread(value, forked, batch)
        return value, cost(env_steps=used)

    def _spread(
        self,
        value: Float[Array, "P N T"],
        forked: Bool[Array, "P N T"],
        batch: Batch,
    ) -> Float[Array, "P N T"]:
        """From the forks to the steps after them, and before the first."""
        keep = jnp.where(forked, 0.0, 1.0)
        here = jnp.where(forked, value, 0.0)
        after = affine_scan(keep, here)
        before = affine_scan(self.fade * keep, here, reverse=True)
        begun = jnp.cumsum(forked, axis=-1) > 0
        spread = jnp.where(begun, after, before)
        return jnp.where(batch.live, spread, 0.0)


def _at(
    x: Array,
    step: Int[Array, "P N"],
) -> Array:
    """`x[P, N, T]` at a step of each trajectory."""
    found = jnp.take_along_axis(x, step[..., None], axis=-1)
    return found[..., 0]
