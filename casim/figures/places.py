"""Where rows lie along x, whatever field x is: numbers as they are, anything else evenly spaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from casim.figures.fields import (
    check_known,
    has,
    known_names,
    read,
    text,
)
from casim.report import Row

Value = float | str
"""A value of a field, as `casim.figures.fields.read` gives it."""


class Places(NamedTuple):
    """Where rows lie along x.

    Attributes:
        field: name of the field.
        at: position of each value of the field, rising.
        words: what to write at the positions 0, 1, 2, ... of values that are no numbers, or of a
            single value; None where positions are the values themselves.
    """

    field: str
    at: dict[Value, float]
    words: tuple[str, ...] | None

    def of(
        self,
        row: Row,
    ) -> float:
        """The position of a row that has the field."""
        return self.at[read(row, self.field)]

    def value(
        self,
        position: float,
    ) -> Value:
        """What lies at a position."""
        return next(value for value, place in self.at.items() if place == position)

    def along(
        self,
        by_value: Mapping[float, float],
    ) -> tuple[list[float], list[float]]:
        """Positions and numbers of a mapping from values of the field to numbers."""
        numbers = {}
        for value, number in by_value.items():
            if value in self.at:
                numbers[self.at[value]] = number
        positions = sorted(numbers)
        return positions, [numbers[position] for position in positions]


def find_places(
    rows: Sequence[Row],
    x: str,
) -> Places:
    """Positions of all values of a field, words in the order of the rows.

    Raises:
        ValueError: no row has the field, or it is a field of task, policy or judge that some row
            lacks. A method may lack a field of other methods.
    """
    check_known(rows, x, "x")
    values: dict[Value, None] = {}
    for row in rows:
        if has(row, x):
            values[read(row, x)] = None
        elif not x.startswith("estimator."):
            known = known_names([row])
            raise ValueError(f"x must be a field of every row, so one of {known}, got {x!r}")
    numbers = sorted(value for value in values if not isinstance(value, str))
    words = [value for value in values if isinstance(value, str)]
    if len(numbers) > 1 and not words:
        return Places(x, {value: float(value) for value in numbers}, None)
    ordered: list[Value] = [*numbers, *words]
    at = {value: float(place) for place, value in enumerate(ordered)}
    return Places(x, at, tuple(write(value) for value in ordered))


def write(value: Value) -> str:
    """A value of x as text."""
    if isinstance(value, str):
        return value
    if float(value).is_integer():
        return f"{value:,.0f}"
    return text(float(value))
