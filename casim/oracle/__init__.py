"""Exact truth by dynamic programming, one file per kind."""

from casim.oracle.closed_forms import binary_group_scale, closed_forms
from casim.oracle.shapley import coalition_values, shapley
from casim.oracle.summary import summary
from casim.oracle.targets import path_target
from casim.oracle.values import Optimal, expected_return, optimal, solve

__all__ = [
    "Optimal",
    "binary_group_scale",
    "closed_forms",
    "coalition_values",
    "expected_return",
    "optimal",
    "path_target",
    "shapley",
    "solve",
    "summary",
]
