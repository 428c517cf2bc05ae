"""`casim run`: the study of an experiment file, its rows and its figure."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro
from rich.progress import Progress

from casim.cli.command import Command
from casim.cli.experiment import blaming, opened
from casim.cli.machine import Machine
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
        machine: what it runs on.
    """

    path: tyro.conf.Positional[Path]
    quick: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    fresh: bool = False
    out: Path = Path("results")
    machine: tyro.conf.OmitArgPrefixes[Machine] = Machine()

    def run(self) -> None:
        """Measures, saves, prints and draws."""
        self.machine.start()
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

            failed: StudyError | None = None
            try:
                rows = study.run(
                    rows_path,
                    progress=report,
                    notify=plain,
                    devices=self.machine.devices,
                    memory=self.machine.memory,
                    fresh=self.fresh,
                )
            except StudyError as error:
                rows, failed = error.rows, error
        if self.machine.speaks and rows:
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
