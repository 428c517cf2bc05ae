"""`casim table`: saved rows as a table for people, papers or programs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from casim.cli.command import Command
from casim.cli.names import check_names
from casim.report import Row
from casim.storage import load
from casim.tables import known_scores, tabulate, to_csv, to_latex, to_markdown

MAIN = ("bias", "variance", "snr_aligned", "sign_accuracy", "leakage", "env_steps")
"""Scores that are shown if none is named."""


@dataclasses.dataclass(frozen=True)
class Table(Command):
    """Print saved rows as a table: a line per row, a column for each knob that varies.

    With --csv it is tidy, to be read by programs: a line for each row and score, with its interval.

    Attributes:
        path: the saved rows.
        scores: which ones; if left out, a choice of them, and all with --csv.
        csv: as CSV.
        latex: as a LaTeX tabular of the package booktabs.
        markdown: as GitHub's Markdown.
    """

    path: tyro.conf.Positional[Path]
    scores: tuple[str, ...] = ()
    csv: tyro.conf.FlagCreatePairsOff[bool] = False
    latex: tyro.conf.FlagCreatePairsOff[bool] = False
    markdown: tyro.conf.FlagCreatePairsOff[bool] = False

    def run(self) -> None:
        """Loads and prints."""
        if self.csv + self.latex + self.markdown > 1:
            raise ValueError("format must be one of --csv, --latex and --markdown, got several")
        rows = load(self.path)
        check_names("scores", self.scores, known_scores(rows))
        print(self._shown(rows))

    def _shown(self, rows: list[Row]) -> str:
        if self.csv:
            return to_csv(rows, self.scores or None).rstrip("\n")
        scores = self.scores or [name for name in MAIN if name in known_scores(rows)]
        if self.latex:
            return to_latex(rows, scores)
        if self.markdown:
            return to_markdown(rows, scores)
        return tabulate(rows, scores, interval=True)
