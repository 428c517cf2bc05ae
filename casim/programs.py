"""The programs that score one method on one task, chunk by chunk, compiled from shapes alone.

A chunk is a number of groups on one device; all devices of the mesh score chunks side by side. What
a chunk gives depends on its keys alone, so results do not depend on the number of devices.

A program has four stages: groups are rolled out, the method gives them credit, its own target is
evaluated, and all three are summed. Each stage is traced and compiled once per shape in a process,
so methods share what does not depend on them. What the method gives is checked as soon as it is
traced, before anything runs.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from casim.controls import Control
from casim.devices import EVERYWHERE, GROUP, SPREAD, on_each, replicate, specify, spread
from casim.estimators import Estimator
from casim.identity import sources
from casim.methods import Method as Published
from casim.methods import recipe_of
from casim.oracle import path_target
from casim.plan import Groups, gigabytes, largest_divisor
from casim.platforms import numbers
from casim.report import classes
from casim.scores import Sums, measure
from casim.setting import Outline, Setting
from casim.simulate import Engine, World
from casim.targets import Target
from casim.types import Cost, Credit, Trajectory, Truth

Method: TypeAlias = Estimator | Published | Control
FLOATS = (jnp.float32, jnp.float64)
"""Types that credit may have: what sums are made in."""
MUST_RETURN = "a method must return a casim.Credit(value, weight, cost)"


class Program(NamedTuple):
    """What scores one method on chunks of groups."""

    rollout: Callable
    credit: Callable
    target: Callable
    sums: Callable
    name: int
    """A number by which the method's own draws differ from those of others."""
    engine: Engine
    chunk: int
    """Groups."""
    bytes: int
    """Needed on each device for a chunk, and for one that waits behind it."""
    compile_time: float

    def bind(
        self,
        setting: Setting,
    ) -> Callable[[np.ndarray], Sums]:
        """The function from the words of keys to sums.

        It takes `[devices * chunk, words]` and returns the sums of one chunk per device, a leading
        axis.
        """
        world = dataclasses.replace(setting.world, engine=self.engine)
        truth, visited, mesh = setting.truth, setting.visited, setting.mesh
        name = replicate(jnp.uint32(self.name), mesh)

        def score(words: np.ndarray) -> Sums:
            keys = spread(words, mesh)
            batch = self.rollout(world, keys)
            given = self.credit(world, truth, name, keys, batch)
            aim = self.target(world, truth, batch)
            return self.sums(world, visited, batch, given, aim)

        return score


def check_method(
    method: Method,
    groups: Groups,
    outline: Outline,
    chunk: int,
) -> None:
    """Traces a method on a chunk of batches and checks what it gives.

    Raises:
        ValueError: something else than credit of the right shape and type, with a cost.
        Exception: whatever the method raises.
    """
    stages = _Stages.make(method, groups, outline, chunk)
    steps = stages.rollout.result.reward
    check_credit(stages.credit.result, steps.shape)


def check_credit(
    given: Any,
    shape: tuple[int, ...],
) -> None:
    """Raises `ValueError` unless this is credit of many batches `[chunk, P, N, T]`, and its cost.

    A value may have a last axis of actions.
    """
    if not isinstance(given, Credit):
        raise ValueError(f"{MUST_RETURN}, got {_name_of(given)}")
    if not isinstance(given.cost, Cost):
        raise ValueError(f"{MUST_RETURN}, got a Credit without a Cost")
    costs = given.cost._asdict()
    arrays = {"credit": given.value, "weight": given.weight, **costs}
    for name, part in arrays.items():
        if not isinstance(part, jax.ShapeDtypeStruct):
            raise ValueError(f"{name} must be an array, got {_name_of(part)}")
    batches, *each = shape
    for name, part in (("credit", given.value), ("weight", given.weight)):
        allowed = (len(shape), len(shape) + 1) if name == "credit" else (len(shape),)
        if part.shape[: len(shape)] != shape or part.ndim not in allowed:
            found = list(part.shape[1:])
            raise ValueError(f"{name} must have shape [P, N, T] = {each}, got {found}")
        if part.dtype not in FLOATS:
            raise ValueError(f"{name} must be of type float32 or float64, got {part.dtype}")
    for name, cost in costs.items():
        if cost.shape != (batches,):
            found = list(cost.shape[1:])
            raise ValueError(f"cost {name} must be a scalar, got shape {found}")
        if not _is_real(cost.dtype):
            raise ValueError(f"cost {name} must be a real number, got type {cost.dtype}")


def _is_real(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)


def _name_of(given: Any) -> str:
    if isinstance(given, jax.ShapeDtypeStruct):
        return f"an array of shape {list(given.shape[1:])}"
    return type(given).__name__


