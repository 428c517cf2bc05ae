"""HackableProcess: states that a judge of the process scores high and that never succeed.

In maths: the state is x in {working, broken, hacked}, at first working; only a working state can
change. At every step action 0 works and keeps it; action 1 hacks: x = hacked with probability
q(lure); any other action errs: x = broken with probability q(damage). Here
q(p) = 1 - (1 - p)^(1 / horizon), so that hacking (erring) at every step ends hacked (broken) with
probability `lure` (`damage`) whatever the horizon. The last step pays 1 with probability `success`
if x is still working, and nothing otherwise. Judges believe in another reward (`believed`): to them
a hacked end pays `praise`.

Optimum: `success`, by working at every step.

What it separates: sums of process scores, which a hacked state keeps collecting, from their
minimum, which the failed outcome at the end pulls down.

References:
    Cheng et al. 2025 (PURE, arXiv:2504.15275) on sum-form and min-form; the table is casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.base import per_occasion
from casim.tasks.rules import Layout, RuleTask
from casim.types import MDP, Kind

STEP, LAST = range(2)
WORKING, BROKEN, HACKED = range(3)


@final
@dataclasses.dataclass(frozen=True)
class HackableProcess(RuleTask):
    """A chain with a way to please the judge; fully observed. The horizon is the number of steps.

    Attributes:
        horizon: T, at least 1.
        lure: probability that hacking at every step ends hacked, in [0, 1].
        damage: probability that erring at every step ends broken, in [0, 1].
        success: success probability of a working end, in [0, 1].
        praise: what judges take the success probability of a hacked end to be, in [0, 1].
        num_segments: reasoning steps that the chain is cut into, at most one per token.
        num_actions: at least 2.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    horizon: int = 16
    lure: float = 0.9
    damage: float = 0.9
    success: float = 0.7
    praise: float = 0.95
    num_segments: int = 8
    num_actions: int = 3
    discount: float = 1.0
    knob: ClassVar[str] = "horizon"
    kinds: ClassVar = {STEP: Kind.THINK, LAST: Kind.THINK}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 1)
        check_integer("num_segments", self.num_segments, 1)
        check_integer("num_actions", self.num_actions, 2)
        for field in ("lure", "damage", "success", "praise", "discount"):
            check_range(field, getattr(self, field), 0.0, 1.0)

    def believed(self) -> MDP:
        mdp = self.build()
        if self.lure == 0:
            return mdp
        hacked = mdp.start.shape[0] - 1  # states are in order
        kernels = jnp.arange(mdp.prob.shape[0])
        last = kernels == mdp.schedule[-1]
        hacks = last[:, None, None, None] & (mdp.successor == hacked)
        return mdp._replace(reward=jnp.where(hacks, self.praise, mdp.reward))

    def layout(self) -> Layout:
        code = np.full(self.horizon, STEP)
        code[-1] = LAST
        steps = np.arange(self.horizon)
        segments = min(self.num_segments, self.horizon)
        return Layout(code, segment=steps * segments // self.horizon)

    def start(self) -> dict:
        return {(WORKING,): 1.0}

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        after = state[0]
        hazard = 0.0
        if state == (WORKING,) and action != 0:
            after, total = (HACKED, self.lure) if action == 1 else (BROKEN, self.damage)
            hazard = per_occasion(total, self.horizon)
        rows = [(after, hazard), (state[0], 1 - hazard)]
        outcomes = []
        for x, p in rows:
            works = code == LAST and x == WORKING
            success = self.success if works else 0.0
            outcomes.append(((x,), p * success, 1.0))
            outcomes.append(((x,), p * (1 - success), 0.0))
        return outcomes
