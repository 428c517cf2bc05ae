"""The world of casim that has the statistics of a log, as far as they can be told.

Without tokens of tools it is a `ReasoningChain`: a reasoning step for each turn, a difficulty for
each of a few classes of prompts, chosen so that the exact success of the uniform policy is the
measured one. With them it is a `ToolChain`: the same turns and tokens, its `damage` chosen
likewise. What a log cannot tell is a setting of the family, and said.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from casim.bridge.describe import DIGITS, Description, Share, describe
from casim.oracle.moments import precise_truth
from casim.policies import Uniform
from casim.report import describe as described
from casim.report import rebuild
from casim.survey.regime import read_world
from casim.tasks import ReasoningChain, Task, ToolChain
from casim.types import Batch

CLASSES = 3
"""Most classes of prompts, by their success."""
POINTS = 33
"""At which the world's success is computed; between them it is interpolated."""
SPREAD = 0.2
"""Share of decisive tokens where a log does not say how the policy hesitated."""
CANNOT_TELL = (
    "where the decisive tokens are: hesitation says where the policy is unsure, not what matters",
    "how errors are mended and how often luck succeeds: those of the family's defaults",
    "what is hidden from the policy: the world shows its state",
)


class Calibrated(NamedTuple):
    """A world and what it was made from."""

    task: Task
    success: list[Share]
    """What was measured of each class of prompts, the easiest first."""
    reached: list[float]
    """What the world has of each."""
    settings: dict[str, list[float]]
    """Settings that were looked for, each with the ends of its interval: [value, low, high]."""
    cannot_tell: list[str]
    description: Description

    def save(self, path: str | Path) -> None:
        """Writes it as JSON; `world` reads the task back."""
        found = {
            "task": described(self.task),
            "success": [list(share) for share in self.success],
            "reached": self.reached,
            "settings": self.settings,
            "cannot_tell": self.cannot_tell,
            "description": self.description._asdict(),
        }
        text = json.dumps(found, indent=2, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


def world(path: str | Path) -> Task:
    """The task that `Calibrated.save` wrote.

    Raises:
        ValueError: a file without one.
    """
    return rebuild(read_world(path)["task"])


def calibrate(batch: Batch) -> Calibrated:
    """The world with the statistics of a batch.

    Raises:
        ValueError: outcomes of other than two values, which no success rate describes.
    """
    found = describe(batch)
    if found.success is None:
        got = found.outcome_values or "many values"
        raise ValueError(f"outcomes must have two values, success and failure, got {got}")
    cannot: list[str] = [*CANNOT_TELL]
    if found.agents > 1:
        cannot.append(f"how its {found.agents} agents depend on each other: the world has one")
    if found.tool_share > 0:
        cannot.append("which prompts are hard: a ToolChain has one prompt")
        return _with_tools(found, cannot)
    return _of_thoughts(batch, found, cannot)


def _of_thoughts(
    batch: Batch,
    found: Description,
    cannot: list[str],
) -> Calibrated:
    """A `ReasoningChain`."""
    turns = _middle(found.turns)
    tokens = max(2, round(_longest(found.length) / turns))
    share = _decisive(batch)
    if share is None:
        share = SPREAD
        cannot.append("how many tokens are decisive: the log has neither entropy nor log_prob")
    may_stop = found.length[0] < found.length[-1]
    base = ReasoningChain(
        num_steps=turns,
        tokens_per_step=tokens,
        fork_share=share,
        difficulty=(0.5,),
        may_stop=may_stop,
    )

    def success(difficulty: float) -> float:
        return _success(dataclasses.replace(base, difficulty=(difficulty,)))

    classes = _classes(batch)
    looked = _looked_for(success, classes)
    task = dataclasses.replace(
        base,
        difficulty=tuple(each[0] for each in looked),
    )
    settings = {f"difficulty[{place}]": each for place, each in enumerate(looked)}
    reached = [success(each[0]) for each in looked]
    return Calibrated(task, classes, reached, settings, cannot, found)


def _with_tools(
    found: Description,
    cannot: list[str],
) -> Calibrated:
    """A `ToolChain`."""
    turns = _middle(found.turns)
    each = max(2, round(_longest(found.length) / turns))
    output = min(
        each - 1,
        max(1, round(each * found.tool_share)),
    )
    base = ToolChain(num_turns=turns, tokens_per_turn=each - output, output_tokens=output)

    def success(damage: float) -> float:
        return _success(dataclasses.replace(base, damage=damage))

    assert found.success is not None
    (looked,) = _looked_for(success, [found.success])
    task = dataclasses.replace(base, damage=looked[0])
    reached = [success(looked[0])]
    return Calibrated(
        task,
        [found.success],
        reached,
        {"damage": looked},
        cannot,
        found,
    )


def _success(task: Task) -> float:
    """What the uniform policy earns, exactly: outcomes pay 1."""
    mdp = task.build()
    return float(precise_truth(mdp, Uniform().table(mdp)).expected_return)


def _looked_for(
    success: Callable[[float], float],
    wanted: list[Share],
) -> list[list[float]]:
    """For each share the setting in [0, 1] at which success is as measured, and its interval.

    Success falls as the setting grows. Where it cannot be reached, the nearest end is the setting.
    """
    setting = np.linspace(1.0, 0.0, POINTS)
    rate = [success(float(x)) for x in setting]

    def at(share: float) -> float:
        return float(np.interp(share, rate, setting))

    return [[at(share.value), at(share.high), at(share.low)] for share in wanted]


def _classes(batch: Batch) -> list[Share]:
    """The success of up to `CLASSES` classes of prompts of about equal size, the easiest first.

    Prompts are sorted by the first half of their rollouts and measured on the rest, so that what
    sorts them does not move what is measured. With one rollout each there is one class.
    """
    counted = np.asarray(batch.counted)
    live = np.asarray(batch.live)
    reward = np.where(live, np.asarray(batch.reward), 0.0)
    outcome = reward.sum(axis=-1)
    values = np.unique(np.round(outcome[counted], DIGITS))
    won = (outcome > values.mean()) & counted
    number = counted.cumsum(axis=1)
    half = number[:, -1:] // 2
    first = counted & (number <= half)
    rest = counted & (number > half)
    sizes = first.sum(axis=1)
    if not sizes.all():
        return [_share(won, counted)]
    early = (won & first).sum(axis=1) / sizes
    order = np.argsort(-early, kind="stable")
    parts = np.array_split(order, min(CLASSES, len(order)))
    return [_share(won[own], rest[own]) for own in parts]


def _share(
    won: np.ndarray,
    among: np.ndarray,
) -> Share:
    """The share of these that won."""
    hits = won & among
    return Share.of(
        int(hits.sum()),
        int(among.sum()),
    )


def _decisive(batch: Batch) -> float | None:
    """The share of decisions that carry the hesitation: (sum h)^2 / (n sum h^2)."""
    given: Any = batch.entropy
    if given is None and batch.log_prob is not None:
        given = -np.asarray(batch.log_prob)
    if given is None:
        return None
    decided = np.asarray(batch.decided) & np.asarray(batch.counted)[..., None]
    h = np.asarray(given, float)[decided]
    square = float((h**2).sum())
    return None if square == 0 else float(h.sum()) ** 2 / (len(h) * square)


def _middle(quantiles: list[float]) -> int:
    return max(1, round(quantiles[2]))


def _longest(quantiles: list[float]) -> float:
    return quantiles[-1]
