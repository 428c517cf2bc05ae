"""Rewards of a reward model that reads prefixes: how each step changed what it says.

In maths, with f(w_<t) what a judge of values says of the prefix before step t, less the reward that
is already earned, and f after the last step what the episode earned:

    c_t = r_t + f(w_<=t) - f(w_<t),        sum_t c_t = R - f(prompt).

So f is a potential: summed from a step on, c is R - f(w_<t), REINFORCE with a baseline that knows
the prefix, and the gradient is exact for any f. As credit of its own step c is the advantage only
if f is the value.

References:
    Li et al. 2024, arXiv:2411.08302 (RED); Ng, Harada and Russell 1999 (potentials).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax.numpy as jnp

from casim.estimators.accumulate import last_of
from casim.estimators.base import Source, cost, count, required
from casim.estimators.sources.information import before_of
from casim.simulate import JUDGE
from casim.targets import Target, TdError


@final
@dataclasses.dataclass(frozen=True)
class PrefixReward(Source):
    """Change of a judge's score of the prefix, with the true outcome at the end.

    A step that the judge does not score gets 0, and its gain goes to the next that has a score.

    Attributes:
        judge: the name of the judge of values that it asks.
    """

    judge: str = JUDGE
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = TdError()
    needs: ClassVar[frozenset[str]] = frozenset({"judge"})

    def give(self, key, world, batch):
        world = required(world, self)
        said = world.judge(key, batch, self.judge)
        start = world.judge_prompt(key, batch, self.judge)
        last = last_of(batch.live)
        asked = jnp.isfinite(said)
        scored = asked | last
        # Nothing follows the last step, whatever the judge believes.
        score = jnp.where(last, batch.reward, jnp.where(asked, said, 0.0))
        before = before_of(score, scored, batch.reward, start)
        gain = jnp.where(scored, score - before, 0.0)
        calls = count(asked) + math.prod(start.shape)
        return jnp.where(batch.live, gain, 0.0), cost(judge_calls=calls)
