"""The return, times what it says of the action: hindsight on returns.

In maths, with G_t the return from step t on, z what of it is known, and h(a | s, z) how likely the
action was given z, from a judge or counted on fresh rollouts, the factor of G_t is

    "ratio"    h(a | s, z) / pi(a | s),
    "gain"     h(a | s, z) / pi(a | s) - 1,
    "inverse"  1 - pi(a | s) / h(a | s, z), of the action taken.

With the exact h of the whole return, for all actions E[ratio G | s] = Q(s, a) and E[gain G | s] =
A(s, a); on the action taken E[inverse G | s, a] = A(s, a), if every return that s allows is
possible after a. The ratio on the action taken is no estimate of Q: for outcomes of 0 and 1 its
mean is Q^2 / V, which exaggerates what is better than average.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 ("inverse", the return-conditional form); Meulemans et
    al. 2023, arXiv:2306.16803 (returns as a feature, all actions at once). Q^2 / V is derived here.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Source,
    check_discount,
    check_recipes,
    cost,
    count,
    discount_of,
    required,
)
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.hindsight import Hindsight, hindsight_ratio
from casim.ops import returns_to_go
from casim.simulate import World
from casim.types import Batch, Cost

FACTORS = ("ratio", "gain", "inverse")
"""What of the posterior multiplies the return."""


@final
@dataclasses.dataclass(frozen=True)
class ReturnHindsight(Source):
    """The return from each step on, times a factor of hindsight.

    What a judge does not say, or says of an outcome that is impossible, counts as knowing nothing.

    Attributes:
        factor: "ratio", "gain" or "inverse".
        actions: "all" credits every action, "taken" the one taken.
        judge: the name of one that gives the posterior of all actions, as
            `casim.graders.Posterior`; None counts it.
        num_rollouts: fresh rollouts for the counts, at least 1.
        num_bins: classes of the return, see `Hindsight`.
        prior: pseudo-counts of the policy, positive.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.
        fit: of a model of the posterior, see `Hindsight`; None counts.

    Raises:
        ValueError: a setting out of its range, or "inverse" of all actions.
    """

    factor: Literal["ratio", "gain", "inverse"] = "ratio"
    actions: Literal["all", "taken"] = "all"
    judge: str | None = None
    num_rollouts: int = 64
    num_bins: int = 2
    prior: float = 1.0
    discount: float | None = None
    fit: Fit | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"

    def __post_init__(self) -> None:
        check_choice("factor", self.factor, FACTORS)
        check_choice("actions", self.actions, ("all", "taken"))
        if self.factor == "inverse":
            check_choice("actions (of an inverse)", self.actions, ("taken",))
        check_integer("num_rollouts", self.num_rollouts, 1)
        check_integer("num_bins", self.num_bins, 2)
        check_range("prior", self.prior, 1e-6, float("inf"))
        check_discount(self.discount)
        if self.fit is not None:
            check_recipes(self, fit=Fit)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"critic", "outcome"} if self.judge is None else {"judge", "outcome"})

    @property
    def judges(self) -> frozenset[str]:
        return frozenset() if self.judge is None else frozenset({self.judge})

    def give(self, key, world, batch):
        world = required(world, self)
        hindsight, future, used = self._known(key, world, batch)
        shown = batch.live & batch.counted[..., None]
        future = jnp.where(shown, future, 0.0)
        if self.actions == "taken":
            ratio = hindsight_ratio(world, batch, hindsight)
            return self._factor(ratio) * future, used
        chance = world.probability(batch)
        possible = chance > 0
        ratio = jnp.where(possible, hindsight / jnp.where(possible, chance, 1.0), 1.0)
        return self._factor(ratio) * future[..., None], used

    def _known(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
    ) -> tuple[Float[Array, "P N T A"], Float[Array, "P N T"], Cost]:
        """How likely each action was, the return, and what knowing it cost."""
        if self.judge is None:
            counted = Hindsight(
                "return",
                self.num_rollouts,
                self.num_bins,
                self.prior,
                self.discount,
                self.fit,
            )
            return counted.posterior(key, world, batch)
        discount = discount_of(world, batch, self.discount)
        future = returns_to_go(batch.reward, discount, batch.live)
        hindsight, asked = posterior_of(key, world, batch, self.judge)
        return hindsight, future, cost(judge_calls=asked)

    def _factor(self, ratio: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        if self.factor == "ratio":
            return ratio
        if self.factor == "gain":
            return ratio - 1.0
        possible = ratio > 0
        return jnp.where(possible, 1.0 - 1.0 / jnp.where(possible, ratio, 1.0), 0.0)


def posterior_of(
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    judge: str,
) -> tuple[Float[Array, "P N T A"], Float[Array, ""]]:
    """How likely a judge holds each action to have been, and how many steps it was asked about.

    The policy's own probability where it says nothing.
    """
    said = world.judge(key, batch, judge)
    told = jnp.all(jnp.isfinite(said), axis=-1) & batch.live
    return jnp.where(told[..., None], said, world.probability(batch)), count(told)
