"""The entry point: the words of the command line become a command, which runs."""

from __future__ import annotations

import sys
import traceback

import tyro

import casim
from casim.cli.ablate import Ablate
from casim.cli.card import Card
from casim.cli.choose import Choose
from casim.cli.compare import Compare
from casim.cli.describe import Calibrate, Describe
from casim.cli.figure import Figure
from casim.cli.leaderboard import Leaderboard
from casim.cli.list import List
from casim.cli.new import New
from casim.cli.run import Run
from casim.cli.score import Score
from casim.cli.show import Show
from casim.cli.survey import Survey
from casim.cli.table import Table
from casim.failures import StudyError

COMMANDS = {
    "list": List,
    "show": Show,
    "new": New,
    "run": Run,
    "figure": Figure,
    "table": Table,
    "compare": Compare,
    "ablate": Ablate,
    "score": Score,
    "describe": Describe,
    "calibrate": Calibrate,
    "survey": Survey,
    "card": Card,
    "choose": Choose,
    "leaderboard": Leaderboard,
}

INTERRUPTED = 130
"""The exit status of a command that Ctrl-C ended, as shells have it."""


def main(args: list[str] | None = None) -> None:
    """Parses the command line and runs the command; bad input ends with a line that says why."""
    command = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        args=args,
        prog="casim",
        description=casim.__doc__,
    )
    try:
        command.run()
    except (ValueError, OSError) as error:
        if command.traceback:
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
