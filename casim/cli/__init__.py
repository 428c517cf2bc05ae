"""The command line: `casim list | show | run | figure`, a file to each command."""

from casim.cli.main import main

__all__ = ["main"]
