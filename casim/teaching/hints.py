"""Whether the hints of a lesson are said where they should be."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from casim.teaching.answer import Answer, judge
from casim.teaching.lesson import Lesson

ELSEWHERE = 7.3
"""How far off an answer is that no one has in mind, beyond ten times the tolerance."""


def misjudged(lesson: Lesson) -> list[str]:
    """What is not told what it is: right and wrong answers of each question, as they are judged.

    Each right answer must be right, each near one must get its own words, and one that is far from
    all of them must be wrong and get the hint. A question without near ones must have a hint.
    """
    found = []
    for question in lesson.questions:
        answers = lesson.answers(question)
        for name, answer in answers.items():
            where = f"{question} {name}".strip()
            found.extend(f"{where}: {said}" for said in _misjudged(answer))
    return found


def _misjudged(answer: Answer) -> Iterator[str]:
    """The same of one answer, past what is done with a reader's function."""
    answer = dataclasses.replace(answer, of=None)
    if not answer.near and not answer.hint:
        yield "has neither near answers nor a hint"
    if judge(answer.exact, answer).state != "right":
        yield f"{answer.exact} is right"
    for words, value in answer.near.items():
        said = judge(value, answer).text
        if said != f"not yet: {words}":
            yield f"{value} is told {said!r} instead of {words!r}"
    if isinstance(answer.exact, str):
        return
    exact = np.asarray(answer.exact, float)
    far = exact + ELSEWHERE + 10 * answer.tolerance
    verdict = judge(far, answer)
    hinted = verdict.text.endswith(answer.hint)
    if verdict.state != "wrong" or not hinted:
        yield f"{far} is told {verdict.text!r}"
