"""VariableTurns: the agent ends the episode itself, so trajectories of a group differ in length.

In maths, at turn t with action 0 = STOP, any other = CONTINUE, taken at the last token of the turn:
STOP pays stop_rewards[t mod len] +- noise (fair coin) and terminates; CONTINUE goes on and pays
nothing. CONTINUE at the last turn earns 0: that episode is truncated, not terminated. No other
token matters.

Optimum (discount 1): max_t stop_rewards[t mod len] over t < num_turns, or 0 if all of them are
negative.

What it separates: baselines per turn, per trajectory and per token, which meet different numbers of
peers where lengths differ; and row-weighted from trajectory-weighted means where length and return
correlate.

References:
    The defaults are the variable-horizon world of AgentCreditBench: STOP pays 0, 2, 1, 3, 0 by
    step.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

FILLER = -1
DONE, RUNNING = (0,), (1,)


@final
@dataclasses.dataclass(frozen=True)
class VariableTurns(RuleTask):
    """Turns that the agent may end; fully observed. The horizon is `num_turns`.

    Attributes:
        num_turns: the most turns, at least 1; T = num_turns tokens_per_turn steps.
        stop_rewards: what STOP pays at turn 0, 1, ...; repeated if there are more turns. At least
            one.
        noise: half the distance of the two rewards that STOP pays at random, at least 0.
        tokens_per_turn: at least 1; the last of them decides.
        num_actions: at least 2; all but action 0 continue.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    num_turns: int = 5
    stop_rewards: tuple[float, ...] = (0.0, 2.0, 1.0, 3.0, 0.0)
    noise: float = 0.0
    tokens_per_turn: int = 1
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "num_turns"

    def __post_init__(self) -> None:
        check_integer("num_turns", self.num_turns, 1)
        check_integer("number of stop_rewards", len(self.stop_rewards), 1)
        check_integer("tokens_per_turn", self.tokens_per_turn, 1)
        check_integer("num_actions", self.num_actions, 2)
        check_range("noise", self.noise, 0.0, math.inf)
        check_range("discount", self.discount, 0.0, 1.0)
        for reward in self.stop_rewards:
            check_range("stop_rewards (an entry)", reward, -math.inf, math.inf)

    @property
    def kinds(self) -> dict[int, Kind]:
        return {FILLER: Kind.THINK} | dict.fromkeys(range(len(self.stop_rewards)), Kind.ANSWER)

    def layout(self) -> Layout:
        turn = np.repeat(np.arange(self.num_turns), self.tokens_per_turn)
        last = np.arange(len(turn)) % self.tokens_per_turn == self.tokens_per_turn - 1
        return Layout(
            np.where(last, turn % len(self.stop_rewards), FILLER), segment=turn, turn=turn
        )

    def start(self) -> dict:
        return {RUNNING: 1.0}

    def ends(self, state: tuple[int]) -> bool:
        return state == DONE

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        if code == FILLER or action != 0:
            return [(state, 1.0, 0.0)]
        reward = self.stop_rewards[code]
        if self.noise == 0:
            return [(DONE, 1.0, reward)]
        return [(DONE, 0.5, reward + self.noise), (DONE, 0.5, reward - self.noise)]
