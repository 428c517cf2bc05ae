"""`casim score`: is a trainer's advantage function right, and if not, on which batch?"""

from __future__ import annotations

import ast
import dataclasses
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from casim.bridge import CONVENTIONS, Convention, trainer
from casim.bridge.score import TASKS, Length, claimable, line_names, score, to_html, to_text
from casim.cli.command import Command
from casim.cli.names import named
from casim.cli.output import plain
from casim.methods import Method, named_methods

NAME = 32
"""Columns of a name in the list."""


@dataclasses.dataclass(frozen=True)
class Score(Command):
    """Score a trainer's own advantage function against what is exactly known.

    A contract on small batches, exact moments on small worlds, a sampled study at length. One page
    says what is right; for what is not, the smallest batch, what came and what is right. The exit
    status is 1 if anything fails.

    Attributes:
        function: `my_module.py:my_advantage` or `package.module:my_advantage`.
        convention: how the trainer calls it; see --list.
        as_: the published method that it claims to be; see --list. Without it only what binds any
            function can fail.
        settings: NAME=VALUE, handed over by name and in the trainer's config.
        quick: leave the sampled study out.
        json: write the report to this file as JSON; "-" prints it instead of the page.
        html: write the page to this file.
        list: name what can be asked, and nothing else.
    """

    function: tyro.conf.Positional[str | None] = None
    convention: str = "verl"
    as_: Annotated[str | None, tyro.conf.arg(name="as")] = None
    settings: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    quick: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    json: Path | None = None
    html: Path | None = None
    list: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    def run(self) -> None:
        """Scores, prints and writes; ends with status 1 where anything failed."""
        if self.list:
            plain(_listed())
            return
        if self.function is None:
            raise ValueError("function must be given, as in `casim score my_module.py:advantage`")
        convention = convention_of(self.convention)
        method = None if self.as_ is None else method_of(self.as_)
        scored = trainer(
            self.function,
            convention,
            **dict(map(_setting, self.settings)),
        )
        report = score(scored, method, None if self.quick else Length())
        told = json.dumps(report.to_dict(), indent=2, allow_nan=False)
        if self.json is not None and str(self.json) != "-":
            self.json.write_text(told + "\n", encoding="utf-8")
        if self.html is not None:
            self.html.write_text(to_html(report), encoding="utf-8")
        plain(told if str(self.json) == "-" else to_text(report))
        if not report.passed:
            sys.exit(1)


def convention_of(name: str) -> Convention:
    """The convention of this name.

    Raises:
        ValueError: there is none.
    """
    return named("convention", name, {kind.name: kind for kind in CONVENTIONS})()


def method_of(name: str) -> Method:
    """The published method of this name that a function can claim to be.

    Raises:
        ValueError: there is none.
    """
    return named("as", name, _claimable())


def _claimable() -> dict[str, Method]:
    return {name: method for name, method in named_methods().items() if claimable(method)}


def _setting(text: str) -> tuple[str, Any]:
    """A name, and a value that is read as Python where it can be."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"set must be NAME=VALUE, got {text!r}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _listed() -> str:
    """What can be asked."""
    rooms = {
        "conventions": [_entry(kind.name, kind.trainer) for kind in CONVENTIONS],
        "contract": line_names(),
        "exact, on small worlds": [_entry(name, repr(task)) for name, task in TASKS.items()],
        "methods to claim (--as)": [_entry(name, x.name) for name, x in _claimable().items()],
    }
    lines = []
    for room, entries in rooms.items():
        lines.append(room)
        lines += [f"  {entry}" for entry in entries]
        lines.append("")
    return "\n".join(lines)


def _entry(
    name: str,
    said: str,
) -> str:
    return f"{name:<{NAME}}{said}"
