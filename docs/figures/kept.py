"""Figures that are kept in the repository: small files, which carry the numbers that they show.

`python docs/figures/kept.py FILE.png ...` makes files small that `casim figure` wrote.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from casim.figures import save

COLOURS = 256
NUMBERS = "numbers"
"""The text of a file that holds its numbers as JSON."""


def main() -> None:
    """Makes the files that are named small."""
    for path in map(Path, sys.argv[1:]):
        shrink(path, numbers_of(path))


def keep(figure: Figure, path: Path, numbers: Any) -> None:
    """Saves the figure and, in the same file, what it was drawn from."""
    save(figure, path)
    shrink(path, numbers)


def shrink(path: Path, numbers: Any) -> None:
    """Writes the picture again with a palette: as many pixels, colours off by too little to see."""
    with Image.open(path) as picture:
        dpi = picture.info["dpi"]
        flat = picture.convert("RGB")
    # Covering all colours keeps the rare ones, the means the large areas.
    how = {"method": Image.Quantize.MAXCOVERAGE, "kmeans": 3, "dither": Image.Dither.NONE}
    small = flat.quantize(COLOURS, **how)
    told = PngInfo()
    told.add_text(NUMBERS, json.dumps(numbers))
    small.save(path, dpi=dpi, optimize=True, pnginfo=told)


def numbers_of(path: Path) -> Any:
    """What the file says that it was drawn from; None where it says nothing."""
    with Image.open(path) as picture:
        return json.loads(picture.info.get(NUMBERS, "null"))


if __name__ == "__main__":
    main()
