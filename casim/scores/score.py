"""What rows keep: a score with its interval, and a profile, which has one for each bin."""

from __future__ import annotations

from typing import NamedTuple


class Score(NamedTuple):
    """A score with its 95% interval; NaN where undefined."""

    value: float
    low: float
    high: float
    count: float
    """How many groups or trajectories define it."""


PROFILES = ("step", "distance")
"""What a profile can be by."""
PROFILE_NUMBERS = ("signal", "bias", "variance", "snr")
"""What a profile says of each bin."""

Profile = dict[str, list]
"""`first`, the first step or distance of each bin, and [value, low, high] by `PROFILE_NUMBERS`."""
