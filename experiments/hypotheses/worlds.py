"""A world and a policy of the claims that are not among casim's own."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim import MDP, Policy
from casim.checks import check_integer
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

VOTE, LAST = range(2)


@final
@dataclasses.dataclass(frozen=True)
class Preferences(Policy):
    """Softmax of standard normal logits times `scale`, drawn by NumPy: nothing is compiled."""

    scale: float = 0.5
    seed: int = 0

    def table(self, mdp: MDP) -> np.ndarray:
        kernels, _, observations = mdp.emission.shape
        shape = kernels, observations, mdp.prob.shape[2]
        weight = np.exp(self.scale * np.random.default_rng(self.seed).normal(size=shape))
        return weight / weight.sum(axis=-1, keepdims=True)


@final
@dataclasses.dataclass(frozen=True)
class Votes(RuleTask):
    """Every step is a vote and the majority decides: Var(R) is 1/4 whatever the length.

    In maths: the state counts the steps with action 0; the last step pays 1 if more than half of
    all steps took it.

    Attributes:
        horizon: T, an odd number.

    Raises:
        ValueError: a horizon that is even or below 1.
    """

    horizon: int = 9
    knob: ClassVar[str] = "horizon"
    num_actions: ClassVar[int] = 2
    discount: ClassVar[float] = 1.0
    kinds: ClassVar = {VOTE: Kind.THINK, LAST: Kind.THINK}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 1)
        if self.horizon % 2 == 0:
            raise ValueError(f"horizon must be odd, got {self.horizon}")

    def layout(self) -> Layout:
        code = np.full(self.horizon, VOTE)
        code[-1] = LAST
        return Layout(code, segment=np.arange(self.horizon))

    def start(self) -> dict:
        return {0: 1.0}

    def moves(self, code: int, state: int, action: int) -> list:
        votes = state + (action == 0)
        won = code == LAST and votes > self.horizon / 2
        return [(votes, 1.0, float(won))]
