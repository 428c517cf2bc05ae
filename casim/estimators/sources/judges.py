"""Process rewards from a judge, added up (sum-form) or reduced to the worst step (min-form).

In maths, with judge scores p_u of the policy's own steps, G_t = sum_{u >= t} w_u p_u. Sum-form: w =
1. Min-form: w_u = softmax_u(-p_u / temperature) over the trajectory, so that the sum is a soft
minimum. Hard form: w_u = 1 at the first of the lowest scores, w, and 0 elsewhere, so that G_t =
min_{u >= t} p_u for t <= w and 0 after. The two public branches of PURE take off different
baselines, each from the other trajectories j != i of the group:
- "per_step" (OpenRLHF branch, its default): c_t = sum_{u >= t} (w_u p_u - b) over scored steps, b
  the mean weighted score per scored step. Where lengths differ it is not neutral: how many steps
  are to come depends on the action.
- "per_token" (OpenRLHF branch, as its scripts run it): b times the tokens of the step before its
  scored one, b the others' weighted scores over their tokens, each added up first.
- "constant" (verl branch): c_t = G_t - b, b = sum_j sum_t G_jt / ((N - 1) T) over the steps that
  the policy decided, with T the padded length. It does not depend on the own actions, so the
  expected gradient is that without a baseline.
- "none": c_t = G_t.
Undiscounted, not whitened; steps that the judge did not score count nothing; a group of one has no
baseline. A log's rewards are its scores: decisions whose reward is not 0 were scored.

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
from casim.ops import leave_one_out, mean, returns_to_go, shift_right
from casim.recurrence import affine_scan
from casim.simulate import JUDGE
from casim.targets import Subgoal, Target
from casim.types import Batch

BASELINES = ("per_step", "per_token", "constant", "none")


@final
@dataclasses.dataclass(frozen=True)
class ProcessReward(Source):
    """Reward-to-go of a judge's step scores. Biased for the advantage even with a perfect judge.

    Attributes:
        form: "sum", "min" or "hard".
        temperature: of the soft minimum, positive, in units of the score.
        baseline: "per_step", "per_token", "constant" or "none", see above.
        judge: the name of the judge that it asks.

    Raises:
        ValueError: a setting out of its range.
    """

    form: Literal["sum", "min", "hard"] = "min"
    temperature: float = 0.1
    baseline: Literal["per_step", "per_token", "constant", "none"] = "per_step"
    judge: str = JUDGE
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = Subgoal()
    needs: ClassVar[frozenset[str]] = frozenset({"judge", "group"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("form", self.form, ("sum", "min", "hard"))
        check_range("temperature", self.temperature, 1e-6, math.inf)
        check_choice("baseline", self.baseline, BASELINES)

    def give(self, key, world, batch):
        is_log = world is None and batch.row is not None
        if is_log:
            score = _of_log(batch)
        else:
            world = required(world, self)
            score = world.judge(key, batch, self.judge)
        counted = batch.counted[..., None]
        there = batch.live & counted
        given = jnp.isfinite(score) & there
        scored = given & batch.decision
        score = jnp.where(scored, score, 0.0)
        value = weighted_score(score, scored, self.form, self.temperature)
        if self.baseline == "per_step":
            baseline = per_step(value, scored, batch.counted)
            baseline = baseline[..., None]
            above = value - baseline
            value = jnp.where(scored, above, 0.0)
        if self.baseline == "per_token":
            mean = per_token(value, scored, batch)
            above = value - mean
            value = jnp.where(scored, above, 0.0)
        credit = returns_to_go(value, 1.0, batch.live)
        if self.baseline == "constant":
            baseline = constant(credit, batch)
            above_zero = baseline[..., None]
            less = credit - above_zero
            credit = jnp.where(batch.decided, less, credit)
        calls = 0.0 if is_log else count(given)
        return credit, cost(judge_calls=calls)


def _of_log(
    batch: Batch,
) -> Float[Array, "P N T"]:
    """The rewards of a log, NaN where there is none."""
    scored = batch.reward != 0
    return jnp.where(scored, batch.reward, jnp.nan)


def per_step(
    value: Float[Array, "P N T"],
    scored: Bool[Array, "P N T"],
    counted: Bool[Array, "P N"] | None = None,
) -> Float[Array, "P N"]:
    """Mean over the others of their mean weighted score per scored step."""
    on_average = mean(value, axis=-1, where=scored)
    own = on_average[..., 0]
    return own - leave_one_out(own, counted)


def per_token(
    value: Float[Array, "P N T"],
    scored: Bool[Array, "P N T"],
    batch: Batch,
) -> Float[Array, "P N T"]:
    """The others' mean weighted score per token, times the tokens of the step.

    The scored token, a separator, is not counted in its step, but in the length.
    """
    counted = batch.counted[..., None]
    decided = batch.decided & counted
    score = jnp.sum(value, axis=-1, keepdims=True)
    length = jnp.sum(decided, axis=-1, keepdims=True)
    all_score = jnp.sum(score, axis=1, keepdims=True)
    all_length = jnp.sum(length, axis=1, keepdims=True)
    others_score = all_score - score
    others_length = all_length - length
    each = others_score / jnp.maximum(others_length, 1)
    text = decided & ~scored
    # The running count starts anew after a scored token.
    begins = shift_right(scored, False)
    keep = jnp.where(begins, 0.0, 1.0)
    counted_text = text.astype(value.dtype)
    since = affine_scan(keep, counted_text)
    return each * since


def constant(
    future: Float[Array, "P N T"],
    batch: Batch,
) -> Float[Array, "P N"]:
    """Mean over the others, and over the padded length, of their returns-to-go at decisions."""
    decided = jnp.where(batch.decided, future, 0.0)
    total = jnp.sum(decided, axis=-1)
    steps = future.shape[-1]
    own = total / steps
    return own - leave_one_out(own, batch.counted)


def weighted_score(
    score: Float[Array, "P N T"],
    scored: Bool[Array, "P N T"],
    form: str,
    temperature: float,
) -> Float[Array, "P N T"]:
    """The scores, or weighted by how low they are; 0 where nothing was scored."""
    if form == "sum":
        return score
    if form == "hard":
        of_scored = jnp.where(scored, score, jnp.inf)
        lowest = jnp.argmin(of_scored, axis=-1)
        steps = score.shape[-1]
        is_lowest = jax.nn.one_hot(lowest, steps, dtype=bool)
        return jnp.where(scored & is_lowest, score, 0.0)
    scaled = -score / temperature
    odds = jnp.where(scored, scaled, -jnp.inf)
    weight = jax.nn.softmax(odds, axis=-1)
    weighed = weight * score
    return jnp.where(scored, weighed, 0.0)
