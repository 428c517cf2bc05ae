"""`casim figure`: an experiment's figure again, from its rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from casim.cli.command import Command
from casim.cli.experiment import blaming, opened
from casim.cli.output import save
from casim.storage import load


@dataclasses.dataclass(frozen=True)
class Figure(Command):
    """Draw an experiment's figure again, from saved rows alone.

    Attributes:
        path: the experiment file.
        rows: the saved rows.
        out: where the picture goes; its ending chooses the format.
    """

    path: tyro.conf.Positional[Path]
    rows: tyro.conf.Positional[Path]
    out: Path = Path("figure.png")

    def run(self) -> None:
        """Loads and draws."""
        with opened(self.path) as experiment:
            rows = load(self.rows)
            with blaming(self.path):
                picture = experiment.draw(rows)
            save(picture, self.out)
