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
Rows = dict[tuple[int, State, int], list[Outcome]]
"""What can follow each kernel, state and action."""


class Layout(NamedTuple):
    """What each step of an episode is; arrays `[T]`."""

    code: np.ndarray
    """Which kind of step, as the rules number them: steps of one code share a kernel."""
    segment: np.ndarray
    turn: np.ndarray | None = None
    """None is one turn."""

    @classmethod
    def first_apart(cls, code: np.ndarray) -> Layout:
        """Two segments: the first step, and all others."""
        steps = np.arange(len(code))
        return cls(code, segment=np.minimum(steps, 1))

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
            for state in present:
                shown.update(_spread(self.shows(code, state)))
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
        layout = self.layout()
        used, schedule = np.unique(layout.code, return_inverse=True)
        codes = used.tolist()
        decision = [self.kinds[code] != Kind.OUTPUT for code in codes]
        return codes, decision, schedule.tolist()

    def build(self) -> MDP:
        layout = self.layout()
        codes, decision, schedule = self._kernels()
        start = _possible(self.start())
        here, rows, states = _explore(self)
        alike = np.zeros(len(schedule), int)
        turn = alike if layout.turn is None else layout.turn
        agent = alike if layout.agent is None else layout.agent
        chances = [start.get(state, 0.0) for state in states]
        prompts = [self.prompt(state) if state in start else 0 for state in states]
        ends = [self.ends(state) for state in states]
        kinds = [self.kinds[code] for code in codes]
        discounts = [self.discounts(code) for code in codes]
        arrays = {
            "start": np.array(chances, float),
            "schedule": np.array(schedule, int),
            **_transitions(rows, states, decision, self.num_actions),
            "emission": _emission(self, codes, here, states),
            "terminal": np.array(ends, bool),
            "decision": np.array(decision, bool),
            "kind": np.array(kinds, int),
            "segment": np.asarray(layout.segment, int),
            "turn": np.asarray(turn, int),
            "agent": np.asarray(agent, int),
            "discount": np.array(discounts, float),
            "prompt": np.array(prompts, int),
        }
        # Nothing is compiled for that, unlike for `jnp.asarray`.
        return MDP(**jax.device_put(arrays))


class Explored(NamedTuple):
    """What the rules reach from the start."""

    here: list[set]
    """The states that each kernel can meet."""
    rows: Rows
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
    rows: Rows = {}
    follow: dict[tuple[frozenset, int], frozenset] = {}
    present = frozenset(_possible(task.start()))
    seen = set(present)
    before = len(seen)
    for kernel, steps in _runs(schedule):
        number = task.num_actions if decision[kernel] else 1
        for step in steps:
            met = len(seen)
            after = follow.get((present, kernel))
            if after is None:
                needed = len(rows) + len(present) * number
                if needed > limit:
                    growth = Growth(step, len(schedule), task.num_actions, met, met / before)
                    raise TooLargeError(task, growth)
                after = _after(task, codes, kernel, number, present, rows)
                follow[present, kernel] = after
                here[kernel] |= present
                seen |= after
            before = met
            if after == present:
                break
            present = after
    return Explored(here, rows, sorted(seen))


def _after(
    task: RuleTask,
    codes: list[int],
    kernel: int,
    num_actions: int,
    present: frozenset,
    rows: Rows,
) -> frozenset:
    """The states that one step leads to; what it does in each is noted in `rows`."""
    going = [state for state in present if not task.ends(state)]
    reached = set(present.difference(going))
    for state, action in itertools.product(going, range(num_actions)):
        entry = (kernel, state, action)
        if entry not in rows:
            moves = task.moves(codes[kernel], state, action)
            rows[entry] = [move for move in moves if move[1] > 0]
        for successor, _, _ in rows[entry]:
            reached.add(successor)
    return frozenset(reached)


def _possible(chances: Mapping[Any, float]) -> dict[Any, float]:
    """What has a positive probability."""
    return {name: p for name, p in chances.items() if p > 0}


def _runs(schedule: list[int]) -> Iterator[tuple[int, range]]:
    """Each run of equal entries, and the steps that it covers."""
    first = 0
    for kernel, run in itertools.groupby(schedule):
        last = first + len(list(run))
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
    itself = np.arange(len(states))[None, :, None, None]
    successor = np.broadcast_to(itself, shape).copy()
    prob = np.zeros(shape)
    reward = np.zeros(shape)
    prob[..., 0] = 1.0
    for (kernel, state, action), outcomes in rows.items():
        # Where the policy decides nothing, every action does what action 0 does.
        actions = action if decision[kernel] else slice(None)
        entry = (kernel, index[state], actions)
        (first, _, _), *_ = outcomes
        missing = width - len(outcomes)
        padded = outcomes + [(first, 0.0, 0.0)] * missing
        after, chance, pay = zip(*padded, strict=True)
        successor[entry] = [index[state] for state in after]
        prob[entry] = chance
        reward[entry] = pay
    return {"successor": successor, "prob": prob, "reward": reward}


def _width(rows: dict) -> int:
    """K, the most outcomes of an action."""
    sizes = map(len, rows.values())
    return max(sizes, default=1)


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
        told = [_spread(task.shows(code, state)) if state in present else {} for state in states]
        shown.append(told)
    names = _names(shown)
    index = {name: i for i, name in enumerate(names)}
    shape = (len(codes), len(states), len(names))
    emission = np.zeros(shape)
    for number, by_kernel in enumerate(zip(*shown, strict=True)):
        elsewhere = next(filter(None, by_kernel), {names[0]: 1.0})
        for kernel, told in enumerate(by_kernel):
            row = told or elsewhere
            for name, p in row.items():
                emission[kernel, number, index[name]] = p
    return emission


def _spread(told: Hashable | Mapping[Hashable, float]) -> Mapping[Hashable, float]:
    if not isinstance(told, Mapping):
        return {told: 1.0}
    return _possible(told)


def _names(shown: list[list[Mapping]]) -> list:
    """All observations that are shown anywhere, in order."""
    names = set()
    for told in shown:
        for row in told:
            names.update(row)
    return sorted(names)
