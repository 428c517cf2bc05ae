"""Verdict: good, bad or neither, of steps, turns or segments."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_choice, check_range
from casim.graders.mistakes import check_grader
from casim.graders.silent import Silent, of_taken
from casim.judges import Judge
from casim.judging import Errors, Grader
from casim.ops import run_sum
from casim.pytree import pytree
from casim.types import MDP, Trajectory, Truth

UNITS = ("step", "turn", "segment")


@final
@dataclasses.dataclass(frozen=True)
class Verdict(Grader):
    """The sign of a score, 0 in a dead zone, right with a given probability: `[P, N, T]`.

    In maths: y = sign(x) 1{|x| > margin}, x the sum of the scores of the unit's steps, given to all
    of them. With probability 1 - `accuracy` it says something else: -y where y is not 0, and else
    -1 or 1, each as likely; a binary judge, which never says 0, the other of its two words.

    Attributes:
        of: who scores the steps, with biases of its own: with a `leak` verdicts become copies of
            the outcome.
        margin: tau, half the width of the dead zone, in units of the score, at least 0.
        accuracy: probability that the word is right, in [0, 1].
        levels: "ternary", or "binary": -1 in the dead zone too.
        unit: what is judged as a whole: "step", "turn" or "segment".
        noise: steps that share an error, see `Judge`; steps of a unit always do.
        systematic: see `Judge`; a unit's error then depends on its first step.

    Raises:
        ValueError: a setting out of its range.
    """

    of: Grader = Judge("advantage")
    margin: float = 0.0
    accuracy: float = 1.0
    levels: Literal["ternary", "binary"] = "ternary"
    unit: Literal["step", "turn", "segment"] = "turn"
    noise: Literal["step", "turn", "episode"] = "step"
    systematic: float = 0.0

    def __post_init__(self) -> None:
        check_grader("of", self.of)
        check_range("margin", self.margin, 0.0, math.inf)
        check_range("accuracy", self.accuracy, 0.0, 1.0)
        check_choice("levels", self.levels, ("ternary", "binary"))
        check_choice("unit", self.unit, UNITS)
        Errors(self.noise, self.systematic)

    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> VerdictModel:
        """The judge for one MDP and the truth of its policy."""
        return self._made(self.of.model(mdp, truth), mdp, truth)

    def informed(self, mdp, truth, policy, reference=None) -> VerdictModel:
        return self._made(self.of.informed(mdp, truth, policy, reference), mdp, truth)

    def _made(
        self,
        of: Any,
        mdp: MDP,
        truth: Truth,
    ) -> VerdictModel:
        turn = jnp.asarray(mdp.turn)
        units = {
            "step": jnp.arange(mdp.turn.shape[0]),
            "turn": turn,
            "segment": jnp.asarray(mdp.segment),
        }
        return VerdictModel(
            of,
            jnp.asarray(self.margin, truth.value.dtype),
            jnp.asarray(self.accuracy, truth.value.dtype),
            turn,
            units[self.unit],
            binary=self.levels == "binary",
            errors=Errors(self.noise, self.systematic),
        )


@final
@pytree
@dataclasses.dataclass(frozen=True)
class VerdictModel(Silent):
    """See `Verdict`."""

    of: Any
    margin: Float[Array, ""]
    accuracy: Float[Array, ""]
    turn: Int[Array, " T"]
    unit: Int[Array, " T"]
    binary: bool = dataclasses.field(metadata={"static": True})
    errors: Errors = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """The verdict on every live step of a unit; NaN where nothing of it was scored."""
        own = jax.random.fold_in(key, 0)
        score = of_taken(self.of(own, batch), batch)
        given = batch.live & jnp.isfinite(score)
        total = self._over_unit(jnp.where(given, score, 0.0))
        number = self._over_unit(given.astype(score.dtype))
        right = self._word(total)
        chance, side = self._uniforms(key, batch)
        either = jnp.where(side < 0.5, -1.0, 1.0)
        wrong = jnp.where(right != 0, -right, either)
        said = jnp.where(chance < self.accuracy, right, wrong)
        judged = batch.live & (number > 0)
        return jnp.where(judged, said, jnp.nan)

    def _word(
        self,
        total: Float[Array, "N T"],
    ) -> Float[Array, "N T"]:
        """What it says where it is right."""
        clear = jnp.abs(total) > self.margin
        sign = jnp.where(clear, jnp.sign(total), 0.0)
        if not self.binary:
            return sign
        return jnp.where(sign > 0, 1.0, -1.0)

    def _over_unit(
        self,
        x: Float[Array, "N T"],
    ) -> Float[Array, "N T"]:
        """Sums over the steps of each unit, given to all of them."""
        total = run_sum(x, self.unit, self.unit.shape[0])
        return total[:, self.unit]

    def _uniforms(
        self,
        key: Array,
        batch: Trajectory,
    ) -> tuple[Array, Array]:
        """Those of the first step of each unit."""
        first = jnp.searchsorted(self.unit, self.unit)
        one, other = self.errors.draw(key, batch, self.turn)
        return one[:, first], other[:, first]
