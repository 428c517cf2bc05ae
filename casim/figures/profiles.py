"""A profile of several methods: where along an episode their credit is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from casim.checks import check_choice
from casim.figures.lines import styles
from casim.report import Row
from casim.scores import PROFILE_NUMBERS, PROFILES

WORDS = {
    "step": "step",
    "distance": "expected steps to the next reward",
}
"""What stands under the axis."""


def profile_panel(
    axes: Axes,
    rows: Sequence[Row],
    by: Literal["step", "distance"] = "step",
    number: Literal["signal", "bias", "variance", "snr"] = "bias",
) -> None:
    """Draws one number of every row by bin, its 95% interval as a band.

    A bin stands at the first of its steps or distances.

    Args:
        axes: where to draw.
        rows: of methods on one task, from a study that asked for this profile.
        by: what bins are made of.
        number: what is drawn; see `casim.scores.profiles`.

    Raises:
        ValueError: a row without this profile.
    """
    check_choice("by", by, PROFILES)
    check_choice("number", number, PROFILE_NUMBERS)
    looks = styles(rows)
    for row in rows:
        if row.profiles is None or by not in row.profiles:
            raise ValueError(f"profiles must hold {by!r} for a figure, got none in {row.label}")
        profile = row.profiles[by]
        first = np.asarray(profile["first"])
        value, low, high = np.asarray(profile[number]).T
        look = looks[row.label]
        axes.plot(first, value, label=row.label, **look)
        axes.fill_between(
            first,
            low,
            high,
            color=look["color"],
            alpha=0.15,
            linewidth=0,
        )
    axes.set_xlabel(WORDS[by])
    axes.set_ylabel(number)
