"""Scores from sums: sums of blocks of replicates -> numbers -> 95% intervals.

References:
    Tukey 1958 (jackknife).
"""

from casim.scores.finish import NAMES, NotFiniteError, finalise
from casim.scores.numbers import STUDENT, Finished
from casim.scores.pairs import BYTES_PER_CELL, prepare
from casim.scores.stream import Blocks

__all__ = [
    "BYTES_PER_CELL",
    "NAMES",
    "STUDENT",
    "Blocks",
    "Finished",
    "NotFiniteError",
    "finalise",
    "prepare",
]
