"""Comparisons of methods that were scored on the same groups, by pairs."""

from typing import TYPE_CHECKING

from casim.compare.measures import Measure, by_budget, by_score, error_at, least_error_at, worth
from casim.compare.methods import By, Comparison, compare
from casim.compare.pairs import Pairing, labels, pair
from casim.compare.scaling import Scaling, scaling
from casim.compare.student import Estimate, holm, student_quantile, student_tail
from casim.lazy import lazily

if TYPE_CHECKING:
    from casim.compare.game import anatomy, exact_anatomy
    from casim.compare.parts import coalitions, players, without_parts

__all__ = [
    "By",
    "Comparison",
    "Estimate",
    "Measure",
    "Pairing",
    "Scaling",
    "anatomy",
    "by_budget",
    "by_score",
    "coalitions",
    "compare",
    "error_at",
    "exact_anatomy",
    "holm",
    "labels",
    "least_error_at",
    "pair",
    "players",
    "scaling",
    "student_quantile",
    "student_tail",
    "without_parts",
    "worth",
]

__getattr__, __dir__ = lazily(__name__)
