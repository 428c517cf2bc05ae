"""`casim demo`: a first result, from a study that comes with casim."""

from __future__ import annotations

import dataclasses
from importlib import resources
from pathlib import Path

import tyro

from casim.cli.command import Command
from casim.cli.machine import Machine
from casim.cli.output import plain
from casim.cli.run import Run


@dataclasses.dataclass(frozen=True)
class Demo(Command):
    """Measure how credit degrades with the horizon: a table, rows and a figure.

    Sixteen methods and four controls on chains of 8, 32 and 128 steps of which one decides: about a
    minute on two cores. It needs no file but those that are installed with casim; the same study as
    a file to change is what `casim new experiment NAME` writes.

    Attributes:
        full: 8 to 4,096 steps and twice the replicates; tens of minutes on two cores.
        out: folder for the rows and the figure.
        machine: what it runs on.
    """

    full: tyro.conf.FlagCreatePairsOff[bool] = False
    out: Path = Path("results")
    machine: tyro.conf.OmitArgPrefixes[Machine] = Machine()

    def run(self) -> None:
        """Measures, saves, prints and draws."""
        shipped = resources.files("casim") / "examples" / "horizon.py"
        with resources.as_file(shipped) as path:
            Run(path, quick=not self.full, out=self.out, machine=self.machine).run()
        if self.machine.speaks:
            rows = self.out / ("horizon.jsonl" if self.full else "horizon_quick.jsonl")
            plain(_next(rows))


def _next(rows: Path) -> str:
    """How to read what was measured, and where it goes on."""
    return (
        "\nsnr_aligned: the signal-to-noise ratio of the policy gradient, after the best learning "
        "rate;"
        "\nenv_steps: steps of the environment beyond the batch. Next:"
        f"\n  casim report {rows} --out report.html    all of it, with what each score means"
        f"\n  casim compare {rows} --against RLOO      what is told apart"
        "\n  casim new experiment first                         the same as a file to change"
        "\n  casim teach                                        what credit is, in lessons"
    )
