"""Exact truth by dynamic programming, one file per kind."""

from casim.oracle.values import Optimal, expected_return, optimal, solve

__all__ = ["Optimal", "expected_return", "optimal", "solve"]
