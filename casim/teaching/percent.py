"""A notebook as Python in the percent format, and its code without the answers."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Literal

HEADER = re.compile(
    r"^# %%(?: *(?P<kind>\[markdown\]))?(?: *tags=(?P<tags>\[.*\]))? *$", flags=re.MULTILINE
)
CHECK = re.compile(r"""\bcheck\(\s*["'](\d+\.\d+)["']""")
TAGS = ("answer", "solution", "hide-input")
"""What a cell may be marked as."""
BLANK = "..."
"""What stands where an answer is to be written."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a notebook.

    Attributes:
        kind: of cell.
        source: its text, without the percent format.
        tags: of `TAGS`.
        question: which one the cell answers, checks or explains, as in "3.2"; else empty.
    """

    kind: Literal["markdown", "code"]
    source: str
    tags: tuple[str, ...] = ()
    question: str = ""


def cells(source: str) -> list[Cell]:
    """The cells of a source, each knowing its question.

    Raises:
        ValueError: text before the first cell; an unknown tag; an answer that no check follows.
    """
    marks = list(HEADER.finditer(source))
    if not marks or source[: marks[0].start()].strip():
        raise ValueError("a source must begin with '# %%', got something else")
    found = []
    ends = [mark.start() for mark in marks[1:]] + [len(source)]
    for mark, end in zip(marks, ends, strict=True):
        body = source[mark.end() : end].strip("\n")
        found.append(_cell(body, markdown=mark["kind"] is not None, tags=mark["tags"]))
    return list(_questioned(found))


def _cell(body: str, markdown: bool, tags: str | None) -> Cell:
    """One cell, whose question is not known yet unless it is a check."""
    marked = tuple(json.loads(tags)) if tags else ()
    for tag in marked:
        if tag not in TAGS:
            raise ValueError(f"a tag must be one of {TAGS}, got {tag!r}")
    if markdown:
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        return Cell("markdown", text, marked)
    asked = CHECK.search(body)
    return Cell("code", body, marked, asked[1] if asked else "")


def _questioned(found: list[Cell]) -> Iterator[Cell]:
    """The cells, where answers have the question of the next, explanations that of the last."""
    before = Cell("markdown", "")
    for cell, after in zip(found, [*found[1:], before], strict=True):
        if "answer" in cell.tags:
            if not after.question:
                line = cell.source.partition("\n")[0]
                raise ValueError(f"an answer must be followed by its check, got none: {line}")
            cell = dataclasses.replace(cell, question=after.question)
        elif "solution" in cell.tags:
            cell = dataclasses.replace(cell, question=before.question)
        yield cell
        before = cell


def blanked(source: str) -> str:
    """The code of an answer with `...` where it answers.

    Raises:
        ValueError: it holds something that is neither an assignment nor a function.
    """
    lines = source.encode().split(b"\n")
    for statement in reversed(ast.parse(source).body):
        first, last = _answering(statement)
        end = last.end_col_offset
        if isinstance(statement, ast.FunctionDef):
            end = None  # a comment behind its last line goes with it
        head = lines[first.lineno - 1][: first.col_offset]
        tail = b"" if end is None else lines[(last.end_lineno or 0) - 1][end:]
        lines[first.lineno - 1 : last.end_lineno] = [head + BLANK.encode() + tail]
    return b"\n".join(lines).decode()


def _answering(statement: ast.stmt) -> tuple[ast.expr | ast.stmt, ast.expr | ast.stmt]:
    """The first and the last node of what answers in a statement."""
    if isinstance(statement, ast.Assign):
        return statement.value, statement.value
    if isinstance(statement, ast.FunctionDef):
        documented = ast.get_docstring(statement) is not None
        body = statement.body[1:] if documented else statement.body
        return body[0], body[-1]
    raise ValueError(
        "an answer must hold assignments and functions alone, got " + ast.unparse(statement)
    )
