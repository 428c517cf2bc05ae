"""`casim run`: the study of an experiment file, its rows and its figure."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import jax
import tyro
from rich.progress import Progress

from casim.cli.command import Command
from casim.cli.experiment import blaming, opened
from casim.cli.output import console, plain, save
from casim.failures import StudyError
from casim.report import Row
from casim.tables import tabulate


@dataclasses.dataclass(frozen=True)
class Run(Command):
    """Run the study of an experiment file, save its rows and draw its figure.

    Rows that are already saved are kept: an interrupted run goes on where it stopped. Compiled
    programs are kept too. A method that fails, fails alone: the others are measured and drawn, a
    line for each failure says why, and the exit status is 1.

    Attributes:
        path: a Python file with STUDY, QUICK and draw(rows).
        quick: run QUICK, the small version.
        fresh: measure everything anew; rows that are already saved move to a file beside theirs.
        out: folder for the rows and the figure.
        devices: how many devices to use; all if left out.
        memory: gigabytes of each device to use; what is free if left out.
        cache: folder for compiled programs; the user's cache folder if left out, or what JAX was
            told.
        no_cache: keep no compiled programs.
        distributed: take part in a run of several processes; the first one writes and prints. JAX
            finds them by itself under Slurm, MPI and Kubernetes, else by JAX_COORDINATOR_ADDRESS
            (host:port of the first), JAX_NUM_PROCESSES and JAX_PROCESS_ID.
    """

    path: tyro.conf.Positional[Path]
    quick: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    fresh: bool = False
    out: Path = Path("results")
    devices: int | None = None
    memory: float | None = None
    cache: Path | None = None
    no_cache: tyro.conf.FlagCreatePairsOff[bool] = False
    distributed: bool = False

    def run(self) -> None:
        """Measures, saves, prints and draws."""
        if self.distributed:
            join_processes()
        if not self.no_cache:
            keep_programs(self.cache)
        console.quiet = jax.process_index() > 0
        with opened(self.path) as experiment:
            self._measure(experiment)

    def _measure(self, experiment: ModuleType) -> None:
        started = time.perf_counter()
        study = experiment.QUICK if self.quick else experiment.STUDY
        rows_path = self.out / f"{study.name}.jsonl"
        total = len(study.tasks) * len(study.policies) * len(study.seeds) * len(study.methods)
        with Progress(console=console) as bar:
            job = bar.add_task(study.name, total=total)

            fresh: list[Row] = []

            def report(row: Row, new: bool) -> None:
                now = f"{study.name}: {row.label} at {row.horizon}"
                bar.update(job, advance=1, description=now)
                fresh.extend([row] if new else [])

            limits = {"devices": self.devices, "memory": self.memory}
            failed: StudyError | None = None
            try:
                rows = study.run(rows_path, report, plain, fresh=self.fresh, **limits)
            except StudyError as error:
                rows, failed = error.rows, error
        if jax.process_index() == 0 and rows:
            took = time.perf_counter() - started
            self._print(experiment, rows, fresh, took)
            print(f"rows:   {rows_path}")
            self._draw(experiment, rows, self.out / f"{study.name}.png", failed)
        if failed is not None:
            raise failed

    def _print(
        self,
        experiment: ModuleType,
        rows: list[Row],
        fresh: list[Row],
        took: float,
    ) -> None:
        """The table, and what took how long."""
        ran = sum(row.wall_time for row in fresh)
        print(tabulate(rows, experiment.SCORES, times=True))
        times = f"{took - ran:.1f} s to compile and solve, {ran:.1f} s to run"
        print(f"\n{len(fresh)} new rows: {times}")

    def _draw(
        self,
        experiment: ModuleType,
        rows: list[Row],
        path: Path,
        failed: StudyError | None,
    ) -> None:
        """The figure; without the rows that failed there may be none, and that is not the news."""
        try:
            with blaming(self.path):
                picture = experiment.draw(rows)
        except ValueError as error:
            if failed is None:
                raise
            print(f"no figure of these rows alone: {error}")
        else:
            save(picture, path)


def join_processes() -> None:
    """Connects the processes of one run, see `Run.distributed`."""
    number = os.environ.get("JAX_NUM_PROCESSES")
    index = os.environ.get("JAX_PROCESS_ID")
    jax.distributed.initialize(
        num_processes=None if number is None else int(number),
        process_id=None if index is None else int(index),
    )


def keep_programs(folder: Path | None = None) -> None:
    """Keeps compiled programs for later: in a folder, where JAX was told, or the user's cache."""
    if folder is None and jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore
        return
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    jax.config.update("jax_compilation_cache_dir", str(folder or base / "casim"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