def program(
    method: Method,
    groups: Groups,
    outline: Outline,
    chunk: int,
    memory: float,
) -> Program:
    """Compiles what scores chunks of a method. Only the method's own part differs between methods.

    Args:
        method: an estimator or a control.
        groups: what a batch is made of.
        outline: the task.
        chunk: batches in a chunk; fewer if they need more memory, a number that divides it.
        memory: bytes to stay below.

    Raises:
        ValueError: a single batch needs more memory; a batch is never cut, because methods
            normalise over it.
    """
    started = time.perf_counter()
    while True:
        stages = _Stages.make(method, groups, outline, chunk)
        need = stages.bytes
        if need <= memory:
            break
        if chunk == 1:
            size = f"{groups.trajectories} trajectories of {outline.num_steps:,} steps"
            left = f"{gigabytes(memory)} beside the sums"
            wanted = f"{gigabytes(need)} for a single batch of {size}"
            raise ValueError(f"memory must exceed {wanted}, got {left}")
        chunk = largest_divisor(chunk, int(chunk * memory / need))
    took = time.perf_counter() - started
    return Program(
        rollout=stages.rollout.program,
        credit=stages.credit.program,
        target=stages.target.program,
        sums=stages.sums.program,
        name=name_of(method),
        engine=stages.engine,
        chunk=chunk,
        bytes=need,
        compile_time=took,
    )


def name_of(method: Method) -> int:
    """A number by which the draws of a method differ from those of others.

    It does not depend on whether a setting is spelled 1 or 1.0, as rows do not.
    """
    method = recipe_of(method)
    changes = {}
    for field in dataclasses.fields(method):
        value = getattr(method, field.name)
        if isinstance(value, np.generic):
            value = value.item()
        if isinstance(field.default, float) and isinstance(value, int):
            value = float(value)
        if field.init:
            changes[field.name] = value
    alike = dataclasses.replace(method, **changes)
    return zlib.crc32(repr(alike).encode())


def pick(
    sums: Sums,
    device: int,
    mesh: Mesh,
) -> Sums:
    """The sums of one device's chunk, on all devices."""
    return _pick(mesh)(sums, np.int32(device))


@functools.cache
def _pick(mesh: Mesh) -> Callable[[Sums, Any], Sums]:
    def one(
        sums: Sums,
        device: Array,
    ) -> Sums:
        mine = jax.lax.axis_index(GROUP) == device

        def add(x: Array) -> Array:
            own = jnp.where(mine, x[0], jnp.zeros_like(x[0]))
            return jax.lax.psum(own, GROUP)

        return jax.tree.map(add, sums)

    specs = (SPREAD, EVERYWHERE)
    spread = jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=EVERYWHERE, check_vma=False)
    return jax.jit(spread)


@functools.cache
def _compiler_options() -> dict[str, Any]:
    """Those of the options that this version of XLA knows."""
    wanted = numbers().compiler
    trial = jax.jit(lambda x: x).lower(0.0)
    known = {}
    for name, value in wanted.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            trial.compile({name: value})
            known[name] = value
    return known


class _Stage:
    """A function for fixed shapes: traced and compiled when first asked for, by whichever thread.

    Args:
        function: of `exact`, which every device has, and of `groups`, of which each has its own.
        mesh: the devices.
        exact: shapes.
        groups: shapes that are marked as spread.
    """

    def __init__(
        self,
        function: Callable,
        mesh: Mesh,
        exact: tuple,
        groups: tuple,
    ):
        specs = (EVERYWHERE,) * len(exact) + (SPREAD,) * len(groups)
        self._function = jax.jit(on_each(function, mesh, specs))
        self._mesh = mesh
        self._args = (*exact, *groups)
        self._lock = threading.RLock()
        self._traced: Any = None
        self._result: Any = None
        self._program: Any = None

    @property
    def result(self) -> Any:
        """The shapes that it returns, marked as spread."""
        with self._lock:
            self._trace()
            return self._result

    @property
    def program(self) -> Any:
        """What runs."""
        with self._lock:
            if self._program is None:
                self._trace()
                lowered = self._traced.lower()
                self._program = lowered.compile(_compiler_options())
                # It is large, and its result is known.
                self._traced = None
            return self._program

    def _trace(self) -> None:
        if self._traced is None and self._program is None:
            self._traced = self._function.trace(*self._args)
            self._result = specify(self._traced.out_info, self._mesh)


_STAGES: dict[object, _Stage] = {}
_LOCK = threading.Lock()


def _stage(
    function: Callable,
    static: object,
    made_by: Any,
    mesh: Mesh,
    exact: tuple,
    groups: tuple,
) -> _Stage:
    """The stage for these shapes, one in a process.

    Args:
        function: of `static`, of `exact` and of `groups`.
        static: what the stage is made for.
        made_by: the digests of the code of `static`, where that can be edited.
        mesh: the devices.
        exact: shapes.
        groups: shapes that are marked as spread.
    """
    leaves, structure = jax.tree.flatten((exact, groups))
    shapes = tuple((x.shape, x.dtype) for x in leaves)
    key = (function, static, made_by, mesh, structure, shapes)
    with _LOCK:
        if key not in _STAGES:
            bound = functools.partial(function, static)
            _STAGES[key] = _Stage(bound, mesh, exact, groups)
        return _STAGES[key]


