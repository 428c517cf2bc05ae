"""Simulated judges: the truth, made worse in stated ways.

They stand for verifiers, process reward models and LLM judges. What is here scores steps; judges
that name actions or first mistakes are in `casim.graders`.

In maths, with label l_t (below), its mean mu and standard deviation sigma along on-policy episodes,
R the episode's discounted return and J its mean:

    score_t = mu + f (l_t - mu) + sqrt(1 - f^2) sigma eps_t + bias + leak (R - J),

rounded to `resolution` levels over the range of the label, and missing (NaN) with probability
1 - `density`. Labels l_t by signal:

- "value": r_t + discount_t V_{t+1}(s_{t+1}), the success probability of the prefix that ends with
  step t;
- "advantage" and "q_value": A_t(s_t, a_t) and Q_t(s_t, a_t);
- "gap" and "spread", how critical the step is, whatever is done there: max_a Q_t(s_t, a) - min_a
  Q_t(s_t, a) over all actions, and the standard deviation of Q_t(s_t, a) under the policy. Both are
  0 where nothing is decided.

So fidelity f is the correlation of the score with the label, and 1 - f^2 the share of its variance
that is error.

References:
    The `rho A + sqrt(1 - rho^2) noise` model of a judge is casim's own.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
from typing import Any, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim import identity
from casim.blocks import Blocks, cut
from casim.checks import check_choice, check_integer, check_range
from casim.doors import door
from casim.dynamics import discounting, step_discount
from casim.ops import shift_left
from casim.pytree import pytree
from casim.simulate.noise import ACTION, OBSERVATION, key_words, pair, single
from casim.types import MDP, Trajectory, Truth

LABEL_CHUNK = 1024
"""Steps whose labels are added up at once: what of them is in memory."""


SIGNALS = ("value", "advantage", "q_value", "gap", "spread")
"""What a `Judge` can score."""


@dataclasses.dataclass(frozen=True)
class Grader(abc.ABC):
    """A recipe for whoever is asked about a batch: a judge of steps, of actions, of mistakes."""

    def __init_subclass__(
        cls,
        **kwargs: Any,
    ) -> None:
        """Takes the digest of the source that defines the class."""
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    @abc.abstractmethod
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> Any:
        """A `casim.simulate.Scorer` for one MDP and the truth of its policy."""


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
    signal: str = dataclasses.field(metadata={"static": True})
    resolution: int | None = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """Scores of the live steps; NaN where a step was not scored."""
        steps = jnp.arange(batch.state.shape[-1])
        time = jnp.broadcast_to(steps[None, :], batch.state.shape)
        if self.signal != "value":
            label = self.table[time, batch.state, batch.action]
        else:
            after = jnp.where(
                shift_left(batch.live, False),
                shift_left(batch.state, 0),
                -1,
            )
            later = jnp.where(
                after >= 0,
                self.value[time + 1, after],
                0.0,
            )
            label = batch.reward + self.discount[None, :] * later
        returns = jnp.sum(self.weight[None, :] * batch.reward, axis=-1, keepdims=True)
        score = self._distort(key, label, time, returns)
        episode = jnp.broadcast_to(jnp.arange(time.shape[0])[:, None], time.shape)
        scored = batch.live & (single(key_words(key), episode, time, OBSERVATION) < self.density)
        return jnp.where(
            scored,
            score,
            jnp.nan,
        )

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
        time = jnp.full((batch.state.shape[0], 1), batch.state.shape[-1])
        label = self.value[0, batch.state[:, :1]]
        return self._distort(key, label, time, jnp.broadcast_to(self.expected_return, time.shape))[
            :, 0
        ]

    def _distort(
        self, key: Key[Array, ""], label: Array, time: Int[Array, "N T"], returns: Array
    ) -> Array:
        words = key_words(key)
        episode = jnp.broadcast_to(jnp.arange(time.shape[0])[:, None], time.shape)
        first, second = pair(
            words,
            episode,
            time,
            ACTION,
        )
        # A normal number, by Box and Muller.
        noise = jnp.sqrt(-2 * jnp.log1p(-first)) * jnp.cos(2 * math.pi * second)
        score = (
            self.mean
            + self.fidelity * (label - self.mean)
            + jnp.sqrt(1 - self.fidelity**2) * self.spread * noise
        )
        score = score + self.bias + self.leak * (returns - self.expected_return)
        if self.resolution is None:
            return score
        width = (self.high - self.low) / (self.resolution - 1)
        level = jnp.round((score - self.low) / jnp.where(width > 0, width, 1.0))
        return self.low + width * jnp.clip(level, 0, self.resolution - 1)


@final
@dataclasses.dataclass(frozen=True)
class Judge(Grader):
    """A recipe for a judge of steps.

    Attributes:
        signal: what it scores: the "value" of the prefix that a step ends, the "advantage" or the
            "q_value" of the action taken, or how critical the step is, by the "gap" between the
            best action and the worst or by the "spread" under the policy.
        fidelity: correlation of its score with the label, in [0, 1]; 1 is noise-free.
        bias: added to every score, in units of reward.
        leak: how much of the episode's own outcome enters each score, in [-1, 1].
        resolution: levels of the scale (2 = binary, 3 = ternary), at least 2; None is continuous.
        density: share of the steps that it scores, in (0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    signal: Literal["value", "advantage", "q_value", "gap", "spread"] = "value"
    fidelity: float = 1.0
    bias: float = 0.0
    leak: float = 0.0
    resolution: int | None = None
    density: float = 1.0

    def __post_init__(self) -> None:
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
        table = _TABLES[self.signal](mdp, truth)
        after = self.signal == "value"
        mean, square, low, high = _label_range(mdp, truth, table, after)
        numbers = [
            jnp.asarray(x, truth.value.dtype)
            for x in (self.fidelity, self.bias, self.leak, self.density)
        ]
        return JudgeModel(
            table,
            truth.value,
            mdp.terminal,
            step_discount(mdp),
            discounting(mdp),
            truth.expected_return,
            mean,
            jnp.sqrt(jnp.maximum(square - mean**2, 0.0)),
            low,
            high,
            *numbers,
            signal=self.signal,
            resolution=self.resolution,
        )


def _advantage(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    return truth.advantage


def _q_value(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    return truth.q_value


def _gap(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    """Differences of advantages are those of Q, without what they have in common."""
    gap = jnp.max(truth.advantage, axis=-1) - jnp.min(
        truth.advantage,
        axis=-1,
    )
    decided = mdp.decision[mdp.schedule]
    return _for_every_action(jnp.where(decided[:, None], gap, 0.0), truth)


def _spread(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    """The mean of the advantage is 0, so this is the root of its mean square."""
    acting = truth.state_policy[mdp.schedule]
    spread = jnp.sqrt(jnp.sum(acting * truth.advantage**2, axis=-1))
    decided = mdp.decision[mdp.schedule]
    return _for_every_action(jnp.where(decided[:, None], spread, 0.0), truth)


def _for_every_action(
    label: Float[Array, "T S"],
    truth: Truth,
) -> Float[Array, "T S A"]:
    return jnp.broadcast_to(label[..., None], truth.advantage.shape)


_TABLES = {
    "value": _advantage,  # read by no one
    "advantage": _advantage,
    "q_value": _q_value,
    "gap": _gap,
    "spread": _spread,
}
"""What each signal says of a state and action."""


@functools.partial(jax.jit, static_argnames="after")
def _label_range(
    mdp: MDP, truth: Truth, table: Array, after: bool
) -> tuple[Array, Array, Array, Array]:
    """Mean, mean square, smallest and largest label over the live steps of on-policy episodes.

    They are added up chunk by chunk of steps.
    """
    steps = mdp.schedule.shape[0]
    chunks = Blocks.of_length(steps, min(LABEL_CHUNK, steps))

    def chunk(carry, inputs):
        kernel, occupancy, later, label = inputs
        weight = (occupancy[:, :, None] * truth.state_policy[kernel])[..., None] * mdp.prob[kernel]
        if not after:
            label = jnp.broadcast_to(label[..., None], weight.shape)
        else:
            target = mdp.successor[kernel]
            ahead = jnp.where(
                mdp.terminal[None, :],
                0.0,
                later,
            )
            each = target.reshape(chunks.length, -1)
            ahead = jnp.take_along_axis(ahead, each, axis=1).reshape(
                target.shape,
            )
            label = mdp.reward[kernel] + mdp.discount[kernel][:, None, None, None] * ahead
        mass, total, square, low, high = carry
        seen = weight > 0
        return (
            mass + jnp.sum(weight),
            total + jnp.sum(weight * label),
            square + jnp.sum(weight * label**2),
            jnp.minimum(low, jnp.min(jnp.where(seen, label, jnp.inf))),
            jnp.maximum(high, jnp.max(jnp.where(seen, label, -jnp.inf))),
        ), None

    zero = jnp.zeros((), truth.value.dtype)
    # What fills up the last chunk has occupancy 0.
    given = (mdp.schedule, truth.occupancy, truth.value[1:], table)
    xs = tuple(cut(x, chunks) for x in given)
    init = (zero, zero, zero, zero + jnp.inf, zero - jnp.inf)
    (mass, total, square, low, high), _ = jax.lax.scan(chunk, init, xs)
    return total / mass, square / mass, low, high
