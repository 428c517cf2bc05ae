"""What credit is meant to be, by name; `casim.oracle.path_target` evaluates it exactly."""

from __future__ import annotations

import dataclasses
from typing import final

from casim.checks import check_choice, check_range

TARGETS = (
    "advantage",
    "trajectory_advantage",
    "td_error",
    "segment_advantage",
    "shapley",
    "information_gain",
    "log_information_gain",
    "subgoal",
)
"""All names; what each means is in `casim.oracle.targets`."""


@final
@dataclasses.dataclass(frozen=True)
class Target:
    """A target under the settings of one estimator. Every target is at the discount of the world.

    Attributes:
        name: one of `TARGETS`.
        floor: of "log_information_gain", the smallest probability inside the logarithm, in (0, 1).

    Raises:
        ValueError: an unknown name, or a floor out of its range.
    """

    name: str
    floor: float = 1e-2

    def __post_init__(self) -> None:
        check_choice("name", self.name, TARGETS)
        check_range("floor", self.floor, 1e-12, 1 - 1e-12)
