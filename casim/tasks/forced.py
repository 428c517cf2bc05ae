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
from jaxtyping import Array

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
        inner = self.task.with_horizon(horizon)
        return dataclasses.replace(self, task=inner)

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
        schedule = np.asarray(mdp.schedule)
        turns, segments = np.asarray(mdp.turn), np.asarray(mdp.segment)
        unit = {"turn": turns, "segment": segments, "step": steps}[self.unit]
        changes = unit[1:] != unit[:-1]
        is_due = (unit + 1) % self.every == 0
        ends = np.append(changes, False) & is_due
        source = np.repeat(steps, 1 + ends)  # the step that each new step is, or follows
        repeats = source[1:] == source[:-1]
        forced = np.append(False, repeats)
        # One kernel for each discount that a forced step follows, and so has.
        followed = np.asarray(mdp.discount)[schedule]
        after = followed[ends] if ends.any() else followed[-1:]
        discount = np.unique(after)
        added = _blank(mdp, discount)
        kernels = mdp.prob.shape[0]
        kernel = kernels + np.searchsorted(discount, followed)
        played = np.where(forced, kernel[source], schedule[source])
        segment = _renumber(segments[source], forced & (self.unit != "step"))
        turn = _renumber(turns[source], forced & (self.unit == "turn"))
        unseen = ((0, 0), (0, 0), (0, 1))
        kept = mdp._asdict() | {"emission": jnp.pad(mdp.emission, unseen)}
        joined = {name: jnp.concatenate([kept[name], x]) for name, x in added.items()}
        return mdp._replace(
            **joined,
            schedule=jnp.asarray(played, int),
            segment=jnp.asarray(segment, int),
            turn=jnp.asarray(turn, int),
            agent=mdp.agent[source],
        )


def _blank(
    mdp: MDP,
    discount: np.ndarray,
) -> dict[str, Array]:
    """Tables of the kernels that do nothing and show an observation of their own, the last."""
    number = len(discount)
    shape = (number, *mdp.prob.shape[1:])
    states, _, outcomes = shape[1:]
    stay = jnp.arange(states)[:, None, None]
    first = jnp.arange(outcomes) == 0
    surely = first.astype(mdp.prob.dtype)
    _, _, observations = mdp.emission.shape
    blank = jnp.zeros((number, states, observations + 1), mdp.emission.dtype)
    return {
        "successor": jnp.broadcast_to(stay, shape),
        "prob": jnp.broadcast_to(surely, shape),
        "reward": jnp.zeros(shape, mdp.reward.dtype),
        "emission": blank.at[..., -1].set(1.0),
        "decision": jnp.zeros(number, bool),
        "kind": jnp.full(number, int(Kind.THINK)),
        "discount": jnp.asarray(discount),
    }


def _renumber(
    unit: np.ndarray,
    alone: np.ndarray,
) -> np.ndarray:
    """Units numbered again, with the marked steps as units of their own."""
    differs = unit[1:] != unit[:-1]
    changed = differs | alone[1:] | alone[:-1]
    number = np.cumsum(changed)
    return np.append(0, number)
