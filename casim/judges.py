"""Simulated judges: the truth, made worse in stated ways.

They stand for verifiers, process reward models and LLM judges. What is here scores steps; judges
that name actions or first mistakes are in `casim.graders`.

In maths, with label l_t (below), its mean mu and standard deviation sigma along on-policy episodes,
R the episode's discounted return and J its mean:

    score_t = mu + f (l_t - mu) + sqrt(1 - f^2) sigma eps_t
              + bias + leak (R - J) + state_bias b(s_t) + position t / (T - 1) + verbosity L / T,

with b(s) a standard normal number that each state has, and L the length of the episode; rounded to
`resolution` levels over the range of the label, and missing (NaN) with probability 1 - `density`.
The error eps_t is standard normal: of each step its own, or one for all steps of a turn or of an
episode. With probability `systematic` it is instead a function of the history and the action alone,
the same whenever and under whichever key the judge is asked. Labels l_t by signal:

- "value": r_t + discount_t V_{t+1}(s_{t+1}), the success probability of the prefix that ends with
  step t;
- "advantage" and "q_value": A_t(s_t, a_t) and Q_t(s_t, a_t);
- "td_error": r_t + discount_t V_{t+1}(s_{t+1}) - V_t(s_t), what the step turned out to be worth;
- "clairvoyant": Q*_t(s_t, a_t) - V*_t(s_t) of the best policy that sees the latent state;
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
from casim.ops import shift_left, shift_right
from casim.oracle import optimal
from casim.pytree import pytree
from casim.simulate.noise import ACTION, OBSERVATION, key_words, pair, single, threefry, uniform
from casim.types import MDP, Trajectory, Truth

LABEL_CHUNK = 1024
"""Steps whose labels are added up at once: what of them is in memory."""


SIGNALS = ("value", "advantage", "q_value", "td_error", "clairvoyant", "gap", "spread")
"""What a `Judge` can score."""
Signal = Literal["value", "advantage", "q_value", "td_error", "clairvoyant", "gap", "spread"]
"""One of `SIGNALS`."""
AFTER = ("value", "td_error")
"""Signals that depend on where a step led to."""
SHARES = ("step", "turn", "episode")
"""Steps that can have one error."""
SYSTEMATIC = (0x2545F491, 0x4F6CDD1D)
"""Keys the errors that are the same in every call."""


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

    def informed(
        self,
        mdp: MDP,
        truth: Truth,
        policy: Float[Array, "M O A"],
        reference: Float[Array, "M O A"] | None = None,
    ) -> Any:
        """The same for whoever knows the tables of the policies too; by default it needs none."""
        return self.model(mdp, truth)


@dataclasses.dataclass(frozen=True)
class Errors:
    """Which errors of a judge are one error.

    Attributes:
        noise: steps that share an error: each "step" has its own, or it is one for a "turn" or an
            "episode".
        systematic: probability that an error depends on nothing but the history and the action, in
            [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    noise: Literal["step", "turn", "episode"] = "step"
    systematic: float = 0.0

    def __post_init__(self) -> None:
        check_choice("noise", self.noise, SHARES)
        check_range("systematic", self.systematic, 0.0, 1.0)

    def draw(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
        turn: Int[Array, " T"],
        asked: Int[Array, "N T"] | None = None,
    ) -> tuple[Float[Array, "N T"], Float[Array, "N T"]]:
        """Two uniform numbers for each step.

        Args:
            key: of what is not systematic.
            batch: the trajectories.
            turn: of each step.
            asked: the action that is asked about, if it is not the one taken.
        """
        episode, time = addresses(batch)
        own = pair(key_words(key), episode, self._shared(time, turn), ACTION)
        if self.systematic == 0:
            return own
        words = jnp.asarray(SYSTEMATIC, jnp.uint32)
        asked = batch.action if asked is None else asked
        high, low = _history(words, batch, asked)
        always = pair_at(words, high, low, ACTION)
        chance, _ = pair_at(words, high, low, OBSERVATION)
        holds = chance < self.systematic
        first = jnp.where(holds, always[0], own[0])
        second = jnp.where(holds, always[1], own[1])
        return first, second

    def _shared(
        self,
        time: Int[Array, "N T"],
        turn: Int[Array, " T"],
    ) -> Int[Array, "N T"]:
        """The step whose error each step has."""
        if self.noise == "step":
            return time
        if self.noise == "episode":
            return jnp.zeros_like(time)
        begins = turn != shift_right(turn, -1)
        steps = jnp.arange(turn.shape[0])
        first = jax.lax.cummax(jnp.where(begins, steps, 0))
        return jnp.broadcast_to(first, time.shape)


def addresses(batch: Trajectory) -> tuple[Int[Array, "N T"], Int[Array, "N T"]]:
    """The episode and the step of every entry."""
    episode, time = jnp.indices(batch.action.shape)
    return episode, time


def pair_at(
    words: Array,
    high: Array,
    low: Array,
    channel: int,
) -> tuple[Array, Array]:
    """Uniforms addressed by two words instead of an episode and a step."""
    keyed = words ^ jnp.uint32(channel + 1)
    first, second = threefry(keyed, high, low)
    return uniform(first), uniform(second)


def _history(
    words: Array,
    batch: Trajectory,
    asked: Int[Array, "N T"],
) -> tuple[Array, Array]:
    """Two words for each history and action: the words of what was seen and done, added up."""
    _, time = addresses(batch)
    time = time.astype(jnp.uint32)
    seen = threefry(words, 3 * time, batch.observation.astype(jnp.uint32))
    done = threefry(words, 3 * time + 1, batch.action.astype(jnp.uint32))
    now = threefry(words, 3 * time + 2, asked.astype(jnp.uint32))

    def total(word: int) -> Array:
        # Sums of words begin anew at 2^32.
        both = seen[word] + done[word]
        so_far = jnp.cumsum(both, axis=-1, dtype=jnp.uint32)
        return so_far - done[word] + now[word]

    return total(0), total(1)


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
        returns = jnp.sum(self.weight[None, :] * batch.reward, axis=-1, keepdims=True)
        uniforms = self.errors.draw(key, batch, self.turn, action)
        score = self._distort(uniforms, label, returns)
        score = self._rounded(score + self._manner(batch))
        chance = single(key_words(key), episode, time, OBSERVATION)
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
        after = jnp.where(goes_on, shift_left(batch.state, 0), -1)
        later = jnp.where(after >= 0, self.value[time + 1, after], 0.0)
        label = batch.reward + self.discount[None, :] * later
        if self.signal == "td_error":
            return label - self.value[time, batch.state]
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
            late = jnp.arange(steps)[None, :] / max(steps - 1, 1)
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
        time = jnp.full((batch.state.shape[0], 1), batch.state.shape[-1])
        episode = jnp.arange(time.shape[0])[:, None]
        uniforms = pair(key_words(key), episode, time, ACTION)
        label = self.value[0, batch.state[:, :1]]
        score = self._distort(uniforms, label, self.expected_return)
        return self._rounded(score)[:, 0]

    def _distort(
        self,
        uniforms: tuple[Array, Array],
        label: Float[Array, "N T"],
        returns: Array,
    ) -> Float[Array, "N T"]:
        first, second = uniforms
        # A normal number, by Box and Muller.
        noise = jnp.sqrt(-2 * jnp.log1p(-first)) * jnp.cos(2 * math.pi * second)
        score = (
            self.mean
            + self.fidelity * (label - self.mean)
            + jnp.sqrt(1 - self.fidelity**2) * self.spread * noise
        )
        return score + self.bias + self.leak * (returns - self.expected_return)

    def _rounded(
        self,
        score: Float[Array, "N T"],
    ) -> Float[Array, "N T"]:
        if self.resolution is None:
            return score
        highest = self.resolution - 1
        width = (self.high - self.low) / highest
        above = score - self.low
        level = jnp.round(above / jnp.where(width > 0, width, 1.0))
        return self.low + width * jnp.clip(level, 0, highest)


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
        table = _TABLES[self.signal](mdp, truth)
        before = truth.value[:-1] if self.signal == "td_error" else None
        after = self.signal in AFTER
        mean, square, low, high = _label_range(mdp, truth, table, after, before)
        variance = jnp.maximum(square - mean**2, 0.0)

        def number(x: float) -> Array:
            return jnp.asarray(x, truth.value.dtype)

        offset = jax.random.normal(jax.random.key(0), mdp.start.shape, truth.value.dtype)
        return JudgeModel(
            table,
            truth.value,
            mdp.terminal,
            step_discount(mdp),
            discounting(mdp),
            truth.expected_return,
            mean,
            jnp.sqrt(variance),
            low,
            high,
            number(self.fidelity),
            number(self.bias),
            number(self.leak),
            number(self.density),
            self.state_bias * offset if self.state_bias else None,
            number(self.position) if self.position else None,
            number(self.verbosity) if self.verbosity else None,
            jnp.asarray(mdp.turn),
            signal=self.signal,
            resolution=self.resolution,
            errors=self._errors(),
        )

    def _errors(self) -> Errors:
        return Errors(self.noise, self.systematic)


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


def _clairvoyant(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    best = optimal(mdp)
    return best.q_value - best.value[:-1, :, None]


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
    "td_error": _advantage,  # nor this one
    "clairvoyant": _clairvoyant,
    "gap": _gap,
    "spread": _spread,
}
"""What each signal says of a state and action."""


@functools.partial(jax.jit, static_argnames="after")
def _label_range(
    mdp: MDP,
    truth: Truth,
    table: Array,
    after: bool,
    before: Array | None = None,
) -> tuple[Array, Array, Array, Array]:
    """Mean, mean square, smallest and largest label over the live steps of on-policy episodes.

    They are added up chunk by chunk of steps. `after` labels are what follows the step, less the
    value `before` it if there is one.
    """
    steps = mdp.schedule.shape[0]
    chunks = Blocks.of_length(steps, min(LABEL_CHUNK, steps))

    def chunk(carry, inputs):
        kernel, occupancy, later, label, now = inputs
        acting = occupancy[:, :, None] * truth.state_policy[kernel]
        weight = acting[..., None] * mdp.prob[kernel]
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
            discount = mdp.discount[kernel]
            label = mdp.reward[kernel] + discount[:, None, None, None] * ahead
            if now is not None:
                label = label - now[:, :, None, None]
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
    given = (mdp.schedule, truth.occupancy, truth.value[1:], table, before)
    xs = tuple(None if x is None else cut(x, chunks) for x in given)
    init = (zero, zero, zero, zero + jnp.inf, zero - jnp.inf)
    (mass, total, square, low, high), _ = jax.lax.scan(chunk, init, xs)
    return total / mass, square / mass, low, high
