"""Results: the rows of a suite by world and method, compared with one method by pairs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from casim.compare import Comparison, by_score, compare, worth
from casim.protocol.suite import AGAINST, GROUPS, VERSION, Suite, full, quick
from casim.report import Row

PREFIX = "protocol_"
CONTROL = "control"
ALIGNED = "snr_aligned"
BATCH = "batch_steps"
Cell = tuple[str, str]
"""A world and the label of a method."""


class Result(NamedTuple):
    """One method in one world.

    Attributes:
        rows: one for each seed.
        difference: of `snr_aligned` from `AGAINST`'s, by pairs; None for that one and controls.
        worth: one over the error of the gradient that the equal budget buys, over that of
            `AGAINST`; NaN where it is not known, as of controls.
    """

    rows: tuple[Row, ...]
    difference: Comparison | None
    worth: float

    @property
    def row(self) -> Row:
        """That of the first seed."""
        return self.rows[0]

    def mean(
        self,
        score: str,
    ) -> float:
        """A score, its mean over seeds; NaN where a row lacks it."""
        if not all(score in row.scores for row in self.rows):
            return math.nan
        found = [row.scores[score].value for row in self.rows]
        return float(np.mean(found))


@dataclasses.dataclass(frozen=True)
class Results:
    """All that rows say of a suite.

    Attributes:
        suite: what was asked.
        cells: by world and label, in the order of the suite's worlds.
        left_out: rows that are of none of its worlds, or repeat others.
    """

    suite: Suite
    cells: dict[Cell, Result]
    left_out: int

    @property
    def worlds(self) -> list[str]:
        """The worlds that were measured."""
        found = dict.fromkeys(world for world, _ in self.cells)
        return list(found)

    @property
    def ranking(self) -> list[str]:
        """Those of them that methods are ranked by: where all can be run, because one can go back.

        All that were measured, if one can go back in none.
        """
        allowed = [world.name for world in self.suite.worlds if world.task.replay.possible]
        return [world for world in self.worlds if world in allowed] or self.worlds

    @property
    def labels(self) -> list[str]:
        """The methods, then the controls."""
        found = dict.fromkeys(label for _, label in self.cells)
        return sorted(found, key=self.is_control)

    @property
    def methods(self) -> list[str]:
        """The labels without controls."""
        return [label for label in self.labels if not self.is_control(label)]

    def is_control(
        self,
        label: str,
    ) -> bool:
        """Whether a label is that of a control."""
        return self.methodologies[label] == CONTROL

    @property
    def methodologies(self) -> dict[str, str]:
        """By label."""
        found = {}
        for (_, label), cell in self.cells.items():
            found[label] = cell.row.methodology
        return found

    @property
    def rows(self) -> list[Row]:
        """All that count."""
        return [row for cell in self.cells.values() for row in cell.rows]


def suite_of(rows: Sequence[Row]) -> Suite:
    """The suite that rows are of, by the name of their study.

    Raises:
        ValueError: no row of the protocol, rows of another version, or of several sizes.
    """
    names = {row.study for row in rows if row.study.startswith(PREFIX)}
    if not names:
        raise ValueError("rows must be of `casim run protocol`, got none of it")
    known = {suite.name: suite for suite in (quick(), full())}
    unknown = sorted(names - set(known))
    if unknown:
        wanted = f"of version {VERSION} of the protocol"
        raise ValueError(f"rows must be {wanted}, got {unknown[0]}: measure them again")
    if len(names) > 1:
        raise ValueError(f"rows must be of one size of the protocol, got {sorted(names)}")
    return known[names.pop()]


def gather(
    suite: Suite,
    rows: Sequence[Row],
) -> Results:
    """Rows by world and method, each beside `AGAINST` in the same world.

    Of rows that answer the same question, as of several versions of a method, the last counts.
    """
    cells = _by_cell(suite, rows)
    counted = [row for own in cells.values() for row in own]
    differences = _differences(suite, counted)
    found = {}
    for cell, own in cells.items():
        world, _ = cell
        references = cells.get((world, AGAINST), [])
        found[cell] = Result(
            rows=tuple(own),
            difference=differences.get(cell),
            worth=_worth(own, references),
        )
    return Results(suite, found, len(rows) - len(counted))


def _by_cell(
    suite: Suite,
    rows: Sequence[Row],
) -> dict[Cell, list[Row]]:
    """The last row to each question, by world and method, in the order of the worlds."""
    latest: dict[str, Row] = {}
    for row in rows:
        if row.study == suite.name:
            latest[row.question] = row
    cells: dict[Cell, list[Row]] = {}
    for row in latest.values():
        world = suite.world_of(row)
        if world is not None:
            cell = world.name, row.label
            cells.setdefault(cell, []).append(row)
    places = [world.name for world in suite.worlds]
    order = sorted(cells, key=lambda cell: places.index(cell[0]))
    return {cell: cells[cell] for cell in order}


def _differences(
    suite: Suite,
    rows: Sequence[Row],
) -> dict[Cell, Comparison]:
    """Paired differences from `AGAINST`, corrected for their number; none without its rows."""
    methods = [row for row in rows if row.methodology != CONTROL]
    labels = {row.label for row in methods}
    is_scored = any(ALIGNED in row.scores for row in methods)
    if AGAINST not in labels or len(labels) < 2 or not is_scored:
        return {}
    measure = by_score(methods, ALIGNED)
    found = {}
    for comparison in compare(methods, measure, AGAINST):
        row = comparison.rows[0]
        world = suite.world_of(row)
        if world is not None:
            found[world.name, row.label] = comparison
    return found


def _worth(
    rows: Sequence[Row],
    references: Sequence[Row],
) -> float:
    """What a method buys at equal cost, over what `AGAINST` buys."""
    if not references or rows[0].methodology == CONTROL:
        return math.nan
    every = [*rows, *references]
    if not all(BATCH in row.scores for row in every):
        return math.nan
    steps = [row.scores[BATCH].value for row in references]
    mean = float(np.mean(steps))
    budget = GROUPS * mean
    own = _bought(rows, budget)
    other = _bought(references, budget)
    return own / other


def _bought(
    rows: Sequence[Row],
    budget: float,
) -> float:
    """One over the error of the gradient that a budget buys; without a single batch that is 1."""
    dearest = max(map(_cost, rows))
    return 1.0 if dearest > budget else worth(rows, budget).value


def _cost(row: Row) -> float:
    """Environment steps of a batch, with what the method adds."""
    own, added = row.scores[BATCH], row.scores["env_steps"]
    return own.value + added.value