class _Stages(NamedTuple):
    """The stages of a program, of which none is traced before it is asked for."""

    rollout: _Stage
    credit: _Stage
    target: _Stage
    sums: _Stage
    engine: Engine

    @classmethod
    def make(
        cls,
        method: Method,
        groups: Groups,
        outline: Outline,
        chunk: int,
    ) -> _Stages:
        """Traces the rollout, the credit and the target; the sums need their shapes."""
        mesh, truth = outline.mesh, outline.truth
        engine = outline.engine(chunk * groups.trajectories)
        world = _with_engine(outline.world, engine)
        words = _words(mesh, chunk)
        name = _shape((), mesh, EVERYWHERE)
        # What is known of a published method changes nothing of its numbers.
        recipe, target = recipe_of(method), method.target
        code = tuple(sources(classes(recipe)).items())
        rollout = _stage(_rollout, groups, None, mesh, (world,), (words,))
        batch = rollout.result
        exact = (world, truth)
        credit = _stage(_credit, recipe, code, mesh, (*exact, name), (words, batch))
        target = _stage(_target, target, None, mesh, exact, (batch,))
        made = (batch, credit.result, target.result)
        sums = _stage(_sums, None, None, mesh, exact, made)
        return cls(rollout, credit, target, sums, engine)

    @property
    def bytes(self) -> int:
        """What a device needs for a chunk, and for one that waits behind it; compiles all."""
        stages = (self.rollout, self.credit, self.target, self.sums)
        sizes = [stage.program.memory_analysis() for stage in stages]
        kept = sum(size.output_size_in_bytes for size in sizes[:-1])
        needed_while_running = max(size.temp_size_in_bytes for size in sizes)
        return 2 * kept + needed_while_running


def _words(
    mesh: Mesh,
    chunk: int,
) -> jax.ShapeDtypeStruct:
    """The words of the keys of one chunk per device."""
    width = jax.random.key_data(jax.random.key(0)).shape[-1]
    return _shape((mesh.size * chunk, width), mesh, SPREAD)


def _shape(
    shape: tuple[int, ...],
    mesh: Mesh,
    spec: PartitionSpec,
) -> jax.ShapeDtypeStruct:
    """Words of 32 bits on a mesh."""
    return jax.ShapeDtypeStruct(shape, jnp.uint32, sharding=NamedSharding(mesh, spec))


def _with_engine(
    world: World,
    engine: Engine,
) -> World:
    """The same world of shapes with another engine; `replace` would make tables of shapes."""
    marked = copy.copy(world)
    object.__setattr__(marked, "engine", engine)
    return marked


def _rollout(
    groups: Groups,
    world: World,
    words: Array,
) -> Trajectory:
    """A batch per key. Every method draws the same batches from the same keys."""

    def batch(key: Array) -> Trajectory:
        return world.draw_groups(jax.random.fold_in(key, 0), *groups)

    return jax.vmap(batch)(jax.random.wrap_key_data(words))


def _credit(
    method: Method,
    world: World,
    truth: Truth,
    name: Array,
    words: Array,
    batch: Trajectory,
) -> Credit:
    """The credit of every batch, with a key apart from those of the batches and other methods."""

    def one(
        key: Array,
        drawn: Trajectory,
    ) -> Credit:
        key = jax.random.fold_in(jax.random.fold_in(key, 1), name)
        batch = world.attach(drawn)
        if isinstance(method, Control):
            return method(key, world, truth, batch)
        return method.credit(key, world, batch)

    return jax.vmap(one)(jax.random.wrap_key_data(words), batch)


def _target(
    aim: Target,
    world: World,
    truth: Truth,
    batch: Trajectory,
) -> Array:
    """The method's own target; NaN where it has no exact value."""
    steps = batch.action.shape[-1]

    def one(batch: Trajectory) -> Array:
        rows = jax.tree.map(lambda x: x.reshape(-1, steps), batch)
        target = path_target(aim, world, truth, rows)
        if target is None:
            return jnp.full_like(batch.reward, jnp.nan)
        return target.reshape(batch.reward.shape)

    return jax.vmap(one)(batch)


def _sums(
    _: None,
    world: World,
    truth: Truth,
    batch: Trajectory,
    credit: Credit,
    target: Array,
) -> Sums:
    sums = measure(world.mdp, world.policy, truth, batch, credit, target, world.discount)
    # Only decision steps are summed, but credit that is not finite is an error anywhere, and so is
    # a cost below 0 in any batch.
    finite = jnp.isfinite(credit.value).all() & jnp.isfinite(credit.weight).all()
    valid = [jnp.all((x >= 0) & jnp.isfinite(x)) for x in credit.cost]
    paid = jnp.stack(valid)
    error = jnp.where(finite, sums.error, jnp.nan)
    cost = jnp.where(paid.all(), sums.cost, jnp.nan)
    sums = sums._replace(error=error, cost=cost)
    return jax.tree.map(lambda x: x[None], sums)
