"""ToolChain: turns of tokens around a stochastic tool with a hidden mode, and one sparse success at the end.

In maths: the latent state is (z, y, g): the tool's mode z in {0, 1}, what its last output said y in {0, 1},
and whether the task is intact, g in {intact, broken}. The agent sees y only. A turn is `tokens_per_turn`
tokens of the agent, the last of them the call, then `output_tokens` tokens written by the tool:
- before the call nothing changes;
- the call matches if its action equals z, and then works with probability `reliability`, else with
  probability 1 - `reliability`; a call that fails breaks an intact task with probability h, one that works
  mends a broken task with probability `repair`;
- at the last output token z switches with probability `switch`, and y tells the new z, wrongly with
  probability `observation_noise`.
The last step of the last turn pays 1 if the task is intact. The break probability per failed call is
h = 1 - (1 - damage)^(1 / num_turns), so that `damage` is the chance that failing every call breaks the
task, whatever the number of turns: longer chains are longer, not harder.

References:
    The turn POMDP with hidden execution state of Zhang 2026, arXiv:2604.09459; the table is casim's own.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np

from casim.checks import check_integer, check_range
from casim.tasks.base import Task, table
from casim.types import MDP, Kind

THINK, CALL, IDLE, OUTPUT, FINAL = range(5)
INTACT, BROKEN = 0, 1


@final
@dataclasses.dataclass(frozen=True)
class ToolChain(Task):
    """Turns of tokens with a tool whose mode is hidden: a POMDP. The horizon is `num_turns`.

    Attributes:
        num_turns: turns, at least 1; T = num_turns (tokens_per_turn + output_tokens) steps.
        tokens_per_turn: the agent's tokens in a turn, the call included, at least 1.
        output_tokens: the tool's tokens in a turn, at least 1.
        reliability: how much better a matching call works, in [0, 1]; 0.5 makes all calls alike.
        damage: probability that failing every call breaks the task, in [0, 1].
        repair: probability that a working call mends a broken task, in [0, 1].
        switch: probability that the tool's mode changes in a turn, in [0, 1].
        observation_noise: probability that the output tells the wrong mode, in [0, 1].
        num_actions: actions at every token, at least 2; actions 2 and up never match.
        discount: in [0, 1].

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
    observation_noise: float = 0.1
    num_actions: int = 2
    discount: float = 1.0
    knob: ClassVar[str] = "num_turns"

    def __post_init__(self) -> None:
        for field in ("num_turns", "tokens_per_turn", "output_tokens"):
            check_integer(field, getattr(self, field), 1)
        check_integer("num_actions", self.num_actions, 2)
        for field in ("reliability", "damage", "repair", "switch", "observation_noise", "discount"):
            check_range(field, getattr(self, field), 0.0, 1.0)

    def build(self) -> MDP:
        turn = [THINK] * (self.tokens_per_turn - 1) + [CALL] + [IDLE] * (self.output_tokens - 1) + [OUTPUT]
        code = np.array(turn * self.num_turns)
        code[-1] = FINAL
        used, schedule = np.unique(code, return_inverse=True)
        kinds = {THINK: Kind.THINK, CALL: Kind.TOOL, IDLE: Kind.OUTPUT, OUTPUT: Kind.OUTPUT, FINAL: Kind.OUTPUT}
        step = np.arange(len(code))
        written = code >= IDLE
        told = np.array([(state // 2) % 2 for state in range(8)])
        return MDP(
            start=jnp.asarray(self._start()),
            schedule=jnp.asarray(schedule, int),
            **table([self._kernel(int(c)) for c in used]),
            emission=jnp.broadcast_to(jnp.eye(2)[told], (len(used), 8, 2)),
            terminal=jnp.zeros(8, bool),
            decision=jnp.asarray(used < IDLE),
            kind=jnp.asarray([int(kinds[c]) for c in used], int),
            segment=jnp.asarray(2 * (step // len(turn)) + written, int),
            turn=jnp.asarray(step // len(turn), int),
            agent=jnp.zeros(len(code), int),
            discount=jnp.asarray(self.discount, float),
        )

    def _start(self) -> np.ndarray:
        """A fair mode, a first output that tells it, an intact task."""
        start = np.zeros(8)
        for mode in (0, 1):
            for told in (0, 1):
                start[_state(mode, told, INTACT)] = 0.5 * self._told(mode, told)
        return start

    def _told(self, mode: int, told: int) -> float:
        return 1 - self.observation_noise if told == mode else self.observation_noise

    def _kernel(self, code: int) -> dict:
        rows = {}
        for mode, told, task in np.ndindex(2, 2, 2):
            for action in range(self.num_actions):
                row = [(_state(mode, told, task), 1.0, 0.0)]
                if code == CALL:
                    broken = self._broken_after(task, action == mode)
                    row = [(_state(mode, told, INTACT), 1 - broken, 0.0), (_state(mode, told, BROKEN), broken, 0.0)]
                if code in (OUTPUT, FINAL):
                    pay = float(code == FINAL and task == INTACT)
                    row = [
                        (_state(z, y, task), (self.switch if z != mode else 1 - self.switch) * self._told(z, y), pay)
                        for z, y in np.ndindex(2, 2)
                    ]
                rows[_state(mode, told, task), action] = row
        return rows

    def _broken_after(self, task: int, matches: bool) -> float:
        works = self.reliability if matches else 1 - self.reliability
        hazard = 1 - (1 - self.damage) ** (1 / self.num_turns)
        return (1 - works) * hazard if task == INTACT else 1 - works * self.repair


def _state(mode: int, told: int, task: int) -> int:
    return 4 * mode + 2 * told + task
