"""What an experiment on a claim finds: a verdict, numbers that fill a sentence, curves to draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from casim.compare import student_quantile

Verdict = Literal["holds", "fails", "depends"]
Numbers = dict[str, float]


class Curve(NamedTuple):
    """A line of a panel; `low` and `high` are its 95% interval, empty where it is exact."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Panel(NamedTuple):
    """What is drawn of a claim, at most eight lines."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    log: str = ""
    """Which axes are logarithmic: any of the letters of "xy"."""


class Found(NamedTuple):
    """What was found on a claim."""

    verdict: Verdict
    """Computed from the numbers."""
    numbers: Numbers
    """Those that the sentences of the claim name, and others."""
    panel: Panel


class Claim(NamedTuple):
    """A claim that can be tested.

    Attributes:
        name: on the command line.
        hypothesis: its number in the protocol of the survey, or what it is about.
        says: the claim.
        answer: a sentence, with the numbers that matter as fields.
        flips: the knob that turns the answer, and where, likewise.
        exact: whether nothing is sampled; `quick` then changes nothing.
        measure: from `quick` to what is found.
    """

    name: str
    hypothesis: str
    says: str
    answer: str
    flips: str
    exact: bool
    measure: Callable[[bool], Found]

    @property
    def how(self) -> str:
        return "exact" if self.exact else "sampled"


def verdict(holds: bool, fails: bool) -> Verdict:
    """One of three: what neither holds nor fails depends."""
    if holds:
        return "holds"
    return "fails" if fails else "depends"


def total(x: np.ndarray) -> float:
    """The sum of all entries."""
    return float(np.sum(x))


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The exponent of a power law, by least squares on logarithms."""
    logarithm = np.log(x)
    across = logarithm - logarithm.mean()
    up = np.log(y)
    return float(across @ up / (across @ across))


def curve(label: str, x: Any, y: Any) -> Curve:
    """An exact line."""
    across = np.asarray(x, float)
    up = np.asarray(y, float)
    return Curve(label, across.tolist(), up.tolist())


def level(label: str, x: Sequence[float], height: float) -> Curve:
    """A line that is the same everywhere."""
    return curve(label, x, [height] * len(x))


def sampled(label: str, x: Any, samples: Float[np.ndarray, "R X"]) -> Curve:
    """The mean over independent runs, with its 95% interval."""
    runs = len(samples)
    mean = samples.mean(axis=0)
    error = samples.std(axis=0, ddof=1) / np.sqrt(runs)
    half = student_quantile(runs - 1) * error
    exact = curve(label, x, mean)
    low = (mean - half).tolist()
    high = (mean + half).tolist()
    return exact._replace(low=low, high=high)


def interval(name: str, line: Curve, place: int) -> Numbers:
    """A sampled value and the ends of its interval, as three numbers."""
    return {
        name: line.y[place],
        f"{name}_low": line.low[place],
        f"{name}_high": line.high[place],
    }


def crossing(x: Sequence[float], gap: Sequence[float]) -> float:
    """Where a curve first changes its sign, by a straight line in x; NaN where it never does."""
    for i in range(len(x) - 1):
        before = gap[i]
        after = gap[i + 1]
        if before == 0:
            return float(x[i])
        if before * after < 0:
            share = before / (before - after)
            width = x[i + 1] - x[i]
            return float(x[i] + share * width)
    return float("nan")


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    """Of two gradients."""
    sizes = total(x**2) * total(y**2)
    return total(x * y) / math.sqrt(sizes)
