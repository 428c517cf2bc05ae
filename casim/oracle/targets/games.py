"""Targets that are values of games."""

from __future__ import annotations

from jaxtyping import Array, Float

from casim.ops import segment_broadcast
from casim.oracle.shapley import MAX_PLAYERS, shapley
from casim.oracle.targets.given import Given
from casim.targets import Shapley


def shapley_value(target: Shapley, given: Given) -> Float[Array, "N T"] | None:
    """The Shapley value of the step's segment; None if there are too many."""
    if given.num_segments > MAX_PLAYERS:
        return None
    value = shapley(given.mdp, given.policy, given.batch, given.num_segments)
    return segment_broadcast(value, given.mdp.segment)
