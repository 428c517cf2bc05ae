"""Rows, and the arrays of a solved task, to matplotlib axes."""

from casim.figures.lines import horizon_panel, series, styles
from casim.figures.style import COLOR, COLUMN, PAGE, style
from casim.figures.task import pivots, task_figure
from casim.figures.truths import truth_figure

__all__ = [
    "COLOR",
    "COLUMN",
    "PAGE",
    "horizon_panel",
    "pivots",
    "series",
    "style",
    "styles",
    "task_figure",
    "truth_figure",
]
