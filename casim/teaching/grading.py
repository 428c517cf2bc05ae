"""Grading: the answers in a reader's notebook, run in a fresh one."""

from __future__ import annotations

import ast
import contextlib
import io
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from casim.teaching.lesson import Lesson
from casim.teaching.notebook import answer_in, exercise, read
from casim.teaching.percent import CHECK
from casim.teaching.verdict import Verdict


def grade(lesson: Lesson, path: Path) -> dict[str, Verdict]:
    """The verdicts on the answers in a notebook, by the numbers of their questions.

    Only what stands in the cells of answers is taken from it: the rest, checks included, is that of
    the lesson. The code is run in this process, so it must be of somebody who is trusted.

    Raises:
        ValueError: the file is no notebook, or not one of this lesson.
    """
    handed_in = read(path)
    about = handed_in["metadata"].get("casim", {})
    if about.get("lesson") != lesson.name:
        raise ValueError(f"{path} must be a notebook of {lesson.name}, got another")
    written = {answer_in(cell): cell["source"] for cell in handed_in["cells"]}
    sources = []
    for cell in exercise(lesson)["cells"]:
        if cell["cell_type"] == "code":
            blank = "".join(cell["source"])
            question = answer_in(cell)
            sources.append(written.get(question, blank) if question else blank)
    return run(sources)


def run(sources: Iterable[str]) -> dict[str, Verdict]:
    """Runs cells one after the other and collects the verdicts that they end with.

    A cell that raises is passed over, as in a notebook whose reader goes on; a check that raises is
    a wrong answer which says so.
    """
    namespace: dict[str, Any] = {"__name__": "lesson"}
    verdicts = {}
    raised = ""
    backend = plt.get_backend()
    plt.switch_backend("agg")
    try:
        for source in sources:
            asked = CHECK.search(source)
            try:
                result = _run(source, namespace)
            except (Exception, SystemExit) as error:
                # The first error since the last check is why that check fails.
                raised = raised or f"{type(error).__name__}: {error}"
                result = Verdict("wrong", f"not yet: the code raises {raised}")
            if asked:
                verdicts[asked[1]] = result
                raised = ""
    finally:
        plt.close("all")
        plt.switch_backend(backend)
    return verdicts


def _run(source: str, namespace: dict[str, Any]) -> Any:
    """Runs a cell; its last expression is the result, and nothing is shown."""
    tree = ast.parse(source)
    last = None
    if tree.body and isinstance(end := tree.body[-1], ast.Expr):
        last = ast.Expression(end.value)
        tree.body.pop()
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # There is no screen, and `plt.show` says so.
        warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")
        exec(compile(tree, "<lesson>", "exec"), namespace)
        return None if last is None else eval(compile(last, "<lesson>", "eval"), namespace)
