"""Rows to matplotlib axes."""

from casim.figures.lines import horizon_panel, series, styles
from casim.figures.style import COLOR, COLUMN, PAGE, style

__all__ = ["COLOR", "COLUMN", "PAGE", "horizon_panel", "series", "style", "styles"]
