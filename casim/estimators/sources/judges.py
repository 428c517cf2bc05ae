"""Process rewards from a judge, added up (sum-form) or reduced to the worst step (min-form).

In maths, with judge scores p_u of the policy's own steps, G_t = sum_{u >= t} w_u p_u. Sum-form: w =
1. Min-form: w_u = softmax_u(-p_u / temperature) over the trajectory, so that the sum is a soft
minimum. The two public branches of PURE take off different baselines, each from the other
trajectories j != i of the group:
- "per_step" (OpenRLHF branch): c_t = sum_{u >= t} (w_u p_u - b) over scored steps, b the mean
  weighted score per scored step. Where lengths differ it is not neutral: how many steps are to come
  depends on the action.
- "constant" (verl branch): c_t = G_t - b, b = sum_j sum_t G_jt / ((N - 1) T) over the steps that
  the policy decided, with T the padded length. It does not depend on the own actions, so the
  expected gradient is that without a baseline.
- "none": c_t = G_t.
Undiscounted, not whitened; steps that the judge did not score count nothing; a group of one has no
baseline.

References:
    Cheng et al. 2025, arXiv:2504.15275 (PURE: min-form, temperature 0.1, and the sum-form it is
    compared with), and its public code, whose branches differ in the baseline.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Source, cost, count, required
from casim.ops import leave_one_out, mean, returns_to_go
from casim.targets import Subgoal, Target

BASELINES = ("per_step", "constant", "none")


@final
@dataclasses.dataclass(frozen=True)
class ProcessReward(Source):
    """Reward-to-go of a judge's step scores. Biased for the advantage even with a perfect judge.

    Attributes:
        form: "sum" or "min".
        temperature: of the soft minimum, positive, in units of the score.
        baseline: "per_step", "constant" or "none", see above.

    Raises:
        ValueError: a setting out of its range.
    """

    form: Literal["sum", "min"] = "min"
    temperature: float = 0.1
    baseline: Literal["per_step", "constant", "none"] = "per_step"
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = Subgoal()
    needs: ClassVar[frozenset[str]] = frozenset({"judge", "group"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("form", self.form, ("sum", "min"))
        check_range("temperature", self.temperature, 1e-6, math.inf)
        check_choice("baseline", self.baseline, BASELINES)

    def give(self, key, world, batch):
        world = required(world, self)
        score = world.judge(key, batch)
        scored = jnp.isfinite(score) & batch.decided
        value = weighted_score(jnp.where(scored, score, 0.0), scored, self.form, self.temperature)
        alone = score.shape[1] == 1
        if self.baseline == "per_step" and not alone:
            value = jnp.where(scored, value - per_step(value, scored)[..., None], 0.0)
        credit = returns_to_go(value, 1.0, batch.live)
        if self.baseline == "constant" and not alone:
            baseline = constant(credit, batch.decided)[..., None]
            credit = jnp.where(batch.decided, credit - baseline, credit)
        return credit, cost(judge_calls=count(jnp.isfinite(score) & batch.live))


def per_step(value: Float[Array, "P N T"], scored: Bool[Array, "P N T"]) -> Float[Array, "P N"]:
    """Mean over the others of their mean weighted score per scored step."""
    own = mean(value, axis=-1, where=scored)[..., 0]
    return own - leave_one_out(own)


def constant(future: Float[Array, "P N T"], decided: Bool[Array, "P N T"]) -> Float[Array, "P N"]:
    """Mean over the others, and over the padded length, of their returns-to-go at decisions."""
    own = jnp.sum(jnp.where(decided, future, 0.0), axis=-1) / future.shape[-1]
    return own - leave_one_out(own)


def weighted_score(
    score: Float[Array, "P N T"], scored: Bool[Array, "P N T"], form: str, temperature: float
) -> Float[Array, "P N T"]:
    """The scores, or weighted by the softmax of their negatives; 0 where nothing was scored."""
    if form == "sum":
        return score
    weight = jax.nn.softmax(jnp.where(scored, -score / temperature, -jnp.inf), axis=-1)
    return jnp.where(scored, weight * score, 0.0)
