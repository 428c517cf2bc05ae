"""Estimators side by side, mixed step by step.

In maths: `NonzeroMean` gives sum_k w_k c_k / (sum_k w_k + 1e-6) over the members with c_k not 0;
`BySurprisal` gives (1 - l) c_1 + l c_2, where l grows with how unlikely the action was.

References:
    He et al. 2026, arXiv:2602.22817 (HGPO); Liang et al. 2026, arXiv:2609.12424 (GACA).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Estimator, add_costs, behaviour_log_prob_of
from casim.types import Cost, Credit


class _Members(Estimator):
    """What is made of estimators that are handed the same credit, and learn nothing."""

    members: tuple[Estimator, ...]

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset().union(*(member.needs for member in self.members))

    @property
    def judges(self) -> frozenset[str]:
        return frozenset().union(*(member.judges for member in self.members))

    def _given(self, key, world, batch, credit) -> tuple[list[Array], Cost]:
        """What each member gives, and the cost of all."""
        keys = jax.random.split(key, len(self.members))
        each = [
            member(own, world, batch, credit, ())[0]
            for member, own in zip(self.members, keys, strict=True)
        ]
        # What was handed in was paid for once.
        extra = [
            jax.tree.map(
                lambda x, y: x - y,
                given.cost,
                credit.cost,
            )
            for given in each
        ]
        return [given.value for given in each], add_costs(credit.cost, *extra)


def _check_members(members: tuple[Any, ...]) -> None:
    """Raises `ValueError` for none, for what is no estimator, and for one that learns."""
    if not members:
        raise ValueError("members must hold at least one estimator, got none")
    for member in members:
        if not isinstance(member, Estimator) or member.stateful:
            raise ValueError(f"members must hold estimators that learn nothing, got {member!r}")


@final
@dataclasses.dataclass(frozen=True)
class NonzeroMean(_Members):
    """The weighted mean of those members that say anything: whose value is not exactly 0.

    Where none does it is 0. Which values are 0 depends on the returns, so the weights do too.

    Attributes:
        members: estimators, at least one.
        weights: of the members, positive, as many.

    Raises:
        ValueError: no members, one that is no estimator or learns, or a weight out of its range.
    """

    members: tuple[Estimator, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        object.__setattr__(self, "weights", tuple(self.weights))
        _check_members(self.members)
        for weight in self.weights:
            check_range("weights", weight, 1e-12, math.inf)
        if len(self.weights) != len(self.members):
            number = len(self.members)
            raise ValueError(f"weights must be {number}, one for each member, got {self.weights}")

    def __call__(self, key, world, batch, credit, state):
        values, used = self._given(key, world, batch, credit)
        total = jnp.zeros_like(values[0])
        norm = jnp.zeros_like(values[0])
        for value, weight in zip(values, self.weights, strict=True):
            total = total + weight * value
            norm = norm + jnp.where(value != 0, weight, 0.0)
        return Credit(total / (norm + 1e-6), credit.weight, used), state


@final
@dataclasses.dataclass(frozen=True)
class BySurprisal(_Members):
    """Between two members: the likelier the action, the more the first counts.

    In maths, with x = -log pi(a_t | o_t) of whoever acted: "trajectory" l = x / max x over the
    decisions of the trajectory; "action" l = 1 - pi(a_t | o_t), a function of state and action
    alone. With the members Q - V(prompt) and A it is biased, once centred over the actions, by
    -(l(s, a) - E_pi l) (V(s) - V(prompt)): in states better than the start rare actions are pushed
    down, in worse ones up.

    Attributes:
        members: two estimators.
        over: what a surprisal is measured against: the "trajectory" or the "action" alone.

    Raises:
        ValueError: not two members, one that is no estimator or learns, or a word out of its range.
    """

    members: tuple[Estimator, Estimator]
    over: Literal["trajectory", "action"] = "trajectory"

    def __post_init__(self) -> None:
        object.__setattr__(self, "members", tuple(self.members))
        _check_members(self.members)
        if len(self.members) != 2:
            raise ValueError(f"members must be 2 estimators, got {len(self.members)}")
        check_choice("over", self.over, ("trajectory", "action"))

    def __call__(self, key, world, batch, credit, state):
        (first, second), used = self._given(key, world, batch, credit)
        surprisal = jnp.where(batch.decided, -behaviour_log_prob_of(batch), 0.0)
        share = self._share(surprisal)
        return Credit(
            (1 - share) * first + share * second,
            credit.weight,
            used,
        ), state

    def _share(self, surprisal: Float[Array, "P N T"]) -> Float[Array, "P N T"]:
        """How much the second member counts."""
        if self.over == "action":
            return -jnp.expm1(-surprisal)
        largest = jnp.max(surprisal, axis=-1, keepdims=True)
        return jnp.where(
            largest > 0,
            surprisal
            / jnp.where(
                largest > 0,
                largest,
                1.0,
            ),
            0.0,
        )
