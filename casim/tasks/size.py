"""Size: how large a task is, and what to say of one that is too large to lay out."""

from __future__ import annotations

import sys
from typing import NamedTuple

from casim.types import MDP

NUMBER_BYTES = 4
"""Of a probability, a reward or an index, in single precision."""


class Size(NamedTuple):
    """The lengths of a task's axes."""

    steps: int
    kernels: int
    states: int
    observations: int
    actions: int
    outcomes: int

    @classmethod
    def of(cls, mdp: MDP) -> Size:
        """Of a task that is laid out."""
        kernels, states, actions, outcomes = mdp.prob.shape
        return cls(
            steps=mdp.schedule.shape[0],
            kernels=kernels,
            states=states,
            observations=mdp.emission.shape[2],
            actions=actions,
            outcomes=outcomes,
        )

    @property
    def num_bytes(self) -> int:
        """At least what its tables and its exact values take, in single precision.

        In maths: M S (3 A K + O) numbers for what the process does, M S A for the policy of states,
        T S (A + 3) for advantages, values, occupancies and past rewards.
        """
        process = 3 * self.actions * self.outcomes + self.observations
        rules = self.kernels * self.states * process
        policy = self.kernels * self.states * self.actions
        truth = self.steps * self.states * (self.actions + 3)
        return NUMBER_BYTES * (rules + policy + truth)


class Growth(NamedTuple):
    """How the number of states that were met grew, as far as steps were followed."""

    followed: int
    """Steps."""
    steps: int
    """T."""
    actions: int
    """A."""
    states: int
    """Met by then."""
    factor: float
    """How many times as many as one step before."""

    @property
    def expected(self) -> float:
        """States after all steps, if every step multiplies them as the last one did."""
        exponent = self.steps - self.followed
        try:
            return self.states * self.factor**exponent
        except OverflowError:
            return sys.float_info.max


class TooLargeError(ValueError):
    """A task has more states than one wants to follow."""

    def __init__(self, task: object, growth: Growth):
        self.growth = growth
        super().__init__(
            f"{task} is too large to lay out: "
            f"{growth.states:,} states after {growth.followed:,} of {growth.steps:,} steps, "
            f"{growth.factor:.3g} times as many with each; "
            f"if that goes on, {growth.expected:.2g} states"
        )
