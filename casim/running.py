"""The run of a study: what is missing is prepared, checked, compiled, solved and measured.

Everything that can be found wrong from shapes is found before the first rollout: all methods are
traced on all tasks first, while those of the first task are already compiled. What fails is noted
and left out, and the rest goes on; only what concerns the file of rows, or the person who
interrupts, ends a run.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import Mesh

from casim.controls import Control
from casim.expected import expected_scores
from casim.failures import EVERY_METHOD, Failure
from casim.jobs import Case, Job, Sizes, label_of
from casim.measuring import add_up, finish
from casim.methods import recipe_of
from casim.preparing import Prepared, trace_all
from casim.programs import Method, Program
from casim.progress import Watcher
from casim.report import Row, describe, label, split_judges
from casim.saved import Saved
from casim.scores import Finished, Sums
from casim.setting import Setting
from casim.version import __version__

COLLECTED = (200_000, 50, 1_000)
"""Python's thresholds of garbage collection during a run, see `gc.set_threshold`."""
LOCATIONS = "jax_traceback_in_locations_limit"
"""JAX's option for how many lines of Python are noted of each operation of a program."""


@contextlib.contextmanager
def tracing_lightly() -> Iterator[None]:
    """Looks for garbage less often, and notes in no program where it was written.

    Tracing makes many objects that live on. To look through them again and again, and to note for
    each operation which lines of Python it came from, takes a twentieth of a study of small tasks.
    """
    thresholds = gc.get_threshold()
    limit = getattr(jax.config, LOCATIONS)
    # 0 is never: whoever has set that means it.
    if thresholds[0] > 0:
        gc.set_threshold(*map(max, thresholds, COLLECTED))
    jax.config.update(LOCATIONS, 0)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        jax.config.update(LOCATIONS, limit)


