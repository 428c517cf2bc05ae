"""How a run of a study is watched: a bar on the terminal, or the caller's own functions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
from rich.console import Console
from rich.progress import Progress

from casim.failures import Failure
from casim.report import Row


class Watcher(NamedTuple):
    """What a run tells."""

    row: Callable[[Row, bool], None]
    """A row, and whether it is new."""
    note: Callable[[str], None]
    """A line for people."""
    failed: Callable[[Failure], None]


@contextlib.contextmanager
def watched(
    progress: bool | Callable[[Row, bool], None],
    notify: Callable[[str], None] | None,
    name: str,
    total: int,
) -> Iterator[Watcher]:
    """What tells of a run as long as it lasts.

    Args:
        progress: True shows a bar if standard error is a terminal, on the first process; False
            shows nothing; a function is called instead.
        notify: called with lines for people, instead of printing them above the bar.
        name: of the study.
        total: rows to come.
    """
    console = Console(stderr=True)
    if progress is True and console.is_terminal and jax.process_index() == 0:
        with Progress(console=console) as bar:
            yield _on_bar(bar, notify, name, total)
        return
    row = progress if callable(progress) else _nothing
    note = _nothing if notify is None else notify

    def failed(failure: Failure) -> None:
        note(f"failed: {failure}")

    yield Watcher(row, note, failed)


def _on_bar(bar: Progress, notify: Callable[[str], None] | None, name: str, total: int) -> Watcher:
    job = bar.add_task(name, total=total)

    def row(row: Row, _: bool) -> None:
        now = f"{name}: {row.label} at {row.horizon}"
        bar.update(job, advance=1, description=now)

    def note(line: str) -> None:
        bar.console.print(line, highlight=False, markup=False, soft_wrap=True)

    tell = note if notify is None else notify

    def failed(failure: Failure) -> None:
        bar.advance(job, failure.rows)
        tell(f"failed: {failure}")

    return Watcher(row, tell, failed)


def _nothing(*_: object) -> None:
    """Tells nobody."""
