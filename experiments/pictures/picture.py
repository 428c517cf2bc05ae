"""Picture: numbers, and a figure that is drawn from them alone."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from casim.figures import style

ENDINGS = (".pdf", ".svg", ".png")

Table = list[dict[str, Any]]
"""Lines of a CSV, all with the same keys."""


class Picture(NamedTuple):
    """A figure of the survey.

    Attributes:
        name: of its files.
        shows: what is seen, in a line.
        numbers: what it is drawn from.
        draw: a figure from these numbers.
    """

    name: str
    shows: str
    numbers: Callable[[], Table]
    draw: Callable[[Table], Figure]


def write(picture: Picture, folder: Path) -> list[Path]:
    """Writes the numbers as CSV, and the figure in each of `ENDINGS`; gives the paths."""
    table = picture.numbers()
    numbers = folder / f"{picture.name}.csv"
    with numbers.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, table[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    figure = picture.draw(table)
    paths = [numbers]
    for ending in ENDINGS:
        path = folder / f"{picture.name}{ending}"
        with style():
            # The sheet itself, so that letters are in print as large as they were asked to be.
            figure.savefig(path, bbox_inches=figure.bbox_inches)
        paths.append(path)
    return paths
