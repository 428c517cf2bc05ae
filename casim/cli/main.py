"""The entry point: the words of the command line become a command, which runs."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

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

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""

CLOSED = 141
"""The exit status where whoever read the output stopped reading, as shells have it."""


def parse(words: Sequence[str]) -> Command:
    """The command that words ask for, with its settings; help and bad words end the program."""
    name = next(iter(words), None)
    if name in COMMANDS:
        return tyro.cli(command(name), args=words[1:], prog=f"casim {name}")
    everything = {name: command(name) for name in COMMANDS}
    return tyro.extras.subcommand_cli_from_dict(
        everything,
        args=words,
        prog="casim",
        description=casim.__doc__,
    )


def command(name: str) -> type[Command]:
    """The class of a command."""
    module, _, kind = COMMANDS[name].partition(":")
    return getattr(importlib.import_module(f"casim.cli.{module}"), kind)


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
