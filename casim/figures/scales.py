"""Axes that fit what is drawn: their scale, their limits, and few ticks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.ticker import (
    FixedLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
)

from casim.figures.labels import LETTER_WIDTH, POINTS, axes_inches, wrap
from casim.figures.lines import ROUNDING, Line
from casim.figures.places import Places, write

SCORES = {
    "bias": "squared bias / signal",
    "centred_bias": "action-centred bias² / signal",
    "target_bias": "squared bias to own target / signal",
    "variance": "variance / signal",
    "rmse": "root mean squared error (reward)",
    "sign_accuracy": "sign accuracy",
    "rank_correlation": "rank correlation",
    "precision_at_k": "precision at the pivots",
    "leakage": "leakage (share of |credit|)",
    "effective_sample": "effective share of the decisions",
    "support": "share of decisions with weight",
    "gradient_cosine": "cosine of the gradient",
    "gradient_slope": "slope of the gradient",
    "gradient_error": "relative error of the gradient",
    "gradient_bias": "squared bias of the gradient",
    "gradient_variance": "variance of the gradient",
    "snr": "SNR of the gradient",
    "snr_aligned": "aligned SNR of the gradient",
    "env_steps": "extra environment steps",
    "judge_calls": "calls of the judge",
    "critic_updates": "updates of the critic",
    "batch_steps": "steps of the batch",
}
"""What to write at the axis of a score; any other is written as it is named."""

SHARES = (
    "sign_accuracy",
    "rank_correlation",
    "precision_at_k",
    "leakage",
    "effective_sample",
    "support",
    "gradient_cosine",
)
"""Scores of a bounded range, whose axes are linear."""

FACTOR = 30.0
"""A vertical axis is logarithmic where sizes differ by more than this."""
MARGIN = 0.07
"""Room beside the outermost points, as a share of the axis."""
REACH = 0.25
"""How far intervals may widen an axis, as a share of the points' range."""
TICKS = 5
"""About how many ticks an axis has."""
LETTER = 7 * LETTER_WIDTH / POINTS
"""Inches of a letter below an axis."""

Transform = Callable[[np.ndarray], np.ndarray]


class Scale(NamedTuple):
    """The scale of a vertical axis; `threshold` is where "symlog" turns linear."""

    kind: Literal["linear", "log", "symlog"]
    threshold: float = 1.0

    def apply(
        self,
        axes: Axes,
    ) -> None:
        """Sets the vertical axis."""
        if self.kind == "symlog":
            axes.set_yscale("symlog", linthresh=self.threshold, linscale=0.6)
        else:
            axes.set_yscale(self.kind)

    def forth(
        self,
        numbers: np.ndarray,
    ) -> np.ndarray:
        """Numbers to places along the axis; those that it cannot show are left out."""
        if self.kind == "log":
            return np.log10(numbers[numbers > 0])
        if self.kind == "symlog":
            return np.arcsinh(numbers / self.threshold)
        return numbers

    def back(
        self,
        place: float,
    ) -> float:
        """A place along the axis to its number."""
        if self.kind == "log":
            return 10.0**place
        if self.kind == "symlog":
            return self.threshold * math.sinh(place)
        return float(place)


def score_caption(score: str) -> str:
    """What to write at the axis of a score."""
    return SCORES.get(score, score.replace("_", " "))


def fit_scale(
    lines: Sequence[Line],
    score: str,
) -> Scale:
    """Logarithmic where sizes differ widely, with a linear middle where some are not positive."""
    values = gather(lines, "value")
    sizes = np.abs(values[values != 0])
    if score in SHARES or len(sizes) == 0:
        return Scale("linear")
    least, most = sizes.min(), sizes.max()
    if np.all(values > 0):
        return Scale("log" if most > FACTOR * least else "linear")
    # A few numbers that are near 0 by chance are no reason for a logarithm.
    usual = np.quantile(sizes, 0.25)
    if most <= FACTOR * usual:
        return Scale("linear")
    # Sizes far below the usual are 0 but for rounding, and would take the room of the others.
    least = sizes[sizes > ROUNDING * usual].min()
    size = noise_around_zero(lines) or least
    power = math.floor(math.log10(max(size, ROUNDING * usual)))
    return Scale("symlog", 10.0**power)


def noise_around_zero(lines: Sequence[Line]) -> float:
    """Median half width of the intervals that hold 0 inside; 0 if none does."""
    low = np.concatenate([line.low for line in lines])
    high = np.concatenate([line.high for line in lines])
    noise = (low < 0) & (high > 0)
    if not noise.any():
        return 0.0
    width = (high - low)[noise]
    return float(np.median(width) / 2)


