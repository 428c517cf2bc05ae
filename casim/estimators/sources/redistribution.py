"""Rewards of steps that a model was fitted to say, so that they add up to the outcome, or predict.

In maths: `Redistributed` gives c_t = theta_t(x_t, a_t), with theta fitted so that sum_t c_t is the
reward of the trajectory; `Distilled` gives what a model says that was fitted to the credit of
another estimator.

Where every step has numbers of its own and trajectories are of one length, theta is not identified:
a constant can be moved from one step to another. The solution of smallest norm spreads it.

References:
    Wang et al. 2025, arXiv:2505.20732 (SPA-RL: progress by least squares); Qu et al. 2024,
    arXiv:2412.11120 (LaRe); Ren et al. 2022, arXiv:2111.13485 (RRD); Wang et al. 2024,
    arXiv:2312.08935 (Math-Shepherd: a process reward model of labels).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array

from casim.estimators.base import Estimator, Source, check_recipes, cost, required
from casim.estimators.sources.fitting import Fit, learned, of_taken
from casim.estimators.sources.objectives import Labels, Objective, Return
from casim.targets import Redistribution, Target
from casim.types import Batch, Cost


@final
@dataclasses.dataclass(frozen=True)
class Redistributed(Source):
    """Rewards of steps whose sum is fitted to the outcome. In a log, the rewards themselves.

    Attributes:
        objective: what is fitted.
        fit: how.

    Raises:
        ValueError: a setting that is no recipe of its kind.
    """

    objective: Objective = Return()
    fit: Fit = Fit()
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = Redistribution()

    def __post_init__(self) -> None:
        check_recipes(self, objective=Objective, fit=Fit)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"critic"}) | self.fit.sight.needs

    def give(self, key, world, batch):
        if world is None and batch.row is not None:
            there = batch.live & batch.counted[..., None]
            return jnp.where(there, batch.reward, 0.0), cost()
        world = required(world, self)
        found = learned(key, world, batch, self.fit, self.objective)
        return of_taken(found.scores, batch), found.used


@final
@dataclasses.dataclass(frozen=True)
class Distilled(Source):
    """What a model says that was fitted to the credit of an estimator, where that has a weight.

    Attributes:
        teacher: gives the labels.
        objective: their error; by cross-entropy the model says probabilities.
        fit: how.

    Raises:
        ValueError: a setting that is no recipe of its kind.
    """

    teacher: Estimator
    objective: Labels = Labels()
    fit: Fit = Fit()

    def __post_init__(self) -> None:
        check_recipes(self, teacher=Estimator, objective=Labels, fit=Fit)

    @property
    def granularity(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.teacher.granularity

    @property
    def methodology(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.teacher.methodology

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.teacher.target

    @property
    def judges(self) -> frozenset[str]:
        return self.teacher.judges

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.teacher.needs | {"critic"} | self.fit.sight.needs

    def give(self, key, world, batch):
        world = required(world, self)

        def lessons(
            key: Array,
            data: Batch,
        ) -> tuple[Any, Cost]:
            credit = self.teacher.credit(key, world, data)
            return (credit.value, credit.weight), credit.cost

        found = learned(key, world, batch, self.fit, self.objective, lessons)
        said = found.scores
        if self.objective.error == "cross_entropy":
            said = jax.nn.sigmoid(said)
        return of_taken(said, batch), found.used
