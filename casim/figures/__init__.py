"""Rows, and the arrays of a solved task, to matplotlib axes."""

from casim.figures.along import truth_figure
from casim.figures.columns import alike, by_place, cost_column, score_of, worth_column
from casim.figures.labels import label_ends
from casim.figures.ladder import Column, ladder
from casim.figures.lines import styles
from casim.figures.matrix import Panel, matrix
from casim.figures.multiples import small_multiples
from casim.figures.panel import panel
from casim.figures.profiles import profile_panel
from casim.figures.style import COLOR, COLUMN, PAGE, save, style
from casim.figures.task import pivots, task_figure

__all__ = [
    "COLOR",
    "COLUMN",
    "PAGE",
    "Column",
    "Panel",
    "alike",
    "by_place",
    "cost_column",
    "label_ends",
    "ladder",
    "matrix",
    "panel",
    "pivots",
    "profile_panel",
    "save",
    "score_of",
    "small_multiples",
    "style",
    "styles",
    "task_figure",
    "truth_figure",
    "worth_column",
]
