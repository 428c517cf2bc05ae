"""The lessons that come with casim: `casim teach` opens them.

`casim.teaching` says how to write one.

In a notebook, `check("3.2", answer)` gives the verdict on an answer and `solution("3.2")` the right
one.
"""

from casim.lessons import (
    agents,
    bootstrapping,
    branching,
    groups,
    hindsight,
    judges,
    variance_and_horizon,
    what_is_credit,
)
from casim.teaching import Course

COURSE = Course(
    (
        what_is_credit.LESSON,
        variance_and_horizon.LESSON,
        groups.LESSON,
        bootstrapping.LESSON,
        branching.LESSON,
        hindsight.LESSON,
        judges.LESSON,
        agents.LESSON,
    )
)
"""All lessons, in reading order."""

check = COURSE.check
solution = COURSE.solution

__all__ = ["COURSE", "check", "solution"]
