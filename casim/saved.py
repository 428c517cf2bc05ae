"""What a study has measured already: the rows of its file that answer it by this code."""

from __future__ import annotations

import contextlib
import dataclasses
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from casim import storage
from casim.devices import on_first
from casim.report import Row


@dataclasses.dataclass
class Saved:
    """The file of a run, which the first process writes.

    Attributes:
        path: the file; None keeps nothing.
        rows: the study's own rows of this code, by identity.
        notes: lines for people on what was found in the file and done with it.
    """

    path: Path | None
    rows: dict[str, Row]
    notes: list[str]

    def append(self, row: Row) -> None:
        """Adds a row, to the file too."""
        self.rows[row.identity] = row
        if self.path is not None and jax.process_index() == 0:
            storage.append(self.path, row)


@contextlib.contextmanager
def opened(
    path: Path | None,
    study: str,
    asked: dict[str, dict[str, str]],
    fresh: bool,
) -> Iterator[Saved]:
    """Locks a file of rows, makes it ready, and finds what of a study is in it.

    Args:
        path: the file; folders above it are made. Several processes must all see it.
        study: the name of the study.
        asked: the study's questions, and the digests of the code that is to answer each.
        fresh: whether to put the study's rows aside.

    Raises:
        ValueError: the file holds something that is no row, is in use, or is not the same file for
            all processes.
    """
    if path is None:
        yield Saved(None, {}, [])
        return
    notes: list[str] = []
    with contextlib.ExitStack() as held:

        def make_ready() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(storage.locked(path))
            found = storage.mend(path)
            if found.cut:
                cut = storage.beside(path, ".cut")
                notes.append(f"a last row that was cut off is kept in {cut}")
            if fresh:
                notes.extend(_put_aside(path, study, found))

        on_first(make_ready)
        rows = storage.read(path) if path.exists() else []
        _check_shared(path, rows)
        yield _found(path, rows, asked, notes)


def _put_aside(path: Path, study: str, found: storage.Contents) -> list[str]:
    """Moves the rows of a study to another file, and says so if there are any."""
    aside, kept = [], []
    for row, line in zip(found.rows, found.lines, strict=True):
        lines = aside if row.study == study else kept
        lines.append(line)
    if not aside:
        return []
    storage.put_aside(path, aside, kept)
    old = storage.beside(path, ".old")
    return [f"{_count(len(aside))} of {study} put aside in {old}"]


def _found(
    path: Path,
    rows: list[Row],
    asked: dict[str, dict[str, str]],
    notes: list[str],
) -> Saved:
    """What of the rows of a file answers the questions, by the code that is asked."""
    mine, stale = {}, 0
    for row in rows:
        if row.question not in asked:
            continue
        if row.sources == asked[row.question]:
            mine[row.identity] = row
        else:
            stale += 1
    if stale:
        notes.append(f"{_count(stale)} of another version left out; they stay in {path}")
    return Saved(path, mine, notes)


def _check_shared(path: Path, rows: Collection[Row]) -> None:
    """Raises `ValueError` if processes see different files."""
    if jax.process_count() == 1:
        return
    names = "\n".join(row.identity for row in rows)
    mine = np.uint32(zlib.crc32(names.encode()))
    seen = np.asarray(multihost_utils.process_allgather(mine))
    if (seen != mine).any():
        raise ValueError(f"path must be a file that all processes share, got {str(path)!r}")


def _count(number: int) -> str:
    return f"{number} row" if number == 1 else f"{number} rows"
