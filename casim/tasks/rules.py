"""RuleTask: a task written as rules for single states, from which its MDP is assembled.

The states of the MDP are those that the rules can reach from the start, in sorted order, whatever
the policy does. A state that cannot be met at some kind of step stays put there and pays nothing.
"""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np

from casim.tasks.base import Task
from casim.tasks.size import Growth, Size, TooLargeError
from casim.types import MDP, Kind

State = Any
"""A sortable, hashable description of a latent state: a tuple of small integers."""
Outcome = tuple[State, float, float]
"""Successor, its probability, and the reward on the way."""


class Layout(NamedTuple):
    """What each step of an episode is; arrays `[T]`."""

    code: np.ndarray
    """Which kind of step, as the rules number them: steps of one code share a kernel."""
    segment: np.ndarray
    turn: np.ndarray | None = None
    """None is one turn."""
    agent: np.ndarray | None = None
    """None is one agent."""


class RuleTask(Task):
    """A task that says what single states do; `build` makes the arrays.

    Attributes:
        num_actions: A, the number of actions at every step; a field or a class attribute.
        discount: of every step, unless `discounts` says otherwise; a field or a class attribute.
        kinds: type of the action, for each code. At codes of kind OUTPUT the policy decides
            nothing, and `moves` is asked about action 0 alone.
    """

    num_actions: int
    discount: float
    kinds: ClassVar[Mapping[int, Kind]]

    @abc.abstractmethod
    def layout(self) -> Layout:
        """The steps of an episode."""

    @abc.abstractmethod
    def start(self) -> Mapping[State, float]:
        """P(s_0)."""

    @abc.abstractmethod
    def moves(
        self,
        code: int,
        state: State,
        action: int,
    ) -> Sequence[Outcome]:
        """What can follow; probabilities sum to 1.

        One successor may be listed with several rewards.
        """

    def shows(
        self,
        code: int,
        state: State,
    ) -> Hashable | Mapping[Hashable, float]:
        """The observation, or the probabilities of several.

        It is the state itself unless a task hides something.
        """
        return state

    def prompt(
        self,
        state: State,
    ) -> int:
        """The label, from 0, of the prompt that a start state belongs to: by default of one."""
        return 0

    def discounts(
        self,
        code: int,
    ) -> float:
        """What a kind of step discounts the values after it by."""
        return self.discount

    def ends(
        self,
        state: State,
    ) -> bool:
        """Whether the episode is over in a state."""
        return False

    def states(self) -> list[State]:
        """What each latent state of the MDP is, in the order of their numbers."""
        return _explore(self).states

    def size(
        self,
        limit: float = math.inf,
    ) -> Size:
        """The lengths of its axes, from the rules alone: nothing is laid out.

        Args:
            limit: most (kind of step, state, action) whose outcomes are asked for.

        Raises:
            TooLargeError: there are more, and how the number of states grew until then.
        """
        codes, _, schedule = self._kernels()
        here, rows, states = _explore(self, limit)
        shown = set()
        for code, present in zip(codes, here, strict=True):
            shown.update(name for state in present for name in _spread(self.shows(code, state)))
        return Size(
            steps=len(schedule),
            kernels=len(codes),
            states=len(states),
            observations=len(shown),
            actions=self.num_actions,
            outcomes=_width(rows),
        )

    def _kernels(self) -> tuple[list[int], list[bool], list[int]]:
        """The code of each kernel, whether it is a decision, and the kernel of each step."""
        used, schedule = np.unique(self.layout().code, return_inverse=True)
        codes = [int(code) for code in used]
        return codes, [self.kinds[code] != Kind.OUTPUT for code in codes], schedule.tolist()

    def build(self) -> MDP:
        layout = self.layout()
        codes, decision, schedule = self._kernels()
        start = {state: p for state, p in self.start().items() if p > 0}
        here, rows, states = _explore(self)
        zeros = np.zeros(len(schedule), int)
        arrays = {
            "start": np.array([start.get(state, 0.0) for state in states], float),
            "schedule": np.array(schedule, int),
            **_transitions(rows, states, decision, self.num_actions),
            "emission": _emission(self, codes, here, states),
            "terminal": np.array([self.ends(state) for state in states], bool),
            "decision": np.array(decision, bool),
            "kind": np.array([self.kinds[code] for code in codes], int),
            "segment": np.asarray(layout.segment, int),
            "turn": zeros if layout.turn is None else np.asarray(layout.turn, int),
            "agent": zeros if layout.agent is None else np.asarray(layout.agent, int),
            "discount": np.array([self.discounts(code) for code in codes], float),
            "prompt": np.array([self.prompt(x) if x in start else 0 for x in states], int),
        }
        # Nothing is compiled for that, unlike for `jnp.asarray`.
        return MDP(**jax.device_put(arrays))


