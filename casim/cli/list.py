"""`casim list`: what casim holds, one line per recipe."""

from __future__ import annotations

import dataclasses
from typing import Literal

import tyro

import casim
from casim.cli.command import Command
from casim.cli.output import console, settings
from casim.controls import CONTROLS

Room = Literal["all", "tasks", "presets", "estimators", "policies", "controls"]


@dataclasses.dataclass(frozen=True)
class List(Command):
    """List what casim holds.

    Attributes:
        what: which room to list; all of them if left out.
    """

    what: tyro.conf.Positional[Room] = "all"

    def run(self) -> None:
        """Prints one line per recipe."""
        rooms = {
            "tasks": _tasks,
            "presets": _presets,
            "estimators": _estimators,
            "policies": _policies,
            "controls": lambda: list(CONTROLS),
        }
        for name, lines in rooms.items():
            if self.what in ("all", name):
                console.print(f"[bold]{name}[/bold]")
                for line in lines():
                    console.print(f"  {line}", highlight=False, soft_wrap=True)


def _tasks() -> list[str]:
    heads = [f"{task.__name__:<18} horizon knob: {task.knob:<16}" for task in casim.TASKS]
    return [f"{head} {settings(task)}" for head, task in zip(heads, casim.TASKS, strict=True)]


def _presets() -> list[str]:
    return [f"{name:<18} {task}" for name, task in casim.PRESETS.items()]


def _estimators() -> list[str]:
    lines = []
    for estimator in casim.ESTIMATORS:
        needs = ", ".join(sorted(estimator.needs)) or "nothing"
        unbiased = ", ".join(sorted(estimator.unbiased)) or "-"
        lines.append(
            f"{estimator.__name__:<16} {estimator.granularity:<11} {estimator.methodology:<22} "
            f"target: {estimator.target:<21} unbiased for: {unbiased:<17} needs: {needs}"
        )
    return lines


def _policies() -> list[str]:
    return [f"{policy.__name__:<14} {settings(policy)}" for policy in casim.POLICIES]
