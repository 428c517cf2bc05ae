"""What is found on a dispute: an answer, numbers that fill a sentence, and a small table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from casim.oracle.moments import exact_scores, group_moments, whole
from casim.types import MDP

Verdict = Literal["yes", "no", "depends"]
Numbers = dict[str, float]
SAME = 1e-9
"""Exact numbers that differ by less are equal."""


class Found(NamedTuple):
    """What was measured."""

    verdict: Verdict
    """Computed from the numbers."""
    numbers: Numbers
    """Those that the sentences name, and others."""
    columns: Sequence[str]
    rows: Mapping[str, Sequence[float]]
    """Of the table, by what stands in the first column."""


class Dispute(NamedTuple):
    """A question on which trainers disagree.

    Attributes:
        name: on the command line.
        question: one that yes, no or depends answers.
        asked: where it was, in words.
        world: what is measured, and on what.
        answer: a sentence for a thread, with the numbers that matter as fields.
        flips: what turns the answer, likewise.
        measure: to what is found.
    """

    name: str
    question: str
    asked: str
    world: str
    answer: str
    flips: str
    measure: Callable[[], Found]


class Setting(NamedTuple):
    """A world whose trajectories can be listed, and the policy's table."""

    mdp: MDP
    policy: np.ndarray


def settle(yes: bool, no: bool) -> Verdict:
    """One of three: what is neither yes nor no depends."""
    if yes:
        return "yes"
    return "no" if no else "depends"


def scores(
    setting: Setting,
    rule: Any,
    num: int,
    sees: Any = whole,
    **more: Any,
) -> dict[str, float]:
    """The exact scores of a rule on groups of `num`, as `casim.oracle.moments.exact_scores`."""
    moments = group_moments(*setting, rule, num, sees, **more)
    return exact_scores(*setting, moments)


def direction(found: Mapping[str, float]) -> list[float]:
    """Slope and cosine of the expected gradient, and the variance: three cells of a row."""
    names = ("gradient_slope", "gradient_cosine", "gradient_variance")
    return [float(found[name]) for name in names]


DIRECTION = ("slope", "cosine", "variance")


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Of two gradients."""
    sizes = np.sum(x**2) * np.sum(y**2)
    return float(np.sum(x * y) / np.sqrt(sizes))
