"""Verdict: what is said of an answer."""

from __future__ import annotations

import dataclasses
from typing import Literal

MARKS = {
    "right": "\N{CHECK MARK}",
    "wrong": "\N{MULTIPLICATION X}",
    "missing": "\N{HORIZONTAL ELLIPSIS}",
}
"""What a verdict begins with."""


@dataclasses.dataclass(frozen=True, repr=False)
class Verdict:
    """What is said of an answer; a notebook displays it.

    Attributes:
        state: of the answer.
        text: what is said.
        question: whose answer it is, as in "3.2"; empty where none has a name.
    """

    state: Literal["right", "wrong", "missing"]
    text: str
    question: str = ""

    def __repr__(self) -> str:
        return f"{MARKS[self.state]} {self.text}"
