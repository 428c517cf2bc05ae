"""A unit's value shared out over its decisions, by how much likelier a teacher holds each.

In maths, for the decisions j = 1, ..., L of a unit whose value A all of them have, with q what a
teacher holds the action to be and pi the policy,

    s_j = sgn(A) clip(log q_j / pi_j, -limit, limit),
    rho_j = uniform / L + (1 - uniform) exp(s_j / temperature) / sum_i exp(s_i / temperature),

and `Split` gives L rho_j A: the sum over the unit stays L A. `OverUnitLength` divides weights by L,
so that the loss takes the mean over each unit.

References:
    Ma et al. 2026, arXiv:2608.07118 (FACTOR) [second-hand].
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax.numpy as jnp

from casim.checks import check_choice, check_range
from casim.estimators.base import (
    Estimator,
    Part,
    add_costs,
    check_taken,
    cost,
    policy_log_prob_of,
    required,
)
from casim.estimators.sources.returns import posterior_of
from casim.estimators.units import RUNS, Run, decisions, run_starts, run_total

LEAST = 1e-30
"""The least probability of which a logarithm is taken."""


@final
@dataclasses.dataclass(frozen=True)
class Split(Estimator):
    """The value of a unit, more of it to decisions that a teacher would make for its sign.

    Attributes:
        judge: the name of the teacher, who gives probabilities of all actions, as
            `casim.graders.Posterior`.
        uniform: the share that is split evenly, in [0, 1].
        limit: of the log-ratio, positive.
        temperature: at least limit / 60.
        unit: "step", "segment", "turn", "stretch" or "episode".

    Raises:
        ValueError: a setting out of its range.
    """

    judge: str = "posterior"
    uniform: float = 0.7
    limit: float = 3.0
    temperature: float = 1.0
    unit: Run = "turn"
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def __post_init__(self) -> None:
        check_range("uniform", self.uniform, 0.0, 1.0)
        check_range("limit", self.limit, 1e-6, 10.0)
        # So that exponents are at most 60.
        check_range("temperature", self.temperature, self.limit / 60, math.inf)
        check_choice("unit", self.unit, RUNS)

    def __call__(self, key, world, batch, credit, state):
        check_taken(credit, self)
        world = required(world, self)
        said, asked = posterior_of(key, world, batch, self.judge)
        action = batch.action.astype(jnp.int32)[..., None]
        chance = jnp.take_along_axis(said, action, axis=-1)[..., 0]
        teacher = jnp.log(jnp.maximum(chance, LEAST))
        student = jnp.maximum(policy_log_prob_of(world, batch), math.log(LEAST))
        ratio = jnp.clip(teacher - student, -self.limit, self.limit)
        signed = jnp.sign(credit.value) * ratio

        decided = decisions(batch)
        begins = run_starts(batch, self.unit)
        growth = jnp.exp(signed / self.temperature)
        growth = jnp.where(decided, growth, 0.0)
        total = run_total(growth, begins)
        number = run_total(decided.astype(growth.dtype), begins)
        tilted = number * growth / jnp.where(total > 0, total, 1.0)
        share = self.uniform + (1.0 - self.uniform) * tilted
        value = jnp.where(decided, share * credit.value, 0.0)
        paid = add_costs(credit.cost, cost(judge_calls=asked))
        return credit._replace(value=value, cost=paid), state


@final
@dataclasses.dataclass(frozen=True)
class OverUnitLength(Part):
    """Divides weights by the number of decisions of their unit: short wordings weigh more.

    Attributes:
        unit: "step", "segment", "turn", "stretch" or "episode".

    Raises:
        ValueError: an unknown unit.
    """

    unit: Run = "turn"
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, RUNS)

    def apply(self, world, batch, credit):
        decided = decisions(batch)
        begins = run_starts(batch, self.unit)
        number = run_total(decided.astype(credit.weight.dtype), begins)
        return credit._replace(weight=credit.weight / jnp.maximum(number, 1.0))
