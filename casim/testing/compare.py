"""Comparisons that raise `AssertionError` with what is wrong."""

from __future__ import annotations

import jax
import numpy as np

STANDARD_ERRORS = 5.0
"""A two-sided z-test at 5 standard errors fails by chance once in 1.7 million numbers."""
RELATIVE = 1e-5
"""Agreement asked of float32 with float64 or with itself, relative to the largest value."""


def close(
    actual,
    wanted,
    message: str,
) -> None:
    """Raises unless two arrays agree."""
    error, scale = difference(actual, wanted)
    assert error <= RELATIVE * scale, f"{message}: off by {error:.2g}"


def difference(actual, wanted) -> tuple[float, float]:
    """The largest difference, and the largest of what is wanted, at least 1."""
    actual = np.asarray(actual, np.float64)
    wanted = np.asarray(wanted, np.float64)
    error = np.abs(actual - wanted).max(initial=0.0)
    largest = np.abs(wanted).max(initial=0.0)
    return float(error), max(1.0, float(largest))


def same(
    actual,
    wanted,
    message: str,
) -> None:
    """Raises unless two trees of arrays are equal to the last bit."""
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True)
    for x, y in pairs:
        assert np.array_equal(np.asarray(x), np.asarray(y)), message


def unbiased(
    error,
    what: str,
) -> None:
    """Raises unless z-tests find that the mean over the leading axis is 0."""
    error = np.asarray(error, np.float64)
    spread = error.std(axis=0, ddof=1) / np.sqrt(len(error))
    z = np.abs(error.mean(axis=0)) / (spread + 1e-6)
    worst = z.max()
    assert worst < STANDARD_ERRORS, f"the {what} must be unbiased, got {worst:.1f} standard errors"
