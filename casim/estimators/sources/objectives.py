"""What fitted models are fitted to: outcomes, preferences between trajectories, labels of steps.

In maths, with s_t the model's score of the action taken at step t, S = sum_t s_t over the decisions
of a trajectory, R its undiscounted reward and sigma(x) = 1 / (1 + exp(-x)):

    `Outcome`     -y log sigma(beta S) - (1 - y) log sigma(-beta S),        y = 1{R > success}
    `Preference`  -log sigma(beta (S_i - S_j)),                   where i is preferred to j
    `Return`      (S - R)^2
    `Labels`      (s_t - y_t)^2, or as `Outcome` with s_t in the place of beta S

each a mean over what there is of it.

References:
    Cui et al. 2025, arXiv:2502.01456 (PRIME: outcomes); Bradley and Terry 1952; Rafailov et al.
    2024, arXiv:2404.12358 (preferences by implicit rewards); Liu et al. 2025, arXiv:2509.19199
    (iStar: means over turns); Ren et al. 2022, arXiv:2111.13485 (random subsets of steps); Wang et
    al. 2024, arXiv:2312.08935 (Math-Shepherd: labels).
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim import identity
from casim.checks import check_choice, check_integer, check_range
from casim.estimators.units import firsts, run_starts
from casim.types import Batch

LARGE = 1e6
"""Bounds of betas."""


class Lesson(NamedTuple):
    """What one fit learns from: P groups of N trajectories, the first axis of every array."""

    batch: Batch
    goal: Any
    """What the objective wants of them, see `Objective.goal`."""
    weight: Float[Array, "P N"]
    """How much each trajectory counts."""


@dataclasses.dataclass(frozen=True)
class Objective(abc.ABC):
    """A recipe for a loss."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Takes the digest of the source that defines the class."""
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    @abc.abstractmethod
    def goal(
        self,
        key: Key[Array, ""],
        batch: Batch,
    ) -> Any:
        """What is wanted of the batch: arrays whose first axis are the groups."""

    @abc.abstractmethod
    def loss(
        self,
        key: Key[Array, ""],
        score: Float[Array, "P N T"],
        lesson: Lesson,
    ) -> Float[Array, ""]:
        """The loss of scores that are 0 where nothing is decided."""


@final
@dataclasses.dataclass(frozen=True)
class Outcome(Objective):
    """Cross-entropy of success, its log-odds the sum of the scores.

    Attributes:
        beta: of the sum, positive.
        success: a trajectory that earns more than this succeeds.

    Raises:
        ValueError: a setting out of its range.
    """

    beta: float = 0.05
    success: float = 0.5

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 1 / LARGE, LARGE)
        check_range("success", self.success, -LARGE, LARGE)

    def goal(self, key, batch):
        earned = _earned(batch)
        succeeds = earned > self.success
        return succeeds.astype(earned.dtype)

    def loss(self, key, score, lesson):
        total = jnp.sum(score, axis=-1)
        error = cross_entropy(self.beta * total, lesson.goal)
        return weighted_mean(error, lesson.weight)


@final
@dataclasses.dataclass(frozen=True)
class Preference(Objective):
    """Bradley and Terry's likelihood of preferences within groups.

    Attributes:
        beta: of the sums, positive.
        by: who is preferred: "more" reward; one "drawn" with log-odds R_i - R_j, once for each
            pair; or both, as often as "expected" of such draws.
        over: scores are added up over "steps", or their sums over turns averaged over the "turns".

    Raises:
        ValueError: a setting out of its range.
    """

    beta: float = 0.1
    by: Literal["more", "drawn", "expected"] = "more"
    over: Literal["steps", "turns"] = "steps"

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 1 / LARGE, LARGE)
        check_choice("by", self.by, ("more", "drawn", "expected"))
        check_choice("over", self.over, ("steps", "turns"))

    def goal(self, key, batch):
        earned = _earned(batch)
        lead = _differences(earned)
        if self.by == "more":
            return (lead > 0).astype(lead.dtype)
        chance = jax.nn.sigmoid(lead)
        wins = chance
        if self.by == "drawn":
            draw = jax.random.uniform(key, lead.shape, lead.dtype)
            wins = (draw < chance).astype(lead.dtype)
        # One draw for i and j: what is below the diagonal is the opposite of what is above.
        above = jnp.triu(wins, 1)
        opposite = 1 - jnp.swapaxes(wins, 1, 2)
        below = jnp.tril(opposite, -1)
        return above + below

    def loss(self, key, score, lesson):
        total = jnp.sum(score, axis=-1)
        if self.over == "turns":
            begins = run_starts(lesson.batch, "turn")
            turns = firsts(lesson.batch.decided, begins)
            total = total / _count(turns)
        lead = _differences(total)
        error = jax.nn.softplus(-self.beta * lead)
        one = lesson.weight[:, :, None]
        other = lesson.weight[:, None, :]
        return weighted_mean(error, one * other * lesson.goal)


