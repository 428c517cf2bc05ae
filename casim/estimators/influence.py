"""How much of a trajectory's credit each step trains: by surprise, or by what a judge sees change.

In maths, the weight of a step times

- `Surprised`: W for the most surprising of the tokens with positive value, M of those with a
  negative one, and 1 for the others; only while the mean entropy is below a gate;
- `ByDivergence`: I_t = KL(Bern V_{t+1} || Bern V_t), n_t its place between the least and the most
  of the trajectory, max(n / low, least) below low and 1 + beta (n - low) / (1 - low) above, divided
  by its mean over the trajectory;
- `BySaliency`: clip(1 + spread z_t), z_t the standard score of log |A_t| within the trajectory.

References:
    Luo et al. 2026, arXiv:2606.19236 (STARE); Li et al. 2026, arXiv:2601.07408 (OAR); GRAIL 2026,
    arXiv:2606.04889.
"""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import ClassVar, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_range
from casim.estimators.base import (
    Estimator,
    Part,
    add_costs,
    check_taken,
    cost,
    count,
    entropy_of,
    required,
)
from casim.estimators.sources.references import own_log_prob_of
from casim.ops import shift_right
from casim.simulate import JUDGE
from casim.types import Batch

Steps = Float[Array, "P N T"]


@final
@dataclasses.dataclass(frozen=True)
class Surprised(Part):
    """Weighs the most surprising tokens of each sign by another number than the rest.

    It looks at the action: in a large batch with outcomes of 0 and 1 it adds (W - 1) 1{a rare}
    E[max(A_i, 0) | s, a], which is not 0 where Q = V: a bonus for entropy, not credit.

    Attributes:
        share: of the tokens of a sign that count as surprising, rounded up, at least one; in
            (0, 1].
        up: W, of those with positive value, at least 0.
        down: M, of those with negative value, at least 0.
        gate: the mean entropy of the batch, in nats, from which on all weigh alike, at least 0.

    Raises:
        ValueError: a setting out of its range, or a log that lacks what it reads.
    """

    share: float = 0.1
    up: float = 1.1
    down: float = 1.0
    gate: float = 0.3
    needs: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_range("share", self.share, 1e-12, 1.0)
        check_range("up", self.up, 0.0, 1e12)
        check_range("down", self.down, 0.0, 1e12)
        check_range("gate", self.gate, 0.0, math.inf)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        taken = credit.weight > 0
        surprise = -own_log_prob_of(world, batch)
        factor = jnp.ones_like(credit.weight)
        signs = ((credit.value > 0, self.up), (credit.value < 0, self.down))
        for of_sign, weight in signs:
            most = self._most(surprise, taken & of_sign)
            factor = jnp.where(most, weight, factor)
        entropy = jnp.where(taken, entropy_of(world, batch), 0.0)
        mean = jnp.sum(entropy) / jnp.maximum(jnp.sum(taken), 1)
        factor = jnp.where(mean < self.gate, factor, 1.0)
        return credit._replace(weight=credit.weight * factor)

    def _most(
        self,
        surprise: Steps,
        among: Bool[Array, "P N T"],
    ) -> Bool[Array, "P N T"]:
        """The share of largest surprise, as many as that exactly; the first of equals."""
        number = jnp.sum(among)
        # A share of a token below 1e-4 is rounding, and makes no more.
        wanted = jnp.maximum(jnp.ceil(self.share * number - 1e-4), 1)
        ranked = jnp.argsort(
            jnp.where(
                among,
                -surprise,
                jnp.inf,
            ).reshape(-1),
            stable=True,
        )
        place = jnp.zeros_like(ranked).at[ranked].set(jnp.arange(ranked.size))
        return among & (place.reshape(among.shape) < wanted)


class _Judged(Estimator):
    """Multiplies weights by numbers that are made of a judge's scores."""

    judge: str

    @abc.abstractmethod
    def _factor(self, world, batch: Batch, key) -> tuple[Steps, Array]:
        """The factor of each step, and how many scores were asked for."""

    def __call__(self, key, world, batch, credit, state):
        factor, asked = self._factor(required(world, self), batch, key)
        weight = credit.weight * factor
        paid = add_costs(credit.cost, cost(judge_calls=asked))
        return credit._replace(weight=weight, cost=paid), state


