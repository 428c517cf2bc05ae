"""Numbers of a page: short where people read them, and five digits where scripts do."""

from __future__ import annotations

import math

DASH = "\N{EN DASH}"
MOST, LEAST = 1e5, 1e-3
"""Sizes beyond which powers of ten are written."""


def shown(x: float) -> str:
    """Three digits, as `number` of `assets/charts.js` writes them."""
    if not math.isfinite(x):
        return DASH
    size = abs(x)
    if x == 0 or LEAST <= size < MOST:
        rounded = float(f"{x:.3g}")
        return f"{rounded:,.10g}"
    digits, power = f"{x:.2e}".split("e")
    return f"{digits}e{int(power)}"


def kept(x: float | None, digits: int = 5) -> float | None:
    """A number of so many digits; None where it is missing."""
    if x is None or not math.isfinite(x):
        return None
    rounded = float(f"{x:.{digits}g}")
    # Without its ".0" a whole number is shorter.
    is_short = rounded.is_integer() and abs(rounded) < MOST
    return int(rounded) if is_short else rounded
