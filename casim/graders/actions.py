"""Judges of every action of a step, taken or not."""

from __future__ import annotations

import dataclasses
from typing import Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_choice, check_range
from casim.doors import door
from casim.dynamics import can_act
from casim.graders.silent import TIE, Silent
from casim.judges import Judge, JudgeModel
from casim.judging import Grader, addresses
from casim.oracle import optimal
from casim.pytree import pytree
from casim.simulate.noise import ACTION, key_words, pair
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class PerAction(Grader):
    """A judge of steps that is asked about every action, taken or not: `[P, N, T, A]`.

    In maths: the scores of `Judge` with l_t(a) = A_t(s_t, a), Q_t(s_t, a) or Q*_t(s_t, a) -
    V*_t(s_t), each with noise of its own. The error is the judge's.

    Attributes:
        judge: of the signal "advantage", "q_value" or "clairvoyant".

    Raises:
        ValueError: a judge of another signal.
    """

    judge: Judge = Judge("advantage")

    def __post_init__(self) -> None:
        signals = ("advantage", "q_value", "clairvoyant")
        check_choice("judge.signal", self.judge.signal, signals)

    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> PerActionModel:
        """The judge for one MDP and the truth of its policy."""
        return PerActionModel(self.judge.model(mdp, truth))


@final
@pytree
@dataclasses.dataclass(frozen=True)
class PerActionModel:
    """See `PerAction`."""

    judge: JudgeModel

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """Scores of all actions; NaN where it gives none."""
        said = []
        for action in range(self.judge.table.shape[-1]):
            own = jax.random.fold_in(key, action)
            asked = jnp.full_like(batch.action, action)
            score = self.judge.of_action(own, batch, asked)
            said.append(score)
        return jnp.stack(said, axis=-1)

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """See `JudgeModel.prompt`."""
        return self.judge.prompt(key, batch)


@final
@dataclasses.dataclass(frozen=True)
class BestAction(Grader):
    """Which actions are best: 1 or 0 for each `[P, N, T, A]`.

    In maths: with B the actions of largest Q_t(s_t, a), it marks B with probability `accuracy`, and
    else one of the others, each as likely. Where all actions are equally good, or only one is
    possible, it is always right.

    Attributes:
        of: whose Q: that of the "policy", or the "optimal" one of the latent process.
        accuracy: probability of being right, in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    of: Literal["policy", "optimal"] = "policy"
    accuracy: float = 1.0

    def __post_init__(self) -> None:
        check_choice("of", self.of, ("policy", "optimal"))
        check_range("accuracy", self.accuracy, 0.0, 1.0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> BestActionModel:
        """The judge for one MDP and the truth of its policy."""
        worth = truth.advantage
        scale = truth.value
        if self.of == "optimal":
            best = optimal(mdp)
            # Less the value in common, so that ties are not lost in its rounding.
            worth = best.q_value - best.value[:-1, :, None]
            scale = best.value
        tolerance = TIE * jnp.max(jnp.abs(scale))
        possible = can_act(mdp)[mdp.schedule]
        possible = possible[:, None, :]
        worth = jnp.where(possible, worth, -jnp.inf)
        top = jnp.max(worth, axis=-1, keepdims=True)
        right = possible & (worth >= top - tolerance)
        wrong = possible & ~right
        accuracy = jnp.asarray(self.accuracy, truth.value.dtype)
        return BestActionModel(right, wrong, accuracy)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BestActionModel(Silent):
    """See `BestAction`."""

    right: Bool[Array, "T S A"]
    wrong: Bool[Array, "T S A"]
    """The other actions that are possible."""
    accuracy: Float[Array, ""]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """1 for what it holds to be best, 0 for the others; NaN after the end."""
        episode, time = addresses(batch)
        right = self.right[time, batch.state]
        wrong = self.wrong[time, batch.state]
        chance, which = pair(key_words(key), episode, time, ACTION)
        others = jnp.sum(wrong, axis=-1)
        scaled = jnp.floor(which * others)
        number = jnp.minimum(scaled, others - 1)
        # The wrong action of this number, counted from 0.
        place = jnp.cumsum(wrong, axis=-1) - 1
        one = wrong & (place == number[..., None])
        sure = (chance < self.accuracy) | (others == 0)
        marked = jnp.where(sure[..., None], right, one)
        marked = marked.astype(self.accuracy.dtype)
        return jnp.where(batch.live[..., None], marked, jnp.nan)
