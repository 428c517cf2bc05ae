"""Sphinx extension: draws the figures of docs/figures that take a moment, as NAME.svg beside them.

A file that is a command makes a figure that is kept in the repository.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import matplotlib.pyplot as plt

from casim.figures import save


def draw(folder: Path) -> None:
    """Draws them anew, since casim may have changed."""
    for path in sorted(folder.glob("*.py")):
        if "__main__" in path.read_text(encoding="utf-8"):
            continue
        made = runpy.run_path(str(path))
        save(made["draw"](), path.with_suffix(".svg"))
        plt.close("all")


def setup(app):
    """Draws before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: draw(Path(app.srcdir) / "figures"))
    return {"parallel_read_safe": True}
