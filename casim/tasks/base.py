"""Task: a frozen recipe for an MDP, with one horizon knob."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, ClassVar, final

import jax
import numpy as np

from casim import identity
from casim.dynamics import observe
from casim.tasks.size import Size
from casim.types import MDP, Replay


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC):
    """A frozen dataclass whose fields are settings, checked when it is made.

    Class attributes:
        knob: the one field that sets the horizon.
    """

    knob: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Takes the digest of the source that defines the class.

        Rows of other code are told apart by it.
        """
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    @abc.abstractmethod
    def build(self) -> MDP:
        """The process itself."""

    def size(self, limit: float = math.inf) -> Size:
        """The lengths of its axes; a family that can tells them without laying anything out.

        Args:
            limit: of what is followed to find out, where a family has to.

        Raises:
            TooLargeError: the limit was met.
        """
        return Size.of(self.build())

    def believed(self) -> MDP:
        """The process as a judge of this task takes it to be.

        It is the process itself, unless the task fools judges. Dynamics, observations and units are
        those of `build`; rewards may differ.
        """
        return self.build()

    @property
    def replay(self) -> Replay:
        """How well a step of this task can be gone back to."""
        return Replay()

    @property
    def horizon(self) -> int:
        """The value of the horizon knob, in the task's own unit (steps or turns)."""
        return getattr(self, self.knob)

    def with_horizon(self, horizon: int) -> Task:
        """The same task at another value of its horizon knob."""
        return dataclasses.replace(self, **{self.knob: horizon})

    def observed(self) -> Task:
        """The fully observed twin: the same latent law, with the state shown."""
        return Observed(self)


@final
@dataclasses.dataclass(frozen=True)
class Observed(Task):
    """The fully observed twin of a task: its emission replaced by the identity."""

    task: Task
    knob: ClassVar[str] = "task"

    def size(self, limit: float = math.inf) -> Size:
        inner = self.task.size(limit)
        return inner._replace(observations=inner.states)

    def build(self) -> MDP:
        return observe(self.task.build())

    def believed(self) -> MDP:
        return observe(self.task.believed())

    @property
    def replay(self) -> Replay:
        return self.task.replay

    @property
    def horizon(self) -> int:
        return self.task.horizon

    def with_horizon(self, horizon: int) -> Observed:
        return Observed(self.task.with_horizon(horizon))

    def observed(self) -> Observed:
        return self


def per_occasion(total: float, times: int) -> float:
    """The probability p of one occasion for which `times` independent ones have that of `total`.

    In maths: p = 1 - (1 - total)^(1 / times). With it a longer episode is longer, not harder.
    """
    return 1 - (1 - total) ** (1 / times)


def table(kernels: list[dict]) -> dict[str, jax.Array]:
    """Packs kernels written as outcome lists into the MDP's `successor`, `prob` and `reward`.

    Args:
        kernels: one dict per kernel, from (state, action) to a list of (successor, probability,
            reward). Every kernel must list the same pairs. Outcomes of probability 0 are dropped;
            rows with fewer outcomes than the longest are padded by outcomes of probability 0.
    """
    pairs = list(kernels[0])
    places, acts = zip(*pairs, strict=True)
    states, actions = 1 + max(places), 1 + max(acts)
    rows = [_possible(kernel) for kernel in kernels]
    width = max(len(outcomes) for row in rows for outcomes in row.values())
    packed = np.zeros((3, len(kernels), states, actions, width))
    for index, row in enumerate(rows):
        for (state, action), outcomes in row.items():
            (first, _, _), *_ = outcomes
            missing = width - len(outcomes)
            padded = outcomes + [(first, 0.0, 0.0)] * missing
            packed[:, index, state, action] = np.array(padded).T
    successor, prob, reward = packed
    return {
        "successor": jax.numpy.asarray(successor, int),
        "prob": jax.numpy.asarray(prob),
        "reward": jax.numpy.asarray(reward),
    }


def _possible(kernel: dict) -> dict:
    """The outcomes of positive probability of every state and action."""
    rows = {}
    for pair, outcomes in kernel.items():
        rows[pair] = [outcome for outcome in outcomes if outcome[1] > 0]
    return rows
