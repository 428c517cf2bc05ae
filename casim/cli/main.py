"""The entry point: the words of the command line become a command, which runs."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import resources

import tyro

import casim
from casim.cli.command import Command
from casim.failures import StudyError

COMMANDS = {
    "demo": "demo:Demo",
    "list": "list:List",
    "show": "show:Show",
    "new": "new:New",
    "run": "run:Run",
    "figure": "figure:Figure",
    "table": "table:Table",
    "report": "report:Report",
    "compare": "compare:Compare",
    "ablate": "ablate:Ablate",
    "score": "score:Score",
    "describe": "describe:Describe",
    "calibrate": "describe:Calibrate",
    "survey": "survey:Survey",
    "card": "card:Card",
    "choose": "choose:Choose",
    "leaderboard": "leaderboard:Leaderboard",
    "teach": "teach:Teach",
}
"""Where each is, in this folder: one that draws takes a second to import, so the others don't."""
HELP = ("-h", "--help")

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""

CLOSED = 141
"""The exit status where whoever read the output stopped reading, as shells have it."""


def parse(words: Sequence[str]) -> Command:
    """The command that words ask for, with its settings; help and bad words end the program."""
    name = next(iter(words), None)
    if name in COMMANDS:
        return tyro.cli(command(name), args=words[1:], prog=f"casim {name}")
    # What tyro itself has, as completion in a shell, needs the settings of every command.
    needs_settings = name is not None and name.startswith("-") and name not in HELP
    made = command if needs_settings else _in_short
    everything = {name: made(name) for name in COMMANDS}
    return tyro.extras.subcommand_cli_from_dict(
        everything,
        args=words,
        prog="casim",
        description=f"{casim.__doc__}\n`casim COMMAND --help` says more of each.",
    )


def command(name: str) -> type[Command]:
    """The class of a command."""
    module, _, kind = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"casim.cli.{module}"), kind)


def _in_short(name: str) -> type:
    """A command without its settings, and with the first line of its help, for the list of all.

    It is read from the file: importing all commands takes seconds.
    """
    module, _, kind = COMMANDS[name].partition(":")
    source = (resources.files("casim.cli") / f"{module}.py").read_text(encoding="utf-8")
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    (found,) = (node for node in classes if node.name == kind)
    said, *_ = str(ast.get_docstring(found)).splitlines()
    return dataclasses.make_dataclass(kind, [], namespace={"__doc__": said})


def main(args: Sequence[str] | None = None) -> None:
    """Parses the command line and runs the command; bad input ends with a line that says why."""
    chosen = parse(sys.argv[1:] if args is None else args)
    try:
        chosen.run()
        sys.stdout.flush()
    except BrokenPipeError:
        # Who reads has seen enough, as `head` has. What is left to write goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(CLOSED)
    except (ValueError, OSError) as error:
        if chosen.traceback:
            print(_trace(error), file=sys.stderr)
        sys.exit(f"casim: {error}")
    except KeyboardInterrupt as stop:
        print(f"casim: {stop or 'interrupted'}", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _trace(error: Exception) -> str:
    """Where in the code it was raised; for a study, where each of its failures was."""
    if isinstance(error, StudyError):
        return error.tracebacks
    return "".join(traceback.format_exception(error))
