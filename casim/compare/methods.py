"""Which method is better: paired differences and ratios, with intervals and verdicts.

Methods of a study are scored on the same groups, so what is luck of the groups cancels in the
difference of two scores. Rows keep each score without each block of replicates in turn, so a
difference has a jackknife of its own, as narrow as the luck that the two methods do not share.

In maths, with x, y the scores of two methods and x_b, y_b those without block b of B:
d = x - y, d_b = x_b - y_b, Var(d) = (B - 1) / B sum_b (d_b - mean d_b)^2, and d / sd(d) is taken as
Student's t with B - 1 degrees of freedom. A ratio is the same with log x - log y, where all numbers
are positive. Seeds are independent: d is their mean, its variance the sum of theirs over the square
of their number, with Satterthwaite's degrees of freedom. All comparisons of one call are corrected
for their number by Holm's method: the chance that any verdict is wrong is at most 5%. Intervals are
95% each and are not corrected.

References:
    Tukey 1958 (jackknife); Holm 1979 (many comparisons); Satterthwaite 1946 (degrees of freedom).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from casim.checks import check_choice
from casim.compare.measures import Measure
from casim.compare.pairs import Pairing, labels, pair
from casim.compare.student import LEVEL, MISSING, Estimate, holm, mean
from casim.report import Row
from casim.scores.numbers import Quantity

ROUNDING = 1e-5
"""Scores that differ by less of their size are the same: sums are in single precision."""

By = Literal["difference", "ratio"]
Verdict = Literal["better", "worse", "higher", "lower", "same", "not told apart", "missing"]
_NEUTRAL = {"difference": 0.0, "ratio": 1.0}
"""What says that there is no difference."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One method against another in one setting.

    Attributes:
        rows: of the method, one for each seed.
        references: of the other method, with the same seeds.
        value, reference: what is compared, means over seeds; NaN where it is missing.
        estimate: value less reference, or value over reference; NaN where it is missing.
        corrected: p by Holm's method, over all comparisons of the call.
        verdict: of the method: "higher" and "lower" where neither is better, "same" where they
            differ by rounding alone.
        note: why the estimate is missing.
    """

    rows: tuple[Row, ...]
    references: tuple[Row, ...]
    value: float
    reference: float
    estimate: Estimate
    corrected: float
    verdict: Verdict
    note: str


def compare(
    rows: Sequence[Row],
    measure: Measure,
    against: str,
    by: By = "difference",
) -> list[Comparison]:
    """Compares every other method with one, in every setting that both were measured in.

    Args:
        rows: of any studies. Where rows repeat each other but for replicates or code, the pair with
            most replicates counts, and of those the last.
        measure: see `by_score` and `by_budget`.
        against: the label of the method to compare with.
        by: differences, or ratios.

    Raises:
        ValueError: a label that no row has or that several recipes share, or a method none of whose
            rows shares its groups with one of the other method.
    """
    check_choice("by", by, ("difference", "ratio"))
    check_choice("against", against, labels(rows))
    found = [_compared(pairing, measure, by) for pairing in pair(rows, against)]
    known = [place for place, one in enumerate(found) if not np.isnan(one.estimate.p)]
    corrected = np.full(len(found), np.nan)
    corrected[known] = holm([found[place].estimate.p for place in known])
    return [
        dataclasses.replace(one, corrected=float(p), verdict=_verdict(one, float(p), measure, by))
        for one, p in zip(found, corrected, strict=True)
    ]


def _compared(pairing: Pairing, measure: Measure, by: By) -> Comparison:
    """A comparison without its verdict."""
    own = [measure.read(row) for row in pairing.rows]
    others = [measure.read(row) for row in pairing.references]
    undefined = [
        f"{row.label}: {measure.explain(row)}"
        for row, x in zip(pairing.rows + pairing.references, own + others, strict=True)
        if not np.isfinite(x).all()
    ]
    positive = all((x > 0).all() for x in own + others)
    if undefined:
        note = undefined[0]
    elif by == "ratio" and not positive:
        note = "a ratio needs positive numbers, with and without each block: take the difference"
    else:
        note = ""
    return Comparison(
        rows=pairing.rows,
        references=pairing.references,
        value=float(np.mean([x[0] for x in own])),
        reference=float(np.mean([x[0] for x in others])),
        estimate=MISSING if note else _estimate(own, others, measure, by),
        corrected=np.nan,
        verdict="missing",
        note=note,
    )


def _estimate(
    own: Sequence[Quantity],
    others: Sequence[Quantity],
    measure: Measure,
    by: By,
) -> Estimate:
    """The mean over seeds of the difference, or of the ratio on a logarithmic scale."""
    pairs = list(zip(own, others, strict=True))
    if all(_same(x, y, measure.size) for x, y in pairs):
        neutral = _NEUTRAL[by]
        return Estimate(neutral, neutral, neutral, 1.0)
    if by == "difference":
        return mean([x - y for x, y in pairs])
    logarithms = [np.log(x) - np.log(y) for x, y in pairs]
    found = mean(logarithms)
    value, low, high = (float(np.exp(x)) for x in found[:3])
    return Estimate(value, low, high, found.p)


def _same(x: Quantity, y: Quantity, size: float) -> bool:
    """Whether two quantities differ by rounding alone."""
    largest = max(size, np.abs(x).max(), np.abs(y).max())
    return bool(np.abs(x - y).max() <= ROUNDING * largest)


def _verdict(one: Comparison, corrected: float, measure: Measure, by: By) -> Verdict:
    if np.isnan(one.estimate.p):
        return "missing"
    neutral = _NEUTRAL[by]
    if one.estimate.low == one.estimate.high == neutral:
        return "same"
    if corrected >= LEVEL:
        return "not told apart"
    higher = one.estimate.value > neutral
    if measure.better == 0:
        return "higher" if higher else "lower"
    return "better" if higher == (measure.better > 0) else "worse"
