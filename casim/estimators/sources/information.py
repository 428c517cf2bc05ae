"""Information gain: how much each step changed what a judge expects.

In maths: c_t = f(p_t) - f(p_{t-1}), with p_t the judge's score of the prefix that ends with step t,
less the reward already banked in it, p_{-1} its score of the prompt, and f by form:

- "probability" p; "log" log p;
- "gap" -log(offset - log p), so that c is the log ratio of what was missing before and after;
- "attempts" 1 - (1 - p)^k, the probability that one of k attempts succeeds;
- "entropy" p log p + (1 - p) log(1 - p), so that c is what is no longer uncertain, in nats, of an
  outcome of 0 or 1.

A step without a score gets 0, and its gain goes to the next step that has one. `Pointwise` is the
other reading: log h(a_t | s_t, z) / pi(a_t | o_t), how much likelier the action is once the outcome
is known, whose mean is the mutual information of action and outcome.

References:
    Wang et al. 2025, arXiv:2510.14967 (IGPO: the probability form, on the answer's own
    probability); the log form is the survey's reading of it, arXiv:2604.09459. Auzina et al. 2026,
    arXiv:2602.12342 (DeltaBelief-RL: the log form of a belief). Tao et al. 2026, arXiv:2607.13988
    (TRACE: the gap). Che et al. 2026, arXiv:2606.25451 (SR-PPO: the attempts). Arumugam et al.
    2021, arXiv:2103.06224 (mutual information of action and return).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jax.scipy.special import entr
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import Source, cost, count, required
from casim.estimators.turns_ahead import not_last
from casim.recurrence import affine_scan
from casim.simulate import JUDGE
from casim.targets import EntropyGain, LogGain, Target, TdError
from casim.types import Batch, Cost

FORMS = ("probability", "log", "gap", "attempts", "entropy")
ENDS = ("gain", "outcome", "both", "nothing")
"""What the last turn of a trajectory can get."""


@final
@dataclasses.dataclass(frozen=True)
class InformationGain(Source):
    """Change of what a judge expects. Needs a judge of values, or of beliefs.

    With a judge of values that is exact, the probability form is r_t + V_{t+1} - V_t at discount 1:
    its mean in a cell is the advantage, and the gradient is exact. The log form has a mean below
    zero under the policy (Jensen) and is biased. So has that of k attempts: k (1 - V)^(k - 1) times
    the gain to first order, and as k grows whether success can be reached at all. None is claimed
    for a judge that may be wrong, so `unbiased` is empty. Gains are not discounted, as published:
    below discount 1 they differ from the target even then.

    A log's rewards are its gains, and nothing is asked: trainers write them there, with the outcome
    on the last turn, whose reward is no gain. `GainsAside` has the outcome alone.

    Attributes:
        form: "probability", "log", "gap", "attempts" or "entropy", see above.
        floor: smallest probability inside the logarithm, in (0, 1).
        judge: the name of the judge that it asks.
        of: what the judge scores: the "value" of the prefix, which holds the reward of its last
            step, or a "belief", which holds none.
        ends: what the last turn of the trajectory gets: its "gain"; "nothing"; the "outcome", which
            is then added wherever it is earned; or "both", the gain and the outcome.
        offset: of the gap, positive.
        attempts: k, at least 1.

    Raises:
        ValueError: a setting out of its range.
    """

    form: Literal["probability", "log", "gap", "attempts", "entropy"] = "probability"
    floor: float = 1e-2
    judge: str = JUDGE
    of: Literal["value", "belief"] = "value"
    ends: Literal["gain", "outcome", "both", "nothing"] = "gain"
    offset: float = 0.1
    attempts: int = 1
    granularity: ClassVar[str] = "turn"
    methodology: ClassVar[str] = "information_theoretic"
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("form", self.form, FORMS)
        check_range("floor", self.floor, 1e-12, 1 - 1e-12)
        check_choice("of", self.of, ("value", "belief"))
        check_choice("ends", self.ends, ENDS)
        check_range("offset", self.offset, 1e-12, math.inf)
        check_integer("attempts", self.attempts, 1)

    @property
    def target(self) -> Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self.form == "entropy":
            return EntropyGain()
        if self.form == "log":
            return LogGain(self.floor)
        return TdError()

    def give(self, key, world, batch):
        if world is None and batch.row is not None:
            shown = batch.live
            if self.ends == "nothing":
                shown = not_last(batch)
            counted = batch.counted[..., None]
            value = jnp.where(shown & counted, batch.reward, 0.0)
            return value, cost()
        gain, used = self._gain(key, world, batch)
        if self.ends in ("outcome", "nothing"):
            goes_on = not_last(batch)
            gain = jnp.where(goes_on, gain, 0.0)
        if self.ends in ("outcome", "both"):
            earned = jnp.where(batch.live, batch.reward, 0.0)
            gain = gain + earned
        return gain, used

    def _gain(self, key, world, batch: Batch) -> tuple[Float[Array, "P N T"], Cost]:
        """What every step changed, and what it cost to ask."""
        world = required(world, self)
        score = world.judge(key, batch, self.judge)
        scored = jnp.isfinite(score)
        start = world.judge_prompt(key, batch, self.judge)
        banked = batch.reward
        if self.of == "belief":
            banked = jnp.zeros_like(batch.reward)
        before = before_of(score, scored, banked, start)
        known = jnp.where(scored, score, 1.0)
        after = self._potential(known)
        gain = after - self._potential(before)
        prompts = math.prod(score.shape[:-1])
        calls = count(scored) + prompts
        there = scored & batch.live
        value = jnp.where(there, gain, 0.0)
        return value, cost(judge_calls=calls)

    def _potential(self, p: Array) -> Array:
        """What the gain is a difference of, by form."""
        forms = {
            "probability": self._probability,
            "log": self._log,
            "gap": self._gap,
            "attempts": self._attempts,
            "entropy": self._certainty,
        }
        return forms[self.form](p)

    def _probability(self, p: Array) -> Array:
        return p

    def _certainty(self, p: Array) -> Array:
        chance = jnp.clip(p, 0.0, 1.0)
        uncertainty = entr(chance) + entr(1 - chance)
        return -uncertainty

    def _log(self, p: Array) -> Array:
        known = jnp.maximum(p, self.floor)
        return jnp.log(known)

    def _gap(self, p: Array) -> Array:
        chance = jnp.minimum(p, 1.0)
        missing = self.offset - self._log(chance)
        return -jnp.log(missing)

    def _attempts(self, p: Array) -> Array:
        return 1 - (1 - p) ** self.attempts


def before_of(
    score: Float[Array, "P N T"],
    scored: Bool[Array, "P N T"],
    reward: Float[Array, "P N T"],
    start: Float[Array, "P N"],
) -> Float[Array, "P N T"]:
    """What was last scored before each step, less the rewards earned since."""
    keep = jnp.where(scored, 0.0, 1.0)
    said = jnp.where(scored, score, 0.0)
    left = said - reward
    of_prompt = keep[..., 0] * start
    left = left.at[..., 0].add(of_prompt)
    before = affine_scan(keep, left, exclusive=True)
    return before.at[..., 0].set(start)


@final
@dataclasses.dataclass(frozen=True)
class Pointwise(Source):
    """How much likelier the action is once the outcome is known, in nats.

    In maths: log h(a_t | s_t, z) / pi(a_t | o_t), by a judge that says h of every action. Its mean
    over actions and outcomes is the mutual information I(a; z | s), at least 0 whatever the action
    is worth; for an outcome of 0 or 1 it is log Q / V on success and log (1 - Q) / (1 - V) on
    failure: of the sign of the advantage, and not linear in it.

    Attributes:
        judge: the name of the judge that it asks, one like `casim.graders.Posterior`.
        floor: smallest probability inside the logarithm, in (0, 1).

    Raises:
        ValueError: a setting out of its range.
    """

    judge: str = JUDGE
    floor: float = 1e-6
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "information_theoretic"
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def __post_init__(self) -> None:
        check_range("floor", self.floor, 1e-12, 1 - 1e-12)

    def give(self, key, world, batch):
        world = required(world, self)
        said_of_all = world.judge(key, batch, self.judge)
        known = _taken(said_of_all, batch)
        acted = _taken(world.probability(batch), batch)
        said = jnp.isfinite(known) & batch.decided
        known = jnp.where(said, known, 1.0)
        acted = jnp.where(said, acted, 1.0)
        known = jnp.maximum(known, self.floor)
        acted = jnp.maximum(acted, self.floor)
        gain = jnp.log(known) - jnp.log(acted)
        value = jnp.where(said, gain, 0.0)
        return value, cost(judge_calls=count(said))


def _taken(of_all: Float[Array, "P N T A"], batch: Batch) -> Float[Array, "P N T"]:
    """What the action taken has."""
    action = batch.action[..., None]
    action = action.astype(jnp.int32)
    taken = jnp.take_along_axis(of_all, action, axis=-1)
    return taken[..., 0]
