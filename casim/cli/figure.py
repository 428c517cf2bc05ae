"""`casim figure`: an experiment's figure again, from its rows."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType

import tyro

from casim.cli.command import Command
from casim.cli.experiment import blaming, opened
from casim.cli.output import save
from casim.report import Row
from casim.storage import load
from casim.until import with_most_replicates


@dataclasses.dataclass(frozen=True)
class Figure(Command):
    """Draw an experiment's figure again, from saved rows alone.

    Only rows that the experiment asks for are drawn; where a row was measured again, the last one.

    Attributes:
        path: the experiment file.
        rows: the saved rows.
        most: of each measurement, draw the row with most replicates, as after `casim run --until`.
        out: where the picture goes; its ending chooses the format.
    """

    path: tyro.conf.Positional[Path]
    rows: tyro.conf.Positional[Path]
    most: tyro.conf.FlagCreatePairsOff[bool] = False
    out: Path = Path("figure.png")

    def run(self) -> None:
        """Loads and draws."""
        with opened(self.path) as experiment:
            rows = self._chosen(experiment, load(self.rows))
            with blaming(self.path):
                picture = experiment.draw(rows)
            save(picture, self.out)

    def _chosen(self, experiment: ModuleType, rows: list[Row]) -> list[Row]:
        """The rows that STUDY asks for, or else those that QUICK does.

        Raises:
            ValueError: there are none.
        """
        for study in (experiment.STUDY, experiment.QUICK):
            chosen = study.select(rows)
            if chosen:
                if self.most:
                    chosen = with_most_replicates(chosen, rows)
                _report(len(rows) - len(chosen), chosen)
                return chosen
        names = f"{experiment.STUDY.name} or {experiment.QUICK.name}"
        wanted = f"hold rows of {names} as {self.path} asks for them now"
        raise ValueError(f"{self.rows} must {wanted}, got none among {len(rows)}")


def _report(left_out: int, chosen: list[Row]) -> None:
    """Says what is not drawn, and whether what is drawn was made by one version of the code."""
    if left_out:
        print(f"{left_out} rows left out, which the study does not ask for")
    versions: dict[str, set[str]] = {}
    for row in chosen:
        for name, digest in row.sources.items():
            versions.setdefault(name, set()).add(digest)
    for name, digests in versions.items():
        if len(digests) > 1:
            print(f"rows of {len(digests)} versions of {name} are drawn together")
