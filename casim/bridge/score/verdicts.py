"""What a ladder finds: a verdict for each question, and for what failed the batch that shows it."""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from casim.bridge.rows import Rows

CONTRACT = "contract"
EXACT = "exact, on small worlds"
AT_LENGTH = "sampled, at length"
"""The stages of a ladder, and their titles."""


class Verdict(enum.StrEnum):
    """Of one question."""

    PASS = "pass"
    FAIL = "FAIL"
    REMARK = "remark"
    """Worth knowing, and nothing that the function claims."""
    SKIPPED = "-"
    """It could not be asked."""


class Breach(NamedTuple):
    """A batch on which something is not as it should be, with the numbers."""

    rows: Rows | None
    """None where it is no batch, and `why` says all."""
    came: Float[np.ndarray, "R T"] | None
    """None where nothing came."""
    right: Float[np.ndarray, "R T"] | None
    """None where no one number is right."""
    why: str
    where: Bool[np.ndarray, "R T"] | None = None
    """The tokens that it is about; None is all live ones."""

    @classmethod
    def in_words(cls, why: str) -> Breach:
        """What no single batch shows."""
        return cls(None, None, None, why)

    @property
    def table(self) -> list[list[str]]:
        """A line for each token that it is about, after one of heads."""
        lines = [["row", "prompt", "token", "mask", "reward", "came", "right"]]
        if self.rows is None:
            return lines
        where = self.rows.live if self.where is None else self.where
        for row, step in zip(*np.nonzero(where), strict=True):
            came, right = (
                "-" if x is None else number(x[row, step]) for x in (self.came, self.right)
            )
            cells = [
                str(row),
                str(self.rows.group[row]),
                str(step),
                _kind(self.rows, row, step),
                f"{self.rows.reward[row, step]:g}",
                came,
                right,
            ]
            lines.append(cells)
        return lines


def _kind(
    rows: Rows,
    row: int,
    step: int,
) -> str:
    """What a token is."""
    if not rows.live[row, step]:
        return "padding"
    return "model" if rows.mask[row, step] else "tool"


class Line(NamedTuple):
    """The answer to a question."""

    name: str
    verdict: Verdict
    said: str
    breach: Breach | None = None
    numbers: dict[str, dict[str, float]] | None = None
    """Scores by who has them, where the question has numbers."""


class Report(NamedTuple):
    """All that was asked of a function."""

    function: str
    convention: str
    claimed: str | None
    stages: dict[str, list[Line]]
    """Lines by the stage of the ladder: contract, exact, at length."""

    @property
    def lines(self) -> list[Line]:
        """Of all stages."""
        return [line for stage in self.stages.values() for line in stage]

    @property
    def failures(self) -> list[Line]:
        """What is wrong."""
        return [line for line in self.lines if line.verdict == Verdict.FAIL]

    @property
    def passed(self) -> bool:
        """Whether nothing is."""
        return not self.failures

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        stages = {}
        for stage, lines in self.stages.items():
            stages[stage] = [_line_to_dict(line) for line in lines]
        return {
            "function": self.function,
            "convention": self.convention,
            "claimed": self.claimed,
            "passed": self.passed,
            "stages": stages,
        }


def _line_to_dict(line: Line) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": line.name,
        "verdict": str(line.verdict),
        "said": line.said,
    }
    if line.numbers is not None:
        found["numbers"] = {who: _defined(scores) for who, scores in line.numbers.items()}
    if line.breach is not None:
        head, *cells = line.breach.table
        tokens = [dict(zip(head, each, strict=True)) for each in cells]
        found["batch"] = {"why": line.breach.why, "tokens": tokens}
    return found


def _defined(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: float(x) if np.isfinite(x) else None for name, x in scores.items()}


def number(x: Any) -> str:
    """A number of a table: 0 to rounding is 0."""
    if not np.isfinite(x):
        return str(float(x))
    return f"{0.0 if abs(x) < 1e-9 else x:.4g}"
