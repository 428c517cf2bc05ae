"""`casim describe` and `casim calibrate`: what a log holds, and the world that has its numbers."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from casim.bridge.calibrate import calibrate
from casim.bridge.describe import QUANTILES, Description, Share, describe
from casim.bridge.log import load
from casim.cli.command import Command
from casim.cli.output import plain

NAME = 20
"""Columns of a name."""


@dataclasses.dataclass(frozen=True)
class Describe(Command):
    """Say what a credit method will meet in a trainer's log.

    Attributes:
        path: JSON lines, or Parquet with pyarrow; see `docs/bridge.md`.
        json: print JSON.
    """

    path: tyro.conf.Positional[Path]
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False

    def run(self) -> None:
        """Loads, describes and prints."""
        found = describe(load(self.path))
        if self.json:
            plain(
                json.dumps(
                    found._asdict(),
                    indent=2,
                )
            )
            return
        plain("\n".join(lines_of(found)))


@dataclasses.dataclass(frozen=True)
class Calibrate(Command):
    """Build the world of casim that has the statistics of a trainer's log, and write it.

    `casim.bridge.world(path)` reads the task back, for studies on one's own regime.

    Attributes:
        path: JSON lines, or Parquet with pyarrow; see `docs/bridge.md`.
        out: the file to write, JSON.
    """

    path: tyro.conf.Positional[Path]
    out: Path

    def run(self) -> None:
        """Loads, calibrates, writes, and says what could not be told."""
        found = calibrate(load(self.path))
        found.save(self.out)
        plain(f"{found.task}")
        pairs = zip(
            found.success,
            found.reached,
            strict=True,
        )
        for place, (share, reached) in enumerate(pairs):
            plain(f"class {place}: success {_share(share)}, of the world {reached:.4g}")
        for name, (value, low, high) in found.settings.items():
            plain(f"{name}: {value:.4g} ({low:.4g} to {high:.4g})")
        for line in found.cannot_tell:
            plain(f"cannot be told: {line}")
        plain(f"world: {self.out}")
        plain(f"which method there: casim choose --world {self.out}")


def lines_of(found: Description) -> list[str]:
    """A description, a number a line."""
    return [f"{name:<{NAME}}{_told(value)}" for name, value in found._asdict().items()]


def _told(value: Any) -> str:
    if value is None:
        return "the log does not say"
    if isinstance(value, Share):
        return _share(value)
    if isinstance(value, list):
        pairs = zip(QUANTILES, value, strict=True)
        ends = [f"{100 * q:g}%: {x:.4g}" for q, x in pairs]
        return ", ".join(ends)
    if isinstance(value, dict):
        return ", ".join(f"{name}: {share:.3g}" for name, share in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _share(share: Share) -> str:
    return f"{share.value:.3g} ({share.low:.3g} to {share.high:.3g})"
