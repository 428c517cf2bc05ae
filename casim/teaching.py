"""Questions with exact answers: a prediction is checked, a known mistake named, a solution waits.

Notebooks display what these functions return; nothing is printed.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any, Literal

import numpy as np

MARKS = {
    "right": "\N{CHECK MARK}",
    "wrong": "\N{MULTIPLICATION X}",
    "missing": "\N{HORIZONTAL ELLIPSIS}",
}
"""What a verdict begins with."""


@dataclasses.dataclass(frozen=True, repr=False)
class Verdict:
    """What is said of a prediction.

    Attributes:
        state: of the prediction.
        text: what is said.
    """

    state: Literal["right", "wrong", "missing"]
    text: str

    def __repr__(self) -> str:
        return f"{MARKS[self.state]} {self.text}"


@dataclasses.dataclass(frozen=True, repr=False)
class Solution:
    """The text of a solution, in Markdown."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text


def check(
    prediction: Any,
    exact: Any,
    hints: Mapping[str, Any] | None = None,
    tolerance: float = 1e-3,
) -> Verdict:
    """Compares a prediction with the exact answer.

    Args:
        prediction: a number or an array; None or ... as long as nothing is written.
        exact: the answer, a number or an array.
        hints: what a wrong prediction answers instead, by the words that say so: `{"that is V, and
            not A": value}`. The first that agrees is said.
        tolerance: largest distance, in every entry, of numbers that agree.
    """
    wanted = np.asarray(exact, float)
    if prediction is None or prediction is Ellipsis:
        return Verdict("missing", f"nothing here yet: write {_kind(wanted)}")
    try:
        got = np.asarray(prediction, float)
    except (TypeError, ValueError):
        said = f"{_kind(wanted)} is wanted, got {prediction!r}"
        return Verdict("wrong", said)
    if _agree(got, wanted, tolerance):
        return Verdict("right", "right")
    for words, value in (hints or {}).items():
        if _agree(got, np.asarray(value, float), tolerance):
            return Verdict("wrong", f"not yet: {words}")
    if got.shape != wanted.shape:
        said = f"{_kind(wanted)} is wanted, got {_kind(got)}"
        return Verdict("wrong", said)
    if _agree(-got, wanted, tolerance):
        return Verdict("wrong", "not yet: the size is right, and the sign is not")
    return Verdict("wrong", f"not yet: {_direction(got, wanted, tolerance)}")


def together(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict on several predictions, a line each; right if all are, missing if one is.

    Args:
        verdicts: by the names of the questions, at least one.

    Raises:
        ValueError: no verdict.
    """
    if not verdicts:
        raise ValueError("verdicts must hold at least one, got none")
    width = max(map(len, verdicts))
    lines = []
    for name, verdict in verdicts.items():
        lines.append(f"  {name:<{width}}  {verdict!r}")
    states = [verdict.state for verdict in verdicts.values()]
    right = states.count("right")
    head = f"{right} of {len(states)} right"
    state = "right"
    for other in ("wrong", "missing"):
        if other in states:
            state = other
    return Verdict(state, "\n".join([head, *lines]))


def solution(lesson: str, number: int) -> Solution:
    """The solution of a question, which a notebook shows only when asked.

    Args:
        lesson: name of a file in `casim/lessons`, without its ending.
        number: of the question in that lesson.

    Raises:
        ValueError: an unknown lesson or number.
    """
    folder = resources.files("casim") / "lessons"
    known = sorted(path.name.removesuffix(".md") for path in folder.iterdir())
    if lesson not in known:
        raise ValueError(f"lesson must be one of {known}, got {lesson!r}")
    text = (folder / f"{lesson}.md").read_text(encoding="utf-8")
    # What stands before the first heading is of no question.
    parts = re.split(r"^## (\d+).*\n", text, flags=re.MULTILINE)[1:]
    numbers = [int(part) for part in parts[::2]]
    if number not in numbers:
        raise ValueError(f"number must be one of {numbers}, got {number!r}")
    place = numbers.index(number)
    return Solution(parts[1::2][place].strip())


def _agree(
    one: np.ndarray,
    two: np.ndarray,
    tolerance: float,
) -> bool:
    """Whether all entries are as near as that."""
    if one.shape != two.shape:
        return False
    return bool(np.all(np.abs(one - two) <= tolerance))


def _kind(array: np.ndarray) -> str:
    """What sort of thing this is."""
    if array.ndim == 0:
        return "a number"
    return f"an array of shape {array.shape}"


def _direction(
    got: np.ndarray,
    wanted: np.ndarray,
    tolerance: float,
) -> str:
    """How a wrong prediction differs."""
    if not np.all(np.isfinite(got)):
        return "it must be finite"
    if got.ndim == 0:
        return "too large" if got > wanted else "too small"
    wrong = np.abs(got - wanted) > tolerance
    place = tuple(int(i) for i in np.argwhere(wrong)[0])
    return f"{wrong.sum()} of {wrong.size} entries are wrong, the first at {list(place)}"
