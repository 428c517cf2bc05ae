"""Fitted: any task in tables of a given size, so that one compiled program measures many tasks.

In maths: the same process, with states that nothing reaches, observations that nothing shows,
successors of probability 0 and kernels that no step follows. Values, advantages and visits are
those of the task, and trajectories are the same to the last bit. Where `units` is set, turns and
segments are as many equal parts of the episode: step t of T is in part floor(units t / T).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, final

import jax
import numpy as np

from casim.checks import check_integer
from casim.tasks import Size, Task
from casim.types import MDP, Kind, Replay

AXES = ("kernels", "states", "observations", "outcomes")
"""What can be padded: lengths of tables that no step has to use."""
BY_STATE = ("start", "terminal", "prompt")
BY_KERNEL_AND_STATE = ("successor", "prob", "reward", "emission")
"""Arrays of a process by their first axes."""


@final
@dataclasses.dataclass(frozen=True)
class Fitted(Task):
    """A task in larger tables. The horizon is that of the task.

    Attributes:
        task: the task itself.
        kernels: M, at least as many as the task has, like the next three.
        states: S.
        observations: O.
        outcomes: K.
        units: equal parts that are turn and segment of a step, at most T; 0 leaves those of the
            task.

    Raises:
        ValueError: a setting out of its range, when the process is built too.
    """

    task: Task
    kernels: int
    states: int
    observations: int
    outcomes: int
    units: int = 0
    knob: ClassVar[str] = "task"

    def __post_init__(self) -> None:
        for axis in AXES:
            check_integer(axis, getattr(self, axis), 1)
        check_integer("units", self.units, 0)

    @property
    def horizon(self) -> int:
        return self.task.horizon

    @property
    def replay(self) -> Replay:
        return self.task.replay

    def with_horizon(
        self,
        horizon: int,
    ) -> Fitted:
        task = self.task.with_horizon(horizon)
        return dataclasses.replace(self, task=task)

    def size(
        self,
        limit: float = math.inf,
    ) -> Size:
        inner = self.task.size(limit)
        own = {axis: getattr(self, axis) for axis in AXES}
        return inner._replace(**own)

    def build(self) -> MDP:
        mdp = self.task.build()
        return self._fit(mdp)

    def believed(self) -> MDP:
        mdp = self.task.believed()
        return self._fit(mdp)

    def _fit(
        self,
        mdp: MDP,
    ) -> MDP:
        size = Size.of(mdp)
        more = self._missing(size)
        arrays = mdp._asdict()
        for name, x in arrays.items():
            arrays[name] = np.asarray(x)
        for name in ("successor", "prob", "reward"):
            arrays[name] = _padded(arrays[name], 3, more["outcomes"])
        arrays["emission"] = _padded(arrays["emission"], 2, more["observations"])
        arrays |= _with_states(arrays, more["states"])
        arrays |= _with_kernels(arrays, more["kernels"])
        if self.units:
            steps = len(arrays["schedule"])
            arrays |= self._cut(steps)
        return MDP(**jax.device_put(arrays))

    def _missing(
        self,
        size: Size,
    ) -> dict[str, int]:
        """How much longer each axis is to be.

        Raises:
            ValueError: one is longer already.
        """
        missing = {}
        for axis in AXES:
            own = getattr(size, axis)
            wanted = getattr(self, axis)
            field = f"{axis} of a fitted {type(self.task).__name__}"
            check_integer(field, wanted, own)
            missing[axis] = wanted - own
        return missing

    def _cut(
        self,
        steps: int,
    ) -> dict[str, np.ndarray]:
        """Turns and segments as equal parts."""
        check_integer("units", self.units, 1, steps)
        part = np.arange(steps) * self.units // steps
        return {"turn": part, "segment": part}


def fit(
    tasks: Sequence[Task],
    units: int = 0,
) -> list[Fitted]:
    """All tasks in tables that the largest of each axis fits."""
    sizes = [task.size() for task in tasks]
    largest = {}
    for axis in AXES:
        lengths = [getattr(size, axis) for size in sizes]
        largest[axis] = max(lengths)
    return [Fitted(task, **largest, units=units) for task in tasks]


def _padded(
    x: np.ndarray,
    axis: int,
    number: int,
) -> np.ndarray:
    """Zeros at the end of an axis."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, number)
    return np.pad(x, widths)


def _with_states(
    arrays: dict[str, np.ndarray],
    number: int,
) -> dict[str, np.ndarray]:
    """States that nothing reaches: they stay put, earn nothing and show the first observation."""
    first = len(arrays["start"])
    found = {}
    for name in BY_STATE:
        found[name] = _padded(arrays[name], 0, number)
    for name in BY_KERNEL_AND_STATE:
        found[name] = _padded(arrays[name], 1, number)
    own = np.arange(first, first + number)
    added = slice(first, None)
    found["successor"][:, added] = own[None, :, None, None]
    found["prob"][:, added, :, 0] = 1
    found["emission"][:, added, 0] = 1
    return found


def _with_kernels(
    arrays: dict[str, np.ndarray],
    number: int,
) -> dict[str, np.ndarray]:
    """Kernels that no step follows: nothing happens there, and nothing is decided."""
    found = {}
    for name in (*BY_KERNEL_AND_STATE, "decision", "kind"):
        found[name] = _padded(arrays[name], 0, number)
    states = found["prob"].shape[1]
    own = np.arange(states)
    added = slice(len(arrays["decision"]), None)
    found["successor"][added] = own[None, :, None, None]
    found["prob"][added, :, :, 0] = 1
    found["emission"][added, :, 0] = 1
    found["kind"][added] = int(Kind.OUTPUT)
    # The discount of another kernel: where all share one, they still do.
    found["discount"] = np.pad(arrays["discount"], (0, number), mode="edge")
    return found
