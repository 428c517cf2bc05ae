"""Awkward processes as tasks, for the tests of the environment view."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np

from casim.simulate import World
from casim.tasks import Task
from casim.types import MDP, Trajectory
from tests import reference

SCHEDULE = (0, 2, 1, 2)
STEPS, NUM = len(SCHEDULE), 3000


@final
@dataclasses.dataclass(frozen=True)
class Awkward(Task):
    """`reference.random_mdp`: hidden state, a terminal start, a forced kernel.

    Attributes:
        steps: the first 4 by `SCHEDULE`, the rest by its last kernel.
        seed: of the tables.
        rough: replaces all probabilities by ones that float32 cannot hold, in rows too long for
            one plain sum.
    """

    steps: int = 4
    seed: int = 45
    rough: bool = False
    knob: ClassVar[str] = "steps"

    def build(self) -> MDP:
        schedule = (SCHEDULE + (2,) * self.steps)[: self.steps]
        if not self.rough:
            return reference.random_mdp(self.seed, schedule=schedule)[0]
        sizes = {"states": 19, "observations": 23, "successors": 21}
        mdp, _ = reference.random_mdp(self.seed, schedule=schedule, **sizes)
        rng = np.random.default_rng(self.seed)
        rows = {name: getattr(mdp, name).shape for name in ("start", "prob", "emission")}
        drawn = {
            name: rng.dirichlet(np.full(shape[-1], 0.7), shape[:-1]) for name, shape in rows.items()
        }
        return mdp._replace(**{name: jnp.asarray(x, jnp.float32) for name, x in drawn.items()})

    def policy(self) -> np.ndarray:
        return reference.random_policy(self.seed, self.build())


def episodes(task: Awkward, key) -> Trajectory:
    """`NUM` episodes `[NUM, STEPS + 1]`, one step longer than the task.

    The last step is what there is to be seen at its horizon.
    """
    world = World.make(task.with_horizon(STEPS + 1).build(), jnp.asarray(task.policy()))
    return jax.tree.map(np.asarray, reference.rollout(world, key, NUM))
