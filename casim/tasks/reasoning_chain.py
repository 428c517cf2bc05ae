"""ReasoningChain: steps of tokens with forks, errors to correct, lucky guesses, a length to choose.

In maths: the state is (d, x): the prompt's difficulty d, and the derivation x in {wrong, open,
ready}. A step is `tokens_per_step` tokens: first the planning tokens (forks), then procedural
tokens, last the token that may stop.
- fork: action 0 turns wrong into open with probability m and keeps the rest; any other action turns
  open and ready into wrong with probability h_d;
- procedural token: nothing happens, whatever the action;
- last token of a step: the last action (A - 1) stops and answers, if `may_stop`; any other turns
  open into ready with probability q;
- last token of all: open becomes ready with probability q, then the answer is given.

An answer succeeds (pays 1) for certain if ready and with probability `luck` otherwise, and
terminates. With F the number of forks,

    h_d = 1 - (1 - d)^(1 / F),
    m = 1 - (1 - correction)^(1 / F),
    q = 1 - (1 - finish)^(1 / num_steps):

failing at every fork goes wrong with probability d, right forks throughout mend a wrong derivation
with probability `correction`, and a faultless derivation is ready in the end with probability
`finish`, whatever the horizon.

Optimum: finish + (1 - finish) luck for every prompt, by action 0 at forks and stopping when ready.

What it separates: credit for steps from credit for outcomes. A wrong step lies inside successful
trajectories where it was corrected or the guess was lucky; going on after `ready` can only lose;
prompts of different difficulty share a group baseline unless a method keeps them apart; and only
the forks matter.

References:
    Forks, a high-entropy fifth of the tokens: Wang et al. 2025, "Beyond the 80/20 rule",
    arXiv:2506.01939. The wrong derivation inside a success is the prefix trap of Zhang 2026,
    arXiv:2604.09459. The table is casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.base import per_occasion
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind

FORK, PROCEDURE, CHECK, ANSWER = range(4)
WRONG, OPEN, READY = range(3)
DONE = (-1, WRONG)


@final
@dataclasses.dataclass(frozen=True)
class ReasoningChain(RuleTask):
    """A token chain of reasoning steps; fully observed. The horizon is `num_steps`.

    Attributes:
        num_steps: reasoning steps, at least 1; T = num_steps tokens_per_step.
        tokens_per_step: at least 2.
        fork_share: share of a step's tokens (all but its last) that are forks, rounded, at least
            one; in [0, 1].
        difficulty: one entry per prompt, each in [0, 1]: how likely failing at every fork is to go
            wrong. Prompts are equally likely.
        correction: probability that right forks throughout mend a wrong derivation, in [0, 1].
        finish: probability that a faultless derivation is ready in the end, in [0, 1].
        luck: success probability of an answer that is not ready, in [0, 1].
        may_stop: whether the agent may answer at the end of every step.
        num_actions: at least 2.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    num_steps: int = 10
    tokens_per_step: int = 50
    fork_share: float = 0.2
    difficulty: tuple[float, ...] = (0.3, 0.7, 0.95)
    correction: float = 0.5
    finish: float = 0.9
    luck: float = 0.1
    may_stop: bool = True
    num_actions: int = 3
    discount: float = 1.0
    knob: ClassVar[str] = "num_steps"
    kinds: ClassVar = {
        FORK: Kind.THINK,
        PROCEDURE: Kind.THINK,
        CHECK: Kind.ANSWER,
        ANSWER: Kind.ANSWER,
    }

    def __post_init__(self) -> None:
        check_integer("num_steps", self.num_steps, 1)
        check_integer("tokens_per_step", self.tokens_per_step, 2)
        check_integer("num_actions", self.num_actions, 2)
        check_integer("number of difficulty entries", len(self.difficulty), 1)
        for entry in self.difficulty:
            check_range("difficulty (an entry)", entry, 0.0, 1.0)
        for field in ("fork_share", "correction", "finish", "luck", "discount"):
            check_range(field, getattr(self, field), 0.0, 1.0)

    @property
    def forks_per_step(self) -> int:
        """Planning tokens in a step."""
        return max(1, round(self.fork_share * (self.tokens_per_step - 1)))

    def layout(self) -> Layout:
        procedures = self.tokens_per_step - 1 - self.forks_per_step
        step = [FORK] * self.forks_per_step + [PROCEDURE] * procedures + [CHECK]
        code = np.tile(step, self.num_steps)
        code[-1] = ANSWER
        return Layout(code, segment=np.arange(len(code)) // self.tokens_per_step)

    def start(self) -> dict:
        return {(prompt, OPEN): 1 / len(self.difficulty) for prompt in range(len(self.difficulty))}

    def prompt(
        self,
        state: tuple[int, int],
    ) -> int:
        difficulty, _ = state
        return difficulty

    def ends(
        self,
        state: tuple[int, int],
    ) -> bool:
        return state == DONE

    def moves(
        self,
        code: int,
        state: tuple[int, int],
        action: int,
    ) -> list:
        prompt, x = state
        if code == FORK:
            return self._fork(prompt, x, action)
        if code == CHECK and self.may_stop and action == self.num_actions - 1:
            return self._answer(float(x == READY))
        if code == ANSWER:
            chance = {WRONG: 0.0, OPEN: self._arrival, READY: 1.0}
            return self._answer(chance[x])
        if code == CHECK and x == OPEN:
            arrives = ((prompt, READY), self._arrival, 0.0)
            waits = ((prompt, OPEN), 1 - self._arrival, 0.0)
            return [arrives, waits]
        return [(state, 1.0, 0.0)]

    def _fork(
        self,
        prompt: int,
        x: int,
        action: int,
    ) -> list:
        forks = self.num_steps * self.forks_per_step
        change, after = 0.0, x
        if action == 0 and x == WRONG:
            change, after = per_occasion(self.correction, forks), OPEN
        elif action != 0 and x != WRONG:
            change, after = per_occasion(self.difficulty[prompt], forks), WRONG
        changes = ((prompt, after), change, 0.0)
        stays = ((prompt, x), 1 - change, 0.0)
        return [changes, stays]

    @property
    def _arrival(self) -> float:
        return per_occasion(self.finish, self.num_steps)

    def _answer(
        self,
        ready: float,
    ) -> list:
        success = ready + (1 - ready) * self.luck
        return [(DONE, success, 1.0), (DONE, 1 - success, 0.0)]
