"""Every trajectory of a small world that hides its state, and means given what was seen of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from casim import Policy, Task
from casim.oracle.moments import enumerate_trajectories, precise
from hypotheses import exact
from hypotheses.exact import Logits, Table, World
from hypotheses.found import total

Along = Float[np.ndarray, "N T"]
Labels = Int[np.ndarray, "N T"]
Weights = Float[np.ndarray, " N"]


class Paths(NamedTuple):
    """Trajectories with their probabilities."""

    world: World
    chance: Weights
    state: Labels
    observation: Labels
    action: Labels
    returns: Weights
    history: Labels
    """A label of (o_0, a_0, ..., o_t)."""

    @property
    def acted(self) -> Labels:
        """A label of (o_0, a_0, ..., o_t, a_t)."""
        actions = self.world.policy.shape[2]
        return self.history * actions + self.action

    def along(self, table: Table) -> Along:
        """What a table of states and actions says of each step."""
        time = np.arange(self.world.num_steps)
        return table[time, self.state, self.action]

    def given(
        self,
        label: Labels,
        x: Along,
    ) -> Along:
        """E[x_t | label_t], at every step of every trajectory."""
        columns = []
        for name, column in zip(label.T, x.T, strict=True):
            _, row = np.unique(name, return_inverse=True)
            weight = np.bincount(row, self.chance)
            summed = np.bincount(row, self.chance * column)
            mean = summed / weight
            columns.append(mean[row])
        return np.stack(columns, axis=1)


def paths(task: Task, policy: Policy) -> Paths:
    """All of them, for worlds as in `hypotheses.exact`."""
    mdp = task.build()
    process, table = precise(mdp, policy.table(mdp))
    found = enumerate_trajectories(mdp, table)
    batch = found.trajectory
    return Paths(
        world=exact.solved(process, table),
        chance=found.probability,
        state=batch.state,
        observation=batch.observation,
        action=batch.action,
        returns=batch.reward.sum(axis=1),
        history=_histories(batch.observation, batch.action),
    )


def _histories(
    observation: Labels,
    action: Labels,
) -> Labels:
    """A number for each (o_0, a_0, ..., o_t)."""
    observations = observation.max() + 1
    actions = action.max() + 1
    before = np.zeros(len(observation), int)
    labels = []
    for seen, taken in zip(observation.T, action.T, strict=True):
        now = before * observations + seen
        # Numbered anew, so that they stay small.
        _, label = np.unique(now, return_inverse=True)
        labels.append(label)
        before = label * actions + taken
    return np.stack(labels, axis=1)


def gradient(
    found: Paths,
    credit: Along,
) -> tuple[Logits, float]:
    """E[g] of one trajectory, and the variance of all logits together."""
    world = found.world
    mean = np.zeros((world.num_steps, *world.policy.shape[1:]))
    for step in np.flatnonzero(world.decides):
        weight = found.chance * credit[:, step]
        each = weight[:, None] * _score(found, step)
        seen = found.observation[:, step]
        np.add.at(mean[step], seen, each)
    size = gradient_square(found, credit**2)
    return mean, size - total(mean**2)


def gradient_square(found: Paths, square: Along) -> float:
    """E|g|^2 of credit with this mean square, the logits of every step its own."""
    size = 0.0
    for step in np.flatnonzero(found.world.decides):
        score = _score(found, step)
        lengths = np.sum(score**2, axis=1)
        size += found.chance @ (square[:, step] * lengths)
    return float(size)


def _score(found: Paths, step: int) -> Float[np.ndarray, "N A"]:
    """The derivative of log pi(a_t | o_t) by the logits of what was observed."""
    m = found.world.kernel[step]
    policy = found.world.policy[m]
    seen = found.observation[:, step]
    taken = found.action[:, step]
    chosen = np.eye(policy.shape[1])[taken]
    return chosen - policy[seen]
