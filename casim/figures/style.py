"""One look for every figure: sizes that fit a paper's column, and a colour and mark per methodology."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl

COLUMN, PAGE = 3.4, 7.0
"""Widths in inches of one column and of a full page."""

COLOR = {
    "monte_carlo": "#0072B2",
    "temporal_difference": "#D55E00",
    "model_based": "#009E73",
    "game_theoretic": "#CC79A7",
    "information_theoretic": "#B8860B",
    "control": "#777777",
}
"""Okabe and Ito's colours, which colour-blind readers can tell apart."""

MARKERS = "osD^vP*X<>hp"


@contextmanager
def style() -> Iterator[None]:
    """The settings shared by all figures."""
    with mpl.rc_context(
        {
            "font.size": 8,
            "axes.labelsize": 8,
            "axes.titlesize": 8,
            "legend.fontsize": 7,
            "xtick.labelsize": 7,
            "ytick.labelsize": 7,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.5,
            "lines.linewidth": 1.1,
            "lines.markersize": 3.2,
            "legend.frameon": False,
            "figure.dpi": 150,
            "savefig.dpi": 300,
            "savefig.bbox": "tight",
        }
    ):
        yield
