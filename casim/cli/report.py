"""`casim report`: saved rows as one HTML file."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import tyro

from casim.cli.command import Command
from casim.cli.names import check_names
from casim.cli.output import plain
from casim.compare import labels
from casim.storage import load, read
from casim.webpages import Source, report_html


@dataclasses.dataclass(frozen=True)
class Report(Command):
    """Write saved rows as one HTML file that opens from the disk, without a network.

    It holds the plan of the study, figures and tables that answer to pointer and keys, comparisons
    by pairs, the cards of the methods, definitions of all scores, and provenance.

    Attributes:
        path: the saved rows.
        out: where the page goes.
        against: the method that the others are compared with, by its label in the table of
            `casim table`; RLOO, GRPO or REINFORCE if left out and there, else the first method.
    """

    path: tyro.conf.Positional[Path]
    out: Path = Path("report.html")
    against: str | None = None

    def run(self) -> None:
        """Loads and writes."""
        rows = load(self.path)
        if self.against is not None:
            check_names("against", [self.against], labels(rows))
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        left_out = len(read(self.path)) - len(rows)
        text = report_html(rows, Source(str(self.path), digest, left_out), self.against)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(text, encoding="utf-8")
        size = self.out.stat().st_size / 1e6
        plain(f"page: {self.out}, {len(rows)} rows, {size:.2g} MB")
