"""Shuffled: what a judge says, at the wrong places.

A method that does no better with the words of its judge than with the same words shuffled has
learned nothing from them but how many they are.

References:
    The control of an independent replication reported in Zhang 2026, arXiv:2604.09459.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice
from casim.graders.mistakes import check_grader
from casim.judges import Judge
from casim.judging import Grader
from casim.ops import permutation, shift_right
from casim.pytree import pytree
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class Shuffled(Grader):
    """What another judge says of a trajectory, permuted over its decisions or its turns.

    So each trajectory keeps its words and how many steps have one. What is said of the prompt
    stays.

    Attributes:
        of: the judge.
        unit: what changes places: each "step" that is a decision, or a "turn", whose steps then all
            get what was said of the first decision of another.

    Raises:
        ValueError: an unknown unit, or no recipe for a judge.
    """

    of: Grader = Judge()
    unit: Literal["step", "turn"] = "step"

    def __post_init__(self) -> None:
        check_grader("of", self.of)
        check_choice("unit", self.unit, ("step", "turn"))

    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> ShuffledModel:
        """The judge for one MDP and the truth of its policy."""
        return self._made(self.of.model(mdp, truth), mdp)

    def informed(self, mdp, truth, policy, reference=None) -> ShuffledModel:
        return self._made(self.of.informed(mdp, truth, policy, reference), mdp)

    def _made(
        self,
        of: Any,
        mdp: MDP,
    ) -> ShuffledModel:
        steps = jnp.arange(mdp.turn.shape[0])
        unit = steps if self.unit == "step" else jnp.asarray(mdp.turn)
        decided = jnp.asarray(mdp.decision)[mdp.schedule]
        return ShuffledModel(of, decided, unit)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class ShuffledModel:
    """See `Shuffled`."""

    of: Any
    decision: Bool[Array, " T"]
    unit: Int[Array, " T"]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T *A"]:
        """What it says, elsewhere."""
        own, places = jax.random.split(key)
        said = self.of(own, batch)
        decided = batch.live & self.decision[None, :]
        first = self._first_decision()
        is_first = first == jnp.arange(self.unit.shape[0])
        leads = decided & is_first[None, :]
        order = permutation(places, leads)
        # Each decision is told what is said where the first of its unit goes.
        taken_from = order[:, first]
        index = taken_from.reshape(taken_from.shape + (1,) * (said.ndim - 2))
        moved = jnp.take_along_axis(said, index, axis=1)
        where = decided.reshape(index.shape)
        return jnp.where(where, moved, said)

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """What the judge says of the prompt."""
        return self.of.prompt(key, batch)

    def _first_decision(self) -> Int[Array, " T"]:
        """The first decision of each step's unit; the step itself before there is one."""
        steps = jnp.arange(self.unit.shape[0])
        number = jnp.cumsum(self.decision)
        begins = self.unit != shift_right(self.unit, -1)
        before = jnp.where(begins, number - self.decision, 0)
        before = jax.lax.cummax(before)
        is_first = self.decision & (number - before == 1)
        first = jax.lax.cummax(jnp.where(is_first, steps, -1))
        return jnp.where(first >= 0, first, steps)
