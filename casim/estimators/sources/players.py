"""Who plays in a game: units of steps, numbered."""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Int

from casim.simulate import World

UNITS = ("segment", "turn", "agent")
"""Units of steps that can be players."""
Unit = Literal["segment", "turn", "agent"]
"""One of `UNITS`."""


def players(world: World, unit: Unit) -> tuple[Int[Array, " T"], int]:
    """The player of each step, numbered 0, 1, ... without gaps, and how many there are."""
    if unit == "segment":
        return world.segment, world.num_segments
    if unit == "turn":
        return world.turn, world.num_turns
    # Agents may have any numbers.
    label = world.agent
    _, number = jnp.unique(label, return_inverse=True, size=world.num_agents)
    return number, world.num_agents
