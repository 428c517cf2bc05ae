"""`casim run`: the study of an experiment file or the protocol, with rows and figures."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import tyro

from casim.cli.command import Command
from casim.cli.experiment import blaming, opened
from casim.cli.machine import Machine
from casim.cli.measured import Measured
from casim.cli.names import check_names
from casim.cli.output import plain, save
from casim.cli.protocol import PROTOCOL, Benchmark
from casim.cli.values import parse
from casim.failures import StudyError
from casim.report import Row
from casim.scores import NAMES
from casim.tables import tabulate
from casim.until import Goal, run_until


@dataclasses.dataclass(frozen=True)
class Run(Command):
    """Run the study of an experiment file, save its rows and draw its figure.

    Rows that are already saved are kept: an interrupted run goes on where it stopped. Compiled
    programs are kept too. A method that fails, fails alone: the others are measured and drawn, a
    line for each failure says why, and the exit status is 1.

    `casim run protocol` measures the benchmark protocol of casim instead of a file: rows, cards,
    figures, a report and a leaderboard in the folder; see docs/protocol.md.

    Attributes:
        path: a Python file with STUDY, QUICK and draw(rows), or the word protocol.
        quick: run QUICK, the small version.
        method: of the protocol: module:RECIPE, a method of your own beside those of the suite; as
            often as need be.
        until: SCORE=WIDTH: measure again, with more replicates, what has an interval of the score
            whose half width is more than WIDTH of its value; see `docs/experiments.md`.
        at_most: replicates of a row that --until does not exceed.
        fresh: measure everything anew; rows that are already saved move to a file beside theirs.
        out: folder for the rows and the figure.
        machine: what it runs on.
    """

    path: tyro.conf.Positional[Path]
    quick: Annotated[bool, tyro.conf.arg(aliases=["-q"])] = False
    method: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    until: str | None = None
    at_most: int = 6400
    fresh: bool = False
    out: Path = Path("results")
    machine: tyro.conf.OmitArgPrefixes[Machine] = Machine()

    def run(self) -> None:
        """Measures, saves, prints and draws."""
        goal = None if self.until is None else _goal(self.until, self.at_most)
        if str(self.path) == PROTOCOL:
            self._run_protocol(goal)
            return
        if self.method:
            raise ValueError(f"method must be of `casim run {PROTOCOL}`, got {self.method[0]!r}")
        self.machine.start()
        with opened(self.path) as experiment:
            self._measure(experiment, goal)

    def _run_protocol(self, goal: Goal | None) -> None:
        if goal is not None:
            raise ValueError(f"until must be of a file: replicates are the {PROTOCOL}'s own")
        asked = (self.quick, self.method, self.out, self.machine, self.fresh)
        benchmark = Benchmark.of(*asked)
        self.machine.start()
        benchmark.run()

    def _measure(self, experiment: ModuleType, goal: Goal | None) -> None:
        started = time.perf_counter()
        study = experiment.QUICK if self.quick else experiment.STUDY
        measured = Measured(self.out / f"{study.name}.jsonl", self.machine, self.fresh)
        if goal is None:
            rows = measured.run(study)
        else:
            rows, wide = run_until(study, goal, measured.run)
            _tell_wide(rows, wide, goal)
        failed = measured.failed(study, rows)
        if self.machine.speaks and rows:
            took = time.perf_counter() - started
            self._print(experiment, rows, measured.new, took)
            print(f"rows:   {measured.path}")
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


def _goal(text: str, at_most: int) -> Goal:
    """A goal from SCORE=WIDTH.

    Raises:
        ValueError: another form, an unknown score, or a number out of its range.
    """
    score, equals, width = text.partition("=")
    if not equals:
        raise ValueError(f"until must be SCORE=WIDTH, got {text!r}")
    check_names("until", [score], NAMES)
    return Goal(score, parse("until", width, float), at_most)


def _tell_wide(rows: list[Row], wide: list[Row], goal: Goal) -> None:
    """Says what more replicates did not make narrow."""
    most = max(row.replicates for row in rows) if rows else 0
    plain(f"up to {most:,} replicates for {goal.score} within {goal.width:.3g} of its value")
    for row in wide:
        place = f"{row.label} at {row.horizon}, seed {row.seed}, {row.replicates:,} replicates"
        excess = goal.excess(row)
        times = "no interval" if math.isnan(excess) else f"{excess:.3g} times too wide"
        plain(f"  still {times}: {place}")
