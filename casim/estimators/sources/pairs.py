"""Credit of pairs: the best and the worst trajectory of a group, and what two prompts say of both.

In maths, w and l the trajectories of a group with the most and the least reward, and
d_i = beta sum_t log pi / pi_ref over the decisions of i: `Extremes` gives +1 to w and -1 to l,
`PairWeight` gives c beta sigma(d_l - d_w) to both, and 0 to all others, so that

    Chain(Extremes(), PairWeight(beta))

is the gradient of -log sigma(d_w - d_l), DPO's loss. `Contrast` gives

    c_t = sigma(log pi_+(a_t) / pi_-(a_t)) - 1/2,    pi_+- proportional to ref exp(+-strength Q~)

with Q~ what a judge of actions says: two policies that are told to do better, or worse. For small
strength it is strength / 2 times the advantage of Q~ under the reference.

References:
    Rafailov et al. 2023, arXiv:2305.18290 (DPO); Zhou et al. 2024, arXiv:2412.02685 (T-REG), whose
    two policies are one model under two prompts; that they are tilted is casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_range
from casim.estimators.base import Part, Source, check_taken, cost, count, required
from casim.estimators.sources.fitting import log_ratios, of_taken
from casim.estimators.sources.references import log_ratio
from casim.simulate import JUDGE
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Extremes(Source):
    """1 on the best trajectory of the group, -1 on the worst, the first of equals; 0 elsewhere.

    A group whose trajectories are equal has no pair.
    """

    granularity: ClassVar[str] = "trajectory"
    methodology: ClassVar[str] = "model_based"
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def give(self, key, world, batch):
        best, worst = pair(batch)
        above = best.astype(batch.reward.dtype)
        sign = above - worst
        every_step = sign[..., None]
        value = jnp.where(batch.live, every_step, 0.0)
        return value, cost()


@final
@dataclasses.dataclass(frozen=True)
class PairWeight(Part):
    """The value times how wrong the policy is about the best and the worst of its group.

    Attributes:
        beta: of the log-ratios, at least 0.

    Raises:
        ValueError: a setting out of its range, or no reference.
    """

    beta: float = 0.1
    needs: ClassVar[frozenset[str]] = frozenset({"group", "reference"})

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 0.0, 1e12)

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        best, worst = pair(batch)
        ratios = log_ratio(world, batch)
        ratio = jnp.sum(ratios, axis=-1)
        reward = self.beta * ratio
        of_best = jnp.sum(reward, axis=1, where=best)
        of_worst = jnp.sum(reward, axis=1, where=worst)
        lead = of_worst - of_best
        wrong = self.beta * jax.nn.sigmoid(lead)
        paired = best | worst
        of_row = wrong[:, None]
        size = jnp.where(paired, of_row, 0.0)
        value = credit.value * size[..., None]
        return credit._replace(value=value)


@final
@dataclasses.dataclass(frozen=True)
class Contrast(Source):
    """How much likelier the action is for a policy that wants to do well than for its opposite.

    Attributes:
        strength: of the tilt, per unit of reward, at least 0.
        judge: the name of the judge of actions that is asked.

    Raises:
        ValueError: a setting out of its range.
    """

    strength: float = 1.0
    judge: str = JUDGE
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "model_based"
    needs: ClassVar[frozenset[str]] = frozenset({"judge", "reference"})

    def __post_init__(self) -> None:
        check_range("strength", self.strength, 0.0, 1e6)

    def give(self, key, world, batch):
        world = required(world, self)
        worth = world.judge(key, batch, self.judge)
        if worth.ndim != batch.action.ndim + 1:
            raise ValueError(f"judge must be one of actions, got {self.judge!r}")
        said = jnp.isfinite(worth)
        prior = world.reference_probability(batch)
        told = jnp.where(said, worth, 0.0)
        tilt = self.strength * told
        better = log_ratios(tilt, prior)
        worse = log_ratios(-tilt, prior)
        lead = of_taken(better - worse, batch)
        # 0 where nothing is decided, since the lead is 0 there.
        value = jax.nn.sigmoid(lead) - 0.5
        used = cost(judge_calls=count(said))
        return value, used


def pair(
    batch: Batch,
) -> tuple[Bool[Array, "P N"], Bool[Array, "P N"]]:
    """The best and the worst of each group, no one where all that count are equal."""
    counted = batch.counted
    of_rows = counted[..., None]
    live = batch.live & of_rows
    earned = jnp.sum(batch.reward, axis=-1, where=live)
    best = _first_largest(earned, counted)
    worst = _first_largest(-earned, counted)
    most = jnp.sum(earned, axis=1, where=best)
    least = jnp.sum(earned, axis=1, where=worst)
    differ = most > least
    differ = differ[:, None]
    return best & differ, worst & differ


def _first_largest(
    x: Float[Array, "P N"],
    counted: Bool[Array, "P N"],
) -> Bool[Array, "P N"]:
    """The first of the largest of those that count."""
    never = -jnp.inf
    shown = jnp.where(counted, x, never)
    first = jnp.argmax(shown, axis=1, keepdims=True)
    place = jnp.arange(x.shape[1])
    return place[None, :] == first
