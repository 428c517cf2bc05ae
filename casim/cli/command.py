"""Command: what every word after `casim` is."""

from __future__ import annotations

import abc
import dataclasses
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(abc.ABC):
    """A frozen dataclass: its fields are the arguments, its first line the help.

    Attributes:
        traceback: when something is wrong, also print where in the code.
    """

    traceback: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    @abc.abstractmethod
    def run(self) -> None:
        """Does it, and prints.

        Raises:
            ValueError: bad input, with a line for the person who typed it.
        """
