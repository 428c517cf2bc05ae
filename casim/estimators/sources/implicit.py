"""Implicit rewards: the log-ratio of a policy that was fitted to outcomes, to where it started.

In maths, with phi_t(a | x) proportional to ref(a | o) exp(theta_t(x, a)):

    c_t = beta log phi_t(a_t | x_t) / ref(a_t | o_t),

0 for theta = 0. Since sum_a ref(a) exp(c(a) / beta) = 1, it cannot be positive for every action.
Fitted to outcomes by cross-entropy it is PRIME's process reward, fitted to preferences that of DPO.
A log that brings its own log-probabilities is taken at its word, and nothing is fitted: the reward
model's are in `policy_log_prob`.

References:
    Cui et al. 2025, arXiv:2502.01456 (PRIME); Rafailov et al. 2024, arXiv:2404.12358; Zhou et al.
    2025, arXiv:2503.15478 (SWEET-RL); Liu et al. 2025, arXiv:2509.19199 (iStar).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Source, check_recipes, cost, required
from casim.estimators.sources.fitting import Fit, learned, log_ratios, of_taken
from casim.estimators.sources.objectives import Objective, Outcome
from casim.estimators.sources.references import log_ratio
from casim.estimators.units import decisions
from casim.simulate import World
from casim.targets import Soft, Target
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class ImplicitReward(Source):
    """Beta times the log-ratio of a fitted policy to its start.

    Attributes:
        beta: of the credit, positive; the objective has its own.
        objective: what the policy is fitted to.
        fit: how.
        start: ref: the "reference" policy of the world, or the "behaviour", who acted.
        actions: "all" credits every action, "taken" the one taken.

    Raises:
        ValueError: a setting out of its range; or neither the log nor a world has a reference.
    """

    beta: float = 0.05
    objective: Objective = Outcome()
    fit: Fit = Fit()
    start: Literal["reference", "behaviour"] = "reference"
    actions: Literal["taken", "all"] = "taken"
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "temporal_difference"

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 1e-12, 1e12)
        check_choice("start", self.start, ("reference", "behaviour"))
        check_choice("actions", self.actions, ("taken", "all"))
        check_recipes(self, objective=Objective, fit=Fit)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        own = {"critic"} | ({"reference"} if self.start == "reference" else set())
        return frozenset(own) | self.fit.sight.needs

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return Soft(self.beta)

    def give(self, key, world, batch):
        if world is None and self.actions == "taken":
            return self.beta * self._logged(batch), cost()

        world = required(world, self)

        def prior(some: Batch) -> Float[Array, "P N T A"]:
            return self._prior(world, some)

        found = learned(key, world, batch, self.fit, self.objective, form=log_ratios, prior=prior)
        if self.actions == "taken":
            return self.beta * of_taken(found.scores, batch), found.used
        decided = decisions(batch)[..., None]
        return jnp.where(decided, self.beta * found.scores, 0.0), found.used

    def _prior(
        self,
        world: World,
        batch: Batch,
    ) -> Float[Array, "P N T A"]:
        if self.start == "behaviour":
            return world.behaviour_probability(batch)
        return world.reference_probability(batch)

    def _logged(self, batch: Batch) -> Float[Array, "P N T"]:
        """What a log says; where nobody else is its reference, that is who acted."""
        if self.start == "behaviour" and batch.reference_log_prob is None:
            batch = batch._replace(reference_log_prob=batch.log_prob)
        return log_ratio(None, batch)
