"""`casim list`: what casim holds, a name per recipe and its settings below it."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import tyro

import casim
from casim.cli.command import Command
from casim.cli.output import claims, console, plain, settings
from casim.controls import CONTROLS
from casim.estimators import PARTS
from casim.estimators.base import claimed
from casim.methods import named_methods
from casim.targets import TARGETS

WIDTH = 100
"""Columns."""
NAME = 20
"""Columns of a name."""
Room = Literal[
    "all", "tasks", "presets", "methods", "estimators", "parts", "policies", "targets", "controls"
]


class Entry(NamedTuple):
    """What is said of a recipe."""

    name: str
    summary: str
    rest: str = ""


@dataclasses.dataclass(frozen=True)
class List(Command):
    """List what casim holds.

    Attributes:
        what: which room to list; all of them if left out.
    """

    what: tyro.conf.Positional[Room] = "all"

    def run(self) -> None:
        """Prints an entry per recipe."""
        for room, entries in ROOMS.items():
            if self.what in ("all", room):
                console.print(f"[bold]{room}[/bold]")
                for entry in entries():
                    plain(_shown(entry))


def _shown(entry: Entry) -> str:
    """The name and the summary on one line, the rest wrapped below."""
    head = f"  {entry.name:<{NAME}}{entry.summary}".rstrip()
    indent = " " * (2 + NAME)
    rest = textwrap.wrap(entry.rest, WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join([head, *rest])


def _tasks() -> Iterable[Entry]:
    for task in casim.TASKS:
        yield Entry(task.__name__, f"horizon knob: {task.knob}", settings(task))


def _presets() -> Iterable[Entry]:
    for name, task in casim.PRESETS.items():
        summary = f"{type(task).__name__} at {task.knob}={task.horizon}"
        yield Entry(name, summary, ", ".join(_changed(task)))


def _changed(recipe: object) -> Iterable[str]:
    """The settings that are not the defaults."""
    for field in dataclasses.fields(recipe):  # pyright: ignore
        value = getattr(recipe, field.name)
        if value != field.default:
            yield f"{field.name}={value!r}"


def _methods() -> Iterable[Entry]:
    for name, method in named_methods().items():
        number = "" if method.number is None else f", number {method.number} of the survey"
        arxiv = "" if method.arxiv is None else f", arXiv:{method.arxiv}"
        said = (
            f"{method.reference}{arxiv}{number}",
            f"unbiased for: {claims(method)}",
            method.stands_for,
            "" if method.status == "checked" else method.status,
        )
        taxonomy = f"{method.granularity:<12}{method.methodology:<23}{method.name}"
        yield Entry(name, taxonomy, "; ".join(filter(None, said)))


def _parts() -> Iterable[Entry]:
    for part in PARTS:
        yield Entry(part.__name__, "", settings(part))


def _estimators() -> Iterable[Entry]:
    for estimator in casim.ESTIMATORS:
        taxonomy = f"{estimator.granularity:<12}{estimator.methodology}"
        said = (
            f"target: {estimator().target}",
            f"unbiased for: {claimed(estimator())}",
            f"needs: {', '.join(sorted(estimator().needs)) or 'nothing'}",
            settings(estimator),
        )
        yield Entry(estimator.__name__, taxonomy, "; ".join(said))


def _policies() -> Iterable[Entry]:
    for policy in casim.POLICIES:
        yield Entry(policy.__name__, settings(policy))


def _targets() -> Iterable[Entry]:
    for target in TARGETS:
        summary, *_ = inspect.getdoc(target).splitlines()  # pyright: ignore
        yield Entry(target.__name__, settings(target), summary)


def _controls() -> Iterable[Entry]:
    for name in CONTROLS:
        yield Entry(name, "")


ROOMS: dict[str, Callable[[], Iterable[Entry]]] = {
    "tasks": _tasks,
    "presets": _presets,
    "methods": _methods,
    "estimators": _estimators,
    "parts": _parts,
    "policies": _policies,
    "targets": _targets,
    "controls": _controls,
}
