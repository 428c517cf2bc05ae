"""Rows of results: written one by one as they finish, loaded strictly, printed as tables."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from casim.metrics import Score


@dataclasses.dataclass(frozen=True)
class Row:
    """One estimator on one task: the recipes, the budgets, the scores, and how they were made.

    Attributes:
        study: name of the study.
        task, policy, judge, estimator: recipes as nested dicts, see `describe`; judge may be None.
        label: a short name of the estimator with its settings.
        methodology: of the estimator; "control" for controls.
        horizon: value of the task's horizon knob.
        num_steps: T.
        num_trajectories: N, the group size.
        replicates: number of groups.
        seed: what the person typed.
        scores: name to `Score`.
        left_out: name of a score to its values without each block of replicates in turn. Rows that share task, policy,
            judge, seed and numbers have the same blocks, so they can be compared by pairs.
        notes: name of a score to why it is missing, or what to know of it.
        exact: exact numbers of the task under the policy, see `casim.oracle.summary`.
        versions: of casim, jax, numpy and python.
        device: what it ran on.
        compile_time, wall_time: seconds; wall_time excludes compilation.
    """

    study: str
    task: dict[str, Any]
    policy: dict[str, Any]
    judge: dict[str, Any] | None
    estimator: dict[str, Any]
    label: str
    methodology: str
    horizon: int
    num_steps: int
    num_trajectories: int
    replicates: int
    seed: int
    scores: dict[str, Score]
    left_out: dict[str, list[float]]
    notes: dict[str, str]
    exact: dict[str, float]
    versions: dict[str, str]
    device: str
    compile_time: float
    wall_time: float

    @property
    def identity(self) -> str:
        """What makes two rows the same measurement: recipes, budgets and seed, as canonical JSON."""
        return identity(
            self.task, self.policy, self.judge, self.estimator, self.num_trajectories, self.replicates, self.seed
        )

    def to_json(self) -> str:
        """One line of JSON; numbers that are not finite become null."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["scores"] = {name: [_finite(x) for x in score] for name, score in self.scores.items()}
        fields["left_out"] = {name: [_finite(x) for x in values] for name, values in self.left_out.items()}
        fields["exact"] = {name: _finite(x) for name, x in self.exact.items()}
        return json.dumps(fields, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Row:
        """Reads one line.

        Raises:
            ValueError: no JSON object, an unknown or missing key, or a score that is not four numbers.
        """
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError(f"row must be a JSON object, got {fields!r}")
        known = [field.name for field in dataclasses.fields(cls)]
        for key in fields:
            if key not in known:
                raise ValueError(f"row key must be one of {known}, got {key!r}")
        for key in known:
            if key not in fields:
                raise ValueError(f"row must hold every key of {known}, got none for {key!r}")
        for name, score in fields["scores"].items():
            numbers = isinstance(score, list) and all(x is None or isinstance(x, int | float) for x in score)
            if not numbers or len(score) != 4:
                raise ValueError(f"scores[{name!r}] must be [value, low, high, count], got {score!r}")
        fields["scores"] = {name: Score(*(_nan(x) for x in score)) for name, score in fields["scores"].items()}
        fields["left_out"] = {name: [_nan(x) for x in values] for name, values in fields["left_out"].items()}
        fields["exact"] = {name: _nan(x) for name, x in fields["exact"].items()}
        return cls(**fields)


def describe(recipe: Any) -> Any:
    """A recipe as a JSON value: its class under "recipe", its fields, nested recipes likewise."""
    if dataclasses.is_dataclass(recipe) and not isinstance(recipe, type):
        fields = {}
        for field in dataclasses.fields(recipe):
            value = describe(getattr(recipe, field.name))
            whole = isinstance(field.default, float) and isinstance(value, int)
            fields[field.name] = float(value) if whole else value  # 1 and 1.0 are the same setting
        return {"recipe": type(recipe).__name__, **fields}
    if isinstance(recipe, tuple):
        return [describe(item) for item in recipe]
    return recipe.item() if isinstance(recipe, np.generic) else recipe


def label(recipe: Any) -> str:
    """A short name: the class and the fields that differ from their defaults."""
    changed = []
    for field in dataclasses.fields(recipe):
        value = getattr(recipe, field.name)
        if value != field.default:
            shown = label(value) if dataclasses.is_dataclass(value) else value
            changed.append(f"{field.name.rstrip('_')}={shown}")
    return f"{type(recipe).__name__}({', '.join(changed)})" if changed else type(recipe).__name__


def identity(*parts: Any) -> str:
    """Canonical JSON of the parts that identify a measurement."""
    return json.dumps(parts, sort_keys=True)


def append(path: Path, row: Row) -> None:
    """Adds one row to a file and forces it to the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.write(row.to_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def load(path: str | Path) -> list[Row]:
    """All rows of a file. A last line without its newline was cut off while being written and is left out.

    Raises:
        ValueError: a line that is no valid row; the message names the line.
    """
    rows = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").split("\n")[:-1], start=1):
        try:
            rows.append(Row.from_json(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    return rows


def repair(path: Path) -> None:
    """Removes a last line that was cut off while being written, so that the next row starts a line."""
    if path.exists():
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(data.rfind(b"\n") + 1)


def tabulate(rows: Iterable[Row], scores: Sequence[str], interval: bool = False, times: bool = False) -> str:
    """A plain-text table of some scores, one line per row.

    Args:
        rows: what to show.
        scores: names of the columns.
        interval: adds half-widths of the 95% intervals.
        times: adds seconds of compiling, which methods share, and of running.
    """
    lines = [["task", "horizon", "estimator", *scores, *(("compile s", "run s") if times else ())]]
    for row in rows:
        cells = [_cell(row.scores[name], interval) for name in scores]
        took = [f"{row.compile_time:.2f}", f"{row.wall_time:.2f}"] if times else []
        lines.append([row.task["recipe"], str(row.horizon), row.label, *cells, *took])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    left = 3
    return "\n".join(
        "  ".join(x.ljust(w) if i < left else x.rjust(w) for i, (x, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _cell(score: Score, interval: bool) -> str:
    if math.isnan(score.value):
        return "-"
    half = (score.high - score.low) / 2
    return f"{score.value:.3g}" + (f" ±{half:.1g}" if interval and not math.isnan(half) else "")


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def _nan(x: float | None) -> float:
    return math.nan if x is None else float(x)