@final
@dataclasses.dataclass(frozen=True)
class ByDivergence(_Judged):
    """Weighs by how far a step moved the judged odds of success, whichever way.

    The mean weight of a trajectory stays 1: its credit is shared out anew. Where no step moved the
    odds more than another all weigh alike. A judge of values says V; rewards banked on the way are
    not taken off. What it gives depends on the action and on what follows it: it biases.

    Attributes:
        low: where the weight is 1, between the least (0) and the most (1), in (0, 1).
        least: the smallest weight, in (0, 1].
        beta: how much more than 1 the most gets, at least 0.
        floor: how far the odds stay from 0 and 1, in (0, 1/2).
        judge: the name of the judge that it asks.

    Raises:
        ValueError: a setting out of its range.
    """

    low: float = 0.25
    least: float = 0.1
    beta: float = 1.0
    floor: float = 1e-3
    judge: str = JUDGE
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def __post_init__(self) -> None:
        check_range("low", self.low, 1e-12, 1 - 1e-12)
        check_range("least", self.least, 1e-12, 1.0)
        check_range("beta", self.beta, 0.0, 1e12)
        check_range("floor", self.floor, 1e-12, 0.5 - 1e-12)

    def _factor(self, world, batch, key):
        score = world.judge(key, batch, self.judge)
        start = world.judge_prompt(key, batch, self.judge)
        said = jnp.isfinite(score) & batch.decided
        after = jnp.clip(
            jnp.where(
                said,
                score,
                0.5,
            ),
            self.floor,
            1 - self.floor,
        )
        before = jnp.clip(
            _last_said(score, start),
            self.floor,
            1 - self.floor,
        )
        divergence = jnp.where(said, _divergence(after, before), 0.0)
        weight = self._weight(_place(divergence, said))
        mean = _mean(weight, said)
        asked = count(jnp.isfinite(score)) + math.prod(start.shape)
        return jnp.where(
            said,
            weight
            / jnp.where(
                mean > 0,
                mean,
                1.0,
            ),
            1.0,
        ), asked

    def _weight(self, place: Steps) -> Steps:
        """Below `low` it falls to the least, above it rises to 1 + beta."""
        above = 1 + self.beta * (place - self.low) / (1 - self.low)
        below = jnp.maximum(place / self.low, self.least)
        return jnp.where(place < self.low, below, above)


@final
@dataclasses.dataclass(frozen=True)
class BySaliency(_Judged):
    """Weighs by how much a judge says that the action mattered, for better or worse.

    Attributes:
        spread: the deviation of the weights within a trajectory, at least 0.
        low: the smallest weight, at least 0.
        high: the largest, at least 1.
        floor: the smallest size inside the logarithm, positive.
        judge: the name of the judge of advantages that it asks.

    Raises:
        ValueError: a setting out of its range.
    """

    spread: float = 0.5
    low: float = 0.5
    high: float = 5.0
    floor: float = 1e-6
    judge: str = JUDGE
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def __post_init__(self) -> None:
        check_range("spread", self.spread, 0.0, 1e12)
        check_range("low", self.low, 0.0, 1.0)
        check_range("high", self.high, 1.0, 1e12)
        check_range("floor", self.floor, 1e-30, 1e12)

    def _factor(self, world, batch, key):
        score = world.judge(key, batch, self.judge)
        said = jnp.isfinite(score) & batch.decided
        size = jnp.log(
            jnp.maximum(
                jnp.abs(
                    jnp.where(
                        said,
                        score,
                        1.0,
                    )
                ),
                self.floor,
            )
        )
        away = jnp.where(said, size - _mean(size, said), 0.0)
        deviation = jnp.sqrt(_mean(away**2, said))
        standard = jnp.where(
            deviation > 0,
            away
            / jnp.where(
                deviation > 0,
                deviation,
                1.0,
            ),
            0.0,
        )
        weight = jnp.clip(1 + self.spread * standard, self.low, self.high)
        return jnp.where(said, weight, 1.0), count(jnp.isfinite(score))


def _last_said(score: Steps, start: Float[Array, "P N"]) -> Steps:
    """The last score before each step, or that of the prompt."""
    steps = jnp.arange(score.shape[-1])
    said = jnp.where(jnp.isfinite(score), steps, -1)
    before = shift_right(jnp.maximum.accumulate(said, axis=-1), -1)
    earlier = jnp.take_along_axis(score, jnp.maximum(before, 0), axis=-1)
    return jnp.where(before >= 0, earlier, start[..., None])


def _divergence(after: Steps, before: Steps) -> Steps:
    """KL of two Bernoulli variables, in nats."""
    yes = after * jnp.log(after / before)
    no = (1 - after) * jnp.log((1 - after) / (1 - before))
    return jnp.maximum(yes + no, 0.0)


def _place(x: Steps, where: Bool[Array, "P N T"]) -> Steps:
    """Where each is between the least (0) and the most (1) of its trajectory; 0 if all are one."""
    least = jnp.min(jnp.where(where, x, jnp.inf), axis=-1, keepdims=True)
    most = jnp.max(jnp.where(where, x, -jnp.inf), axis=-1, keepdims=True)
    width = most - least
    differ = jnp.isfinite(width) & (width > 0)
    return jnp.where(
        differ & where,
        (x - least)
        / jnp.where(
            differ,
            width,
            1.0,
        ),
        0.0,
    )


def _mean(x: Steps, where: Bool[Array, "P N T"]) -> Float[Array, "P N 1"]:
    """The mean over the steps of each trajectory; 0 for none."""
    total = jnp.sum(jnp.where(where, x, 0.0), axis=-1, keepdims=True)
    return total / jnp.maximum(jnp.sum(where, axis=-1, keepdims=True), 1)
