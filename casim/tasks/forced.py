"""Forced: any task with steps put in that have only one action, so that no credit is due there.

In maths: after every `every`-th unit one step at which s' = s and r = 0 whatever the action, the
policy decides nothing (its probability of action 0 is 1) and one blank symbol is shown. It
discounts as the step that it follows. The latent law of all other steps is that of the task; at
discount 1 so are all values, advantages and occupancies.

What it separates: methods whose credit is relative to other steps of the same trajectory. A forced
action has hindsight probability 1 and takes credit from a pivot in every normalisation within a
trajectory.

References:
    Forced turns as a control: casim's own, derived from the self-normalised hindsight ratio of
    HCAPO (arXiv:2603.08754).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax.numpy as jnp
import numpy as np

from casim.checks import check_choice, check_integer
from casim.tasks.base import Task
from casim.tasks.size import Size
from casim.types import MDP, Kind, Replay


@final
@dataclasses.dataclass(frozen=True)
class Forced(Task):
    """A task with forced steps. The horizon is that of the task.

    Attributes:
        task: the task itself.
        every: one forced step after every `every`-th unit but the last, at least 1.
        unit: "turn" (each forced step is a turn and a segment of its own), "segment" (a segment of
            its own in the turn where it lies) or "step" (part of the segment where it lies).

    Raises:
        ValueError: a setting out of its range.
    """

    task: Task
    every: int = 1
    unit: Literal["turn", "segment", "step"] = "turn"
    knob: ClassVar[str] = "task"

    def __post_init__(self) -> None:
        check_integer("every", self.every, 1)
        check_choice("unit", self.unit, ("turn", "segment", "step"))

    @property
    def horizon(self) -> int:
        return self.task.horizon

    @property
    def replay(self) -> Replay:
        return self.task.replay

    def with_horizon(
        self,
        horizon: int,
    ) -> Forced:
        return dataclasses.replace(self, task=self.task.with_horizon(horizon))

    def size(
        self,
        limit: float = math.inf,
    ) -> Size:
        self.task.size(limit)  # whether it can be laid out at all
        return Size.of(self.build())

    def build(self) -> MDP:
        return self._insert(self.task.build())

    def believed(self) -> MDP:
        return self._insert(self.task.believed())

    def _insert(
        self,
        mdp: MDP,
    ) -> MDP:
        steps = np.arange(mdp.schedule.shape[0])
        unit = {"turn": np.asarray(mdp.turn), "segment": np.asarray(mdp.segment), "step": steps}[
            self.unit
        ]
        ends = np.append(unit[1:] != unit[:-1], False) & ((unit + 1) % self.every == 0)
        source = np.repeat(steps, 1 + ends)  # the step that each new step is, or follows
        forced = np.append(False, source[1:] == source[:-1])
        kernels, states = mdp.emission.shape[:2]
        schedule = np.asarray(mdp.schedule)
        # One kernel for each discount that a forced step follows, and so has.
        followed = np.asarray(mdp.discount)[schedule]
        discount = np.unique(followed[ends] if ends.any() else followed[-1:])
        kernel = kernels + np.searchsorted(discount, followed)
        number = len(discount)
        at_rest = (number, *mdp.prob.shape[1:])
        stay = jnp.broadcast_to(jnp.arange(states)[:, None, None], at_rest)
        first = jnp.broadcast_to(jnp.arange(mdp.prob.shape[-1]) == 0, at_rest)
        seen = jnp.pad(mdp.emission, ((0, 0), (0, 0), (0, 1)))
        blank = jnp.zeros((number, *seen.shape[1:]), seen.dtype).at[..., -1].set(1.0)
        segment = _renumber(np.asarray(mdp.segment)[source], forced & (self.unit != "step"))
        turn = _renumber(np.asarray(mdp.turn)[source], forced & (self.unit == "turn"))
        return mdp._replace(
            schedule=jnp.asarray(np.where(forced, kernel[source], schedule[source]), int),
            successor=jnp.concatenate([mdp.successor, stay]),
            prob=jnp.concatenate([mdp.prob, first.astype(mdp.prob.dtype)]),
            reward=jnp.concatenate([mdp.reward, jnp.zeros(at_rest, mdp.reward.dtype)]),
            emission=jnp.concatenate([seen, blank]),
            decision=jnp.append(mdp.decision, jnp.zeros(number, bool)),
            kind=jnp.append(mdp.kind, jnp.full(number, int(Kind.THINK))),
            segment=jnp.asarray(segment, int),
            turn=jnp.asarray(turn, int),
            agent=mdp.agent[source],
            discount=jnp.append(mdp.discount, jnp.asarray(discount)),
        )


def _renumber(
    unit: np.ndarray,
    alone: np.ndarray,
) -> np.ndarray:
    """Units numbered again, with the marked steps as units of their own."""
    changed = (unit[1:] != unit[:-1]) | alone[1:] | alone[:-1]
    return np.append(0, np.cumsum(changed))
