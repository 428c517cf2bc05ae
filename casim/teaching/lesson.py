"""Lessons, and the course that they make: questions by their numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from casim.checks import check_distinct, check_integer
from casim.teaching.answer import Answer, judge, together
from casim.teaching.percent import Cell, cells
from casim.teaching.verdict import Verdict

Question = Callable[[], Answer | dict[str, Answer]]
"""What computes the answer to a question, or the answers by the names of what is asked."""
HOW = (
    "**How it works.** Where `...` stands, write what is asked for, a number, a word or a line of "
    "code, and run the cell. The next one compares it with the exact answer, which casim computes "
    "there and then, and says what a wrong one is the right answer to. Predict before you run. "
    'Nothing breaks while an answer is missing, and `casim.lessons.solution("{question}")` in a '
    "cell of its own shows one."
)
SOLVED = "**This is the solution**: the answers are filled in, and explained behind their checks."


@dataclasses.dataclass(frozen=True)
class Solution:
    """The solution of a question, in Markdown; a notebook displays it."""

    text: str

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        return self.text


@dataclasses.dataclass(frozen=True, eq=False)
class Lesson:
    """A notebook, what it teaches, and the answers to its questions.

    Attributes:
        number: of the lesson in its course.
        title: of the lesson.
        minutes: that a reader needs.
        goals: what a reader is able to do afterwards, each completing "You will be able to".
        needs: what a reader should know before, in a few words.
        source: the notebook in the percent format, a file whose name begins with the number.
        questions: by their numbers, as in "3.2".

    Raises:
        ValueError: a number that is not positive, or a name or a question that is of another.
    """

    number: int
    title: str
    minutes: int
    goals: tuple[str, ...]
    needs: str
    source: Path
    questions: Mapping[str, Question]

    def __post_init__(self) -> None:
        check_integer("number", self.number, 1)
        check_integer("minutes", self.minutes, 1)
        if not self.name.startswith(f"{self.number:02}_"):
            raise ValueError(f"source must begin with {self.number:02}_, got {self.name}")
        for question in self.questions:
            if _lesson_of(question) != self.number:
                raise ValueError(f"questions must be of {self.number}, got {question!r}")

    @property
    def name(self) -> str:
        """The name of its file, without an ending."""
        return self.source.stem

    def cells(self) -> list[Cell]:
        """The cells of its source."""
        return cells(self.source.read_text(encoding="utf-8"))

    def intro(self, solved: bool = False) -> str:
        """What a reader is told before it begins, in Markdown."""
        goals = "\n".join(f"- {goal}" for goal in self.goals)
        how = SOLVED if solved else HOW.format(question=next(iter(self.questions)))
        return (
            f"**{self.minutes} minutes.** You need: {self.needs}. You will be able to\n\n{goals}"
            f"\n\n{how}"
        )

    def answers(self, question: str) -> dict[str, Answer]:
        """The answers to a question, by the names of what is asked; a single one has none.

        Raises:
            ValueError: no question has this number.
        """
        if question not in self.questions:
            known = list(self.questions)
            raise ValueError(f"question must be one of {known}, got {question!r}")
        found = self.questions[question]()
        return {"": found} if isinstance(found, Answer) else found

    def check(self, question: str, *written: Any) -> Verdict:
        """The verdict on what a reader wrote.

        Args:
            question: its number, as in "3.2".
            *written: in the order in which it is asked.

        Raises:
            ValueError: no question has this number, or it asks for more or fewer things.
        """
        answers = self.answers(question)
        if len(written) != len(answers):
            wanted = f"{len(answers)} answers to {question}"
            raise ValueError(f"written must be {wanted}, got {len(written)}")
        verdicts = {}
        for (name, answer), each in zip(answers.items(), written, strict=True):
            verdicts[name] = judge(each, answer)
        verdict = verdicts[""] if "" in verdicts else together(verdicts)
        return dataclasses.replace(verdict, question=question)

    def solution(self, question: str) -> Solution:
        """The code that answers a question, and why.

        Raises:
            ValueError: no question has this number.
        """
        if question not in self.questions:
            known = list(self.questions)
            raise ValueError(f"question must be one of {known}, got {question!r}")
        parts = []
        for cell in self.cells():
            if cell.question != question:
                continue
            if "answer" in cell.tags:
                parts.append(f"```python\n{cell.source}\n```")
            elif "solution" in cell.tags:
                parts.append(cell.source)
        return Solution("\n\n".join(parts))


@dataclasses.dataclass(frozen=True, eq=False)
class Course:
    """Lessons in reading order.

    Attributes:
        lessons: each with a number of its own.

    Raises:
        ValueError: two lessons have the same number.
    """

    lessons: tuple[Lesson, ...]

    def __post_init__(self) -> None:
        check_distinct("lessons", [lesson.number for lesson in self.lessons])

    def lesson(self, number: int) -> Lesson:
        """The lesson of a number.

        Raises:
            ValueError: there is none.
        """
        known = {lesson.number: lesson for lesson in self.lessons}
        if number not in known:
            raise ValueError(f"lesson must be one of {list(known)}, got {number}")
        return known[number]

    def check(self, question: str, *written: Any) -> Verdict:
        """The verdict on what a reader wrote, see `Lesson.check`."""
        return self.lesson(_lesson_of(question)).check(question, *written)

    def solution(self, question: str) -> Solution:
        """The code that answers a question, and why, see `Lesson.solution`."""
        return self.lesson(_lesson_of(question)).solution(question)


def _lesson_of(question: str) -> int:
    """The number of the lesson of a question.

    Raises:
        ValueError: it is not as in "3.2".
    """
    lesson, dot, place = str(question).partition(".")
    if not (dot and lesson.isdecimal() and place.isdecimal()):
        raise ValueError(f'question must be as in "3.2", got {question!r}')
    return int(lesson)