@dataclasses.dataclass
class Runner:
    """One run.

    Attributes:
        sizes: of the study.
        mesh: the devices.
        memory: bytes of each device to use.
        saved: the file of rows.
        watcher: told of everything.
        rows: what is finished, in the order of the study.
        failures: what failed.
    """

    sizes: Sizes
    mesh: Mesh
    memory: int
    saved: Saved
    watcher: Watcher
    rows: list[Row] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)

    def run(self, cases: Sequence[Case]) -> None:
        """Measures what is missing of all cases; see `rows` and `failures`."""
        pool = ThreadPoolExecutor(max_workers=os.cpu_count())
        try:
            prepared: list[Prepared | None] = []
            for case in cases:
                # The first one's programs are compiled while the others are traced.
                first = not any(prepared)
                prepared.append(self._prepare(case, pool if first else None))
            for number, case in enumerate(cases):
                self._measure_case(case, prepared[number], pool)
                prepared[number] = None  # it may be large
        finally:
            # Whoever interrupts waits for no program that has not been begun.
            pool.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, case: Case, pool: ThreadPoolExecutor | None) -> Prepared | None:
        """Outlines a case and checks its methods; None if there is nothing to measure.

        Args:
            case: the case.
            pool: begins to compile the methods; None leaves that for later.
        """
        missing = [job for job in case.jobs if job.identity not in self.saved.rows]
        if not missing:
            return None
        try:
            prepared = Prepared(case, missing, self.sizes, self.mesh, self.memory)
        except Exception as error:
            self._fail(case, missing, EVERY_METHOD, error)
            return None
        for method, error in trace_all(prepared):
            if error is not None:
                self._fail_method(prepared, method, error)
            elif pool is not None:
                prepared.compile(method, pool)
        return prepared

    def _measure_case(
        self,
        case: Case,
        prepared: Prepared | None,
        pool: ThreadPoolExecutor,
    ) -> None:
        """Gives the rows of a case in their order, those that are there and those that are new."""
        measure = None if prepared is None else self._measurement(prepared, pool)
        for job in case.jobs:
            row = self.saved.rows.get(job.identity)
            if row is not None:
                self._finish(row, new=False)
            elif measure is not None:
                measure(job)

    def _measurement(
        self,
        prepared: Prepared,
        pool: ThreadPoolExecutor,
    ) -> Callable[[Job], None] | None:
        """Compiles and solves a case; what measures a job of it, or None if nothing can be."""
        programs = self._compile(prepared, pool)
        setting = self._solve(prepared, programs)
        if setting is None:
            return None
        scorers: dict[Method, Callable[[np.ndarray], Sums]] = {}

        def measure(job: Job) -> None:
            program = programs.get(job.method)
            if program is None:
                return
            if job.method not in scorers:
                scorers[job.method] = program.bind(setting)
            self._measure(prepared, setting, program, scorers[job.method], job)

        return measure

    def _compile(self, prepared: Prepared, pool: ThreadPoolExecutor) -> dict[Method, Program]:
        """The programs of the methods that pass, compiled on as many threads as there are cores."""
        methods = prepared.methods
        for method in methods:
            prepared.compile(method, pool)
        programs = {}
        for method in methods:
            try:
                programs[method] = prepared.compiled(method)
            except Exception as error:
                self._fail_method(prepared, method, error)
        return programs

    def _solve(self, prepared: Prepared, programs: dict[Method, Program]) -> Setting | None:
        """The solved case, if there is a program to run on it."""
        if not programs:
            return None
        try:
            setting = prepared.outline.solve()
        except Exception as error:
            jobs = prepared.jobs_of(list(programs))
            self._fail(prepared.case, jobs, EVERY_METHOD, error)
            return None
        self.watcher.note(prepared.describe(list(programs.values())))
        return setting

    def _measure(
        self,
        prepared: Prepared,
        setting: Setting,
        program: Program,
        score: Callable[[np.ndarray], Sums],
        job: Job,
    ) -> None:
        """Measures one row and saves it."""
        started = time.perf_counter()
        try:
            sums = add_up(score, program.chunk, prepared.plan, setting, job.seed)
            weighted = recipe_of(job.method).ratio_weighted
            finished = finish(setting, sums, weighted, self.sizes.profiles)
            expected = self._expected(setting, job.method)
        except Exception as error:
            self._fail(prepared.case, [job], label_of(job.method), error)
            return
        took = time.perf_counter() - started
        times = program.compile_time, took
        row = self._row(prepared.case, setting, job, finished, expected, *times)
        self.saved.append(row)
        self._finish(row, new=True)

    def _expected(self, setting: Setting, method: Method) -> dict[str, float] | None:
        """The exact scores that are known, if the study asks for them."""
        if not self.sizes.exact:
            return None
        return expected_scores(method, setting, self.sizes.groups)

    def _row(
        self,
        case: Case,
        setting: Setting,
        job: Job,
        finished: Finished,
        expected: dict[str, float] | None,
        compile_time: float,
        wall_time: float,
    ) -> Row:
        method = job.method
        judge, judges = split_judges(case.judges)
        return Row(
            study=self.sizes.study,
            task=describe(case.task),
            policy=describe(case.policy),
            judge=judge,
            estimator=describe(recipe_of(method)),
            label=label_of(method),
            methodology="control" if isinstance(method, Control) else method.methodology,
            horizon=case.task.horizon,
            num_steps=setting.truth.advantage.shape[0],
            num_prompts=self.sizes.groups.num_prompts,
            num_trajectories=self.sizes.groups.num,
            share=self.sizes.groups.share,
            replicates=self.sizes.replicates,
            seed=job.seed,
            scores=finished.scores,
            left_out=finished.left_out,
            notes=finished.notes,
            exact=setting.exact,
            sources=job.sources,
            versions=_versions(),
            device=jax.devices()[0].device_kind,
            compile_time=compile_time,
            wall_time=wall_time,
            behaviour=describe(case.behaviour),
            reference=describe(case.reference),
            profiles=finished.profiles or None,
            judges=judges,
            expected=expected,
        )

    def _finish(self, row: Row, new: bool) -> None:
        self.rows.append(row)
        self.watcher.row(row, new)

    def _fail_method(self, prepared: Prepared, method: Method, error: Exception) -> None:
        """Notes that a method failed on a case before it ran."""
        prepared.failed.add(method)
        self._fail(prepared.case, prepared.jobs_of([method]), label_of(method), error)

    def _fail(self, case: Case, jobs: list[Job], method: str, error: Exception) -> None:
        seeds = list(dict.fromkeys(job.seed for job in jobs))
        names = (method, label(case.task), label(case.policy))
        failure = Failure.make(error, *names, seeds, len(jobs))
        self.failures.append(failure)
        self.watcher.failed(failure)


def _versions() -> dict[str, str]:
    return {
        "casim": __version__,
        "jax": jax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
