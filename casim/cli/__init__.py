"""The command line: `casim list | show | new | run | figure`, a file to each command."""

from casim.cli.main import main

__all__ = ["main"]
