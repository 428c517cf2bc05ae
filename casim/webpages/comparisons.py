"""Comparisons by pairs for a report: every method against one, score by score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from casim.checks import check_choice
from casim.compare import Comparison, by_score, compare, labels
from casim.report import Row
from casim.webpages.numbers import kept

SCORES = (
    "snr_aligned",
    "centred_bias",
    "variance",
    "sign_accuracy",
    "leakage",
    "gradient_bias",
    "gradient_variance",
)
"""What methods are compared by, of what rows have."""
PREFERRED = ("RLOO", "GRPO", "REINFORCE")
"""Whom methods are compared with if nobody is named."""
CONTROL = "control"


def default_reference(rows: Sequence[Row]) -> str | None:
    """Whom to compare with: a baseline that everybody knows, or the first method; None if alone."""
    methods = [row for row in rows if row.methodology != CONTROL]
    met = labels(methods)
    if len(met) < 2:
        return None
    known = [label for label in PREFERRED if label in met]
    first, *_ = known or met
    return first


def comparison_data(rows: Sequence[Row], against: str | None) -> dict[str, Any]:
    """All comparisons with one method, study by study, as the report's scripts read them.

    Args:
        rows: of any studies.
        against: a label; None takes that of `default_reference`.

    Returns:
        `against`; `found`, by score, of [row, value, reference, difference, low, high, corrected p,
        verdict]; `notes`, why a study has none.

    Raises:
        ValueError: a label that no row has, or that no other row can be compared with.
    """
    if against is not None:
        check_choice("against", against, labels(rows))
    chosen = against or default_reference(rows)
    places = {id(row): place for place, row in enumerate(rows)}
    found: dict[str, list] = {}
    notes = []
    for study in dict.fromkeys(row.study for row in rows):
        own = [row for row in rows if row.study == study and _is_wanted(row, chosen)]
        if chosen is None or chosen not in labels(own) or len(labels(own)) < 2:
            notes.append(f"{study}: no two methods to compare")
            continue
        try:
            _add(found, own, chosen, places)
        except ValueError as error:
            if against is not None:
                raise
            notes.append(f"{study}: {error}")
    return {"against": chosen, "found": found, "notes": notes}


def _is_wanted(row: Row, against: str | None) -> bool:
    return row.methodology != CONTROL or row.label == against


def _add(
    found: dict[str, list],
    rows: Sequence[Row],
    against: str,
    places: dict[int, int],
) -> None:
    """Adds the comparisons of a study, in place."""
    known = {name for row in rows for name in row.scores}
    for score in SCORES:
        if score not in known:
            continue
        made = compare(rows, by_score(rows, score), against)
        lines = [_line(one, places) for one in made]
        found.setdefault(score, []).extend(lines)


def _line(one: Comparison, places: dict[int, int]) -> list:
    estimate = one.estimate
    row, *_ = one.rows
    numbers = [one.value, one.reference, estimate.value, estimate.low, estimate.high]
    corrected = kept(one.corrected, 3)
    verdict = one.note if np.isnan(estimate.p) else one.verdict
    return [places[id(row)], *map(kept, numbers), corrected, verdict]
