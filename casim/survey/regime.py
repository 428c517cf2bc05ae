"""A user's own regime: what a calibrated world says of a situation, and how near measured ones are.

Read as JSON, without building the world, so that an answer from shipped rows stays quick.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from casim.checks import check_choice
from casim.report import RESERVED, Row
from casim.survey.shipped import GROUP, length_of, nearest, rows_of
from casim.survey.tree import Situation

FAMILIES = {"ReasoningChain": "reasoning", "ToolChain": "agentic"}
"""The setting that each task of `casim calibrate` is in."""
FAR = 2.0
"""A length that is more than so many times another is not covered by it: a choice."""
APART = 0.2
"""And so is a success that differs by more."""
MIDDLE = 2
"""Of quantiles at 0, 10, 50, 90 and 100%."""


class Regime(NamedTuple):
    """A world that `casim calibrate` wrote."""

    task: dict[str, Any]
    """Described, see `casim.report`."""
    success: float
    """Of the world under the uniform policy, as in the log."""
    rollouts: int
    """Of a group of the log: the median."""
    agents: int

    @property
    def setting(self) -> str:
        """What the survey's tree calls it."""
        return "multi_agent" if self.agents > 1 else FAMILIES[self.task["recipe"]]

    @property
    def known(self) -> dict[str, Any]:
        """What it says of a `Situation`."""
        sizes = {"reasoning": "tokens", "agentic": "turns", "multi_agent": "agents"}
        knob = sizes[self.setting]
        return {"setting": self.setting, knob: getattr(self, knob)}

    @property
    def tokens(self) -> int:
        """Of the longest rollout, those of tools as well."""
        if self.task["recipe"] == "ReasoningChain":
            return self.task["num_steps"] * self.task["tokens_per_step"]
        each = self.task["tokens_per_turn"] + self.task["output_tokens"]
        return self.turns * each

    @property
    def turns(self) -> int:
        """Of a rollout; of a chain of reasoning, its steps."""
        return self.task.get("num_turns") or self.task["num_steps"]


class Distance(NamedTuple):
    """From a regime to the nearest of those that come with casim."""

    length: int
    """Tokens, turns or agents of the nearest."""
    ratio: float
    """How many times as long the regime is."""
    differences: list[tuple[str, Any, Any]]
    """What, of the regime, and of the nearest."""
    reasons: list[str]
    """Why it is not covered; none if it is."""


def read_regime(path: str | Path) -> Regime:
    """Reads what `casim calibrate` wrote.

    Raises:
        ValueError: a file without a world; the message begins with its name.
    """
    saved = read_world(path)
    task = saved["task"]
    try:
        check_choice("recipe of the task", task["recipe"], tuple(FAMILIES))
        found = saved["description"]
        reached = [float(share) for share in saved["reached"]]
        return Regime(
            task,
            sum(reached) / len(reached),
            round(float(found["group_size"][MIDDLE])),
            int(found.get("agents", 1)),
        )
    except (KeyError, TypeError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise ValueError(f"{path} must be a world of `casim calibrate`, got {error!r}") from error
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_world(path: str | Path) -> dict[str, Any]:
    """All that `casim calibrate` wrote.

    Raises:
        ValueError: a file without a task; the message begins with its name.
    """
    wanted = f"{path} must be a world of `casim calibrate`"
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{wanted}, got no JSON: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("task"), dict):
        raise ValueError(f"{wanted}, got no task")
    return found


def distance(
    regime: Regime,
    situation: Situation,
) -> Distance:
    """How far the nearest regime is of which rows come with casim."""
    length = nearest(situation)
    row = rows_of(situation.setting, length)[0]
    ratio = length_of(situation) / length
    success = row.exact["expected_return"]
    reasons = []
    if not 1 / FAR <= ratio <= FAR:
        reasons.append(f"it is {ratio:.3g} times as long")
    if abs(regime.success - success) > APART:
        reasons.append(f"it succeeds at a rate of {regime.success:.3g}, not {success:.3g}")
    return Distance(length, ratio, list(_differences(regime, row)), reasons)


def _differences(
    regime: Regime,
    row: Row,
) -> Iterator[tuple[str, Any, Any]]:
    """What is another in the nearest regime."""
    yield "success", regime.success, row.exact["expected_return"]
    yield "tokens", regime.tokens, row.num_steps
    yield "rollouts of a group", regime.rollouts, GROUP
    if regime.task["recipe"] != row.task["recipe"]:
        yield "task", regime.task["recipe"], row.task["recipe"]
        return
    for name, value in regime.task.items():
        other = row.task.get(name)
        if name not in RESERVED and value != other:
            yield name, value, other
