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
    before = source[: marks[0].start()] if marks else source
    if before.strip() or not marks:
        raise ValueError("a source must begin with '# %%', got something else")
    starts = [mark.start() for mark in marks]
    ends = [*starts[1:], len(source)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        start = mark.end()
        body = source[start:end].strip("\n")
        kind = mark["kind"] or ""
        tags = json.loads(mark["tags"] or "[]")
        cell = _cell(body, kind, tags)
        found.append(cell)
    return list(_questioned(found))


def _cell(
    body: str,
    kind: str,
    tags: list[str],
) -> Cell:
    """One cell, whose question is not known yet unless it is a check."""
    for tag in tags:
        if tag not in TAGS:
            raise ValueError(f"a tag must be one of {TAGS}, got {tag!r}")
    if kind:
        text = re.sub(r"^# ?", "", body, flags=re.MULTILINE)
        return Cell("markdown", text, tuple(tags))
    asked = CHECK.search(body)
    question = asked[1] if asked else ""
    return Cell("code", body, tuple(tags), question)


def _questioned(found: list[Cell]) -> Iterator[Cell]:
    """The cells, where answers have the question of the next, explanations that of the last."""
    nothing = Cell("markdown", "")
    before = nothing
    following = [*found[1:], nothing]
    for cell, after in zip(found, following, strict=True):
        known = cell
        if "answer" in cell.tags:
            known = dataclasses.replace(cell, question=after.question)
            if not known.question:
                line = cell.source.partition("\n")[0]
                raise ValueError(f"an answer must be followed by its check, got none: {line}")
        elif "solution" in cell.tags:
            known = dataclasses.replace(cell, question=before.question)
        yield known
        before = known


def blanked(source: str) -> str:
    """The code of an answer with `...` where it answers.

    Raises:
        ValueError: it holds something that is neither an assignment nor a function.
    """
    lines = source.split("\n")
    # From the end, so that the places of what comes before stay.
    for statement in reversed(ast.parse(source).body):
        if isinstance(statement, ast.Assign):
            _blank_value(lines, statement.value)
        elif isinstance(statement, ast.FunctionDef):
            _blank_body(lines, statement)
        else:
            wanted = "hold assignments and functions alone"
            raise ValueError(f"an answer must {wanted}, got {ast.unparse(statement)}")
    return "\n".join(lines)


def _blank_value(lines: list[str], value: ast.expr) -> None:
    """Blanks what is assigned; a comment behind it stays."""
    first = value.lineno - 1
    last = (value.end_lineno or value.lineno) - 1
    # Columns are those of bytes.
    begins = lines[first].encode()
    ends = lines[last].encode()
    head = begins[: value.col_offset]
    tail = ends[value.end_col_offset :]
    blank = head + BLANK.encode() + tail
    lines[first : last + 1] = [blank.decode()]


def _blank_body(lines: list[str], function: ast.FunctionDef) -> None:
    """Blanks a function behind its docstring, comments at its end included."""
    documented = ast.get_docstring(function) is not None
    place = 1 if documented else 0
    statement = function.body[place]
    start = statement.lineno - 1
    end = function.end_lineno or statement.lineno
    indent = " " * statement.col_offset
    comment = f"{indent}#"
    while end < len(lines) and lines[end].startswith(comment):
        end += 1
    lines[start:end] = [indent + BLANK]
