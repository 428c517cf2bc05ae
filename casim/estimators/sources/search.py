"""DeadEnd: the first unit after which no completion succeeds, by binary search.

In maths, for a trajectory that failed, of units 0 to n: j* = the first j such that none of k
completions from the end of unit j is correct, found as if those before the first were correct and
all after it were not: low = 0, high = n, and while low < high, m = (low + high) // 2 is probed, and
high = m if all k fail, else low = m + 1. The value is 1 on the steps of unit low, 0 elsewhere.

A probe of a state of value V for outcomes of 0 and 1 fails by chance with probability (1 - V)^k,
and the search then never looks behind it. "Once wrong, always wrong" is assumed: where a wrong step
can be corrected, the search finds the step after which nothing helped, not the first error.

Cost: at most ceil(log2(n + 1)) probes of k completions, instead of n.

References:
    Luo et al. 2024, arXiv:2406.06592 (OmegaPRM: its binary search; the tree search that chooses the
    trajectories is left out). The probability of a miss is derived here.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import Source, cost, required
from casim.estimators.sources.boundaries import UNITS, Unit, play_on, units
from casim.targets import FirstLoss, Target


@final
@dataclasses.dataclass(frozen=True)
class DeadEnd(Source):
    """1 on the unit that OmegaPRM's search calls the first wrong one, 0 elsewhere.

    It is a mark, as its target is. Trajectories that succeeded have none.

    Attributes:
        num: k, completions for each probe, at least 1.
        unit: "step", "segment" or "turn".
        success: a rollout is correct if all its rewards add up to more than this.

    Raises:
        ValueError: a setting out of its range.
    """

    num: int = 8
    unit: Unit = "step"
    success: float = 0.5
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = FirstLoss()
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})

    def __post_init__(self) -> None:
        check_integer("num", self.num, 1)
        check_choice("unit", self.unit, UNITS)
        check_range("success", self.success, -math.inf, math.inf)

    def give(self, key, world, batch):
        world = required(world, self)
        unit, size = units(world, self.unit)
        first = jnp.searchsorted(unit, jnp.arange(size))
        of_step = jnp.broadcast_to(unit, batch.action.shape)
        earned = jnp.sum(batch.reward, axis=-1)
        failed = earned <= self.success
        live_units = jnp.where(batch.live, of_step, 0)
        last = jnp.max(live_units, axis=-1)

        def probe(
            bounds: tuple[Array, Array],
            own_key: Array,
        ) -> tuple[tuple[Array, Array], Array]:
            low, high = bounds
            searched = failed & (low < high)
            middle = (low + high) // 2
            after = jnp.minimum(middle + 1, size - 1)
            tails = play_on(
                own_key,
                world,
                batch,
                first[after],
                self.num,
                1.0,
            )
            correct = tails.total > self.success
            hopeful = jnp.any(correct, axis=-1)
            low = jnp.where(
                searched & hopeful,
                middle + 1,
                low,
            )
            high = jnp.where(
                searched & ~hopeful,
                middle,
                high,
            )
            paid = jnp.where(searched, tails.played, 0.0)
            return (low, high), jnp.sum(paid)

        probes = math.ceil(math.log2(size))
        keys = jax.random.split(key, probes)
        bounds = (jnp.zeros_like(last), last)
        (found, _), used = jax.lax.scan(probe, bounds, keys)
        there = of_step == found[..., None]
        wrong = batch.live & failed[..., None]
        mark = there & wrong
        credit = mark.astype(batch.reward.dtype)
        return credit, cost(env_steps=jnp.sum(used))
