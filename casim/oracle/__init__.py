"""Exact truth by dynamic programming, one file per kind."""

from casim.oracle.shapley import coalition_values, shapley
from casim.oracle.targets import path_target
from casim.oracle.values import Optimal, expected_return, optimal, solve

__all__ = ["Optimal", "coalition_values", "expected_return", "optimal", "path_target", "shapley", "solve"]
