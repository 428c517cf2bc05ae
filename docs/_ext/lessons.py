"""Sphinx extension: executes the solutions of the lessons into docs/lessons/, two at a time.

The build fails where a cell raises, a check is not right, or a wrong answer is not told what it is.
A lesson is executed again when its notebook or casim has changed.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

import casim
from casim.lessons import COURSE
from casim.teaching import CHECK, MARKS, solved, text

sys.path.append(str(Path(__file__).parents[2]))
from tests.quick import FLAGS

AT_ONCE = 2
"""Kernels; each mostly compiles, on one core."""
TIMEOUT = 600
"""Seconds for a cell, before the build gives up."""
LAST = """
from casim.lessons import COURSE
from casim.teaching import misjudged
misjudged(COURSE.lesson({number}))
"""
"""A cell that is run in the end, where most answers are known, and not shown."""


def execute(folder: Path) -> None:
    """Writes what was executed, as `NAME.ipynb`; kernels compile as the tests do."""
    folder.mkdir(exist_ok=True)
    os.environ.setdefault("XLA_FLAGS", FLAGS)
    asyncio.run(_all(folder))


async def _all(folder: Path) -> None:
    """Executes the lessons that are out of date."""
    code = _digest_of_casim()
    free = asyncio.Semaphore(AT_ONCE)
    waiting = []
    for lesson in COURSE.lessons:
        source = text(solved(lesson))
        digest = hashlib.sha256((source + code).encode()).hexdigest()
        path = folder / f"{lesson.name}.ipynb"
        if _digest_in(path) != digest:
            waiting.append(_one(lesson.number, source, digest, path, free))
    await asyncio.gather(*waiting)


async def _one(
    number: int,
    source: str,
    digest: str,
    path: Path,
    free: asyncio.Semaphore,
) -> None:
    """Executes a lesson and looks at its checks."""
    notebook = nbformat.reads(source, as_version=4)
    notebook.cells.append(new_code_cell(LAST.format(number=number)))
    async with free:
        client = NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3")
        await client.async_execute()
    wrong = _result(notebook.cells.pop())
    if wrong != "[]":
        raise RuntimeError(f"{path.stem}: answers are not told what they are: {wrong}")
    for cell in notebook.cells:
        asked = CHECK.search(cell.source) if cell.cell_type == "code" else None
        said = _result(cell) if asked else MARKS["right"]
        if not said.startswith(MARKS["right"]):
            raise RuntimeError(f"{path.stem}: the solution of {asked[1]} is not right: {said}")
        cell.metadata.pop("execution", None)  # when it was run is of no interest
    notebook.metadata.casim.executed = digest
    path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


def _result(cell: nbformat.NotebookNode) -> str:
    """What the last expression of a cell is, as text."""
    for output in cell.outputs:
        if output.output_type == "execute_result":
            return output.data["text/plain"]
    return ""


def _digest_in(path: Path) -> str:
    """The digest of what a file was made from; empty where there is no file."""
    if not path.exists():
        return ""
    return json.loads(path.read_text(encoding="utf-8"))["metadata"]["casim"]["executed"]


def _digest_of_casim() -> str:
    """The digest of what lessons are run on: all but their own notebooks, and the command line."""
    package = Path(casim.__file__).parent
    sha = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if not re.search(r"/(cli|lessons/sources)/", path.as_posix()):
            sha.update(path.read_bytes())
    return sha.hexdigest()


def setup(app):
    """Executes before Sphinx looks for pages."""
    app.connect("builder-inited", lambda app: execute(Path(app.srcdir) / "lessons"))
    return {"parallel_read_safe": True}
