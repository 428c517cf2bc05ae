"""What judges of steps and actions have in common: nothing to say of a prompt."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.types import Trajectory

TIE = 1e-5
"""Actions whose values differ by less than this share of the largest value are equally good."""


class Silent:
    """A judge that has nothing to say of a prompt."""

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """Raises `ValueError`: only judges of values score a prompt."""
        name = type(self).__name__.removesuffix("Model")
        raise ValueError(f"judge must be one of values to score a prompt, got {name}")


def uniform_integer(
    uniform: Float[Array, "*shape"],
    number: Int[Array, "*shape"] | int,
) -> Int[Array, "*shape"]:
    """One of 0, ..., number - 1, each as likely."""
    scaled = uniform * number
    drawn = jnp.floor(scaled).astype(int)
    largest = jnp.maximum(number - 1, 0)
    return jnp.clip(drawn, 0, largest)


def of_taken(
    said: Float[Array, "N T *A"],
    batch: Trajectory,
) -> Float[Array, "N T"]:
    """What was said of the action taken, by whoever speaks of steps or of all actions."""
    if said.ndim == batch.action.ndim:
        return said
    action = batch.action.astype(jnp.int32)
    taken = jnp.take_along_axis(said, action[..., None], axis=-1)
    return taken[..., 0]
