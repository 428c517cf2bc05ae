"""Studies that share a file, measured one after the other with a bar."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from rich.progress import Progress

from casim.cli.machine import Machine
from casim.cli.output import console, plain
from casim.failures import Failure, StudyError
from casim.report import Row
from casim.study import Study


@dataclasses.dataclass
class Measured:
    """Measures studies that share a file, with a bar, and gathers what is new and what failed.

    Attributes:
        path: the file of rows.
        machine: what they run on.
        fresh: whether the first of them puts aside what is in the file.
        new: rows that were measured.
        failures: of all.
    """

    path: Path
    machine: Machine
    fresh: bool
    new: list[Row] = dataclasses.field(default_factory=list)
    failures: list[Failure] = dataclasses.field(default_factory=list)

    def run(self, study: Study) -> list[Row]:
        """The rows of a study; what failed is in `failures`."""
        axes = (study.tasks, study.policies, study.seeds, study.methods)
        number = math.prod(map(len, axes))
        fresh, self.fresh = self.fresh, False
        with Progress(console=console) as bar:
            job = bar.add_task(study.name, total=number)

            def report(row: Row, new: bool) -> None:
                now = f"{study.name}: {row.label} at {row.horizon}"
                bar.update(job, advance=1, description=now)
                self.new.extend([row] if new else [])

            try:
                return study.run(
                    self.path,
                    progress=report,
                    notify=plain,
                    devices=self.machine.devices,
                    memory=self.machine.memory,
                    fresh=fresh,
                )
            except StudyError as error:
                self.failures += error.failures
                return error.rows

    def failed(self, study: Study, rows: list[Row]) -> StudyError | None:
        """What is to be raised in the end, if anything."""
        return StudyError(study.name, rows, self.failures) if self.failures else None
