"""Judges that name mistakes: the first of a trajectory, or all of them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_integer, check_range
from casim.doors import door
from casim.graders.silent import Silent, of_taken, uniform_integer
from casim.judges import Judge
from casim.judging import Errors, Grader, addresses
from casim.oracle import optimal
from casim.pytree import pytree
from casim.simulate.noise import ACTION, key_words, pair
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class FirstMistake(Grader):
    """Where a trajectory first went wrong: 1 at one step `[P, N, T]` or at none, 0 elsewhere.

    In maths: the first mistake is at t* = min{t: V*_t(s_t) - Q*_t(s_t, a_t) > margin}, with the
    values of the best policy of the latent process. Where there is one, it is passed over with
    probability `miss` (the rate of false negatives), and else said to be at t* + U, U uniform on
    {-shift, ..., shift}, moved into the episode. Where there is none, some step of the episode is
    accused with probability `false_alarm` (the rate of false positives), each as likely.

    Attributes:
        margin: in units of reward, at least 0; above the rounding of single precision.
        miss: in [0, 1].
        false_alarm: in [0, 1].
        shift: in steps, at least 0.

    Raises:
        ValueError: a setting out of its range.
    """

    margin: float = 1e-4
    miss: float = 0.0
    false_alarm: float = 0.0
    shift: int = 0

    def __post_init__(self) -> None:
        check_range("margin", self.margin, 0.0, math.inf)
        check_range("miss", self.miss, 0.0, 1.0)
        check_range("false_alarm", self.false_alarm, 0.0, 1.0)
        check_integer("shift", self.shift, 0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> FirstMistakeModel:
        """The judge for one MDP, whatever its policy."""
        best = optimal(mdp)
        regret = best.value[:-1, :, None] - best.q_value
        decided = mdp.decision[mdp.schedule]
        wrong = decided[:, None, None] & (regret > self.margin)
        miss = jnp.asarray(self.miss, truth.value.dtype)
        false_alarm = jnp.asarray(self.false_alarm, truth.value.dtype)
        return FirstMistakeModel(wrong, miss, false_alarm, shift=self.shift)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class FirstMistakeModel(Silent):
    """See `FirstMistake`."""

    wrong: Bool[Array, "T S A"]
    miss: Float[Array, ""]
    false_alarm: Float[Array, ""]
    shift: int = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """1 at the step it accuses, 0 elsewhere; NaN after the end."""
        episode, time = addresses(batch)
        steps = time.shape[-1]
        mistaken = batch.live & self.wrong[time, batch.state, batch.action]
        guilty = jnp.any(mistaken, axis=-1)
        first = jnp.argmax(mistaken, axis=-1)
        length = jnp.sum(batch.live, axis=-1)
        # An address that no step uses.
        row = episode[:, 0]
        no_step = jnp.full_like(row, steps)
        chance, which = pair(key_words(key), row, no_step, ACTION)
        moved = uniform_integer(which, 2 * self.shift + 1) - self.shift
        accused = jnp.clip(first + moved, 0, length - 1)
        anywhere = uniform_integer(which, length)
        found = chance >= self.miss
        invented = chance < self.false_alarm
        speaks = jnp.where(guilty, found, invented)
        named = jnp.where(guilty, accused, anywhere)
        here = speaks[:, None] & (time == named[:, None])
        here = here.astype(self.miss.dtype)
        return jnp.where(batch.live, here, jnp.nan)


@final
@dataclasses.dataclass(frozen=True)
class Mistakes(Grader):
    """Which steps are wrong: 1 or 0 for each `[P, N, T]`.

    In maths: 1{score_t < -margin}, which is said to be 0 with probability `miss` where it is 1, and
    1 with probability `false_alarm` where it is 0.

    Attributes:
        of: who scores the steps. Of the "advantage": steps worse than the policy's average; of
            "clairvoyant": steps that lose something to the best play. A judge of the latent state
            has seen the answer; `Critic("history")` has not.
        margin: in units of the score, at least 0; above the rounding of single precision.
        miss: the rate of false negatives, in [0, 1].
        false_alarm: the rate of false positives, in [0, 1].
        noise: steps that share an error, see `Judge`.
        systematic: see `Judge`; at 1 all votes of one judge are the same.

    Raises:
        ValueError: a setting out of its range.
    """

    of: Grader = Judge("advantage")
    margin: float = 1e-4
    miss: float = 0.0
    false_alarm: float = 0.0
    noise: Literal["step", "turn", "episode"] = "step"
    systematic: float = 0.0

    def __post_init__(self) -> None:
        check_grader("of", self.of)
        check_range("margin", self.margin, 0.0, math.inf)
        check_range("miss", self.miss, 0.0, 1.0)
        check_range("false_alarm", self.false_alarm, 0.0, 1.0)
        Errors(self.noise, self.systematic)

    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> MistakesModel:
        """The judge for one MDP and the truth of its policy."""
        return self._made(self.of.model(mdp, truth), mdp, truth)

    def informed(self, mdp, truth, policy, reference=None) -> MistakesModel:
        return self._made(self.of.informed(mdp, truth, policy, reference), mdp, truth)

    def _made(
        self,
        of: Any,
        mdp: MDP,
        truth: Truth,
    ) -> MistakesModel:
        def number(x: float) -> Array:
            return jnp.asarray(x, truth.value.dtype)

        return MistakesModel(
            of,
            number(self.margin),
            number(self.miss),
            number(self.false_alarm),
            jnp.asarray(mdp.turn),
            errors=Errors(self.noise, self.systematic),
        )


@final
@pytree
@dataclasses.dataclass(frozen=True)
class MistakesModel(Silent):
    """See `Mistakes`."""

    of: Any
    margin: Float[Array, ""]
    miss: Float[Array, ""]
    false_alarm: Float[Array, ""]
    turn: Int[Array, " T"]
    errors: Errors = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """1 on what it holds to be wrong, 0 elsewhere; NaN where it says nothing."""
        own = jax.random.fold_in(key, 0)
        score = of_taken(self.of(own, batch), batch)
        wrong = score < -self.margin
        chance, _ = self.errors.draw(key, batch, self.turn)
        found = chance >= self.miss
        invented = chance < self.false_alarm
        said = jnp.where(wrong, found, invented)
        given = batch.live & jnp.isfinite(score)
        return jnp.where(given, said.astype(score.dtype), jnp.nan)


def check_grader(
    field: str,
    of: Any,
) -> None:
    """Raises `ValueError` unless it is a recipe for a judge."""
    if not isinstance(of, Grader):
        raise ValueError(f"{field} must be a recipe for a judge, got {of!r}")
