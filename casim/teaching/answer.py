"""Answer: what is right, what is nearly right and why, and the verdict on what a reader wrote."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from casim.checks import check_range
from casim.teaching.verdict import Verdict


@dataclasses.dataclass(frozen=True, eq=False)
class Answer:
    """The right answer to a question: a number, an array, or a word of a choice.

    Attributes:
        exact: the right answer, computed.
        near: what a wrong answer is the right answer to, by the words that say so, as in `{"that
            is V, and not A": value}`, each computed too. The first that agrees is said. Where
            `exact` is a word, these are the other choices.
        hint: what is said of a wrong answer that is none of these.
        tolerance: largest distance, in every entry, of numbers that agree.
        of: what is done with what the reader wrote to get the answer. Given it, the reader writes
            a function.

    Raises:
        ValueError: `tolerance` is negative or not finite.
    """

    exact: Any
    near: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    hint: str = ""
    tolerance: float = 1e-3
    of: Callable[[Any], Any] | None = None

    def __post_init__(self) -> None:
        check_range("tolerance", self.tolerance, 0.0, 1e9)


def judge(written: Any, answer: Answer) -> Verdict:
    """The verdict on what a reader wrote: None or `...` as long as that is nothing."""
    if _is_nothing(written):
        return Verdict("missing", f"nothing here yet: write {_wanted(answer)}")
    if answer.of is None:
        return _verdict(written, answer)
    if not callable(written):
        return _unfit(written, answer)
    try:
        got = answer.of(written)
    except Exception as error:  # whatever a reader's function may raise
        kind = type(error).__name__
        return Verdict("wrong", f"not yet: your function raises {kind}: {error}")
    if _is_nothing(got):
        return Verdict("missing", f"nothing here yet: write {_wanted(answer)}")
    return _verdict(got, answer)


def together(verdicts: Mapping[str, Verdict]) -> Verdict:
    """One verdict on several answers, a line each; right if all are, missing if one is.

    Args:
        verdicts: by the names of what was asked, at least one.

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


def _is_nothing(written: Any) -> bool:
    """Whether nothing was written yet, or not all of it."""
    if isinstance(written, list):
        return any(map(_is_nothing, written))
    return written is None or written is Ellipsis


def _verdict(written: Any, answer: Answer) -> Verdict:
    """The verdict on a value."""
    if isinstance(answer.exact, str):
        return _of_word(written, answer)
    wanted = np.asarray(answer.exact, float)
    try:
        got = np.asarray(written, float)
    except (TypeError, ValueError):
        return Verdict("wrong", f"{_kind(wanted)} is wanted, got {written!r}")
    return _of_number(got, wanted, answer)


def _of_word(written: Any, answer: Answer) -> Verdict:
    """The verdict on a word of a choice, in capitals or not."""
    word = str(written).strip().casefold()
    if word == answer.exact.casefold():
        return Verdict("right", "right")
    for words, other in answer.near.items():
        if word == other.casefold():
            return Verdict("wrong", f"not yet: {words}")
    return _unfit(written, answer)


def _unfit(written: Any, answer: Answer) -> Verdict:
    """The verdict on what is not of the kind that was asked for."""
    return Verdict("wrong", f"{_wanted(answer)} is wanted, got {written!r}")


def _of_number(got: np.ndarray, wanted: np.ndarray, answer: Answer) -> Verdict:
    """The verdict on a number or an array."""
    tolerance = answer.tolerance
    if _agree(got, wanted, tolerance):
        return Verdict("right", "right")
    for words, value in answer.near.items():
        if _agree(got, np.asarray(value, float), tolerance):
            return Verdict("wrong", f"not yet: {words}")
    if got.shape != wanted.shape:
        return Verdict("wrong", f"{_kind(wanted)} is wanted, got {_kind(got)}")
    if _agree(-got, wanted, tolerance):
        return Verdict("wrong", "not yet: the size is right, and the sign is not")
    said = f"not yet: {_direction(got, wanted, tolerance)}"
    return Verdict("wrong", f"{said}. {answer.hint}" if answer.hint else said)


def _agree(
    one: np.ndarray,
    two: np.ndarray,
    tolerance: float,
) -> bool:
    """Whether all entries are as near as that."""
    if one.shape != two.shape:
        return False
    distance = np.abs(one - two)
    return bool(np.all(distance <= tolerance))


def _wanted(answer: Answer) -> str:
    """What a reader is to write."""
    if answer.of is not None:
        return "a function"
    if isinstance(answer.exact, str):
        words = {answer.exact, *answer.near.values()}
        listed = ", ".join(map(repr, sorted(words)))
        return f"one of {listed}"
    return _kind(np.asarray(answer.exact, float))


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
    """How a wrong answer differs."""
    if not np.all(np.isfinite(got)):
        return "it must be finite"
    if got.ndim == 0:
        return "too large" if got > wanted else "too small"
    wrong = np.abs(got - wanted) > tolerance
    places = np.argwhere(wrong)
    first = places[0].tolist()
    return f"{len(places)} of {wrong.size} entries are wrong, the first at {first}"
