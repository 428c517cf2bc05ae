"""The programs behind a study: one task under one policy, solved, and one method scored on it, chunk by chunk.

Everything that methods share (the groups, the targets, the sums of scores) is compiled once per shape in a process.
A chunk is a number of groups on one device; all devices of the mesh score chunks side by side. What a chunk gives
depends on its keys alone, so results do not depend on the number of devices.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array

from casim.controls import Control
from casim.devices import EVERYWHERE, GROUP, SPREAD, mesh_of, on_each, replicate, specify, spread
from casim.estimators import Estimator
from casim.judges import Judge
from casim.metrics import Sums, measure
from casim.oracle import path_target, summary
from casim.oracle.blocks import solver
from casim.policies import Policy
from casim.simulate import Engine, World, choose_engine
from casim.tasks import Task
from casim.types import MDP, Credit, Trajectory, Truth


class Setting(NamedTuple):
    """One task under one policy, solved, on every device of a mesh."""

    world: World
    truth: Truth
    exact: dict[str, float]
    mesh: Mesh

    @property
    def num_steps(self) -> int:
        return self.world.mdp.schedule.shape[0]

    @property
    def num_cells(self) -> int:
        """T S A."""
        return self.truth.advantage.size

    def engine(self, num: int) -> Engine:
        """What rolls out all the trajectories of a chunk side by side, `num` of them."""
        return choose_engine(num, self.num_steps, self.world.tables.sizes)

    @classmethod
    def make(cls, task: Task, policy: Policy, judge: Judge | None, mesh: Mesh | None = None) -> Setting:
        """Builds and solves; a task that its judges see as it is is solved once."""
        mesh = mesh_of() if mesh is None else mesh
        mdp = task.build()
        table = policy.table(mdp)
        truth = _solve(mdp, table)
        scorer = None
        if judge is not None:
            believed = task.believed()
            scorer = judge.model(believed, truth if _same(mdp, believed) else _solve(believed, table))
        exact = {name: float(x) for name, x in jax.jit(summary)(mdp, truth).items()}
        world = World.make(mdp, table, scorer=scorer, replay=task.replay)
        return cls(*replicate((world, truth), mesh), exact, mesh)


def _solve(mdp: MDP, table: Array) -> Truth:
    return jax.jit(solver(mdp.schedule.shape[0], jax.default_backend()))(mdp, table)


def _same(one: MDP, other: MDP) -> bool:
    return all(x is y or np.array_equal(x, y) for x, y in zip(one, other, strict=True))


class Program(NamedTuple):
    """What scores one method on chunks of groups."""

    score: Callable[[np.ndarray], Sums]
    """Sums of one chunk per device, a leading axis, from the keys' words `[devices * chunk, words]`."""
    chunk: int
    """Groups."""
    bytes: int
    """Needed on each device for a chunk, and for one that waits behind it."""
    compile_time: float


def program(method: Estimator | Control, num: int, setting: Setting, chunk: int, memory: float) -> Program:
    """Compiles what scores chunks of a method. Only the method's own part differs between methods.

    Args:
        method: an estimator or a control.
        num: trajectories in a group.
        setting: the solved task.
        chunk: groups in a chunk; fewer if they need more memory, a number that divides it.
        memory: bytes to stay below.
    """
    started = time.perf_counter()
    while True:
        score, need = _program(method, num, setting, chunk)
        if need <= memory or chunk == 1:
            return Program(score, chunk, need, time.perf_counter() - started)
        chunk = largest_divisor(chunk, int(chunk * memory / need))


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of a number that does not exceed the limit, at least 1."""
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(limit, 1))


def _program(method: Estimator | Control, num: int, setting: Setting, chunk: int) -> tuple[Callable, int]:
    """The scoring function, and the bytes it needs on each device."""
    world, truth, mesh = setting.world, setting.truth, setting.mesh
    world = dataclasses.replace(world, engine=setting.engine(chunk * num))
    name = replicate(jnp.uint32(zlib.crc32(repr(method).encode())), mesh)
    width = jax.random.key_data(jax.random.key(0)).shape[-1]
    words = spread(np.zeros((mesh.size * chunk, width), np.uint32), mesh)
    rollout, batch = _compile(_rollout, num, mesh, (world,), (words,))
    credit, given = _compile(_credit, method, mesh, (world, truth, name), (words, batch))
    target, aim = _compile(_target, method.scored_target, mesh, (world, truth), (batch,))
    sums, _ = _compile(_sums, None, mesh, (world, truth), (batch, given, aim))

    def score(words: np.ndarray) -> Sums:
        keys = spread(words, mesh)
        batch = rollout(world, keys)
        given = credit(world, truth, name, keys, batch)
        return sums(world, truth, batch, given, target(world, truth, batch))

    sizes = [x.memory_analysis() for x in (rollout, credit, target, sums)]
    kept = sum(x.output_size_in_bytes for x in sizes[:-1])
    return score, 2 * kept + max(x.temp_size_in_bytes for x in sizes)


def pick(sums: Sums, device: int, mesh: Mesh) -> Sums:
    """The sums of one device's chunk, on all devices."""
    return _pick(mesh)(sums, np.int32(device))


