"""A score with its interval."""

from __future__ import annotations

from typing import NamedTuple


class Score(NamedTuple):
    """A score with its 95% interval; NaN where undefined."""

    value: float
    low: float
    high: float
    count: float
    """How many groups or trajectories define it."""
