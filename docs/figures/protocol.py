"""Draws the figures of docs/protocol.md from the rows of the full protocol.

`python docs/figures/protocol.py results/full/rows.jsonl` does it, after
`casim run protocol --out results/full`.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

from kept import keep

from casim import load
from casim.protocol.pictures import by_length, gradient, identification
from casim.protocol.results import Results, gather, suite_of

DOCS = Path(__file__).parent.parent
LENGTHS = ("8 turns", "32 turns", "256 turns")
IDENTIFIED = "32 turns"
"""The length whose values are shown: those of the others look alike."""


def gradient_path(length: str) -> Path:
    """Of the figure of one length."""
    return DOCS / f"protocol-gradient-{length.split()[0]}.png"


def worths(results: Results, worlds: list[str]) -> dict[str, dict[str, float | None]]:
    """What each method's gradient is worth, by label and world; None where it is not known."""
    found: dict[str, dict[str, float | None]] = {}
    for label in results.methods:
        row = found.setdefault(label, {})
        for world in worlds:
            cell = results.cells.get((world, label))
            if cell is not None:
                row[world] = None if math.isnan(cell.worth) else cell.worth
    return found


def main() -> None:
    """Writes the figures, and in them the numbers of worth."""
    rows = load(sys.argv[1])
    results = gather(suite_of(rows), rows)
    worlds = by_length(results.worlds)
    for length in LENGTHS:
        figure = gradient(results, worlds[length])
        keep(figure, gradient_path(length), worths(results, worlds[length]))
    keep(identification(results, worlds[IDENTIFIED]), DOCS / "protocol-identification.png", None)


if __name__ == "__main__":
    main()
