"""`casim compare`: every method of saved rows against one of them, by pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tyro

from casim.cli.command import Command
from casim.cli.names import check_names
from casim.compare import (
    By,
    Comparison,
    Estimate,
    by_budget,
    by_score,
    compare,
    labels,
    worth,
)
from casim.report import Row
from casim.storage import load
from casim.tables import aligned, known_scores, setting_cells, telling


@dataclasses.dataclass(frozen=True)
class Compare(Command):
    """Compare every method with one, by pairs on the groups that they share.

    Intervals are 95% each; p and verdicts are corrected for the number of comparisons (Holm).

    Attributes:
        path: the saved rows.
        against: the method to compare with, by its label in the table of `casim table`.
        score: what to compare by.
        budget: compare by the gradient that this many environment steps buy instead: by its
            squared error after the best single scalar, relative to the exact gradient's square.
        by: differences, or ratios where all numbers are positive.
        controls: compare the controls, too.
    """

    path: tyro.conf.Positional[Path]
    against: str
    score: str = "snr_aligned"
    budget: float | None = None
    by: By = "difference"
    controls: tyro.conf.FlagCreatePairsOff[bool] = False

    def run(self) -> None:
        """Loads, compares and prints."""
        rows = load(self.path)
        check_names("score", [self.score], known_scores(rows))
        check_names("against", [self.against], labels(rows))
        measure = by_score(rows, self.score)
        if self.budget is not None:
            measure = by_budget(self.budget)
        if not self.controls:
            rows = [row for row in rows if _is_wanted(row, self.against)]
        found = compare(rows, measure, self.against, self.by)
        tests = [one for one in found if not np.isnan(one.estimate.p)]
        by_holm = f"p by Holm over {len(tests)} comparisons"
        print(f"{measure.name} against {self.against}; {by_holm}\n")
        print(_table(found, self.by))
        for one in found:
            if one.note:
                row = one.rows[0]
                print(f"missing for {row.label} at {row.horizon}: {one.note}")
        if self.budget is not None:
            print(f"\n1 / error at {self.budget:g} steps: what the budget buys\n")
            print(_worths(found, self.budget))


def _is_wanted(row: Row, against: str) -> bool:
    is_control = row.methodology == "control"
    return not is_control or row.label == against


def _table(found: Sequence[Comparison], by: By) -> str:
    """A line for each comparison."""
    left = _settings(found)
    head = [*_heads(left), "value", "reference", by, "95% interval", "p", "verdict"]
    cells = [head]
    for one in found:
        estimate = one.estimate
        line = [
            _number(one.value),
            _number(one.reference),
            _number(estimate.value),
            "-" if one.note else _interval(estimate),
            "-" if one.note else f"{one.corrected:.2g}",
            one.verdict,
        ]
        setting = setting_cells(one.rows[0], left)
        cells.append(setting + line)
    return aligned(cells, len(left))


def _worths(found: Sequence[Comparison], budget: float) -> str:
    """A line for each method and setting: one over its error."""
    rows: dict[str, tuple[Row, ...]] = {}
    for one in found:
        for seeds in (one.references, one.rows):
            question = seeds[0].question
            rows[question] = seeds
    left = _settings(found)
    cells = [[*_heads(left), "1 / error", "95% interval"]]
    for seeds in rows.values():
        bought = worth(seeds, budget)
        missing = np.isnan(bought.value)
        interval = "-" if missing else _interval(bought)
        setting = setting_cells(seeds[0], left)
        cells.append([*setting, _number(bought.value), interval])
    return aligned(cells, len(left))


def _settings(found: Sequence[Comparison]) -> list[str]:
    """The columns that say what was compared; seeds are averaged."""
    rows = [one.rows[0] for one in found]
    return [name for name in telling(rows) if name != "seed"]


def _heads(names: Sequence[str]) -> list[str]:
    return ["estimator" if name == "label" else name for name in names]


def _interval(estimate: Estimate) -> str:
    low = _number(estimate.low)
    high = _number(estimate.high)
    return f"{low} to {high}"


def _number(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.3g}"
