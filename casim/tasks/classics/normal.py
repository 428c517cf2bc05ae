"""Normal rewards on a lattice.

In maths: outcomes k std for integers k with |k std - mean| <= 5.5 std, with probabilities
proportional to the normal density there. Mean and standard deviation are those of the normal to
1e-5 std.

All means share the lattice, so that a reward, or a sum of rewards, does not give away the mean that
it came from, and the odds of two means at an outcome are those of the normals up to a factor of
1 + 1e-5. A rule with points of its own for each mean, such as Gauss and Hermite's, has the right
moments too but tells the means apart without error.
"""

from __future__ import annotations

import math

REACH = 5.5


def normal(mean: float, std: float) -> list[tuple[float, float]]:
    """Outcomes of N(mean, std^2) as pairs (probability, value); one outcome if `std` is 0."""
    if std == 0:
        return [(1.0, mean)]
    centre = mean / std
    first = math.ceil(centre - REACH)
    last = math.floor(centre + REACH)
    ticks = range(first, last + 1)
    weight = []
    for k in ticks:
        away = k - centre
        weight.append(math.exp(-(away**2) / 2))
    total = sum(weight)
    outcomes = []
    for k, w in zip(ticks, weight, strict=True):
        outcome = (w / total, k * std)
        outcomes.append(outcome)
    return outcomes