class Explored(NamedTuple):
    """What the rules reach from the start."""

    here: list[set]
    """The states that each kernel can meet."""
    rows: dict[tuple[int, State, int], list[Outcome]]
    """What follows, by kernel, state and action."""
    states: list[State]
    """All of them, in order."""


def _explore(
    task: RuleTask,
    limit: float = math.inf,
) -> Explored:
    """Follows the rules step by step.

    A set of states that meets a kernel it has met before is followed from memory, and the rest of a
    run of equal kernels is skipped once a step leaves the set as it is: a million steps cost at
    most a million look-ups.

    Args:
        task: whose rules.
        limit: most entries of `rows`.

    Raises:
        TooLargeError: there are more.
    """
    codes, decision, schedule = task._kernels()
    here: list[set] = [set() for _ in codes]
    rows: dict[tuple[int, State, int], list[Outcome]] = {}
    follow: dict[tuple[frozenset, int], frozenset] = {}
    present = frozenset(state for state, p in task.start().items() if p > 0)
    seen, before = set(present), len(present)
    for kernel, steps in _runs(schedule):
        actions = range(task.num_actions if decision[kernel] else 1)
        for step in steps:
            met = len(seen)
            after = follow.get((present, kernel))
            if after is None:
                if len(rows) + len(present) * len(actions) > limit:
                    growth = Growth(step, len(schedule), task.num_actions, met, met / before)
                    raise TooLargeError(task, growth)
                going = [state for state in present if not task.ends(state)]
                reached = set(present.difference(going))
                for state, action in itertools.product(going, actions):
                    row = rows.get((kernel, state, action))
                    if row is None:
                        moves = task.moves(codes[kernel], state, action)
                        row = rows[kernel, state, action] = [move for move in moves if move[1] > 0]
                    reached.update(successor for successor, _, _ in row)
                after = follow[present, kernel] = frozenset(reached)
                here[kernel] |= present
                seen |= after
            before = met
            if after == present:
                break
            present = after
    return Explored(here, rows, sorted(seen))


def _runs(schedule: list[int]) -> Iterator[tuple[int, range]]:
    """Each run of equal entries, and the steps that it covers."""
    first = 0
    for kernel, run in itertools.groupby(schedule):
        last = first + sum(1 for _ in run)
        yield kernel, range(first, last)
        first = last


def _transitions(
    rows: dict,
    states: list,
    decision: list[bool],
    num_actions: int,
) -> dict[str, np.ndarray]:
    """The arrays `successor`, `prob`, `reward` [M, S, A, K]."""
    index = {state: i for i, state in enumerate(states)}
    width = _width(rows)
    shape = (len(decision), len(states), num_actions, width)
    successor = np.broadcast_to(np.arange(len(states))[None, :, None, None], shape).copy()
    prob, reward = np.zeros(shape), np.zeros(shape)
    prob[..., 0] = 1.0
    for (kernel, state, action), outcomes in rows.items():
        # Where the policy decides nothing, every action does what action 0 does.
        entry = (kernel, index[state], action if decision[kernel] else slice(None))
        padded = outcomes + [(outcomes[0][0], 0.0, 0.0)] * (width - len(outcomes))
        successor[entry] = [index[after] for after, _, _ in padded]
        prob[entry] = [p for _, p, _ in padded]
        reward[entry] = [pay for _, _, pay in padded]
    return {"successor": successor, "prob": prob, "reward": reward}


def _width(rows: dict) -> int:
    """K, the most outcomes of an action."""
    return max((len(outcomes) for outcomes in rows.values()), default=1)


def _emission(
    task: RuleTask,
    codes: list[int],
    here: list[set],
    states: list,
) -> np.ndarray:
    """P(o | s) [M, S, O]; observations are numbered in sorted order.

    A state that a kernel never meets shows there what it shows elsewhere, or the first observation.
    """
    shown: list[list[Mapping]] = []
    for code, present in zip(codes, here, strict=True):
        told = {state: task.shows(code, state) for state in present}
        shown.append([_spread(told[state]) if state in told else {} for state in states])
    names = sorted({name for told in shown for row in told for name in row})
    index = {name: i for i, name in enumerate(names)}
    emission = np.zeros((len(codes), len(states), len(names)))
    for number in range(len(states)):
        elsewhere = next((told[number] for told in shown if told[number]), {names[0]: 1.0})
        for kernel, told in enumerate(shown):
            for name, p in (told[number] or elsewhere).items():
                emission[kernel, number, index[name]] = p
    return emission


def _spread(told: Hashable | Mapping[Hashable, float]) -> Mapping[Hashable, float]:
    return (
        {name: p for name, p in told.items() if p > 0} if isinstance(told, Mapping) else {told: 1.0}
    )
