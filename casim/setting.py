"""One task under one policy: first as shapes, from which programs are compiled, then solved."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array

from casim.devices import EVERYWHERE, mesh_of, replicate
from casim.judges import Judge
from casim.oracle import summary
from casim.oracle.blocks import solver
from casim.policies import Policy
from casim.simulate import Engine, World, choose_engine
from casim.tasks import Task
from casim.types import MDP, Truth


class Setting(NamedTuple):
    """One task under one policy, solved, on every device of a mesh."""

    world: World
    truth: Truth
    exact: dict[str, float]
    mesh: Mesh


class Outline(NamedTuple):
    """One task under one policy before it is solved: its process, and the shapes of the rest."""

    task: Task
    policy: Policy
    judge: Judge | None
    mesh: Mesh
    mdp: MDP
    world: World
    """Of shapes."""
    truth: Truth
    """Of shapes."""

    @classmethod
    def make(
        cls,
        task: Task,
        policy: Policy,
        judge: Judge | None,
        mesh: Mesh | None = None,
    ) -> Outline:
        """Builds the process, and nothing that takes long."""
        mesh = mesh_of() if mesh is None else mesh
        mdp = task.build()
        table = _stand_in(policy, mdp)
        truth = jax.eval_shape(_solver(mdp), mdp, table)
        world = World.make(mdp, table, replay=task.replay)
        if judge is not None:
            scorer = jax.eval_shape(judge.model, mdp, truth)
            world = dataclasses.replace(world, scorer=scorer)
        return cls(task, policy, judge, mesh, mdp, *_shapes((world, truth), mesh))

    @property
    def num_steps(self) -> int:
        """T."""
        return self.mdp.schedule.shape[0]

    @property
    def num_cells(self) -> int:
        """T S A."""
        return self.truth.advantage.size

    def engine(self, num: int) -> Engine:
        """What rolls out all the trajectories of a chunk side by side, `num` of them."""
        return choose_engine(num, self.num_steps, self.world.tables.sizes)

    def solve(self) -> Setting:
        """Solves it; a task that its judges see as it is is solved once."""
        table = self.policy.table(self.mdp)
        truth = _solve(self.mdp, table)
        scorer = None
        if self.judge is not None:
            believed = self.task.believed()
            fooled = not _same(self.mdp, believed)
            scorer = self.judge.model(believed, _solve(believed, table) if fooled else truth)
        exact = {name: float(x) for name, x in jax.jit(summary)(self.mdp, truth).items()}
        world = World.make(self.mdp, table, scorer=scorer, replay=self.task.replay)
        return Setting(*replicate((world, truth), self.mesh), exact, self.mesh)


def _stand_in(policy: Policy, mdp: MDP) -> Array:
    """The uniform policy, as a table of the shape and type of another, which may take long to make.

    A policy that JAX cannot trace is made after all.
    """
    try:
        shape = jax.eval_shape(policy.table, mdp)
    except Exception:
        shape = policy.table(mdp)
    return jnp.full(shape.shape, 1.0 / shape.shape[-1], shape.dtype)


def _shapes(tree: Any, mesh: Mesh) -> Any:
    """Shapes of arrays that every device is to have."""
    place = NamedSharding(mesh, EVERYWHERE)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def _solver(mdp: MDP) -> Any:
    return jax.jit(solver(mdp.schedule.shape[0], jax.default_backend()))


def _solve(mdp: MDP, table: Array) -> Truth:
    return _solver(mdp)(mdp, table)


def _same(one: MDP, other: MDP) -> bool:
    return all(x is y or np.array_equal(x, y) for x, y in zip(one, other, strict=True))
