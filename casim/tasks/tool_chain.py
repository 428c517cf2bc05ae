"""ToolChain: turns of tokens around a stochastic tool, with six diagnostics of credit as knobs.

In maths: the latent state is (z, y, g, c, x): the tool's mode z in {0, 1} and what its last output
said of it, y; whether the task is intact, g in {intact, broken}, and what the last output said of
that, c; and the tool's session x in {live, stale}, which is never shown. The agent sees (y, c). A
turn is `tokens_per_turn` tokens of the agent, the last of them the call, then `output_tokens`
tokens written by the tool:
- before the call nothing changes;
- the call matches if its action equals z in a live session, 1 - z in a stale one. A matching call
  works with probability `reliability`, another with 1 - `reliability`. A call that fails breaks an
  intact task with probability h w, one that works mends a broken task with probability m. Then z
  becomes min(action, 1) with probability C;
- at the last output token z switches with probability `switch` and x with probability T; y tells
  the new z, wrongly with probability O, and c tells g, wrongly with probability V / 2.

The last step of the last turn pays 1 if the task is intact. h = 1 - (1 - damage)^(1 / n), with n
the number of calls that do something, so that `damage` is the chance that failing all of them
breaks the task (at H = 0), and m likewise from `repair`: longer chains are longer, not harder.

With a `density` below 1 only n = max(1, round(density num_turns)) calls, spread evenly, do
something: the i-th turn's does where floor((i + 1) n / num_turns) > floor(i n / num_turns). The
others change nothing, neither task nor mode; they look and are chosen like any.

The diagnostics of agentic credit, each off at 0:
- T `non_closure`: equal text, other dynamics (hidden execution state).
- O `observation_noise`: the text omits what matters.
- R `replay_noise`: going back to a step restores the text, but with this probability redraws what
  is hidden; `branching` False forbids it.
- H `heterogeneity`: calls are tool calls, memory operations, messages and answers in turn, of
  weight w = 1, 1 - H/4, 1 - H/2, 1 - 3H/4.
- V `unverified`: whether the task is intact can be seen less and less, at 1 not at all.
- C `coupling`: two agents take turns, and what one calls moves the tool's mode under the other.

Optimum with all of them off: see `tests/tasks/test_tool_chain.py` for the recursion; the best agent
always matches, so that P(intact) obeys p' = p (1 - (1 - reliability) h) + (1 - p) reliability m.

What it separates: which assumption of single-turn credit a method rests on, one at a time.

References:
    The diagnostics T, O, R, H, V, C of Zhang 2026, arXiv:2604.09459; the table is casim's own.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import ClassVar, final

import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.base import per_occasion
from casim.tasks.rules import Layout, RuleTask
from casim.types import Kind, Replay

THINK, CALL, IDLE, OUTPUT, FINAL = 0, 1, 5, 6, 7
"""Codes of the steps; a call of the i-th kind has code CALL + i."""
SPARE = 8
"""The code of a call of the first kind that does nothing; of the i-th kind it is SPARE + i."""
CALLS = (Kind.TOOL, Kind.MEMORY, Kind.MESSAGE, Kind.ANSWER)
INTACT, BROKEN = 0, 1
LEAST = 1e-9
"""Density, which is above 0."""


@final
@dataclasses.dataclass(frozen=True)
class ToolChain(RuleTask):
    """Turns of tokens with a tool: a POMDP, unless all diagnostics are 0.

    The horizon is `num_turns`.

    Attributes:
        num_turns: turns, at least 1; T = num_turns (tokens_per_turn + output_tokens) steps.
        tokens_per_turn: the agent's tokens in a turn, the call included, at least 1.
        output_tokens: the tool's tokens in a turn, at least 1.
        reliability: how much better a matching call works, in [0, 1]; 0.5 makes all calls alike.
        damage: probability that failing every call breaks the task, in [0, 1].
        repair: probability that num_turns working calls mend a broken task, in [0, 1].
        switch: probability that the tool's mode changes in a turn, in [0, 1].
        non_closure: T, in [0, 0.5].
        observation_noise: O, in [0, 0.5].
        replay_noise: R, in [0, 1]; 1 only feeds the text again.
        heterogeneity: H, in [0, 1].
        unverified: V, in [0, 1].
        coupling: C, in [0, 1].
        branching: whether going back to a step is possible at all.
        density: share of the turns whose call does something, in (0, 1]; at least one does.
        num_actions: actions at every token, at least 2; actions 2 and up never match.
        discount: in [0, 1]; of every step, or where `discount_within` is set of the last in a turn.
        discount_within: of the other steps of a turn, in [0, 1]; None is `discount`. At 1, time is
            counted in turns.

    Raises:
        ValueError: a setting out of its range.
    """

    num_turns: int = 4
    tokens_per_turn: int = 3
    output_tokens: int = 1
    reliability: float = 0.9
    damage: float = 0.95
    repair: float = 0.0
    switch: float = 0.3
    non_closure: float = 0.0
    observation_noise: float = 0.0
    replay_noise: float = 0.0
    heterogeneity: float = 0.0
    unverified: float = 0.0
    coupling: float = 0.0
    branching: bool = True
    density: float = 1.0
    num_actions: int = 2
    discount: float = 1.0
    discount_within: float | None = None
    knob: ClassVar[str] = "num_turns"
    kinds: ClassVar = {
        THINK: Kind.THINK,
        **{CALL + i: kind for i, kind in enumerate(CALLS)},
        **{SPARE + i: kind for i, kind in enumerate(CALLS)},
        **dict.fromkeys((IDLE, OUTPUT, FINAL), Kind.OUTPUT),
    }

    def __post_init__(self) -> None:
        for field in ("num_turns", "tokens_per_turn", "output_tokens"):
            check_integer(field, getattr(self, field), 1)
        check_integer("num_actions", self.num_actions, 2)
        for field in ("reliability", "damage", "repair", "switch", "discount"):
            check_range(field, getattr(self, field), 0.0, 1.0)
        if self.discount_within is not None:
            check_range("discount_within", self.discount_within, 0.0, 1.0)
        for field in ("replay_noise", "heterogeneity", "unverified", "coupling"):
            check_range(field, getattr(self, field), 0.0, 1.0)
        for field in ("non_closure", "observation_noise"):
            check_range(field, getattr(self, field), 0.0, 0.5)
        check_range("density", self.density, LEAST, 1.0)

    @property
    def replay(self) -> Replay:
        return Replay(self.replay_noise, self.branching)

    @property
    def num_deciding(self) -> int:
        """Turns whose call does something."""
        return max(1, round(self.density * self.num_turns))

    @property
    def _does(self) -> np.ndarray:
        """Whether the call of each turn does something."""
        turns = np.arange(self.num_turns + 1)
        before = turns * self.num_deciding // self.num_turns
        return np.diff(before) > 0

    def layout(self) -> Layout:
        turn = (
            [THINK] * (self.tokens_per_turn - 1)
            + [CALL]
            + [IDLE] * (self.output_tokens - 1)
            + [OUTPUT]
        )
        number = np.repeat(np.arange(self.num_turns), len(turn))
        code = np.tile(turn, self.num_turns)
        if self.heterogeneity > 0:
            kind = number % len(CALLS)
            code = np.where(code == CALL, CALL + kind, code)
        is_call = (code >= CALL) & (code < IDLE)
        is_spare = is_call & ~self._does[number]
        code = np.where(is_spare, code - CALL + SPARE, code)
        code[-1] = FINAL
        agent = number % 2 if self.coupling > 0 else None
        written = (code >= IDLE) & (code < SPARE)
        return Layout(code, segment=2 * number + written, turn=number, agent=agent)

    def start(self) -> dict:
        """A fair mode, a first output that tells it and that all is well, a live session."""
        return {
            (z, y, INTACT, INTACT, 0): 0.5 * _told(y, z, self.observation_noise)
            for z, y in np.ndindex(2, 2)
        }

    def discounts(
        self,
        code: int,
    ) -> float:
        ends_turn = code in (OUTPUT, FINAL)
        if ends_turn or self.discount_within is None:
            return self.discount
        return self.discount_within

    def shows(
        self,
        code: int,
        state: tuple[int, ...],
    ) -> tuple[int, int]:
        return state[1], state[3]

    def moves(
        self,
        code: int,
        state: tuple[int, ...],
        action: int,
    ) -> list:
        z, y, g, c, x = state
        if CALL <= code < IDLE:
            matches = action == z ^ x
            kind = code - CALL
            weight = 1 - self.heterogeneity * kind / len(CALLS)
            broken = self._broken_after(g, matches, weight)
            modes = ((z, 1 - self.coupling), (min(action, 1), self.coupling))
            tasks = ((INTACT, 1 - broken), (BROKEN, broken))
            outcomes = []
            for (mode, p), (after, q) in itertools.product(modes, tasks):
                outcome = ((mode, y, after, c, x), p * q, 0.0)
                outcomes.append(outcome)
            return outcomes
        if code in (OUTPUT, FINAL):
            pay = float(code == FINAL and g == INTACT)
            modes = ((z, 1 - self.switch), (1 - z, self.switch))
            sessions = ((x, 1 - self.non_closure), (1 - x, self.non_closure))
            outcomes = []
            for (mode, p), (session, q) in itertools.product(modes, sessions):
                for said, verdict in np.ndindex(2, 2):
                    r = _told(said, mode, self.observation_noise)
                    s = _told(verdict, g, self.unverified / 2)
                    after = (mode, said, g, verdict, session)
                    outcomes.append((after, p * q * r * s, pay))
            return outcomes
        return [(state, 1.0, 0.0)]

    def _broken_after(
        self,
        task: int,
        matches: bool,
        weight: float,
    ) -> float:
        works = self.reliability if matches else 1 - self.reliability
        if task == BROKEN:
            repaired = per_occasion(self.repair, self.num_deciding)
            return 1 - works * repaired
        damaged = per_occasion(self.damage, self.num_deciding)
        return (1 - works) * damaged * weight


def _told(
    said: int,
    truth: int,
    noise: float,
) -> float:
    return 1 - noise if said == truth else noise
