"""Simulated judges: the truth, made worse in stated ways.

They stand for verifiers, process reward models and LLM judges. What is here scores steps; judges
that name actions or first mistakes are in `casim.graders`.

In maths, with label l_t, its mean mu and standard deviation sigma along on-policy episodes,
R the episode's discounted return and J its mean:

    score_t = mu + f (l_t - mu) + sqrt(1 - f^2) sigma eps_t
              + bias + leak (R - J) + state_bias b(s_t) + position t / (T - 1) + verbosity L / T,

with b(s) a standard normal number that each state has, and L the length of the episode; rounded to
`resolution` levels over the range of the label, and missing (NaN) with probability 1 - `density`.
The error eps_t is standard normal: of each step its own, or one for all steps of a turn or of an
episode. With probability `systematic` it is instead a function of the history and the action alone,
the same whenever and under whichever key the judge is asked. `casim.signals` says what the labels
l_t are.

So fidelity f is the correlation of the score with the label, and 1 - f^2 the share of its variance
that is error.

References:
    The `rho A + sqrt(1 - rho^2) noise` model of a judge is casim's own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.doors import door
from casim.dynamics import discounting, step_discount
from casim.judging import SHARES, Errors, Grader, addresses, normal
from casim.ops import shift_left
from casim.pytree import pytree
from casim.signals import AFTER, SIGNALS, Signal, range_of, table_of
from casim.simulate.noise import ACTION, OBSERVATION, key_words, pair, single
from casim.types import MDP, Trajectory, Truth

__all__ = ["SHARES", "SIGNALS", "Errors", "Grader", "Judge", "JudgeModel", "Signal", "addresses"]


@final
@pytree
@dataclasses.dataclass(frozen=True)
class JudgeModel:
    """A judge made for one MDP and policy; see `Judge` for the knobs.

    A JAX pytree, called by `World.judge`.
    """

    table: Float[Array, "T S A"]
    """The label of a state and action, unless that is a value."""
    value: Float[Array, "T+1 S"]
    terminal: Bool[Array, " S"]
    discount: Float[Array, " T"]
    weight: Float[Array, " T"]
    expected_return: Float[Array, ""]
    mean: Float[Array, ""]
    spread: Float[Array, ""]
    low: Float[Array, ""]
    high: Float[Array, ""]
    fidelity: Float[Array, ""]
    bias: Float[Array, ""]
    leak: Float[Array, ""]
    density: Float[Array, ""]
    state_bias: Float[Array, " S"] | None
    """What is added in each state; None is nothing."""
    position: Float[Array, ""] | None
    verbosity: Float[Array, ""] | None
    turn: Int[Array, " T"]
    signal: str = dataclasses.field(metadata={"static": True})
    resolution: int | None = dataclasses.field(metadata={"static": True})
    errors: Errors = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """Scores of the live steps; NaN where a step was not scored."""
        return self.of_action(key, batch, batch.action)

    def of_action(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
        action: Int[Array, "N T"],
    ) -> Float[Array, "N T"]:
        """The same, had the step taken this action."""
        episode, time = addresses(batch)
        label = self._label(batch, action)
        discounted = self.weight[None, :] * batch.reward
        returns = jnp.sum(discounted, axis=-1, keepdims=True)
        uniforms = self.errors.draw(key, batch, self.turn, action)
        score = self._distort(uniforms, label, returns)
        score = score + self._manner(batch)
        score = self._rounded(score)
        words = key_words(key)
        chance = single(words, episode, time, OBSERVATION)
        scored = batch.live & (chance < self.density)
        return jnp.where(scored, score, jnp.nan)

    def _label(
        self,
        batch: Trajectory,
        action: Int[Array, "N T"],
    ) -> Float[Array, "N T"]:
        """What it would say without error."""
        _, time = addresses(batch)
        if self.signal not in AFTER:
            return self.table[time, batch.state, action]
        goes_on = shift_left(batch.live, False)
        next_state = shift_left(batch.state, 0)
        after = jnp.where(goes_on, next_state, -1)
        value = self.value[time + 1, after]
        later = jnp.where(after >= 0, value, 0.0)
        discounted = self.discount[None, :] * later
        label = batch.reward + discounted
        if self.signal == "td_error":
            now = self.value[time, batch.state]
            return label - now
        return label

    def _manner(
        self,
        batch: Trajectory,
    ) -> Float[Array, "N T"] | float:
        """What a step gets for where it is, how late, and how long the episode is."""
        steps = batch.action.shape[-1]
        extra = 0.0
        if self.state_bias is not None:
            extra = extra + self.state_bias[batch.state]
        if self.position is not None:
            times = jnp.arange(steps)[None, :]
            late = times / max(steps - 1, 1)
            extra = extra + self.position * late
        if self.verbosity is not None:
            length = jnp.sum(batch.live, axis=-1, keepdims=True)
            extra = extra + self.verbosity * length / steps
        return extra

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """The score of the prompt: the value of its state, distorted like any other.

        No outcome leaks into it.

        Raises:
            ValueError: the judge scores what a prompt does not have.
        """
        if self.signal not in ("value", "q_value"):
            raise ValueError(f"signal must be 'value' to score a prompt, got {self.signal!r}")
        # An address that no step uses.
        rows, steps = batch.state.shape
        time = jnp.full((rows, 1), steps)
        episode = jnp.arange(rows)[:, None]
        words = key_words(key)
        uniforms = pair(words, episode, time, ACTION)
        first = batch.state[:, :1]
        label = self.value[0, first]
        score = self._distort(uniforms, label, self.expected_return)
        return self._rounded(score)[:, 0]

    def _distort(
        self,
        uniforms: tuple[Array, Array],
        label: Float[Array, "N T"],
        returns: Array,
    ) -> Float[Array, "N T"]:
        noise = normal(*uniforms)
        true = self.fidelity * (label - self.mean)
        missing = jnp.sqrt(1 - self.fidelity**2)
        error = missing * self.spread * noise
        score = self.mean + true + error + self.bias
        luck = returns - self.expected_return
        return score + self.leak * luck

    def _rounded(
        self,
        score: Float[Array, "N T"],
    ) -> Float[Array, "N T"]:
        if self.resolution is None:
            return score
        highest = self.resolution - 1
        scale = self.high - self.low
        width = scale / highest
        above = score - self.low
        safe = jnp.where(width > 0, width, 1.0)
        level = jnp.round(above / safe)
        level = jnp.clip(level, 0, highest)
        return self.low + width * level


@final
@dataclasses.dataclass(frozen=True)
class Judge(Grader):
    """A recipe for a judge of steps.

    Attributes:
        signal: what it scores: the "value" of the prefix that a step ends, the "advantage" or the
            "q_value" of the action taken, the "td_error" of the step, the "clairvoyant" advantage
            of the best policy that sees the state, or how critical the step is, by the "gap"
            between the best action and the worst or by the "spread" under the policy.
        fidelity: correlation of its score with the label, in [0, 1]; 1 is noise-free.
        bias: added to every score, in units of reward.
        leak: how much of the episode's own outcome enters each score, in [-1, 1].
        resolution: levels of the scale (2 = binary, 3 = ternary), at least 2; None is continuous.
        density: share of the steps that it scores, in (0, 1].
        noise: steps that share an error: each "step" has its own, or it is one for a "turn" or an
            "episode".
        systematic: probability that an error is a function of history and action alone, in [0, 1].
        state_bias: deviation of what is added in each state, at least 0, in units of reward.
        position: what is added to the last step and to the others in proportion, in units of
            reward.
        verbosity: what is added to an episode of all T steps and to shorter ones in proportion, in
            units of reward.

    Raises:
        ValueError: a setting out of its range.
    """

    signal: Signal = "value"
    fidelity: float = 1.0
    bias: float = 0.0
    leak: float = 0.0
    resolution: int | None = None
    density: float = 1.0
    noise: Literal["step", "turn", "episode"] = "step"
    systematic: float = 0.0
    state_bias: float = 0.0
    position: float = 0.0
    verbosity: float = 0.0

    def __post_init__(self) -> None:
        self._errors()
        check_range("state_bias", self.state_bias, 0.0, math.inf)
        check_range("position", self.position, -math.inf, math.inf)
        check_range("verbosity", self.verbosity, -math.inf, math.inf)
        check_choice("signal", self.signal, SIGNALS)
        check_range("fidelity", self.fidelity, 0.0, 1.0)
        check_range("bias", self.bias, -math.inf, math.inf)
        check_range("leak", self.leak, -1.0, 1.0)
        check_range("density", self.density, 1e-30, 1.0)
        if self.resolution is not None:
            check_integer("resolution", self.resolution, 2)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> JudgeModel:
        """The judge for one MDP and the truth of its policy."""
        table = table_of(self.signal, mdp, truth)
        label = range_of(self.signal, mdp, truth, table)
        variance = jnp.maximum(label.square - label.mean**2, 0.0)
        dtype = truth.value.dtype

        def number(x: float) -> Array:
            return jnp.asarray(x, dtype)

        def or_none(x: float) -> Array | None:
            return number(x) if x else None

        key = jax.random.key(0)
        offset = jax.random.normal(key, mdp.start.shape, dtype)
        return JudgeModel(
            table=table,
            value=truth.value,
            terminal=mdp.terminal,
            discount=step_discount(mdp),
            weight=discounting(mdp),
            expected_return=truth.expected_return,
            mean=label.mean,
            spread=jnp.sqrt(variance),
            low=label.low,
            high=label.high,
            fidelity=number(self.fidelity),
            bias=number(self.bias),
            leak=number(self.leak),
            density=number(self.density),
            state_bias=self.state_bias * offset if self.state_bias else None,
            position=or_none(self.position),
            verbosity=or_none(self.verbosity),
            turn=jnp.asarray(mdp.turn),
            signal=self.signal,
            resolution=self.resolution,
            errors=self._errors(),
        )

    def _errors(self) -> Errors:
        return Errors(self.noise, self.systematic)
