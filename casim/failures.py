"""What ends a study early, or a part of it: failures that are contained, and an interruption.

A method that fails, fails alone; so does a task. The rest of the study goes on, its rows are kept,
and at its end one `StudyError` says in a line each what failed where, and why.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, final

from casim.report import Row

MAX_REASON = 300
"""Characters of a reason in a summary."""
EVERY_METHOD = "every method"
"""Stands for the name of a method where a task failed before any method ran."""


class Failure(NamedTuple):
    """Rows that are missing, and why."""

    method: str
    """Its label, or `EVERY_METHOD`."""
    task: str
    policy: str
    seeds: tuple[int, ...]
    rows: int
    """How many are missing."""
    reason: str
    """One line."""
    traceback: str

    @classmethod
    def make(
        cls,
        error: Exception,
        method: str,
        task: str,
        policy: str,
        seeds: Sequence[int],
        rows: int,
    ) -> Failure:
        """The failure behind an exception."""
        trace = "".join(traceback.format_exception(error))
        return cls(method, task, policy, tuple(seeds), rows, reason_of(error), trace)

    def __str__(self) -> str:
        seeds = ", ".join(map(str, self.seeds))
        name = "seed" if len(self.seeds) == 1 else "seeds"
        where = f"{self.method} on {self.task}, {self.policy}"
        return f"{where}, {name} {seeds}: {self.reason}"


def reason_of(error: Exception) -> str:
    """An exception in one line; the type is said unless casim itself chose the words."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    if len(said) > MAX_REASON:
        said = said[: MAX_REASON - 3] + "..."
    if isinstance(error, ValueError) and said:
        return said
    kind = type(error).__name__
    return f"{kind}: {said}" if said else kind


@final
class StudyError(ValueError):
    """Some rows of a study could not be measured; the others were, and are saved.

    Attributes:
        study: its name.
        rows: those that were measured or already there, in the order of the study.
        failures: what is missing, and why.
    """

    def __init__(self, study: str, rows: list[Row], failures: list[Failure]):
        self.study, self.rows, self.failures = study, rows, failures
        missing = sum(failure.rows for failure in failures)
        head = f"{missing} of {missing + len(rows)} rows of {study} failed, the others are finished"
        super().__init__("\n  ".join([f"{head}:", *map(str, failures)]))

    @property
    def tracebacks(self) -> str:
        """Where each failure was raised."""
        return "\n".join(f"{failure}\n\n{failure.traceback}" for failure in self.failures)


@final
class Interrupted(KeyboardInterrupt):
    """A study was interrupted (Ctrl-C); its message says what is kept and how to go on.

    Attributes:
        rows: those that were finished.
    """

    def __init__(
        self,
        study: str,
        rows: list[Row],
        total: int,
        path: Path | None,
        fresh: bool,
    ):
        self.rows = rows
        done = f"{study} was interrupted after {len(rows)} of {total} rows"
        again = "run it again, but not fresh," if fresh else "run it again"
        kept = f"they are kept in {path}: {again} to measure the others"
        lost = "they are in `rows` of this exception, and in no file, as no path was given"
        super().__init__(f"{done}; {lost if path is None else kept}")
