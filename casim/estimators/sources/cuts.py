"""CutVine: change of value between cuts of each trajectory's own, at unlikely actions or by count.

In maths, with U the decisions of probability below h, or all of them, and b_0 < b_1 < ... every
i-th of U: c_t = sum_{b_j <= u < b_{j+1}} w(b_j, u) r_u + w(b_j, b_{j+1}) Vhat(s_{b_{j+1}}) -
Vhat(s_{b_j}) on the steps b_j <= t < b_{j+1}, with Vhat the mean return of K rollouts from the
state before the action, Vhat = 0 after the end, and c_t = 0 before b_0.

Where cuts are unlikely actions, a stretch ends because of the action that comes next: the value at
its end is that of a state that was selected by its own action, and the gradient is biased even with
exact values.

References:
    Guo et al. 2025, arXiv:2505.23564 (SPO-chain), and its code,
    math_episode_generator_with_mc_advantages.py. That such cuts are biased is derived here.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Source,
    behaviour_log_prob_of,
    check_discount,
    cost,
    discount_of,
    keeps_discount,
    required,
)
from casim.estimators.sources.boundaries import gains, play_on
from casim.ops import mean
from casim.simulate import World
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class CutVine(Source):
    """Change of value from cut to cut, where every trajectory has cuts of its own.

    By "count", at discount 1, its mean in a cell is the advantage plus a function of the state
    alone: the gradient is exact. With a cut at every decision it is so at any discount.

    In a log there is nothing to branch from: the values are those of the log.

    Attributes:
        num_branches: K, rollouts per cut, at least 1.
        cut: at every `interval`-th "unlikely" decision, or by "count" at every `interval`-th.
        interval: at least 1; the first of them is a cut.
        threshold: a decision is unlikely if the policy that acted gave it less than this, in
            (0, 1].
        discount: of the values, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    num_branches: int = 9
    cut: Literal["unlikely", "count"] = "unlikely"
    interval: int = 5
    threshold: float = 0.9
    discount: float | None = None
    granularity: ClassVar[str] = "segment"
    methodology: ClassVar[str] = "monte_carlo"
    needs: ClassVar[frozenset[str]] = frozenset({"reset"})
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_integer("num_branches", self.num_branches, 1)
        check_choice("cut", self.cut, ("unlikely", "count"))
        check_integer("interval", self.interval, 1)
        check_range("threshold", self.threshold, 1e-12, 1.0)
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        whole = discount == 1 or self.interval == 1
        exact = self.cut == "count" and whole and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def give(self, key, world, batch):
        discount = discount_of(world, batch, self.discount)
        begins = self._cuts(batch)
        if world is None and batch.value is not None:
            value, used = batch.value, jnp.zeros(())
        else:
            world = required(world, self)
            value, used = self._estimate(key, world, batch, begins, discount)
        credit = gains(batch, begins, value, discount)
        return credit, cost(env_steps=used)

    def _cuts(self, batch: Batch) -> Bool[Array, "P N T"]:
        """The steps before which there is a cut."""
        decided = batch.decided
        eligible = decided
        if self.cut == "unlikely":
            unlikely = jnp.exp(behaviour_log_prob_of(batch)) < self.threshold
            eligible = decided & unlikely
        place = jnp.cumsum(eligible, axis=-1) - 1
        return eligible & (place % self.interval == 0)

    def _estimate(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        begins: Bool[Array, "P N T"],
        discount: Array | float,
    ) -> tuple[Float[Array, "P N T"], Float[Array, ""]]:
        """The value of every step's last cut, and the steps that were played for them."""
        place = jnp.cumsum(begins, axis=-1) - 1
        most = -(-batch.action.shape[-1] // self.interval)

        def at_cut(inputs: tuple[Array, Array]) -> tuple[Array, Array]:
            own_key, number = inputs
            here = begins & (place == number)
            step = jnp.argmax(here, axis=-1)
            tails = play_on(
                own_key,
                world,
                batch,
                step,
                self.num_branches,
                discount,
            )
            value = mean(tails.value, axis=-1)[..., 0]
            there = jnp.any(here, axis=-1)
            paid = jnp.where(there, tails.played, 0.0)
            return value, jnp.sum(paid)

        keys = jax.random.split(key, most)
        value, used = jax.lax.map(at_cut, (keys, jnp.arange(most)))
        by_cut = jnp.moveaxis(value, 0, -1)
        last_cut = jnp.maximum(place, 0)
        at_step = jnp.take_along_axis(by_cut, last_cut, axis=-1)
        return at_step, jnp.sum(used)
