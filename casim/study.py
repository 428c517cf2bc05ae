"""Study: tasks x policies x estimators x seeds, scored against the truth, row by row, resumable.

All estimators of a (task, policy, seed) see the same trajectories: the batch of replicate r is drawn from a key
that depends on the seed and r alone, and each estimator draws from a key of its own.

Groups are scored in chunks, as many at once as memory allows, on all devices side by side. A chunk is summed in single
precision; chunks are added up in double precision and in their order. So scores do not depend at all on the number of
devices, and on the size of chunks as single-precision sums depend on their order: about 1e-5 of a score.
With several processes (`jax.distributed`) every process runs the same study, and the first one writes the rows.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple, final

import jax
import numpy as np
from jax.sharding import Mesh

from casim.checks import check_choice, check_distinct, check_integer
from casim.controls import CONTROLS, Control
from casim.devices import GIGABYTE, memory_at_hand, mesh_of
from casim.estimators import Estimator
from casim.identity import sources
from casim.judges import Judge
from casim.metrics import Sums
from casim.policies import Policy, Uniform
from casim.report import Row, classes, describe, identity, label, question
from casim.saved import Saved, opened
from casim.scores import BYTES_PER_CELL, Blocks, NotFiniteError, finalise, prepare
from casim.scoring import Program, Setting, largest_divisor, pick, program
from casim.tasks import Task
from casim.version import __version__

MAX_BLOCKS = 10
"""Most blocks of replicates, over which intervals are computed."""
CHUNK_ENTRIES = {"cpu": 2**16}
ACCELERATOR_ENTRIES = 2**24
"""Most entries [replicate, trajectory, step] that are scored at once on a device, by platform: what fits a CPU's cache,
and what fills an accelerator."""
BYTES_PER_ENTRY = 256
"""A first guess of the memory of an entry; a method that needs more gets smaller chunks."""
ROUNDS_AHEAD = 2
"""Chunks that wait on a device."""


class Job(NamedTuple):
    """A row to be."""

    method: Estimator | Control
    seed: int
    question: str
    sources: dict[str, str]


class Plan(NamedTuple):
    """How the replicates of a row are cut up."""

    num_blocks: int
    per_block: int
    """Groups in a block."""
    chunk: int
    """Groups scored at once on a device, at most."""
    memory: int
    """Bytes of a device that chunks may use."""


@final
@dataclasses.dataclass(frozen=True)
class Study:
    """A frozen recipe of measurements.

    Attributes:
        name: names the study and its files.
        tasks: worlds, all different.
        estimators: methods, all different.
        policies: behaviours, all different.
        judge: the judge that worlds have, if any estimator needs one.
        num_trajectories: N, the size of the group that an estimator sees, at least 1.
        replicates: fresh groups per row, a number with a divisor in [2, 10]; the largest is the number of blocks.
        seeds: one row each, all different.
        controls: which controls run along.

    Raises:
        ValueError: an empty or repeated entry, or a number out of its range.
    """

    name: str
    tasks: tuple[Task, ...]
    estimators: tuple[Estimator, ...]
    policies: tuple[Policy, ...] = (Uniform(),)
    judge: Judge | None = Judge()
    num_trajectories: int = 8
    replicates: int = 200
    seeds: tuple[int, ...] = (0,)
    controls: tuple[Literal["exact", "zero", "broadcast", "shuffled"], ...] = CONTROLS

    def __post_init__(self) -> None:
        for field in ("tasks", "estimators", "policies", "seeds", "controls"):
            check_distinct(field, getattr(self, field))
        for field in ("tasks", "policies", "seeds"):
            check_integer(f"number of {field}", len(getattr(self, field)), 1)
        check_integer("num_trajectories", self.num_trajectories, 1)
        check_integer("replicates", self.replicates, 2)
        if largest_divisor(self.replicates, MAX_BLOCKS) == 1:
            raise ValueError(f"replicates must have a divisor in [2, {MAX_BLOCKS}], got {self.replicates}")
        for seed in self.seeds:
            check_integer("seeds", seed, 0, 2**32 - 1)
        for control in self.controls:
            check_choice("controls", control, CONTROLS)

    def run(
        self,
        path: str | Path | None = None,
        progress: Callable[[Row, bool], None] | None = None,
        notify: Callable[[str], None] | None = None,
        devices: int | None = None,
        memory: float | None = None,
        fresh: bool = False,
    ) -> list[Row]:
        """Measures everything; rows already in the file at `path` are kept and not measured again.

        Rows of other code (see `casim.identity`) are kept too, but measured again.

        Args:
            path: a JSON-lines file; each row is written to it as soon as it is finished. Several processes must all
                see it.
            progress: called with every row and whether it is new.
            notify: called with a line on how each task is measured.
            devices: how many devices to use; all if left out.
            memory: gigabytes of each device to use; see `casim.devices.memory_at_hand`.
            fresh: moves the study's rows to FILE.old first, so that everything is measured anew.

        Raises:
            ValueError: the file holds something that is no row, an estimator gave credit that is not finite, or
                the sums of a task do not fit the memory.
        """
        mesh = mesh_of(devices)
        asked = {key: found for *_, key, found in self._all_jobs()}
        with opened(None if path is None else Path(path), self.name, asked, fresh) as saved:
            for line in saved.notes:
                if notify is not None:
                    notify(line)
            return self._run(saved, progress, notify, mesh, memory)

    def _run(
        self,
        saved: Saved,
        progress: Callable[[Row, bool], None] | None,
        notify: Callable[[str], None] | None,
        mesh: Mesh,
        memory: float | None,
    ) -> list[Row]:
        rows = []
        for task, policy in ((task, policy) for task in self.tasks for policy in self.policies):
            jobs = list(self._jobs(task, policy))
            missing = [job for job in jobs if identity(*job[2:]) not in saved.rows]
            fresh = self._fresh(task, policy, missing, mesh, notify, memory)
            for _, _, key, found in jobs:
                row = saved.rows.get(identity(key, found))
                new = row is None
                if row is None:
                    row = next(fresh)
                    saved.append(row)
                rows.append(row)
                if progress is not None:
                    progress(row, new)
        return rows

    @property
    def methods(self) -> tuple[Estimator | Control, ...]:
        """The estimators, then the controls."""
        return (*self.estimators, *(Control(name) for name in self.controls))

    def _fresh(
        self,
        task: Task,
        policy: Policy,
        jobs: list[Job],
        mesh: Mesh,
        notify: Callable[[str], None] | None,
        memory: float | None,
    ) -> Iterator[Row]:
        """Measures jobs one by one, after compiling for all of them."""
        setting = Setting.make(task, policy, self.judge, mesh)
        plan = self._plan(setting, memory_at_hand(memory))
        programs = self._compile(setting, plan, list(dict.fromkeys(method for method, *_ in jobs)))
        if notify is not None:
            notify(_describe(task, setting, plan, self.num_trajectories, list(programs.values())))
        for method, seed, *_ in jobs:
            yield self._measure(setting, plan, programs[method], task, policy, method, seed)

    def _jobs(self, task: Task, policy: Policy) -> Iterator[Job]:
        for seed in self.seeds:
            for method in self.methods:
                recipes = (task, policy, self.judge, method)
                numbers = (int(self.num_trajectories), int(self.replicates), int(seed))
                asked = question(self.name, *map(describe, recipes), *numbers)
                yield Job(method, int(seed), asked, sources(classes(recipes)))

    def _all_jobs(self) -> Iterator[Job]:
        for task in self.tasks:
            for policy in self.policies:
                yield from self._jobs(task, policy)

    def _plan(self, setting: Setting, memory: int) -> Plan:
        """Blocks and chunks for a device with this much memory.

        Raises:
            ValueError: the sums alone do not fit.
        """
        num_blocks = largest_divisor(self.replicates, MAX_BLOCKS)
        per_block = self.replicates // num_blocks
        fixed = setting.num_cells * ((num_blocks + 1) * BYTES_PER_CELL + (ROUNDS_AHEAD + 1) * BYTES_PER_CELL // 2)
        left = memory - fixed
        if left <= 0:
            raise ValueError(
                f"memory must exceed {fixed / GIGABYTE:.3g} GB for the sums of {setting.num_cells:,} cells (t, s, a) "
                f"in {num_blocks} blocks, got {memory / GIGABYTE:.3g} GB"
            )
        most = CHUNK_ENTRIES.get(jax.default_backend(), ACCELERATOR_ENTRIES)
        entries = min(most, left // BYTES_PER_ENTRY) // (self.num_trajectories * setting.num_steps)
        return Plan(num_blocks, per_block, largest_divisor(per_block, entries), left)

    def _compile(
        self, setting: Setting, plan: Plan, methods: list[Estimator | Control]
    ) -> dict[Estimator | Control, Program]:
        """Compiles the programs of all methods at once, on as many threads as there are cores, and waits for them."""

        def compiled(method: Estimator | Control) -> Program:
            return program(method, self.num_trajectories, setting, plan.chunk, plan.memory)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            rest = pool.submit(prepare, setting.world.mdp, setting.truth, plan.num_blocks)
            programs = dict(zip(methods, pool.map(compiled, methods), strict=True))
            rest.result()
            return programs

    def _sums(self, setting: Setting, plan: Plan, program: Program, seed: int) -> Sums:
        """The sums of all groups, per block: chunk by chunk, a round of chunks on all devices at once."""
        words = np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), self.replicates)))
        chunk, devices = program.chunk, setting.mesh.size
        chunks, blocks, waiting = self.replicates // chunk, Blocks(plan.num_blocks), []
        for first in range(0, chunks, devices):
            numbers = [min(first + device, chunks - 1) for device in range(devices)]  # the last round may repeat one
            sums = program.score(np.concatenate([words[n * chunk : (n + 1) * chunk] for n in numbers]))
            for device, number in enumerate(range(first, min(first + devices, chunks))):
                blocks.add(number * chunk // plan.per_block, pick(sums, device, setting.mesh))
            waiting.append(sums.groups)
            if len(waiting) > ROUNDS_AHEAD:  # the host runs ahead of the devices, but not so far that memory fills
                jax.block_until_ready(waiting.pop(0))
        return blocks.sums

    def _measure(
        self,
        setting: Setting,
        plan: Plan,
        program: Program,
        task: Task,
        policy: Policy,
        method: Estimator | Control,
        seed: int,
    ) -> Row:
        started = time.perf_counter()
        try:
            finished = finalise(setting.world.mdp, setting.truth, self._sums(setting, plan, program, seed))
        except NotFiniteError as error:
            message = f"credit of {label(method)} must be finite, got NaN or infinity on {label(task)}"
            raise ValueError(message) from error
        return Row(
            study=self.name,
            task=describe(task),
            policy=describe(policy),
            judge=describe(self.judge),
            estimator=describe(method),
            label=method.name if isinstance(method, Control) else label(method),
            methodology="control" if isinstance(method, Control) else method.methodology,
            horizon=task.horizon,
            num_steps=setting.num_steps,
            num_trajectories=int(self.num_trajectories),
            replicates=int(self.replicates),
            seed=seed,
            scores=finished.scores,
            left_out=finished.left_out,
            notes=finished.notes,
            exact=setting.exact,
            sources=sources(classes((task, policy, self.judge, method))),
            versions=_versions(),
            device=jax.devices()[0].device_kind,
            compile_time=program.compile_time,
            wall_time=time.perf_counter() - started,
        )


def _describe(task: Task, setting: Setting, plan: Plan, num: int, programs: list[Program]) -> str:
    """A line for people."""
    sizes = sorted({program.chunk for program in programs} or {plan.chunk})
    groups = f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
    needed = max([program.bytes for program in programs], default=0) / GIGABYTE
    engine = setting.engine(sizes[-1] * num)
    return (
        f"{type(task).__name__} at {task.horizon:,}: T = {setting.num_steps:,}, {plan.num_blocks} blocks of "
        f"{plan.per_block:,} groups, in chunks of {groups} on {setting.mesh.size} x "
        f"{setting.mesh.devices.flat[0].device_kind}; a chunk takes up to {needed:.2g} GB "
        f"of {plan.memory / GIGABYTE:.3g} GB; engine {engine.name}, {engine.chunks} chunks of steps"
    )


def _versions() -> dict[str, str]:
    return {"casim": __version__, "jax": jax.__version__, "numpy": np.__version__, "python": platform.python_version()}
