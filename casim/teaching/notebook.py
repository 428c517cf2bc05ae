"""Notebooks from the cells of a lesson, written where nothing of a reader is lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from casim.teaching.lesson import Lesson
from casim.teaching.percent import Cell, blanked

Notebook = dict[str, Any]
"""What is in a file of Jupyter, by its format 4.5."""


def exercise(lesson: Lesson) -> Notebook:
    """The notebook for readers: answers are blank, and what explains them is left out."""
    shown = []
    for cell in lesson.cells():
        if "solution" in cell.tags:
            continue
        source = blanked(cell.source) if "answer" in cell.tags else cell.source
        shown.append(Cell(cell.kind, source, cell.tags, cell.question))
    return _notebook(lesson, "exercise", shown)


def solved(lesson: Lesson) -> Notebook:
    """The notebook with the answers and what explains them."""
    return _notebook(lesson, "solution", lesson.cells())


def file_name(notebook: Notebook) -> str:
    """The name of its file: `03_groups.ipynb`, `03_groups_solution.ipynb`."""
    about = notebook["metadata"]["casim"]
    ending = "_solution" if about["version"] == "solution" else ""
    return f"{about['lesson']}{ending}.ipynb"


def text(notebook: Notebook) -> str:
    """The text of its file, as nbformat writes it."""
    return json.dumps(notebook, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def read(path: Path) -> Notebook:
    """The notebook in a file.

    Raises:
        ValueError: the file is none.
    """
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
        notebook["metadata"]  # what is no notebook has none
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a notebook, got something else") from error
    return notebook


def tag_of(question: str) -> str:
    """The tag of the cells of a question."""
    return f"question-{question}"


def answer_in(cell: Mapping[str, Any]) -> str:
    """The tag of the question that a cell of a notebook answers; empty where it answers none."""
    tags = cell["metadata"].get("tags", [])
    if "answer" not in tags:
        return ""
    return next((tag for tag in tags if tag.startswith(tag_of(""))), "")


def digest(notebook: Notebook) -> str:
    """The digest of what its cells say: outputs, and what Jupyter adds, change nothing."""
    sha = hashlib.sha256()
    for cell in notebook["cells"]:
        sha.update(f"{cell['cell_type']}\n{''.join(cell['source'])}\0".encode())
    return sha.hexdigest()[:16]


def write(notebook: Notebook, folder: Path) -> tuple[Path, bool]:
    """Writes a notebook into a folder, unless a reader's work is there already.

    Returns:
        The file, and whether it was written: if not, it is this notebook as a reader changed it.

    Raises:
        ValueError: a file of this name is there that is not this notebook.
    """
    path = folder / file_name(notebook)
    if path.exists():
        about = notebook["metadata"]["casim"]
        there = _about(path)
        if (there.get("lesson"), there.get("version")) != (about["lesson"], about["version"]):
            wanted = f"the {about['version']} of {about['lesson']}"
            raise ValueError(
                f"{path} must be {wanted} as casim wrote it, got another file: nothing is "
                "overwritten, choose another folder"
            )
        if there["digest"] != digest(read(path)):
            return path, False
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(text(notebook), encoding="utf-8")
    return path, True


def _about(path: Path) -> dict[str, Any]:
    """What casim noted in a notebook that it wrote; nothing where it did not write it."""
    try:
        return dict(read(path)["metadata"]["casim"])
    except (ValueError, KeyError, TypeError):
        return {}


def _notebook(lesson: Lesson, version: str, shown: Iterable[Cell]) -> Notebook:
    """The notebook of these cells, how it works behind the first."""
    first, *rest = shown
    intro = Cell("markdown", lesson.intro(version == "solution"))
    ordered = [first, intro, *rest]
    notebook = {
        "cells": list(_json(ordered)),
        "metadata": {
            "casim": {"lesson": lesson.name, "version": version},
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    notebook["metadata"]["casim"]["digest"] = digest(notebook)
    return notebook


def _json(ordered: list[Cell]) -> Iterator[dict[str, Any]]:
    """Cells as Jupyter has them, numbered as nbstripout numbers them; tags say which is which."""
    for place, cell in enumerate(ordered):
        tags = [*cell.tags]
        if cell.question:
            tags.append(tag_of(cell.question))
        metadata: dict[str, Any] = {"tags": tags} if tags else {}
        if "hide-input" in cell.tags:
            metadata["jupyter"] = {"source_hidden": True}
        made = {
            "cell_type": cell.kind,
            "id": str(place),
            "metadata": metadata,
            "source": cell.source.splitlines(keepends=True),
        }
        if cell.kind == "code":
            made |= {"execution_count": None, "outputs": []}
        yield made
