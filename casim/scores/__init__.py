"""Scores: sums over replicates, numbers from them with 95% intervals, what is missing and why.

`casim.scores.sums` turns chunks of groups into sums and has the formulas; `Blocks` adds them up;
`finalise` makes numbers of the sums of blocks.

References:
    Tukey 1958 (jackknife).
"""

from typing import TYPE_CHECKING

from casim.lazy import lazily
from casim.scores.numbers import STUDENT, Finished
from casim.scores.score import PROFILE_NUMBERS, PROFILES, Profile, Score

if TYPE_CHECKING:
    from casim.scores.finish import NAMES, NotFiniteError, finalise
    from casim.scores.pairs import BYTES_PER_CELL, prepare
    from casim.scores.stream import Blocks
    from casim.scores.sums import (
        CREDIT_BITS,
        EXPONENTS,
        TOLERANCE,
        Sums,
        advantage_on_path,
        exact_sum,
        group_gradient,
        leakage,
        matters_mask,
        measure,
        of_taken,
        pivotal_steps,
        precision_at_k,
        rank_correlation,
        unit_of,
        weighted,
    )

__all__ = [
    "BYTES_PER_CELL",
    "CREDIT_BITS",
    "EXPONENTS",
    "NAMES",
    "PROFILES",
    "PROFILE_NUMBERS",
    "STUDENT",
    "TOLERANCE",
    "Blocks",
    "Finished",
    "NotFiniteError",
    "Profile",
    "Score",
    "Sums",
    "advantage_on_path",
    "exact_sum",
    "finalise",
    "group_gradient",
    "leakage",
    "matters_mask",
    "measure",
    "of_taken",
    "pivotal_steps",
    "precision_at_k",
    "prepare",
    "rank_correlation",
    "unit_of",
    "weighted",
]

__getattr__, __dir__ = lazily(__name__)
