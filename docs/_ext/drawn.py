"""Sphinx extension: draws the figures of docs/figures that take a moment, as NAME.svg beside them.

A file that has a `main` is a command of its own, whose figure is kept in the repository.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib.pyplot as plt

from casim.figures import save


def draw(folder: Path) -> None:
    """Draws what is missing or older than its file."""
    for path in sorted(folder.glob("*.py")):
        picture = path.with_suffix(".svg")
        fresh = picture.exists() and picture.stat().st_mtime > path.stat().st_mtime
        made = {} if fresh else runpy.run_path(str(path))
        if made and "main" not in made:
            save(made["draw"](), picture)
            plt.close("all")


def setup(app):
    """Draws before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: draw(Path(app.srcdir) / "figures"))
    return {"parallel_read_safe": True}
