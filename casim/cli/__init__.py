"""The command line: `casim list | show | new | run | figure | table | compare`, a file to each command."""

from casim.cli.main import main

__all__ = ["main"]
