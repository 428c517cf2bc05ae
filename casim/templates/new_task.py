"""NewTask: a draft gets better or worse step by step, and the last step submits it.

In maths: a level in {0, 1, 2}, 0 at the start; action 0 raises it with probability `skill` and
lowers it otherwise, every other action lowers it; the last step pays 1 with probability level / 2.

Check it against the contract:

    python new_task.py

Then put it into a study, in an experiment file (`casim new experiment NAME` writes one):

    from new_task import NewTask
    casim.Study("name", (NewTask(horizon=8), NewTask(horizon=16)), estimators)

References:
    Author, year, arXiv id, if a source has this world.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import numpy as np

import casim.tasks
import casim.types
from casim.checks import check_integer, check_range

WORK, SUBMIT = range(2)
"""Kinds of steps. Steps of one kind share a kernel, so a million of them cost the tables of one."""
BEST = 2
"""The highest level."""


@final
@dataclasses.dataclass(frozen=True)
class NewTask(casim.tasks.RuleTask):
    """Work on a draft, then submit it. The horizon is `horizon`.

    Attributes:
        horizon: at least 2, the number of steps.
        skill: in [0, 1], the probability that the right action improves the draft.
        num_actions: at least 2.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    # Fields are settings: they are part of the row, and `casim ablate` can vary them.
    horizon: int = 6
    skill: float = 0.7
    num_actions: int = 2
    discount: float = 1.0

    # The one field that makes episodes longer.
    knob: ClassVar[str] = "horizon"
    # What an action is at each kind of step; at a step of kind OUTPUT the policy decides nothing.
    kinds: ClassVar = {WORK: casim.types.Kind.THINK, SUBMIT: casim.types.Kind.ANSWER}

    def __post_init__(self) -> None:
        check_integer("horizon", self.horizon, 2)
        check_range("skill", self.skill, 0.0, 1.0)
        check_integer("num_actions", self.num_actions, 2)
        check_range("discount", self.discount, 0.0, 1.0)

    def layout(self) -> casim.tasks.Layout:
        """The kind of every step, and the segment that it belongs to: here each step is one."""
        code = np.full(self.horizon, WORK)
        code[-1] = SUBMIT
        return casim.tasks.Layout(code, segment=np.arange(self.horizon))

    def start(self) -> dict:
        """States, tuples of small integers, and their probabilities."""
        return {(0,): 1.0}

    def moves(self, code: int, state: tuple[int], action: int) -> list:
        """What can follow one state: the next one, its probability, the reward on the way."""
        (level,) = state
        if code == SUBMIT:
            good = level / BEST
            return [(state, good, 1.0), (state, 1 - good, 0.0)]
        better, worse = (min(level + 1, BEST),), (max(level - 1, 0),)
        if action == 0:
            return [(better, self.skill, 0.0), (worse, 1 - self.skill, 0.0)]
        return [(worse, 1.0, 0.0)]

    # Hidden state is a method `shows(code, state)`, an early end a method `ends(state)`;
    # `casim.tasks.RuleTask` describes both.


if __name__ == "__main__":
    from casim.testing import check_task

    # The second is small enough for every trajectory to be listed.
    check_task(NewTask(), NewTask(horizon=3, discount=0.9))
    print("NewTask passes the contract of tasks")
