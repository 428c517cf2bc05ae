"""Rows to lines: one line per method, its values and intervals along any field of the rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from casim.figures.fields import differing, has, settings, without
from casim.figures.places import Places
from casim.figures.style import MARKERS, colours, shade
from casim.report import Row
from casim.scores import Score

ROUNDING = 1e-4
"""Lines whose numbers differ by a smaller share coincide: scores carry single-precision sums."""

MISSING = (np.nan, np.nan, np.nan)


class Line(NamedTuple):
    """One score of one method along x.

    Attributes:
        label: name of the method, without its setting of x.
        x: positions, rising.
        value: means over seeds; NaN where the score of a seed is missing.
        low, high: the 95% interval of the mean, seeds being independent.
        flat: whether the method has no such setting, and so one value for all x.
    """

    label: str
    x: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]
    flat: bool

    @property
    def defined(self) -> bool:
        """Whether there is anything to draw."""
        return bool(np.isfinite(self.value).any())


def read_lines(
    rows: Sequence[Row],
    score: str,
    places: Places,
) -> list[Line]:
    """One line per method, in the order of the rows.

    Raises:
        ValueError: no row has the score, or two rows of one line at one x are not two seeds of one
            setting; the message names the field in which they differ.
    """
    known = sorted({name for row in rows for name in row.scores})
    if score not in known:
        raise ValueError(f"score must be one of {known}, got {score!r}")
    methods: dict[str, list[Row]] = {}
    for row in rows:
        label = name_of(row, places.field)
        methods.setdefault(label, []).append(row)
    return [_line(label, own, score, places) for label, own in methods.items()]


def name_of(
    row: Row,
    x: str,
) -> str:
    """The label of a row without its setting of x."""
    if x == "estimator":
        return row.methodology
    if x.startswith("estimator."):
        return without(row.label, x)
    return row.label


def mean_over_seeds(
    scores: Iterable[Score | None],
) -> tuple[float, float, float]:
    """Mean value and its interval.

    Half widths add as those of independent numbers do, root of sum of squares over their number,
    below and above the value each for itself.
    """
    triples = [MISSING if score is None else score[:3] for score in scores]
    value, low, high = np.array(triples, dtype=float).T
    mean = value.mean()
    below = np.linalg.norm(value - low) / len(value)
    above = np.linalg.norm(high - value) / len(value)
    return float(mean), float(mean - below), float(mean + above)


def coincident(lines: Iterable[Line]) -> list[list[Line]]:
    """Lines in groups whose values and intervals agree within rounding all along."""
    groups: list[list[Line]] = []
    for line in lines:
        alike = [group for group in groups if _agree(group[0], line)]
        if alike:
            alike[0].append(line)
        else:
            groups.append([line])
    return groups


def styles(
    rows: Iterable[Row],
    x: str = "num_steps",
) -> dict[str, dict]:
    """How each method is drawn: a shade of its methodology's colour, and a mark of its own.

    Controls are dotted and hollow. Marks differ in all of the rows if there are enough of them,
    else within each methodology.
    """
    members: dict[str, dict[str, None]] = {}
    for row in rows:
        labels = members.setdefault(row.methodology, {})
        labels[name_of(row, x)] = None
    enough = sum(map(len, members.values())) <= len(MARKERS)
    colour = colours(members)
    looks: dict[str, dict] = {}
    for kind, labels in members.items():
        for place, label in enumerate(labels):
            mark = len(looks) if enough else place
            own = shade(colour[kind], place, len(labels))
            looks[label] = _look(own, mark, hollow=kind == "control")
    return looks


def _look(
    colour: str,
    mark: int,
    hollow: bool,
) -> dict:
    """Settings of a matplotlib line."""
    return {
        "color": colour,
        "marker": MARKERS[mark % len(MARKERS)],
        "markerfacecolor": "white" if hollow else colour,
        "linestyle": ":" if hollow else "-",
        "linewidth": 0.9 if hollow else 1.1,
    }


def _line(
    label: str,
    rows: Sequence[Row],
    score: str,
    places: Places,
) -> Line:
    """The rows of one method, seeds averaged."""
    flat = not has(rows[0], places.field)
    groups: dict[float, list[Row]] = {}
    for row in rows:
        positions = places.at.values() if flat else [places.of(row)]
        for position in positions:
            groups.setdefault(position, []).append(row)
    points = []
    for position in sorted(groups):
        where = f"{label} at {places.field} = {places.value(position)}"
        _check_alike(groups[position], where)
        scores = [row.scores.get(score) for row in groups[position]]
        points.append((position, *mean_over_seeds(scores)))
    x, value, low, high = np.array(points).T
    return Line(label, x, value, low, high, flat)


def _agree(
    one: Line,
    two: Line,
) -> bool:
    """Whether two lines look the same; two that are missing do not."""
    if not one.defined or not np.array_equal(one.x, two.x):
        return False
    for name in ("value", "low", "high"):
        pair = getattr(one, name), getattr(two, name)
        if not np.allclose(*pair, rtol=ROUNDING, atol=1e-12, equal_nan=True):
            return False
    return True


def _check_alike(
    group: Sequence[Row],
    where: str,
) -> None:
    """Raises `ValueError` unless the rows are different seeds of one setting."""
    first = group[0]
    seeds = {first.seed}
    for row in group[1:]:
        for name in differing(first, row):
            got = f"{name} = {_shown(first, name)} and {_shown(row, name)}"
            raise ValueError(
                f"rows of {where} must differ in nothing but the seed, got {got}; "
                "choose rows, or draw against that field or in panels by it"
            )
        if row.seed in seeds:
            raise ValueError(f"rows of {where} must have different seeds, got {row.seed} twice")
        seeds.add(row.seed)


def _shown(
    row: Row,
    name: str,
) -> str:
    """A setting as it stands in a message."""
    chosen = settings(row)
    return repr(chosen[name]) if name in chosen else "none"
