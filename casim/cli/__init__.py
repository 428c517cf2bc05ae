"""The command line, a file to each command; `casim --help` lists them."""

from casim.cli.main import main

__all__ = ["main"]
