"""Information gain: how much each step changed the probability of success, as a judge sees it.

In maths: c_t = p_t - p_{t-1} or log p_t - log p_{t-1}, with p_t the judge's score of the prefix
that ends with step t, less the reward already banked in it, and p_{-1} its score of the prompt. A
step without a score gets 0, and its gain goes to the next step that has one.

References:
    Wang et al. 2025, arXiv:2510.14967 (IGPO: the probability form, on the answer's own
    probability); the log form is the survey's reading of it, arXiv:2604.09459.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Source, cost, count, required
from casim.recurrence import affine_scan
from casim.simulate import JUDGE
from casim.targets import LogGain, Target, TdError


@final
@dataclasses.dataclass(frozen=True)
class InformationGain(Source):
    """Change of the judged success probability. Needs a judge of values.

    With a judge that is exact, the probability form is r_t + V_{t+1} - V_t at discount 1: its mean
    in a cell is the advantage, and the gradient is exact. The log form has a mean below zero under
    the policy (Jensen) and is biased. Neither is claimed for a judge that may be wrong, so
    `unbiased` is empty. Gains are not discounted, as published: below discount 1 they differ from
    the target even then.

    Attributes:
        form: "probability" or "log".
        floor: smallest probability inside the logarithm, in (0, 1).
        judge: the name of the judge that it asks.

    Raises:
        ValueError: a setting out of its range.
    """

    form: Literal["probability", "log"] = "probability"
    floor: float = 1e-2
    judge: str = JUDGE
    granularity: ClassVar[str] = "turn"
    methodology: ClassVar[str] = "information_theoretic"
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("form", self.form, ("probability", "log"))
        check_range("floor", self.floor, 1e-12, 1 - 1e-12)

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return TdError() if self.form == "probability" else LogGain(self.floor)

    def give(self, key, world, batch):
        world = required(world, self)
        score = world.judge(key, batch, self.judge)
        scored = jnp.isfinite(score)
        start = world.judge_prompt(key, batch, self.judge)
        before = before_of(score, scored, batch.reward, start)
        gain = self._potential(jnp.where(scored, score, 1.0)) - self._potential(before)
        calls = count(scored) + math.prod(score.shape[:-1])
        return jnp.where(scored & batch.live, gain, 0.0), cost(judge_calls=calls)

    def _potential(self, probability: Array) -> Array:
        return (
            probability
            if self.form == "probability"
            else jnp.log(jnp.maximum(probability, self.floor))
        )


def before_of(
    score: Float[Array, "P N T"],
    scored: Bool[Array, "P N T"],
    reward: Float[Array, "P N T"],
    start: Float[Array, "P N"],
) -> Float[Array, "P N T"]:
    """What was last scored before each step, less the rewards earned since."""
    keep = jnp.where(scored, 0.0, 1.0)
    left = jnp.where(scored, score, 0.0) - reward
    left = left.at[..., 0].add(keep[..., 0] * start)
    return affine_scan(keep, left, exclusive=True).at[..., 0].set(start)
