"""`casim leaderboard`: who leads the protocol, from saved rows alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from casim.cli.command import Command
from casim.cli.output import plain
from casim.protocol.page import to_leaderboard
from casim.protocol.results import gather, suite_of
from casim.storage import load


@dataclasses.dataclass(frozen=True)
class Leaderboard(Command):
    """Print the leaderboard of `casim run protocol` as Markdown, from its rows alone.

    Rows of several files are put together, as of several machines that measured a method each.
    Rows of another version of the protocol are refused: their numbers would be others.

    Attributes:
        paths: files of rows.
        out: a file to write instead of printing.
    """

    paths: tyro.conf.Positional[tuple[Path, ...]]
    out: Path | None = None

    def run(self) -> None:
        """Loads, compares and prints."""
        if not self.paths:
            raise ValueError("paths must name files of rows, got none")
        rows = [row for path in self.paths for row in load(path)]
        page = to_leaderboard(gather(suite_of(rows), rows))
        if self.out is None:
            print(page, end="")
            return
        self.out.write_text(page, encoding="utf-8")
        plain(f"page: {self.out}")
