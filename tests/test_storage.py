"""Files of rows: nothing whole is lost, nothing that is not ours is touched, one run at a time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from casim import storage
from casim.storage import load, locked, mend, parse, put_aside, read
from tests.rows import row

SMALL = {"task": {}, "policy": {}, "estimator": {}, "left_out": {}, "notes": {}}
LINES = [row(seed=seed, **SMALL).to_json().encode() for seed in (3, 4, 5)]
WHOLE = b"".join(line + b"\n" for line in LINES)


@pytest.fixture(autouse=True)
def _unforced(monkeypatch):
    """Waiting for the disk is what these tests would spend their time on."""
    monkeypatch.setattr(os, "fsync", lambda number: None)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "rows.jsonl"


def seeds(rows):
    return [row.seed for row in rows]


def rows_before(size: int) -> int:
    """How many rows are whole in the first bytes of the file, found by adding up lengths."""
    end, whole = 0, 0
    for line in LINES:
        end += len(line)
        whole += end <= size
        end += 1
    return whole


def test_every_prefix_of_a_file_keeps_all_its_whole_rows():
    for size in range(len(WHOLE) + 1):
        found = parse(WHOLE[:size], "rows")
        num = rows_before(size)
        assert seeds(found.rows) == [3, 4, 5][:num]
        assert b"\n".join([*found.lines, found.cut]).rstrip(b"\n") == WHOLE[:size].rstrip(b"\n")


def test_a_file_that_was_cut_off_anywhere_is_mended_and_goes_on(path):
    cut = storage.beside(path, ".cut")
    ends = [len(LINES[0]) + more for more in (-1, 0, 1, 2, 12, 13, 200)]
    for size in (0, 1, 5, *ends, len(WHOLE) - 1, len(WHOLE)):
        path.write_bytes(WHOLE[:size])
        cut.unlink(missing_ok=True)
        num = rows_before(size)
        assert seeds(load(path)) == [3, 4, 5][:num]
        mend(path)
        kept = path.read_bytes() + (cut.read_bytes().rstrip(b"\n") if cut.exists() else b"")
        assert kept.rstrip(b"\n") == WHOLE[:size].rstrip(b"\n")
        storage.append(path, row(seed=9))
        assert seeds(load(path)) == [*[3, 4, 5][:num], 9]


def test_what_was_cut_off_is_added_to_what_was_kept_before(path):
    for size in (40, 50):
        path.write_bytes(WHOLE[:size])
        mend(path)
        assert path.read_bytes() == b""
    assert storage.beside(path, ".cut").read_bytes() == WHOLE[:40] + b"\n" + WHOLE[:50] + b"\n"


def test_a_whole_file_and_an_absent_one_are_left_alone(path):
    mend(path)
    assert not path.exists()
    path.write_bytes(WHOLE)
    mend(path)
    assert path.read_bytes() == WHOLE
    assert not storage.beside(path, ".cut").exists()


FOREIGN = {
    "text": b"my notes, a day of work",
    "text of lines": b"one\ntwo\n",
    "a blank line": WHOLE + b"\n",
    "a table": b"a,b\n1,2\n",
    "binary": bytes(range(256)) * 3,
    "not UTF-8": b"\xff\xfe{\n",
    "JSON": b'{"study": "trial", "colour": 1}',
    "JSON of another kind": b"[1, 2]",
    "rows and then notes": WHOLE + b"my notes",
    "notes and then rows": b"my notes\n" + WHOLE,
    "deep": b"[" * 100_000,
    "a row with a bad score": WHOLE.replace(b"0.375, 9.0]", b'"x", 9.0]'),
    "a row with bad scores": WHOLE.replace(b'"exact": {', b'"exact": 3, "none": {'),
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_a_file_that_holds_something_else_is_refused_untouched(path, data):
    path.write_bytes(data)
    for use in (mend, load, read):
        with pytest.raises(ValueError, match=rf"{path}, line \d"):
            use(path)
        assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_file_holds_no_rows_and_a_folder_is_refused(path):
    path.write_bytes(b"")
    assert load(path) == mend(path).rows == []
    with pytest.raises(ValueError, match="path must be a file of rows, got the folder"):
        mend(path.parent)
    with pytest.raises(FileNotFoundError):
        load(path.parent / "absent.jsonl")


def test_a_row_that_is_there_twice_is_refused_with_both_lines(path):
    path.write_bytes(WHOLE + LINES[1])
    for use in (load, read, mend):
        with pytest.raises(ValueError, match=rf"{path}, line 4: the same row as line 2"):
            use(path)
    assert path.read_bytes() == WHOLE + LINES[1]


def test_of_rows_by_other_code_the_last_counts(path):
    older, newer = (row(sources={"casim": name}, **SMALL).to_json() for name in ("old", "new"))
    path.write_text(f"{older}\n{LINES[1].decode()}\n{newer}\n")
    assert [(row.seed, row.sources["casim"]) for row in load(path)] == [(4, "0"), (3, "new")]
    assert len(read(path)) == 3


def test_rows_put_aside_are_kept_once_even_after_a_crash_in_between(path):
    path.write_bytes(WHOLE)
    old = storage.beside(path, ".old")
    old.write_bytes(LINES[0] + b"\n")  # as if a crash had come before the file was replaced
    put_aside(path, LINES[:2], LINES[2:])
    assert path.read_bytes() == LINES[2] + b"\n"
    assert old.read_bytes() == LINES[0] + b"\n" + LINES[1] + b"\n"
    assert sorted(file.name for file in path.parent.iterdir()) == ["rows.jsonl", "rows.jsonl.old"]


def test_a_second_run_is_kept_out_until_the_first_has_ended(path):
    mine = rf"{path} is in use by process {os.getpid()} on "
    with locked(path), pytest.raises(ValueError, match=mine), locked(path):
        pass
    with locked(path):
        pass


@pytest.mark.slow
def test_a_second_process_is_kept_out_until_the_first_is_gone(path):
    script = f"""
import pathlib, sys
from casim.storage import locked
with locked(pathlib.Path({str(path)!r})):
    print("held", flush=True)
    sys.stdin.read()
"""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", script]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=root, text=True, **pipes) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"by process {other.pid} on "), locked(path):
            pass
        other.kill()
        other.wait()
        with locked(path):
            pass


def test_without_locks_nothing_is_kept_out(path, monkeypatch):
    monkeypatch.setattr(storage, "fcntl", None)
    with locked(path), locked(path):
        pass
