"""Study: tasks x policies x estimators x seeds, scored against the truth, row by row, resumable.

All estimators of a (task, policy, seed) see the same trajectories: the batch of replicate r is drawn from a key
that depends on the seed and r alone, and each estimator draws from a key of its own.
"""

from __future__ import annotations

import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal, final

import jax
import numpy as np
from jaxtyping import Array

from casim import report
from casim.checks import check_choice, check_distinct, check_integer
from casim.controls import CONTROLS, Control
from casim.estimators import Estimator
from casim.judges import Judge
from casim.metrics import Blocks, Sums, finalise
from casim.policies import Policy, Uniform
from casim.report import Row, describe, identity, label
from casim.scoring import Setting, scorer
from casim.tasks import Task
from casim.version import __version__

NUM_BLOCKS = 10
"""Blocks of replicates, over which intervals are computed."""
CHUNK_ENTRIES = {"cpu": 2**16}
ACCELERATOR_ENTRIES = 2**22
"""Entries [replicate, trajectory, step] that are scored at once, by platform: what bounds memory."""


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
        replicates: fresh groups per row: 2 to 9, or a multiple of 10.
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
        if self.replicates > NUM_BLOCKS and self.replicates % NUM_BLOCKS:
            raise ValueError(f"replicates must be in [2, {NUM_BLOCKS}] or a multiple of it, got {self.replicates}")
        for seed in self.seeds:
            check_integer("seeds", seed, 0, 2**32 - 1)
        for control in self.controls:
            check_choice("controls", control, CONTROLS)

    def run(self, path: str | Path | None = None, progress: Callable[[Row, bool], None] | None = None) -> list[Row]:
        """Measures everything; rows already in the file at `path` are kept and not measured again.

        Args:
            path: a JSON-lines file; each row is written to it as soon as it is finished.
            progress: called with every row and whether it is new.

        Raises:
            ValueError: the file holds something that is no row, or an estimator gave credit that is not finite.
        """
        done: dict[str, Row] = {}
        if path is not None:
            path = Path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            report.repair(path)
            done = {row.identity: row for row in report.load(path)} if path.exists() else {}
        rows = []
        for task, policy in ((task, policy) for task in self.tasks for policy in self.policies):
            jobs = list(self._jobs(task, policy))
            fresh = self._fresh(task, policy, [job for job in jobs if job[2] not in done])
            for _, _, key in jobs:
                row, new = done.get(key), key not in done
                if row is None:
                    row = next(fresh)
                    if path is not None:
                        report.append(path, row)
                rows.append(row)
                if progress is not None:
                    progress(row, new)
        return rows

    @property
    def methods(self) -> tuple[Estimator | Control, ...]:
        """The estimators, then the controls."""
        return (*self.estimators, *(Control(name) for name in self.controls))

    def _fresh(self, task: Task, policy: Policy, jobs: list[tuple[Estimator | Control, int, str]]) -> Iterator[Row]:
        """Measures jobs one by one, after compiling for all of them."""
        setting = Setting.make(task, policy, self.judge)
        programs = self._compile(setting, list(dict.fromkeys(method for method, _, _ in jobs)))
        for method, seed, _ in jobs:
            yield self._measure(setting, programs[method].result(), task, policy, method, seed)

    def _jobs(self, task: Task, policy: Policy) -> Iterator[tuple[Estimator | Control, int, str]]:
        for seed in self.seeds:
            for method in self.methods:
                recipes = (describe(x) for x in (task, policy, self.judge, method))
                numbers = (int(self.num_trajectories), int(self.replicates), int(seed))
                yield method, int(seed), identity(*recipes, *numbers)

    def _chunk(self, num_steps: int) -> tuple[int, int, int]:
        """Blocks, replicates per block, and replicates scored at once."""
        num_blocks = min(NUM_BLOCKS, self.replicates)
        per_block = self.replicates // num_blocks
        entries = CHUNK_ENTRIES.get(jax.default_backend(), ACCELERATOR_ENTRIES)
        return num_blocks, per_block, _largest_divisor(per_block, entries // (self.num_trajectories * num_steps))

    def _compile(self, setting: Setting, methods: list[Estimator | Control]) -> dict[Estimator | Control, Future]:
        """Compiles the programs of all methods at once, on as many threads as there are cores, and waits for them."""
        keys = jax.random.split(jax.random.key(0), self._chunk(setting.num_steps)[2])

        def compiled(method: Estimator | Control) -> tuple[Callable[[Array], Sums], float]:
            started = time.perf_counter()
            return scorer(method, self.num_trajectories, setting, keys), time.perf_counter() - started

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            return {method: pool.submit(compiled, method) for method in methods}

    def _measure(
        self,
        setting: Setting,
        program: tuple[Callable[[Array], Sums], float],
        task: Task,
        policy: Policy,
        method: Estimator | Control,
        seed: int,
    ) -> Row:
        score, compile_time = program
        num_blocks, per_block, chunk = self._chunk(setting.num_steps)
        keys = jax.random.split(jax.random.key(seed), self.replicates).reshape(-1, chunk)
        started = time.perf_counter()
        blocks = Blocks(num_blocks)
        for index in range(len(keys)):  # to iterate over a JAX array would compile a program as long as the array
            sums = score(keys[index])
            if not np.isfinite(np.asarray(sums.error)).all():
                raise ValueError(f"credit of {label(method)} must be finite, got NaN or infinity on {label(task)}")
            blocks.add(index * chunk // per_block, sums)
        scores = finalise(setting.world.mdp, setting.truth, blocks.sums)
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
            scores=scores,
            exact=setting.exact,
            versions=_versions(),
            device=jax.devices()[0].device_kind,
            compile_time=compile_time,
            wall_time=time.perf_counter() - started,
        )


def _largest_divisor(number: int, limit: int) -> int:
    return max(d for d in range(1, number + 1) if number % d == 0 and d <= max(limit, 1))


def _versions() -> dict[str, str]:
    return {"casim": __version__, "jax": jax.__version__, "numpy": np.__version__, "python": platform.python_version()}