@final
@dataclasses.dataclass(frozen=True)
class Return(Objective):
    """Squared error of the sum of the scores for the reward.

    Attributes:
        averaged: of means over the decisions instead of sums: ((S - R) / L)^2.
        subset: so many decisions, drawn anew each time, stand for all; None takes all, as do
            trajectories that have no more.
        corrected: takes off what the draw adds to the error on average, the variance of the mean of
            a subset without replacement.

    Raises:
        ValueError: a setting out of its range, or a correction for subsets of one.
    """

    averaged: bool = False
    subset: int | None = None
    corrected: bool = False

    def __post_init__(self) -> None:
        if self.subset is not None:
            check_integer("subset", self.subset, 2 if self.corrected else 1)

    def goal(self, key, batch):
        return _earned(batch)

    def loss(self, key, score, lesson):
        decided = lesson.batch.decided
        length = _count(decided)
        taken = decided
        if self.subset is not None:
            taken = _drawn(key, decided, self.subset)
        number = _count(taken)
        total = jnp.sum(score, axis=-1, where=taken)
        average = total / number
        wanted = lesson.goal / length
        error = (average - wanted) ** 2
        if self.corrected:
            away = jnp.where(taken, score - average[..., None], 0.0)
            square = jnp.sum(away**2, axis=-1)
            variance = square / jnp.maximum(number - 1, 1)
            left = 1 - number / length
            error = error - variance * left / number
        if not self.averaged:
            error = error * length**2
        return weighted_mean(error, lesson.weight)


@final
@dataclasses.dataclass(frozen=True)
class Labels(Objective):
    """Error for the labels of steps, which another estimator gave, where they have a weight.

    Attributes:
        error: "squared", or "cross_entropy" of labels in [0, 1], whose log-odds are the scores.

    Raises:
        ValueError: an unknown error.
    """

    error: Literal["squared", "cross_entropy"] = "squared"

    def __post_init__(self) -> None:
        check_choice("error", self.error, ("squared", "cross_entropy"))

    def goal(self, key, batch):
        """The labels and their weights: put in by whoever has them."""
        weight = batch.decided.astype(batch.reward.dtype)
        return batch.reward, weight

    def loss(self, key, score, lesson):
        label, weight = lesson.goal
        error = (score - label) ** 2
        if self.error == "cross_entropy":
            error = cross_entropy(score, label)
        each = lesson.weight[..., None]
        return weighted_mean(error, weight * each)


def cross_entropy(
    odds: Float[Array, "*s"],
    label: Float[Array, "*s"],
) -> Float[Array, "*s"]:
    """-y log sigma(x) - (1 - y) log sigma(-x), x the log-odds."""
    return jax.nn.softplus(odds) - label * odds


def _earned(batch: Batch) -> Float[Array, "P N"]:
    counted = batch.live & batch.counted[..., None]
    return jnp.sum(batch.reward, axis=-1, where=counted)


def _count(mask: Bool[Array, "P N T"]) -> Float[Array, "P N"]:
    """How many, at least 1."""
    number = jnp.sum(mask, axis=-1)
    return jnp.maximum(number, 1).astype(float)


def _differences(x: Float[Array, "P N"]) -> Float[Array, "P N N"]:
    """Of all pairs of a group."""
    return x[:, :, None] - x[:, None, :]


def _drawn(
    key: Key[Array, ""],
    mask: Bool[Array, "P N T"],
    number: int,
) -> Bool[Array, "P N T"]:
    """So many of the marked steps of each row at random, or all where there are no more."""
    draw = jax.random.uniform(key, mask.shape, jnp.float32)
    marked_first = jnp.where(mask, draw, 2.0)
    order = jnp.argsort(marked_first, axis=-1)
    rank = jnp.argsort(order, axis=-1)
    return mask & (rank < number)


def weighted_mean(
    x: Float[Array, "..."],
    weight: Float[Array, "..."],
) -> Float[Array, ""]:
    """Of what there is; 0 where nothing has a weight."""
    total = jnp.sum(weight)
    divisor = jnp.where(total > 0, total, 1.0)
    return jnp.sum(weight * x) / divisor
