"""The programs behind a study: one task under one policy, solved, and one method scored on it, chunk by chunk.

Everything that methods share (the groups, the targets, the sums of scores) is compiled once per shape in a process.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from casim.controls import Control
from casim.estimators import Estimator
from casim.judges import Judge
from casim.metrics import Sums, measure
from casim.oracle import path_target, solve, summary
from casim.policies import Policy
from casim.simulate import World
from casim.tasks import Task
from casim.types import Credit, Trajectory, Truth


class Setting(NamedTuple):
    """One task under one policy, solved."""

    world: World
    truth: Truth
    exact: dict[str, float]

    @property
    def num_steps(self) -> int:
        return self.world.mdp.schedule.shape[0]

    @classmethod
    def make(cls, task: Task, policy: Policy, judge: Judge | None) -> Setting:
        mdp = task.build()
        table = policy.table(mdp)
        truth = jax.jit(solve)(mdp, table)
        scorer = None
        if judge is not None:
            believed = task.believed()
            scorer = judge.model(believed, jax.jit(solve)(believed, table))
        exact = {name: float(x) for name, x in jax.jit(summary)(mdp, truth).items()}
        return cls(World.make(mdp, table, scorer=scorer, replay=task.replay), truth, exact)


def scorer(method: Estimator | Control, num: int, setting: Setting, keys: Array) -> Callable[[Array], Sums]:
    """Compiles what scores one chunk of replicates. Only the method's own part differs between methods."""
    world, truth = setting.world, setting.truth
    name = jnp.uint32(zlib.crc32(repr(method).encode()))
    rollout, batch = _compile(_rollout, num, world, keys)
    own_keys, _ = _compile(_own_keys, None, keys, name)
    credit, given = _compile(_credit, method, world, truth, batch, keys)
    target, aim = _compile(_target, method.scored_target, world, truth, batch)
    sums, _ = _compile(_sums, None, world, truth, batch, given, aim)

    def score(keys: Array) -> Sums:
        batch = rollout(world, keys)
        given = credit(world, truth, batch, own_keys(keys, name))
        return sums(world, truth, batch, given, target(world, truth, batch))

    return score


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


def _compile(function: Callable, static: object, *args) -> tuple[Callable, Any]:
    """The program for these shapes and the shapes it returns, compiled once in a process, by whichever thread asks."""
    leaves, structure = jax.tree.flatten(args)
    key = (function, static, structure, tuple((x.shape, x.dtype) for x in leaves))
    with _LOCK:
        mine = key not in _PROGRAMS
        program = _PROGRAMS.setdefault(key, Future())
    if mine:
        try:
            lowered = jax.jit(functools.partial(function, static)).lower(*args)
            program.set_result((lowered.compile(_compiler_options()), lowered.out_info))
        except BaseException as error:
            del _PROGRAMS[key]
            program.set_exception(error)
    return program.result()


def _rollout(num: int, world: World, keys: Array) -> Trajectory:
    """One group per key. Every method draws the same groups from the same keys."""
    return jax.vmap(lambda key: world.rollout(jax.random.fold_in(key, 0), num))(keys)


def _own_keys(_: None, keys: Array, name: Array) -> Array:
    """Keys of one method, apart from those of the groups and of other methods."""
    return jax.vmap(lambda key: jax.random.fold_in(jax.random.fold_in(key, 1), name))(keys)


def _credit(method: Estimator | Control, world: World, truth: Truth, batch: Trajectory, keys: Array) -> Credit:
    """The credit of every group, with a key of its own."""

    def group(batch: Trajectory, key: Array) -> Credit:
        return method(key, world, truth, batch) if isinstance(method, Control) else method(key, world, batch)

    return jax.vmap(group)(batch, keys)


def _target(name: str, world: World, truth: Truth, batch: Trajectory) -> Array:
    """The method's own target; NaN where it has no exact value."""

    def group(batch: Trajectory) -> Array:
        target = path_target(name, world.mdp, world.policy, truth, batch, world.num_segments)
        return jnp.full_like(batch.reward, jnp.nan) if target is None else target

    return jax.vmap(group)(batch)


def _sums(_: None, world: World, truth: Truth, batch: Trajectory, credit: Credit, target: Array) -> Sums:
    sums = measure(world.mdp, world.policy, truth, batch, credit, target)
    # Only decision steps are summed, but credit that is not finite is an error anywhere.
    return sums._replace(error=jnp.where(jnp.isfinite(credit.value).all(), sums.error, jnp.nan))
