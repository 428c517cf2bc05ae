"""The entry point: the words of the command line become a command, which runs."""

from __future__ import annotations

import sys
import traceback

import tyro

import casim
from casim.cli.compare import Compare
from casim.cli.figure import Figure
from casim.cli.list import List
from casim.cli.new import New
from casim.cli.run import Run
from casim.cli.show import Show
from casim.cli.table import Table

COMMANDS = {
    "list": List,
    "show": Show,
    "new": New,
    "run": Run,
    "figure": Figure,
    "table": Table,
    "compare": Compare,
}


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
    except (ValueError, FileNotFoundError) as error:
        if command.traceback:
            traceback.print_exc()
        sys.exit(f"casim: {error}")
