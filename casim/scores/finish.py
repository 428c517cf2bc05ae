"""A row's scores, with their intervals and with what is missing and why, from its sums per block.

The formulas of the scores are in `casim.scores.sums`, how squares are freed of noise in
`casim.scores.crossing`. What is undefined is missing: NaN, with a note that says why. A number that
is only rounding counts as 0, so that what is divided by it is undefined: the signal, where it is
below RESOLUTION times the mean square of the values; the exact gradient, where it is below the same
share of the sum of its parts; the noise of a gradient below its own rounding.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from casim.scores import gradient, identification, trajectories
from casim.scores.entry import Entry, missing
from casim.scores.numbers import Finished, interval, over_blocks
from casim.scores.pairs import CELLS, cell_pairs
from casim.scores.profiles import profiles, without_value
from casim.scores.sums import Sums
from casim.types import MDP, Truth

COSTS = (
    "env_steps",
    "judge_calls",
    "critic_updates",
    "batch_steps",
)
NAMES = (
    *identification.NAMES,
    *trajectories.NAMES,
    *gradient.NAMES,
    *COSTS,
)
"""Every score of a row, in its order."""
OF_VALUE = (*identification.NAMES, *trajectories.OF_VALUE)
"""Those that judge the value, whatever its weight."""


class NotFiniteError(ValueError):
    """An estimator gave credit that is NaN or infinite."""


PRODUCT_ONLY = (
    "its weights are ratios of two policies that differ here: only value x weight is meant, which "
    "the scores of the gradient judge"
)


def finalise(
    mdp: MDP,
    truth: Truth,
    blocks: Sums,
    product_only: bool = False,
    wanted: tuple[str, ...] = (),
) -> Finished:
    """All scores with their intervals, from sums per block (leading axis).

    Args:
        mdp: the process.
        truth: the exact values of the policy, at the exact visits of whoever acts.
        blocks: the sums.
        product_only: whether only the product of value and weight means anything, so that what
            judges the value is missing.
        wanted: profiles, of `casim.scores.PROFILES`.

    Raises:
        ValueError: fewer than two groups in all, or blocks of different numbers of groups.
        NotFiniteError: credit was not finite: its sums of errors are not.
    """
    groups = _checked_groups(blocks)
    cells = cell_pairs(mdp, truth, blocks)
    if cells.infinite > 0:
        raise NotFiniteError("credit must be finite, got NaN or infinity")
    sums = _without_cells(blocks)
    exact = np.asarray(truth.gradient, np.float64)
    exact = exact / cells.unit
    entries = {
        **identification.identification(cells, groups),
        **trajectories.trajectories(sums),
        **gradient.gradient_scores(exact, cells.reach, sums),
        **_costs(sums),
    }
    if product_only:
        nothing = missing(len(sums.groups), PRODUCT_ONLY)
        entries |= dict.fromkeys(OF_VALUE, nothing)
    found = profiles(mdp, truth, blocks, wanted)
    if product_only:
        found = without_value(found)
    return _finished(entries)._replace(profiles=found)


def _checked_groups(blocks: Sums) -> float:
    """How many groups there are in all."""
    groups = np.asarray(blocks.groups, np.float64)
    total = groups.sum()
    if total < 2:
        raise ValueError(f"replicates must be at least 2, got {total:g}")
    if (groups != groups[0]).any():
        each = groups.tolist()
        raise ValueError(f"blocks must hold equal numbers of groups, got {each}")
    return total


def _without_cells(blocks: Sums) -> Sums:
    """The sums in double precision on the host, without those over cells, which are large."""
    fields: dict[str, Any] = dict.fromkeys(CELLS)
    for name, x in blocks._asdict().items():
        if name not in CELLS:
            fields[name] = np.asarray(x, np.float64)
    return Sums(**fields)


def _finished(entries: dict[str, Entry]) -> Finished:
    """The scores with intervals."""
    finished = Finished({}, {}, {}, {})
    for name, entry in entries.items():
        without = entry.value[1:]
        finished.scores[name] = interval(entry.value, entry.count)
        finished.left_out[name] = without.tolist()
        if entry.note:
            finished.notes[name] = entry.note
    return finished


def _costs(sums: Sums) -> dict[str, Entry]:
    """What a call used, and the steps of the batch it was given, per group."""
    total = sums.groups.sum()
    each = sums.cost / sums.groups[:, None]
    costs = zip(COSTS, each.T, strict=True)
    return {name: Entry(over_blocks(x), total) for name, x in costs}
