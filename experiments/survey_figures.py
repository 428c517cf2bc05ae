"""The figures of the survey arXiv:2604.09459, from the inventory, the audit and the recipes.

Run with `python experiments/survey_figures.py [NAME ...] [--out FOLDER]`. Each figure is as wide as
a column of a paper, and is written as PDF, SVG and PNG, with the numbers that it is drawn from as
CSV. `--help` lists the names.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pictures import audits, decision, evolution, needs, taxonomy
from pictures.picture import Picture, write

ROOMS = (taxonomy, evolution, audits, needs, decision)
PICTURES: dict[str, Picture] = {}
for room in ROOMS:
    PICTURES |= {picture.name: picture for picture in room.PICTURES}


def main() -> None:
    shown = [f"  {name:16} {picture.shows}" for name, picture in PICTURES.items()]
    listed = "\n".join(shown)
    parser = argparse.ArgumentParser(
        description=str(__doc__).splitlines()[0],
        epilog=f"figures:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to draw; all if none")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in PICTURES]
    if unknown:
        known = ", ".join(PICTURES)
        got = ", ".join(unknown)
        parser.error(f"NAME must be among {known}, got {got}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.names or PICTURES:
        for path in write(PICTURES[name], options.out):
            print(path)


if __name__ == "__main__":
    main()
