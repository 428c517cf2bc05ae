"""Spaces: what an action or an observation may be, as shapes and bounds to read and sample."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_integer


@final
@dataclasses.dataclass(frozen=True)
class Discrete:
    """The integers 0, ..., n - 1.

    Raises:
        ValueError: n is not an integer of at least 1.
    """

    n: int
    shape: ClassVar[tuple[int, ...]] = ()
    dtype: ClassVar[Any] = jnp.int32

    def __post_init__(self) -> None:
        check_integer("n", self.n, 1)

    def sample(
        self,
        key: Key[Array, ""],
    ) -> Int[Array, ""]:
        """One of them, all alike."""
        return jax.random.randint(key, self.shape, 0, self.n, self.dtype)

    def contains(
        self,
        x: Any,
    ) -> Bool[Array, ""]:
        """Whether x is an integer scalar of this range."""
        x = jnp.asarray(x)
        if x.shape != self.shape or not jnp.issubdtype(x.dtype, jnp.integer):
            return jnp.asarray(False)
        return (x >= 0) & (x < self.n)


@final
@dataclasses.dataclass(frozen=True)
class Box:
    """Arrays of one shape with entries in [low, high].

    Raises:
        ValueError: low is not below high, or a size is not an integer of at least 1.
    """

    low: float
    high: float
    shape: tuple[int, ...]
    dtype: ClassVar[Any] = jnp.float32

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high = {self.high!r}, got {self.low!r}")
        for size in self.shape:
            check_integer("shape (a size)", size, 1)

    def sample(
        self,
        key: Key[Array, ""],
    ) -> Float[Array, "*shape"]:
        """Entries independent and uniform."""
        return jax.random.uniform(key, self.shape, self.dtype, self.low, self.high)

    def contains(
        self,
        x: Any,
    ) -> Bool[Array, ""]:
        """Whether x has this shape and all its entries are in range."""
        x = jnp.asarray(x)
        if x.shape != self.shape:
            return jnp.asarray(False)
        return jnp.all((x >= self.low) & (x <= self.high))
