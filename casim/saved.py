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
from casim.report import Row, identity


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
            notes.extend(_make_ready(path, study, fresh))

        on_first(make_ready)
        rows = storage.read(path) if path.exists() else []
        _check_shared(path, rows)
        answers = {identity(question, sources) for question, sources in asked.items()}
        mine = {row.identity: row for row in rows if row.identity in answers}
        stale = sum(row.question in asked and row.identity not in answers for row in rows)
        if stale:
            notes.append(f"{_count(stale)} of another version left out; they stay in {path}")
        yield Saved(path, mine, notes)


def _make_ready(path: Path, study: str, fresh: bool) -> Iterator[str]:
    """Mends the file and puts aside what is to be measured anew; yields what it did."""
    found = storage.mend(path)
    if found.cut:
        yield f"a last row that was cut off is kept in {storage.beside(path, '.cut')}"
    if not fresh:
        return
    mine = [row.study == study for row in found.rows]
    if any(mine):
        aside = [line for line, own in zip(found.lines, mine, strict=True) if own]
        kept = [line for line, own in zip(found.lines, mine, strict=True) if not own]
        storage.put_aside(path, aside, kept)
        yield f"{_count(len(aside))} of {study} put aside in {storage.beside(path, '.old')}"


def _check_shared(path: Path, rows: Collection[Row]) -> None:
    """Raises `ValueError` if processes see different files."""
    if jax.process_count() == 1:
        return
    names = "\n".join(row.identity for row in rows)
    seen = multihost_utils.process_allgather(np.uint32(zlib.crc32(names.encode())))
    if len(set(np.asarray(seen).tolist())) > 1:
        raise ValueError(f"path must be a file that all processes share, got {str(path)!r}")


def _count(number: int) -> str:
    return f"{number} row" if number == 1 else f"{number} rows"
