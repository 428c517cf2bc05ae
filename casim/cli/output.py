"""What the commands print to, and where their pictures go."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Picture

    from casim.methods import Method

console = Console()


def plain(line: str | None) -> None:
    """Prints a line as it is: no colours, no markup, no line breaks of its own."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def save(picture: Picture, path: Path) -> None:
    """Saves a picture, whose ending chooses the format, and says where."""
    # Importing what draws takes a second, and most commands draw nothing.
    from casim import figures

    path.parent.mkdir(parents=True, exist_ok=True)
    figures.save(picture, path)
    print(f"figure: {path}")


def claims(method: Method) -> str:
    """What a published method is unbiased for, in words; a dash if nothing is claimed."""
    said = (f"{c.what}{' (discount 1)' if c.undiscounted else ''}" for c in method.claims)
    return ", ".join(said) or "-"


def settings(recipe: type) -> str:
    """The fields of a recipe and their defaults; of one that must be given, its name."""
    said = []
    for field in dataclasses.fields(recipe):
        given = field.default is dataclasses.MISSING
        said.append(field.name if given else f"{field.name}={field.default!r}")
    return ", ".join(said)
