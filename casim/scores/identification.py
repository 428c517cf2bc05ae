"""Is the credit of a cell right, on average? Scores over cells."""

from __future__ import annotations

import numpy as np

from casim.scores.entry import NO_MEASURE, RESOLUTION, Entry, missing
from casim.scores.numbers import Quantity, over_blocks, over_pairs
from casim.scores.pairs import CellPairs

NAMES = (
    "bias",
    "centred_bias",
    "target_bias",
    "variance",
    "rmse",
)

NO_DECISION = "the policy meets no step at which it decides anything"
NO_SIGNAL = f"no action that the policy takes changes the expected return: {NO_MEASURE}"
NO_TARGET = "what the method estimates has no exact value here"


def identification(cells: CellPairs, groups: float) -> dict[str, Entry]:
    """The scores, from sums over the cells of so many groups."""
    num = len(cells.square)
    if not cells.decisions > 0:
        nothing = missing(num, NO_DECISION)
        return dict.fromkeys(NAMES, nothing)
    rmse = _rmse(cells)
    return {
        **_relative(cells, groups),
        "rmse": Entry(rmse, groups),
    }


def _relative(cells: CellPairs, groups: float) -> dict[str, Entry]:
    """The scores that are relative to the signal."""
    num = len(cells.square)
    sums = {
        "bias": cells.bias,
        "centred_bias": cells.centred,
        "target_bias": cells.target,
        "variance": cells.variance,
    }
    rounding = RESOLUTION * cells.worth
    if cells.signal <= rounding:
        nothing = missing(num, NO_SIGNAL)
        return dict.fromkeys(sums, nothing)
    entries = {}
    for name, total in sums.items():
        value = over_pairs(total) / cells.signal
        entries[name] = Entry(value, groups)
    if cells.aimless > 0:
        entries["target_bias"] = missing(num, NO_TARGET)
    return entries


def _rmse(cells: CellPairs) -> Quantity:
    """The root of the mean square error of a decision's credit, in rewards."""
    total = over_blocks(cells.square)
    mean_square = total / cells.decisions
    return cells.unit * np.sqrt(np.maximum(mean_square, 0.0))
