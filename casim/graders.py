"""Judges that say more than a score of a step: of every action, which is best, where it went wrong.

They give methods an oracle's word with a stated error: with the error at 0 the word is exact, and
no method ever sees the oracle itself. Scores of steps, and how critical a step is, are those of
`casim.judges.Judge`. All speak of the latent state.

References:
    A judge that is right with a given probability, and one whose first error is shifted, missed or
    invented at given rates, are casim's own models of LLM judges and process verifiers.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.contributions import Contributed
from casim.doors import door
from casim.dynamics import can_act, observe
from casim.judges import Grader, Judge, JudgeModel
from casim.ops import shift_left
from casim.oracle import optimal
from casim.oracle.belief import before_observing, beliefs
from casim.oracle.hindsight import Outcomes, return_hindsight
from casim.oracle.information import return_index
from casim.pytree import pytree
from casim.simulate.noise import ACTION, key_words, pair
from casim.types import MDP, Trajectory, Truth

TIE = 1e-5
"""Actions whose values differ by less than this share of the largest value are equally good."""


class _NoPrompt:
    """A judge that has nothing to say of a prompt."""

    def prompt(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, " N"]:
        """Raises `ValueError`: only judges of values score a prompt."""
        name = type(self).__name__.removesuffix("Model")
        raise ValueError(f"judge must be one of values to score a prompt, got {name}")


@final
@dataclasses.dataclass(frozen=True)
class PerAction(Grader):
    """A judge of steps that is asked about every action, taken or not: `[P, N, T, A]`.

    In maths: the scores of `Judge` with l_t(a) = A_t(s_t, a) or Q_t(s_t, a), each with noise of its
    own. The error is the judge's: its fidelity, bias, leak, resolution and density.

    Attributes:
        judge: of the signal "advantage" or "q_value".

    Raises:
        ValueError: a judge of another signal.
    """

    judge: Judge = Judge("advantage")

    def __post_init__(self) -> None:
        check_choice("judge.signal", self.judge.signal, ("advantage", "q_value"))

    def model(self, mdp: MDP, truth: Truth) -> PerActionModel:
        """The judge for one MDP and the truth of its policy."""
        return PerActionModel(self.judge.model(mdp, truth))


@final
@pytree
@dataclasses.dataclass(frozen=True)
class PerActionModel:
    """See `PerAction`."""

    judge: JudgeModel

    def __call__(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T A"]:
        """Scores of all actions; NaN where it gives none."""
        said = []
        for action in range(self.judge.table.shape[-1]):
            own = jax.random.fold_in(key, action)
            asked = batch._replace(action=jnp.full_like(batch.action, action))
            said.append(self.judge(own, asked))
        return jnp.stack(said, axis=-1)

    def prompt(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, " N"]:
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
    def model(self, mdp: MDP, truth: Truth) -> BestActionModel:
        """The judge for one MDP and the truth of its policy."""
        worth = truth.advantage
        largest = jnp.max(jnp.abs(truth.value))
        if self.of == "optimal":
            best = optimal(mdp)
            # Less the value in common, so that ties are not lost in its rounding.
            worth = best.q_value - best.value[:-1, :, None]
            largest = jnp.max(jnp.abs(best.value))
        possible = can_act(mdp)[mdp.schedule][:, None, :]
        worth = jnp.where(possible, worth, -jnp.inf)
        top = jnp.max(worth, axis=-1, keepdims=True)
        right = possible & (worth >= top - TIE * largest)
        accuracy = jnp.asarray(self.accuracy, truth.value.dtype)
        return BestActionModel(right, possible & ~right, accuracy)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BestActionModel(_NoPrompt):
    """See `BestAction`."""

    right: Bool[Array, "T S A"]
    wrong: Bool[Array, "T S A"]
    """The other actions that are possible."""
    accuracy: Float[Array, ""]

    def __call__(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T A"]:
        """1 for what it holds to be best, 0 for the others; NaN after the end."""
        episode, time = _addresses(batch)
        right, wrong = self.right[time, batch.state], self.wrong[time, batch.state]
        chance, which = pair(key_words(key), episode, time, ACTION)
        others = jnp.sum(wrong, axis=-1)
        number = jnp.minimum(jnp.floor(which * others), others - 1)
        # The wrong action of this number, counted from 0.
        place = jnp.cumsum(wrong, axis=-1) - 1
        one = wrong & (place == number[..., None])
        sure = (chance < self.accuracy) | (others == 0)
        marked = jnp.where(sure[..., None], right, one).astype(self.accuracy.dtype)
        return jnp.where(batch.live[..., None], marked, jnp.nan)


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
    def model(self, mdp: MDP, truth: Truth) -> FirstMistakeModel:
        """The judge for one MDP, whatever its policy."""
        best = optimal(mdp)
        regret = best.value[:-1, :, None] - best.q_value
        decided = mdp.decision[mdp.schedule][:, None, None]
        rates = (jnp.asarray(x, truth.value.dtype) for x in (self.miss, self.false_alarm))
        return FirstMistakeModel(decided & (regret > self.margin), *rates, shift=self.shift)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class FirstMistakeModel(_NoPrompt):
    """See `FirstMistake`."""

    wrong: Bool[Array, "T S A"]
    miss: Float[Array, ""]
    false_alarm: Float[Array, ""]
    shift: int = dataclasses.field(metadata={"static": True})

    def __call__(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T"]:
        """1 at the step it accuses, 0 elsewhere; NaN after the end."""
        episode, time = _addresses(batch)
        steps = time.shape[-1]
        mistaken = batch.live & self.wrong[time, batch.state, batch.action]
        guilty = jnp.any(mistaken, axis=-1)
        first = jnp.argmax(mistaken, axis=-1)
        length = jnp.sum(batch.live, axis=-1)
        # An address that no step uses.
        chance, which = pair(key_words(key), episode[:, 0], 0 * episode[:, 0] + steps, ACTION)
        moved = _uniform_integer(which, 2 * self.shift + 1) - self.shift
        accused = jnp.clip(first + moved, 0, length - 1)
        anywhere = _uniform_integer(which, length)
        speaks = jnp.where(guilty, chance >= self.miss, chance < self.false_alarm)
        named = jnp.where(guilty, accused, anywhere)
        here = speaks[:, None] & (time == named[:, None])
        return jnp.where(batch.live, here.astype(self.miss.dtype), jnp.nan)


@final
@dataclasses.dataclass(frozen=True)
class Posterior(Grader):
    """How likely each action was, now that the outcome is known: `[P, N, T, A]`.

    In maths: trust h(a | s_t, z) + (1 - trust) pi(a | s_t), where h(a | s, z) = pi(a | s) P(Z_t = z
    | s, a) / P(Z_t = z | s) and Z_t = sum_{u>=t} r_u, undiscounted. It sums to 1 over the actions,
    and its total variation distance from the truth is 1 - trust times that of the policy. NaN where
    the outcome is impossible.

    Attributes:
        outcome: z, one of the support; None takes what Z_t was in the trajectory itself.
        support: what Z_t can be, ascending.
        trust: how much of the posterior it knows, in [0, 1].

    Raises:
        ValueError: a setting out of its range.

    References:
        Harutyunyan et al. 2019, arXiv:1912.02503 (return-conditional hindsight).
    """

    outcome: float | None = None
    support: tuple[float, ...] = (0.0, 1.0)
    trust: float = 1.0

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.support, self.support[1:], strict=False))
        if not (self.support and rising):
            raise ValueError(f"support must be ascending numbers, got {self.support!r}")
        check_choice("outcome", self.outcome, (None, *self.support))
        check_range("trust", self.trust, 0.0, 1.0)

    @door
    def model(self, mdp: MDP, truth: Truth) -> PosteriorModel:
        """The judge for one MDP and the truth of its policy."""
        undiscounted = mdp._replace(discount=jnp.ones_like(mdp.discount))
        # Seen from the latent state, what acts is the policy averaged over what the state shows.
        latent = observe(undiscounted)
        outcomes = return_hindsight(latent, truth.state_policy, jnp.asarray(self.support))
        stated = -1 if self.outcome is None else self.support.index(self.outcome)
        trust = jnp.asarray(self.trust, truth.value.dtype)
        return PosteriorModel(outcomes, truth.state_policy[mdp.schedule], trust, stated=stated)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class PosteriorModel(_NoPrompt):
    """See `Posterior`."""

    outcomes: Outcomes
    acting: Float[Array, "T S A"]
    trust: Float[Array, ""]
    stated: int = dataclasses.field(metadata={"static": True})
    """The index of the outcome; -1 is that of the trajectory."""

    def __call__(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T A"]:
        """Probabilities of all actions; NaN after the end, or where the outcome is impossible."""
        _, time = _addresses(batch)
        if self.stated < 0:
            index, found = return_index(self.outcomes, batch)
        else:
            index, found = jnp.full_like(time, self.stated), batch.live
        known = self.outcomes.hindsight[time, batch.state, :, index]
        prior = self.acting[time, batch.state]
        mixed = self.trust * known + (1 - self.trust) * prior
        return jnp.where((batch.live & found)[..., None], mixed, jnp.nan)


@final
@dataclasses.dataclass(frozen=True)
class Belief(Grader):
    """How probable the truth is to who has seen what the agent has: `[P, N, T]`.

    In maths, with b_t(z) = P(z_t = z | h_t) by Bayes and z a class of latent states: trust
    b_{t+1}(z_{t+1}) + (1 - trust) P(z), after step t, and b_0(z_0) for the prompt, with P(z) what
    was known before anything was seen. Nothing is observed after the last step: it is that of the
    step before. It stands for a model's probability of the gold answer.

    Attributes:
        classes: z of each state, 0, 1, ...; none takes every state for a class of its own.
        trust: how much of the belief it knows, in [0, 1].

    Raises:
        ValueError: a class below 0 or a trust out of its range; a number of classes that is not
            that of the states, when the judge is made.
    """

    classes: tuple[int, ...] = ()
    trust: float = 1.0

    def __post_init__(self) -> None:
        for label in self.classes:
            check_integer("classes", label, 0)
        check_range("trust", self.trust, 0.0, 1.0)

    @door
    def model(self, mdp: MDP, truth: Truth) -> BeliefModel:
        """The judge for one MDP, whatever its policy."""
        states = mdp.start.shape[0]
        classes = self.classes or tuple(range(states))
        if len(classes) != states:
            raise ValueError(f"classes must be {states}, one for each state, got {len(classes)}")
        trust = jnp.asarray(self.trust, truth.value.dtype)
        return BeliefModel(mdp, jnp.asarray(classes), trust)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BeliefModel:
    """See `Belief`."""

    mdp: MDP
    label: Int[Array, " S"]
    trust: Float[Array, ""]

    def __call__(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T"]:
        """What the truth has after each step; NaN after the end."""
        now = self._of_truth(batch)
        goes_on = shift_left(batch.live, False)
        after = jnp.where(goes_on, shift_left(now), now)
        return jnp.where(batch.live, after, jnp.nan)

    def prompt(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, " N"]:
        """What the truth has before the first action."""
        return self._of_truth(batch)[:, 0]

    def _of_truth(self, batch: Trajectory) -> Float[Array, "N T"]:
        """How probable the class of the state is at each step."""
        truth = self.label[batch.state]
        same = self.label[None, None, :] == truth[..., None]
        known = jnp.sum(jnp.where(same, beliefs(self.mdp, batch), 0.0), axis=-1)
        before = before_observing(self.mdp, batch)
        before = before / jnp.sum(before, axis=-1, keepdims=True)
        prior = jnp.sum(jnp.where(same, before[:, None, :], 0.0), axis=-1)
        return self.trust * known + (1 - self.trust) * prior


def _addresses(batch: Trajectory) -> tuple[Int[Array, "N T"], Int[Array, "N T"]]:
    """The episode and the step of every entry."""
    episode, time = jnp.indices(batch.action.shape)
    return episode, time


def _uniform_integer(uniform: Float[Array, " N"], number: Int[Array, " N"] | int) -> Array:
    """One of 0, ..., number - 1, each as likely."""
    drawn = jnp.floor(uniform * number).astype(int)
    return jnp.clip(drawn, 0, jnp.maximum(number - 1, 0))


GRADERS: tuple[type[Grader], ...] = (
    Judge,
    PerAction,
    BestAction,
    FirstMistake,
    Posterior,
    Contributed,
    Belief,
)
"""Every recipe for a judge."""