def fit_span(
    lines: Sequence[Line],
    scale: Scale,
    exact: Sequence[float] = (),
) -> tuple[float, float]:
    """The least and the largest number to show: all values, and intervals if they are not far."""
    values = np.append(gather(lines, "value"), exact)
    points = scale.forth(values)
    if len(points) == 0:
        return 0.0, 1.0
    low, high = points.min(), points.max()
    # A lone value is seen by its interval.
    reach = REACH * (high - low) or np.inf
    ends = scale.forth(np.concatenate([gather(lines, "low"), gather(lines, "high")]))
    lower = max(ends.min(initial=low), low - reach)
    upper = min(ends.max(initial=high), high + reach)
    if upper == lower:
        lower, upper = lower - 0.5, upper + 0.5
    margin = MARGIN * (upper - lower)
    return scale.back(lower - margin), scale.back(upper + margin)


def gather(
    lines: Sequence[Line],
    name: str,
) -> Float[np.ndarray, " n"]:
    """The finite numbers of one kind, "value", "low" or "high", of all lines."""
    parts = [getattr(line, name) for line in lines]
    numbers = np.concatenate([np.zeros(0), *parts])
    return numbers[np.isfinite(numbers)]


def finish_y(
    axes: Axes,
    scale: Scale,
    signed: bool,
) -> None:
    """Few ticks on the vertical axis, at powers of ten where it is logarithmic.

    Args:
        axes: the panel, with its limits.
        scale: of the axis.
        signed: whether there is anything below 0.
    """
    low, high = axes.get_ylim()
    if scale.kind == "linear":
        locator = MaxNLocator(TICKS, steps=[1, 2, 2.5, 5, 10])
        axes.yaxis.set_major_locator(locator)
        if max(abs(low), abs(high)) >= 1000:
            axes.yaxis.set_major_formatter("{x:,.0f}")
        return
    powers = [10.0**power for power in range(-30, 31)]
    upper = [tick for tick in powers if low <= tick <= high]
    sides = [upper]
    middle = []
    if scale.kind == "symlog":
        middle = [0.0]
        outside = [tick for tick in powers if tick >= 0.99 * scale.threshold]
        sides = [[tick for tick in outside if tick <= high]]
        if signed:
            sides.append([-tick for tick in outside if -tick >= low])
    if len(middle) + len(upper) < 2:
        return  # less than a decade: matplotlib's own ticks
    ticks = _apart(axes, middle, sides)
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())


def finish_x(
    axes: Axes,
    places: Places,
) -> None:
    """The horizontal axis: a logarithm where values are spread over factors, ticks at values."""
    positions = np.array(list(places.at.values()))
    if places.words is not None:
        axes.set_xlim(-0.5, len(positions) - 0.5)
        room = axes_inches(axes)[0] / len(positions)
        names = ["\n".join(wrap(word, int(room / LETTER))) for word in places.words]
        axes.set_xticks(positions, names)
        axes.grid(visible=False, axis="x")
        return
    least, most = positions[0], positions[-1]
    factors = len(positions) > 2 and 0 < 8 * least <= most
    scale = Scale("log" if factors else "linear")
    along = scale.forth(positions)
    room = 0.05 * (along[-1] - along[0])
    axes.set_xscale(scale.kind)
    left = scale.back(along[0] - room)
    right = scale.back(along[-1] + room)
    axes.set_xlim(left, right)
    ticks = positions[thinned(along, TICKS)]
    axes.xaxis.set_major_locator(FixedLocator(ticks.tolist()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(lambda position, _: write(position))


def thinned(
    along: Float[np.ndarray, " n"],
    most: int,
) -> list[int]:
    """Which positions get a tick: in even strides where they are even, else those far enough apart.

    Args:
        along: rising positions along the axis, at least two.
        most: ticks that there is room for, at least two.
    """
    last = len(along) - 1
    gaps = np.diff(along)
    if np.allclose(gaps, gaps[0], rtol=0.01):
        strides = [stride for stride in range(1, last + 1) if last // stride < most]
        # Strides that end at the last position, if there are any.
        whole = [stride for stride in strides if last % stride == 0]
        several = [stride for stride in whole if stride < last]
        stride = min(several or strides)
        return list(range(0, last + 1, stride))
    gap = (along[-1] - along[0]) / most
    kept = [0]
    for place in range(1, last):
        after = along[place] - along[kept[-1]]
        before = along[last] - along[place]
        if min(after, before) >= gap:
            kept.append(place)
    return [*kept, last]


def _apart(
    axes: Axes,
    middle: Sequence[float],
    sides: Sequence[Sequence[float]],
) -> list[float]:
    """Ticks with room between them: the middle, and of each side the smallest stride that fits.

    Strides are counted from the far end, which says how large numbers get.
    """
    to_share = axes.transData + axes.transAxes.inverted()
    x = axes.get_xlim()[1]

    def room(ticks: Sequence[float]) -> float:
        """The least distance between ticks, as a share of the axis."""
        places = to_share.transform([(x, tick) for tick in ticks])[:, 1]
        return np.diff(np.sort(places)).min(initial=1.0)

    kept = list(middle)
    for side in sides:
        for stride in range(1, len(side) + 1):
            chosen = [*kept, *side[::-1][::stride]]
            if room(chosen) >= 0.7 / TICKS:
                kept = chosen
                break
    return sorted(kept)
