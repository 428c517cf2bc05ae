"""A score before its interval is made, and what of it is rounding or missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from casim.scores.numbers import Quantity

RESOLUTION = 2.0**-44
"""Squares of numbers that are 2^-22 (2.4e-7) of what they were computed from are rounding.

That is so in single precision.
"""
NO_MEASURE = "there is nothing to be relative to"


class Entry(NamedTuple):
    """A score before its interval is made."""

    value: Quantity
    count: float
    """How many groups or trajectories define it."""
    note: str = ""
    """Why it is missing, or what to know of it."""


def missing(num_blocks: int, note: str) -> Entry:
    """A score that is undefined, and why."""
    nothing = np.full(num_blocks + 1, np.nan)
    return Entry(nothing, 0.0, note)
