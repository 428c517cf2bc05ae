"""Validation of settings: a bad one raises a `ValueError` with its field, range and value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np


def check_range(
    field: str,
    value: float,
    low: float,
    high: float,
) -> None:
    """Raises `ValueError` unless `low <= value <= high` and finite."""
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(f"{field} must be in [{low}, {high}], got {value!r}")


def check_integer(
    field: str,
    value: int,
    low: int,
    high: float = math.inf,
) -> None:
    """Raises `ValueError` unless `value` is an integer in `[low, high]`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{field} must be an integer in [{low}, {high}], got {value!r}")
    check_range(field, value, low, high)


def check_choice(
    field: str,
    value: object,
    choices: Sequence[object],
) -> None:
    """Raises `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{field} must be one of {tuple(choices)}, got {value!r}")


def check_distinct(
    field: str,
    values: Iterable[object],
) -> None:
    """Raises `ValueError` naming the first value that occurs twice."""
    seen = []
    for value in values:
        if value in seen:
            raise ValueError(f"{field} must hold distinct values, got {value!r} twice")
        seen.append(value)
