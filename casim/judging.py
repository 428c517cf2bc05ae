"""What everyone who is asked about a batch has in common: a recipe, and errors with addresses.

An error is a function of a key and of where it is made: an episode and a step, or a history and an
action. So two calls under one key make the same errors, and how much of an error is shared between
steps, or is the same in every call, is a setting.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim import identity
from casim.checks import check_choice, check_range
from casim.ops import shift_right
from casim.simulate.noise import ACTION, OBSERVATION, key_words, pair, threefry, uniform
from casim.types import MDP, Trajectory, Truth

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


def normal(
    first: Float[Array, "*shape"],
    second: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """A standard normal number from two uniform ones, by Box and Muller."""
    radius = jnp.sqrt(-2 * jnp.log1p(-first))
    angle = 2 * math.pi * second
    return radius * jnp.cos(angle)


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
