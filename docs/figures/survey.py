"""The figures of the survey that the docs show, which carry their numbers.

`python docs/figures/survey.py` writes them; `python experiments/survey_figures.py` all the others.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from kept import shrink

sys.path.append(str(Path(__file__).parents[2] / "experiments"))
from pictures.picture import write
from survey_figures import PICTURES

DOCS = Path(__file__).parent.parent
SHOWN = {
    "taxonomy_grid": DOCS / "survey-taxonomy-grid.png",
    "evolution": DOCS / "survey-evolution.png",
    "decision_tree": DOCS / "survey-decision-tree.png",
}


def main() -> None:
    """Draws, and keeps what is drawn."""
    with TemporaryDirectory() as folder:
        for name, path in SHOWN.items():
            *_, png = write(PICTURES[name], Path(folder))
            png.replace(path)
            shrink(path, PICTURES[name].numbers())


if __name__ == "__main__":
    main()
