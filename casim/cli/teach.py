"""`casim teach`: notebooks that check themselves."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from pathlib import Path

import tyro

from casim.cli.command import Command
from casim.cli.output import plain
from casim.lessons import COURSE
from casim.tables import aligned
from casim.teaching import Lesson, Verdict, exercise, grade, solved, write
from casim.teaching.verdict import MARKS

FOLDER = Path("casim-lessons")
"""Where notebooks go."""


@dataclasses.dataclass(frozen=True)
class Teach(Command):
    """Open a lesson: a notebook whose questions are checked against exact answers.

    Without a number, list the lessons. With one or more, write their notebooks into a folder and
    open them in JupyterLab, if it is installed (`pip install "casim[notebooks]"`). What a reader
    has changed is opened as it is and never overwritten.

    Attributes:
        lessons: their numbers.
        solution: the notebooks with the answers.
        to: the folder.
        open: start JupyterLab.
        grade: notebooks of one lesson; say which of their answers are right instead. Their code
            is run, so it must be of people you trust.
    """

    lessons: tyro.conf.Positional[tuple[int, ...]] = ()
    solution: tyro.conf.FlagCreatePairsOff[bool] = False
    to: Path = FOLDER
    open: bool = True
    grade: tuple[Path, ...] = ()

    def run(self) -> None:
        """Lists, grades, or writes and opens."""
        chosen = [COURSE.lesson(number) for number in self.lessons]
        if self.grade:
            if len(chosen) != 1:
                raise ValueError(f"lessons must be one where notebooks are graded, got {chosen}")
            plain(_graded(chosen[0], self.grade))
        elif chosen:
            self._open(chosen)
        else:
            plain(_list(COURSE.lessons))

    def _open(self, chosen: list[Lesson]) -> None:
        """Writes notebooks, says where, and starts JupyterLab on the only one or on the folder."""
        paths = []
        for lesson in chosen:
            notebook = solved(lesson) if self.solution else exercise(lesson)
            path, written = write(notebook, self.to)
            kept = "" if written else " (yours, kept as it is; --to FOLDER for a fresh one)"
            plain(f"{path}{kept}")
            paths.append(path)
        if not self.open:
            return
        if importlib.util.find_spec("jupyterlab") is None:
            plain(_how_to_open(paths[0]))
            return
        target = paths[0] if len(paths) == 1 else self.to
        subprocess.run([sys.executable, "-m", "jupyterlab", str(target)], check=False)


def _how_to_open(path: Path) -> str:
    """What to do where JupyterLab is not installed."""
    return (
        "JupyterLab is not installed: pip install jupyterlab, then the same command again."
        f"\nOr open {path} in any editor of notebooks (VS Code, PyCharm, Jupyter elsewhere) and"
        f"\nchoose {sys.executable} as its kernel, which needs ipykernel alone."
    )


def _list(lessons: tuple[Lesson, ...]) -> str:
    """The lessons, their minutes, what they need and their goals."""
    lines = []
    for lesson in lessons:
        lines.append(f"{lesson.number}  {lesson.title} ({lesson.minutes} minutes)")
        lines.append(f"     needs: {lesson.needs}")
        lines.extend(f"     - {goal}" for goal in lesson.goals)
    lines += ["", "casim teach NUMBER opens one; --solution with answers; --to FOLDER elsewhere"]
    return "\n".join(lines)


def _graded(lesson: Lesson, paths: tuple[Path, ...]) -> str:
    """A line per notebook, a column per question."""
    questions = list(lesson.questions)
    cells = [["notebook", *questions, "right"]]
    for path in paths:
        verdicts = grade(lesson, path)
        marks = [_mark(verdicts.get(question)) for question in questions]
        right = marks.count(MARKS["right"])
        cells.append([str(path), *marks, f"{right} of {len(questions)}"])
    return aligned(cells, 1)


def _mark(verdict: Verdict | None) -> str:
    """What a verdict begins with."""
    return MARKS["missing" if verdict is None else verdict.state]
