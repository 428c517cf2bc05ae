"""More credit, of either sign, to steps that a judge marks; or shares of it by a judge's scores.

In maths, c the value handed in: `Emphasis` gives c + alpha |c| m_t, m_t the mark of the step.
`Apportion`, with A the value of a trajectory, p_j the score of unit j, L_j its decisions, and P, Q
the probabilities of its actions under policy and reference:

    p'_j = p_j + clip(-lambda log((P_j + e) / (Q_j + e)), -g, g),
    D_j = p'_j - sum_i L_i p'_i / sum_i L_i,     k = |A| / (max_j max(0, D_j) + e),
    A'_j = A + alpha k D_j,

and then A'_j is held in [0, beta A] if A > 0, in [beta A, 0] otherwise. Before it is held the sum
of L_j A'_j is that of L_j A; after, no step contradicts the sign of A.

References:
    Wang et al. 2025, arXiv:2509.03646 (HICRA: `Emphasis`); Huang et al. 2026, arXiv:2601.05688
    (FinePO: `Apportion`) [second-hand].
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import (
    Estimator,
    add_costs,
    check_taken,
    cost,
    count,
    policy_log_prob_of,
    required,
)
from casim.estimators.sources.boundaries import UNITS, Unit, over_stretch, starts, unit_of
from casim.estimators.sources.judged import asked
from casim.estimators.sources.references import reference_log_prob_of
from casim.simulate import World
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Emphasis(Estimator):
    """The value plus a share of its size where a judge marks the step.

    So a marked step has (1 + alpha) of a positive value and (1 - alpha) of a negative one. Where
    the mark depends on the action it pushes towards it, whatever comes of it.

    Attributes:
        alpha: the share, at least 0.
        judge: the name of the judge whose marks, 0 or 1, are taken.
        charged: whether each mark is a call of the judge; a lexicon is looked up.

    Raises:
        ValueError: a share out of its range.
    """

    alpha: float = 0.2
    judge: str = "planning"
    charged: bool = False
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, 0.0, math.inf)

    def __call__(self, key, world, batch, credit, state):
        check_taken(credit, self)
        mark = asked(key, required(world, self), batch, self.judge)
        given = jnp.isfinite(mark) & batch.decided
        mark = jnp.where(given, mark, 0.0)
        extra = self.alpha * jnp.abs(credit.value) * mark
        calls = count(given) if self.charged else 0.0
        paid = add_costs(credit.cost, cost(judge_calls=calls))
        return credit._replace(value=credit.value + extra, cost=paid), state


@final
@dataclasses.dataclass(frozen=True)
class Apportion(Estimator):
    """Moves a trajectory's credit to the units that a judge scores high, within bounds.

    The value handed in is one number for each trajectory. A unit's score is the mean of those of
    its decisions; one without a score gets the value as it is, before bounds. The scale of scores
    does not matter: k takes it out again.

    Attributes:
        alpha: how much is moved, at least 0.
        beta: the bound, in units of A, at least 0.
        divergence: lambda, at least 0; 0 reads no reference.
        limit: g, at least 0.
        epsilon: e, positive.
        unit: "step", "segment" or "turn".
        judge: the name of the judge that scores the steps.

    Raises:
        ValueError: a setting out of its range.
    """

    alpha: float = 0.5
    beta: float = 2.0
    divergence: float = 0.0
    limit: float = 1.0
    epsilon: float = 1e-6
    unit: Unit = "segment"
    judge: str = "levels"

    def __post_init__(self) -> None:
        check_range("alpha", self.alpha, 0.0, math.inf)
        check_range("beta", self.beta, 0.0, math.inf)
        check_range("divergence", self.divergence, 0.0, math.inf)
        check_range("limit", self.limit, 0.0, math.inf)
        check_range("epsilon", self.epsilon, 1e-30, 1.0)
        check_choice("unit", self.unit, UNITS)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"judge", "reference"} if self.divergence else {"judge"})

    def __call__(self, key, world, batch, credit, state):
        check_taken(credit, self)
        world = required(world, self)
        said = asked(key, world, batch, self.judge)
        given = jnp.isfinite(said) & batch.decided
        score, scored = self._of_units(said, given, batch)
        if self.divergence:
            score = score + self._less_likely(world, batch)
        where = scored & batch.decided
        number = jnp.sum(where, axis=-1, keepdims=True)
        score = jnp.where(where, score, 0.0)
        total = jnp.sum(score, axis=-1, keepdims=True)
        mean = total / jnp.maximum(number, 1)
        above = jnp.where(where, score - mean, 0.0)
        # The largest is not below the mean.
        most = jnp.max(above, axis=-1, keepdims=True)
        whole = credit.value
        scale = jnp.abs(whole) / (most + self.epsilon)
        moved = whole + self.alpha * scale * above
        bound = self.beta * whole
        low = jnp.minimum(bound, 0.0)
        high = jnp.maximum(bound, 0.0)
        held = jnp.clip(moved, low, high)
        value = jnp.where(batch.live, held, 0.0)
        calls = _units_with(given, starts(unit_of(batch, self.unit)))
        paid = add_costs(credit.cost, cost(judge_calls=calls))
        return credit._replace(value=value, cost=paid), state

    def _of_units(
        self,
        said: Float[Array, "P N T"],
        given: Bool[Array, "P N T"],
        batch: Batch,
    ) -> tuple[Float[Array, "P N T"], Bool[Array, "P N T"]]:
        """The mean score of each unit, on all its steps, and where there is one."""
        begins = starts(unit_of(batch, self.unit))
        said = jnp.where(given, said, 0.0)
        total = over_stretch(said, begins)
        number = over_stretch(given.astype(said.dtype), begins)
        mean = total / jnp.maximum(number, 1)
        return mean, number > 0

    def _less_likely(
        self,
        world: World,
        batch: Batch,
    ) -> Float[Array, "P N T"]:
        """What units get that the policy makes less likely than the reference does."""
        begins = starts(unit_of(batch, self.unit))

        def probability(log_prob: Array) -> Array:
            own = jnp.where(batch.decided, log_prob, 0.0)
            return jnp.exp(over_stretch(own, begins))

        policy = probability(policy_log_prob_of(world, batch))
        reference = probability(reference_log_prob_of(world, batch))
        ratio = (policy + self.epsilon) / (reference + self.epsilon)
        away = -self.divergence * jnp.log(ratio)
        return jnp.clip(away, -self.limit, self.limit)


def _units_with(
    given: Bool[Array, "P N T"],
    begins: Bool[Array, "P N T"],
) -> Any:
    """How many stretches hold any step."""
    number = over_stretch(given.astype(jnp.float32), begins)
    return count(begins & (number > 0))