@functools.cache
def _pick(mesh: Mesh) -> Callable[[Sums, Any], Sums]:
    def one(sums: Sums, device: Array) -> Sums:
        mine = jax.lax.axis_index(GROUP) == device
        return jax.tree.map(lambda x: jax.lax.psum(jnp.where(mine, x[0], jnp.zeros_like(x[0])), GROUP), sums)

    return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=(SPREAD, EVERYWHERE), out_specs=EVERYWHERE, check_vma=False))


COMPILER_OPTIONS: dict[str, dict[str, Any]] = {
    "cpu": {"xla_backend_optimization_level": 1, "xla_cpu_use_fusion_emitters": False}
}
"""By platform. On a CPU these halve the time that a study compiles, and its programs run as fast."""


@functools.cache
def _compiler_options() -> dict[str, Any]:
    """Those of the options that this version of XLA knows."""
    known = {}
    for name, value in COMPILER_OPTIONS.get(jax.default_backend(), {}).items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda x: x).lower(0.0).compile({name: value})
            known[name] = value
    return known


_PROGRAMS: dict[object, Future] = {}
_LOCK = threading.Lock()


def _compile(function: Callable, static: object, mesh: Mesh, exact: tuple, groups: tuple) -> tuple[Any, Any]:
    """The program for these shapes and the shapes it returns, compiled once in a process, by whichever thread asks.

    Args:
        function: of `static`, of `exact`, which every device has, and of `groups`, of which each has its own.
        static: what a program is made for.
        mesh: the devices.
        exact: arrays.
        groups: arrays, or shapes that are marked as spread.
    """
    args = (*exact, *groups)
    leaves, structure = jax.tree.flatten(args)
    key = (function, static, mesh, structure, tuple((x.shape, x.dtype) for x in leaves))
    with _LOCK:
        mine = key not in _PROGRAMS
        program = _PROGRAMS.setdefault(key, Future())
    if mine:
        try:
            specs = (EVERYWHERE,) * len(exact) + (SPREAD,) * len(groups)
            lowered = jax.jit(on_each(functools.partial(function, static), mesh, specs)).lower(*args)
            program.set_result((lowered.compile(_compiler_options()), specify(lowered.out_info, mesh)))
        except BaseException as error:
            del _PROGRAMS[key]
            program.set_exception(error)
    return program.result()


def _rollout(num: int, world: World, words: Array) -> Trajectory:
    """One group per key. Every method draws the same groups from the same keys."""
    keys = jax.random.wrap_key_data(words)
    return jax.vmap(lambda key: world.rollout(jax.random.fold_in(key, 0), num))(keys)


def _credit(
    method: Estimator | Control, world: World, truth: Truth, name: Array, words: Array, batch: Trajectory
) -> Credit:
    """The credit of every group, with a key of its own, apart from those of the groups and of other methods."""

    def group(key: Array, batch: Trajectory) -> Credit:
        key = jax.random.fold_in(jax.random.fold_in(key, 1), name)
        return method(key, world, truth, batch) if isinstance(method, Control) else method(key, world, batch)

    return jax.vmap(group)(jax.random.wrap_key_data(words), batch)


def _target(name: str, world: World, truth: Truth, batch: Trajectory) -> Array:
    """The method's own target; NaN where it has no exact value."""

    def group(batch: Trajectory) -> Array:
        target = path_target(name, world.mdp, world.policy, truth, batch, world.num_segments)
        return jnp.full_like(batch.reward, jnp.nan) if target is None else target

    return jax.vmap(group)(batch)


def _sums(_: None, world: World, truth: Truth, batch: Trajectory, credit: Credit, target: Array) -> Sums:
    sums = measure(world.mdp, world.policy, truth, batch, credit, target)
    # Only decision steps are summed, but credit that is not finite is an error anywhere.
    sums = sums._replace(error=jnp.where(jnp.isfinite(credit.value).all(), sums.error, jnp.nan))
    return jax.tree.map(lambda x: x[None], sums)
