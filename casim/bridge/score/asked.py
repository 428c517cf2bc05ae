"""Whoever is asked for the credit of a small batch: the function, or the method it claims to be."""

from __future__ import annotations

import functools
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import Array, Float

from casim.bridge.function import Called
from casim.bridge.rows import Rows
from casim.bridge.score.samples import Sample
from casim.estimators import Estimator, PerComponent
from casim.estimators.chain import parts_of
from casim.methods import Method
from casim.platforms import numbers
from casim.types import Batch

COMPONENTS = "non_tensor_batch"
"""The argument in which verl hands over the components of the reward."""
KEY = 0
"""Seed of what a method draws: nothing, in those that can be claimed."""


class Asked(Protocol):
    """Gives credit to the tokens of a batch."""

    def __call__(self, sample: Sample) -> Float[np.ndarray, "R T"]:
        """The credit of each row."""
        ...


class OfFunction:
    """The function.

    Args:
        called: the function under its convention.
        parted: the reward is handed over in its components, where the trainer has some.
    """

    def __init__(
        self,
        called: Called,
        parted: bool = False,
    ) -> None:
        self.called = called
        self.parted = parted

    def __call__(self, sample: Sample) -> Float[np.ndarray, "R T"]:
        return self.of_rows(sample.rows)

    def of_rows(self, rows: Rows) -> Float[np.ndarray, "R T"]:
        """The credit of rows that no batch holds: in another order, or with more padding."""
        # Warnings of what is not a number are a verdict here, and no line on a terminal.
        with np.errstate(all="ignore"):
            return self.called(self.handed(rows))

    def handed(self, rows: Rows) -> Rows:
        """Without what this trainer has no name for."""
        optional = ("value", "log_prob", "sum_pi_squared", "reward_baseline")
        absent = [name for name in optional if not self.called.reads(name)]
        if not self.parted:
            absent.append("component")
        return rows._replace(**dict.fromkeys(absent))


class OfMethod:
    """A published method, in double precision, compiled once.

    Args:
        method: needs nothing but the group, or a critic.
    """

    def __init__(self, method: Method) -> None:
        self.method = method

    def __call__(self, sample: Sample) -> Float[np.ndarray, "R T"]:
        return self.of_recipe(self.method.recipe, sample)

    @staticmethod
    def of_recipe(
        recipe: Estimator,
        sample: Sample,
    ) -> Float[np.ndarray, "R T"]:
        """The credit of any recipe."""
        with jax.enable_x64(True):
            value = np.asarray(_program()(recipe, sample.batch))
        place = sample.rows.place
        return value.reshape(-1, value.shape[-1])[place, : sample.columns]


@functools.cache
def _program() -> Any:
    """Compiled as studies are: in half of the time."""
    options = numbers().compiler
    return jax.jit(_credit, static_argnums=0, compiler_options=options or None)


def _credit(
    recipe: Any,
    batch: Batch,
) -> Array:
    """The value: what a trainer's function returns; its weights are the loss's."""
    return recipe.credit(jax.random.key(KEY), None, batch).value


def claimable(method: Method) -> bool:
    """Whether a method can be compared with on a batch alone: no world, judge or reference."""
    return method.needs <= {"group", "critic"} and not method.stateful


def is_parted(
    called: Called,
    method: Method | None,
) -> bool:
    """Whether the reward is handed over in components: the function or the method asks for them."""
    if called.takes(COMPONENTS):
        return True
    parts = () if method is None else parts_of(method.recipe)
    return any(isinstance(part, PerComponent) for part in parts)
