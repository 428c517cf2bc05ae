"""A file of rows: one row a line, added as it is finished, read strictly, never emptied by mistake.

Nothing is changed before the whole file was read and found to hold rows. What a killed run left of
a last line moves to FILE.cut, rows that are to be measured anew move to FILE.old, and FILE.lock
keeps a second run out. None of the three is ever overwritten, and readers need none of them.

A line is forced to the disk before the next is begun, so a run that is killed loses at most the row
that it was writing.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # not a POSIX system: nothing keeps a second run out there
    fcntl = None

from casim.report import Row

BEGINNING = b'{"study": "'
"""How every row begins: a last line that is no row, but begins so, was cut off."""


class Contents(NamedTuple):
    """What a file of rows holds."""

    rows: list[Row]
    lines: list[bytes]
    """The line of each row, without its end."""
    cut: bytes
    """A last line that was cut off while being written; mostly empty."""


def parse(data: bytes, name: str | Path) -> Contents:
    """Reads the bytes of a file.

    A last line that is a whole row counts, with or without its end; one that only begins like a row
    was cut off.

    Args:
        data: all of them.
        name: of the file, for the messages.

    Raises:
        ValueError: a line that is no row, or one that repeats another; it names the file and lines.
    """
    *lines, last = data.split(b"\n")
    found = Contents([], [], b"")
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        _add(found, line, seen, f"{name}, line {number}", number)
    if not last:
        return found
    if _was_cut_off(last):
        return found._replace(cut=last)
    number = len(lines) + 1
    _add(found, last, seen, f"{name}, line {number}", number)
    return found


def _add(found: Contents, line: bytes, seen: dict[str, int], place: str, number: int) -> None:
    """Adds the row of a line."""
    try:
        row = Row.from_json(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: {error}") from error
    if row.identity in seen:
        raise ValueError(f"{place}: the same row as line {seen[row.identity]}; remove one of them")
    seen[row.identity] = number
    found.rows.append(row)
    found.lines.append(line)


def _was_cut_off(line: bytes) -> bool:
    """Whether a line begins like a row and is not whole."""
    if line[: len(BEGINNING)] != BEGINNING[: len(line)]:
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False


def read(path: str | Path) -> list[Row]:
    """All rows of a file, in their order. A last line that was cut off is left out.

    Raises:
        ValueError: see `parse`.
        FileNotFoundError: there is no such file.
    """
    return parse(_bytes_of(Path(path)), path).rows


def load(path: str | Path) -> list[Row]:
    """The rows of a file that count: of those that answer one question by other code, the last.

    A question is a study's name, recipes, budgets and seed. `read` gives the others too.

    Raises:
        ValueError: see `parse`.
        FileNotFoundError: there is no such file.
    """
    rows = read(path)
    last = {row.question: row for row in rows}
    return [row for row in rows if row is last[row.question]]


def append(path: Path, row: Row) -> None:
    """Adds one row to a file and forces it to the disk."""
    _append_bytes(path, row.to_json().encode() + b"\n")


def mend(path: Path) -> Contents:
    """Makes a file ready for the next row, and says what it holds.

    A whole last row gets the end of its line. One that was cut off moves to FILE.cut. A file that
    is not there stays so.

    Raises:
        ValueError: the file holds something else than rows, and is left as it was.
    """
    if not path.exists():
        return Contents([], [], b"")
    data = _bytes_of(path)
    found = parse(data, path)
    if found.cut:
        _append_bytes(beside(path, ".cut"), found.cut + b"\n")
        with path.open("r+b") as file:
            file.truncate(len(data) - len(found.cut))
            _force(file)
    elif data and not data.endswith(b"\n"):
        _append_bytes(path, b"\n")
    return found


def put_aside(path: Path, aside: Sequence[bytes], kept: Sequence[bytes]) -> None:
    """Moves lines of a file to the end of FILE.old. A crash in between loses none of them.

    Args:
        path: the file.
        aside: the lines to move.
        kept: the lines to keep.
    """
    old = beside(path, ".old")
    # A crash after this step leaves lines in both files; they are not written there again.
    there = set(old.read_bytes().split(b"\n")) if old.exists() else set()
    _append_bytes(old, b"".join(line + b"\n" for line in aside if line not in there))
    new = beside(path, ".new")
    with new.open("wb") as file:
        file.write(b"".join(line + b"\n" for line in kept))
        _force(file)
    shutil.copymode(path, new)
    new.replace(path.resolve())


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keeps other runs off a file; the lock goes with the process that holds it, however that ends.

    Without POSIX locks, as on Windows and some network file systems, nothing is kept off.

    Raises:
        ValueError: another run uses the file.
    """
    with beside(path, ".lock").open("a+b") as file:
        _lock(file, path)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        file.flush()
        yield


def _lock(file, path: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.seek(0)
        owner = file.read().decode(errors="replace") or "another process"
        raise ValueError(f"{path} is in use by {owner}: wait until its run has ended") from error
    except OSError:
        return


def beside(path: Path, ending: str) -> Path:
    """The file next to this one whose name is longer by an ending."""
    whole = path.resolve()
    return whole.with_name(whole.name + ending)


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise ValueError(f"path must be a file of rows, got the folder {str(path)!r}")
    return path.read_bytes()


def _append_bytes(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        _force(file)


def _force(file) -> None:
    """Waits until what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())
