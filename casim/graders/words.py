"""Judges that look for something in a step: words of a lexicon, or a subgoal reached."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_choice, check_distinct, check_integer, check_range
from casim.doors import door
from casim.dynamics import step_discount
from casim.graders.silent import Silent
from casim.judging import Grader, addresses, normal
from casim.ops import shift_left
from casim.pytree import pytree
from casim.simulate.noise import ACTION, OBSERVATION, key_words, pair
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class Lexicon(Grader):
    """Which steps are of a kind, as a list of words tells it: 1 or 0 for each `[P, N, T]`.

    In maths: 1 where the state is critical, max_a Q_t(s, a) - min_a Q_t(s, a) > margin at a
    decision, or everywhere; and the action is one of the words, if there are any. What is of the
    kind is found with probability `recall`, and what is not is taken for it with probability
    `false_alarm`. A lexicon is a list: it errs in the same states (and actions, if it has words)
    whenever it is read, and under any key.

    Attributes:
        where: "critical" states, or "everywhere".
        words: actions, distinct; none leaves the action out of it.
        margin: in units of reward, at least 0.
        recall: in [0, 1].
        false_alarm: in [0, 1].
        edition: of the list: another one errs elsewhere.

    Raises:
        ValueError: a setting out of its range.
    """

    where: Literal["critical", "everywhere"] = "critical"
    words: tuple[int, ...] = ()
    margin: float = 1e-3
    recall: float = 1.0
    false_alarm: float = 0.0
    edition: int = 0

    def __post_init__(self) -> None:
        check_choice("where", self.where, ("critical", "everywhere"))
        check_distinct("words", self.words)
        for word in self.words:
            check_integer("words", word, 0)
        check_range("margin", self.margin, 0.0, math.inf)
        check_range("recall", self.recall, 0.0, 1.0)
        check_range("false_alarm", self.false_alarm, 0.0, 1.0)
        check_integer("edition", self.edition, 0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> LexiconModel:
        """The list for one MDP and the truth of its policy."""
        advantage = truth.advantage
        is_word = self._is_word(advantage.shape[-1])
        kind = jnp.broadcast_to(is_word, advantage.shape)
        if self.where == "critical":
            gap = jnp.max(advantage, axis=-1) - jnp.min(advantage, axis=-1)
            decided = mdp.decision[mdp.schedule]
            critical = decided[:, None] & (gap > self.margin)
            kind = kind & critical[..., None]
        # Without words an entry of the list is a state.
        entry = advantage.shape if self.words else (*advantage.shape[:-1], 1)
        chance = jax.random.uniform(jax.random.key(self.edition), entry)
        found = chance < self.recall
        taken_for = chance < self.false_alarm
        return LexiconModel(jnp.where(kind, found, taken_for))

    def _is_word(
        self,
        actions: int,
    ) -> Bool[Array, " A"]:
        if not self.words:
            return jnp.ones(actions, bool)
        words = jnp.asarray(self.words)
        every = jnp.arange(actions)[:, None]
        return jnp.any(every == words[None, :], axis=-1)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class LexiconModel(Silent):
    """See `Lexicon`."""

    listed: Bool[Array, "T S A"]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """1 where a step is of the kind, 0 elsewhere; NaN after the end."""
        _, time = addresses(batch)
        listed = self.listed[time, batch.state, batch.action]
        said = listed.astype(batch.reward.dtype)
        return jnp.where(batch.live, said, jnp.nan)


@final
@dataclasses.dataclass(frozen=True)
class Skill(Grader):
    """Which steps reach a subgoal, by the rubric of the skill that a router chose: `[P, N, T]`.

    In maths: g_t = 1 where the step leads to one of the goals, or, without goals, where it gains
    more than a margin: r_t + discount_t V_{t+1}(s_{t+1}) - V_t(s_t) > margin. With probability 1 -
    `match` the step is routed to another skill, whose rubric says nothing of it: 0 or 1, each as
    likely. To either sigma (1 - match) eps is added, eps standard normal.

    Attributes:
        goals: the states, distinct; none takes the steps that gain.
        match: how well the skills fit the steps, in [0, 1]; 1 is exact.
        sigma: in units of the score, at least 0.
        margin: in units of reward, at least 0.

    Raises:
        ValueError: a setting out of its range.
    """

    goals: tuple[int, ...] = ()
    match: float = 1.0
    sigma: float = 0.5
    margin: float = 1e-4

    def __post_init__(self) -> None:
        check_distinct("goals", self.goals)
        for goal in self.goals:
            check_integer("goals", goal, 0)
        check_range("match", self.match, 0.0, 1.0)
        check_range("sigma", self.sigma, 0.0, math.inf)
        check_range("margin", self.margin, 0.0, math.inf)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> SkillModel:
        """The judge for one MDP and the truth of its policy.

        Raises:
            ValueError: a goal that is no state.
        """
        states = jnp.arange(mdp.start.shape[0])
        for goal in self.goals:
            check_integer("goals", goal, 0, mdp.start.shape[0] - 1)
        goals = jnp.asarray(self.goals, int)
        is_goal = jnp.any(states[:, None] == goals[None, :], axis=-1)
        numbers = (self.match, self.sigma, self.margin)
        match, sigma, margin = (jnp.asarray(x, truth.value.dtype) for x in numbers)
        return SkillModel(
            is_goal,
            truth.value,
            step_discount(mdp),
            match,
            sigma,
            margin,
            gains=not self.goals,
        )


@final
@pytree
@dataclasses.dataclass(frozen=True)
class SkillModel(Silent):
    """See `Skill`."""

    is_goal: Bool[Array, " S"]
    value: Float[Array, "times S"]
    discount: Float[Array, " T"]
    match: Float[Array, ""]
    sigma: Float[Array, ""]
    margin: Float[Array, ""]
    gains: bool = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """1 where a step reaches the subgoal, 0 elsewhere, with noise; NaN after the end."""
        words = key_words(key)
        episode, time = addresses(batch)
        reached = self._reached(batch)
        chance, coin = pair(words, episode, time, ACTION)
        uniforms = pair(words, episode, time, OBSERVATION)
        noise = normal(*uniforms)
        routed = chance < self.match
        mark = jnp.where(routed, reached, coin < 0.5)
        missing = 1 - self.match
        said = mark + self.sigma * missing * noise
        return jnp.where(batch.live, said, jnp.nan)

    def _reached(
        self,
        batch: Trajectory,
    ) -> Bool[Array, "N T"]:
        _, time = addresses(batch)
        goes_on = batch.live & shift_left(batch.live, False)
        after = shift_left(batch.state, 0)
        if not self.gains:
            return goes_on & self.is_goal[after]
        later = jnp.where(goes_on, self.value[time + 1, after], 0.0)
        worth = batch.reward + self.discount[None, :] * later
        gain = worth - self.value[time, batch.state]
        return gain > self.margin
