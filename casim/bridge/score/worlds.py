"""Six small worlds in which everything that a batch can be is listed, each with one difficulty.

All have three steps and two actions, and are filled up to one shape, so that a function's moments
are one program for all of them.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar, NamedTuple, final

import numpy as np

from casim.tasks import Bifurcation, ReasoningChain, Task, VariableTurns
from casim.tasks.rules import Layout, RuleTask
from casim.types import MDP, Kind

STEPS = 3
ACTIONS = 2
SCALE = 0.7
"""Of the policy's logits, which are drawn once."""
CALL, OUTPUT, ANSWER = range(3)
HEARD = 2
"""What is heard before a call: nothing."""


@final
@dataclasses.dataclass(frozen=True)
class Errand(RuleTask):
    """A call, a token that a tool writes, an answer: a hole in the mask between two decisions.

    The tool's answer is 0 or 1; calling by action 0 makes it 0 with probability 0.8, by another
    with 0.3. It pays 1 to answer what was heard if that is 0, and 0.25 if it is 1.
    """

    num_actions: int = 2
    discount: float = 1.0
    horizon_: int = 3
    knob: ClassVar[str] = "horizon_"
    kinds: ClassVar = {CALL: Kind.TOOL, OUTPUT: Kind.OUTPUT, ANSWER: Kind.ANSWER}

    def layout(self) -> Layout:
        code = np.array([CALL, OUTPUT, ANSWER])
        return Layout(code, segment=code, turn=np.array([0, 0, 1]))

    def start(self) -> dict:
        return {(HEARD,): 1.0}

    def moves(
        self,
        code: int,
        state: tuple[int],
        action: int,
    ) -> list:
        if code == CALL:
            chance = 0.8 if action == 0 else 0.3
            return [((0,), chance, 0.0), ((1,), 1 - chance, 0.0)]
        if code == OUTPUT:
            return [(state, 1.0, 0.0)]
        pay = (1.0, 0.25)[state[0]] if action == state[0] else 0.0
        return [(state, 1.0, pay)]


TASKS: dict[str, Task] = {
    "one chain": Bifurcation(horizon=3, pivots=(1,), gap=0.6),
    "unequal lengths, STOP": VariableTurns(num_turns=3, stop_rewards=(0.2, 1.0, 0.4)),
    "a tool's token between": Errand(),
    "prompts of other difficulty": ReasoningChain(
        num_steps=1,
        tokens_per_step=3,
        difficulty=(0.1, 0.95),
        correction=0.0,
        finish=1.0,
        luck=0.02,
        num_actions=2,
    ),
    "truncation": VariableTurns(num_turns=3, stop_rewards=(0.0, 0.0, 1.0)),
    "rewards of many values": VariableTurns(
        num_turns=3,
        stop_rewards=(-1.0, 0.5, 2.0),
        noise=0.25,
    ),
}
"""By what is difficult in them."""


class Small(NamedTuple):
    """A world to be listed."""

    name: str
    mdp: MDP
    policy: Any


@functools.cache
def small_worlds() -> tuple[Small, ...]:
    """All of them, in one shape; the policy is a softmax that favours some actions."""
    built = {name: _untied(task.build()) for name, task in TASKS.items()}
    shapes = [
        (mdp.prob.shape[1], mdp.emission.shape[2], mdp.prob.shape[3]) for mdp in built.values()
    ]
    states, observations, outcomes = np.max(shapes, axis=0)
    worlds = []
    for name, mdp in built.items():
        wide = _filled(mdp, states, observations, outcomes)
        logits = np.random.default_rng(1).normal(size=(STEPS, observations, ACTIONS))
        chance = np.exp(SCALE * logits)
        policy = chance / chance.sum(axis=-1, keepdims=True)
        worlds.append(Small(name, wide, policy))
    return tuple(worlds)


def _untied(mdp: MDP) -> MDP:
    """The same process in NumPy, with a kernel, a segment and a turn of its own for every step."""
    arrays = {name: np.asarray(x) for name, x in mdp._asdict().items()}
    step = np.arange(STEPS)
    for name in ("successor", "prob", "reward", "emission", "decision", "kind", "discount"):
        arrays[name] = arrays[name][arrays["schedule"]]
    fields: Any = arrays | dict.fromkeys(("schedule", "segment", "turn"), step)
    return MDP(**fields)


def _filled(
    mdp: Any,
    states: int,
    observations: int,
    outcomes: int,
) -> MDP:
    """The same process with states that nothing reaches, and outcomes of probability 0."""
    before, actions, width = mdp.prob.shape[1:]
    more = states - before
    seen = mdp.emission.shape[2]
    shape = (STEPS, more, actions, outcomes)

    def table(
        x: np.ndarray,
        fill: np.ndarray,
    ) -> np.ndarray:
        """A table `[M, S, A, K]` with rows of `fill` for the new states."""
        wide = np.pad(
            x,
            [(0, 0), (0, 0), (0, 0), (0, outcomes - width)],
        )
        new = np.broadcast_to(fill, shape).astype(x.dtype)
        return np.concatenate([wide, new], axis=1)

    def longer(x: np.ndarray) -> np.ndarray:
        """An array `[S]` with zeros for the new states."""
        return np.pad(x, (0, more))

    stay = np.arange(before, states)[None, :, None, None]
    sure = np.arange(outcomes) == 0
    emission = np.pad(
        mdp.emission,
        [(0, 0), (0, more), (0, observations - seen)],
    )
    emission[:, before:, 0] = 1.0
    return mdp._replace(
        start=longer(mdp.start),
        successor=table(mdp.successor, stay),
        prob=table(mdp.prob, sure),
        reward=table(mdp.reward, np.zeros(1)),
        emission=emission,
        terminal=longer(mdp.terminal),
        prompt=longer(mdp.prompt),
    )
