"""Process rewards from a judge, added up (sum-form) or reduced to the worst step (min-form).

In maths, with judge scores p_u of the policy's own steps: c_t = sum_{u >= t} (w_u p_u - b). Sum-form: w = 1.
Min-form: w_u = softmax_u(-p_u / temperature) over the trajectory, so that the sum is a soft minimum. b is the mean
weighted score per scored step of the other trajectories of the group (0 in a group of one, or without baseline).
Undiscounted, not whitened; steps that the judge did not score count nothing.

References:
    Cheng et al. 2025, arXiv:2504.15275 (PURE: min-form, temperature 0.1, and the sum-form it is compared with).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Estimator, cost, count, required
from casim.ops import leave_one_out, returns_to_go
from casim.types import Credit


@final
@dataclasses.dataclass(frozen=True)
class ProcessReward(Estimator):
    """Reward-to-go of a judge's step scores. Biased for the advantage even with a perfect judge.

    Attributes:
        form: "sum" or "min".
        temperature: of the soft minimum, positive, in units of the score.
        baseline: subtract the per-step mean score of the others of the group.

    Raises:
        ValueError: a setting out of its range.
    """

    form: Literal["sum", "min"] = "min"
    temperature: float = 0.1
    baseline: bool = True
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[str] = "subgoal"
    needs: ClassVar[frozenset[str]] = frozenset({"judge", "group"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("form", self.form, ("sum", "min"))
        check_range("temperature", self.temperature, 1e-6, math.inf)

    def __call__(self, key, world, batch) -> Credit:
        world = required(world, self)
        score = world.judge(key, batch)
        scored = jnp.isfinite(score) & batch.live & world.decision[None, :]
        value = weighted_score(jnp.where(scored, score, 0.0), scored, self.form, self.temperature)
        if self.baseline and score.shape[0] > 1:
            mean = jnp.sum(value, axis=1) / jnp.maximum(jnp.sum(scored, axis=1), 1)
            others = mean - leave_one_out(mean)
            value = jnp.where(scored, value - others[:, None], 0.0)
        credit = returns_to_go(value, 1.0, batch.live)
        return Credit(credit, cost(judge_calls=count(jnp.isfinite(score) & batch.live)))


def weighted_score(
    score: Float[Array, "N T"], scored: Bool[Array, "N T"], form: str, temperature: float
) -> Float[Array, "N T"]:
    """The scores themselves, or weighted by the softmax of their negatives; 0 where nothing was scored."""
    if form == "sum":
        return score
    weight = jax.nn.softmax(jnp.where(scored, -score / temperature, -jnp.inf), axis=-1)
    return jnp.where(scored, weight * score, 0.0)
