"""One task under one policy: first as shapes, from which programs are compiled, then solved.

Where another policy acts, credit is still of the policy, but scores are averaged where the other
one goes: over its own exact visits.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array

from casim.devices import EVERYWHERE, mesh_of, replicate
from casim.judging import Grader
from casim.oracle import summary
from casim.oracle.blocks import solver
from casim.policies import Acting, Behaviour, Policy
from casim.simulate import Engine, World, choose_engine
from casim.tasks import Task
from casim.types import MDP, Truth


class Setting(NamedTuple):
    """One task under one policy, solved, on every device of a mesh."""

    world: World
    truth: Truth
    """Of the policy."""
    visited: Truth
    """The same with the visits of whoever acts: what scores are averaged over."""
    exact: dict[str, float]
    mesh: Mesh

    @property
    def two_policies(self) -> bool:
        """Whether who acts is not the policy."""
        world = self.world
        if world.behaviour is None:
            return False
        return not np.array_equal(world.policy, world.behaviour)


class Outline(NamedTuple):
    """One task under one policy before it is solved: its process, and the shapes of the rest."""

    task: Task
    policy: Policy
    judges: Mapping[str, Grader]
    mesh: Mesh
    mdp: MDP
    world: World
    """Of shapes."""
    truth: Truth
    """Of shapes."""
    behaviour: Behaviour | None = None
    """Who acts; None is the policy."""
    reference: Policy | None = None

    @classmethod
    def make(
        cls,
        task: Task,
        policy: Policy,
        judges: Mapping[str, Grader],
        mesh: Mesh | None = None,
        behaviour: Behaviour | None = None,
        reference: Policy | None = None,
    ) -> Outline:
        """Builds the process, and nothing that takes long."""
        mesh = mesh_of() if mesh is None else mesh
        mdp = task.build()
        table = _stand_in(policy, mdp)
        truth = jax.eval_shape(_solver(mdp), mdp, table)
        world = World.make(
            mdp,
            table,
            behaviour=None if behaviour is None else table,
            reference=None if reference is None else _stand_in(reference, mdp),
            replay=task.replay,
        )
        known = (mdp, truth, table, world.reference)
        models = {name: jax.eval_shape(x.informed, *known) for name, x in judges.items()}
        world = dataclasses.replace(world, judges=models)
        shapes = _shapes((world, truth), mesh)
        others = {"behaviour": behaviour, "reference": reference}
        return cls(task, policy, judges, mesh, mdp, *shapes, **others)

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
        table, behaviour = self._tables()
        truth = _solve(self.mdp, table)
        reference = None if self.reference is None else self.reference.table(self.mdp)
        models = {}
        if self.judges:
            believed = self.task.believed()
            fooled = not _same(self.mdp, believed)
            known = _solve(believed, table) if fooled else truth
            told = (believed, known, table, reference)
            models = {name: judge.informed(*told) for name, judge in self.judges.items()}
        summed = jax.jit(summary)(self.mdp, truth)
        exact = {name: float(x) for name, x in summed.items()}
        world = World.make(
            self.mdp,
            table,
            behaviour=behaviour,
            reference=reference,
            judges=models,
            replay=self.task.replay,
        )
        world, truth = replicate((world, truth), self.mesh)
        visited = truth
        if behaviour is not None:
            acted = _solve(self.mdp, behaviour)
            exact["behaviour_return"] = float(acted.expected_return)
            visited = replicate(_at_visits(truth, acted), self.mesh)
        return Setting(world, truth, visited, exact, self.mesh)

    def _tables(self) -> Acting | tuple[Array, None]:
        """The policy, and who acts if it is another."""
        table = self.policy.table(self.mdp)
        if self.behaviour is None:
            return table, None
        return self.behaviour.beside(self.mdp, table)


def _at_visits(truth: Truth, acted: Truth) -> Truth:
    """What is exact of the policy, in the states and at the actions of whoever acts."""
    return truth._replace(occupancy=acted.occupancy, state_policy=acted.state_policy)


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
    pairs = zip(one, other, strict=True)
    return all(x is y or np.array_equal(x, y) for x, y in pairs)
