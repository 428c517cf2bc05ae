"""What recipes give to a log, and whether that is what a formula gives."""

from __future__ import annotations

import jax
import numpy as np

from casim import methods
from casim.methods.method import recipe_of
from casim.types import Batch, to_rows
from tests.quick import QUICK

KEY = jax.random.key(0)


def found(log, recipes, world=None, key=KEY) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Value and weight of each recipe, in the order of the log, by one compiled program.

    `recipes` are names of `casim.methods`, or recipes by a name.
    """
    if not isinstance(recipes, dict):
        recipes = {name: getattr(methods, name) for name in recipes}
    recipes = {name: recipe_of(recipe) for name, recipe in recipes.items()}

    def credit(batch):
        every = {name: recipe.credit(key, world, batch) for name, recipe in recipes.items()}
        return {name: (credit.value, credit.weight) for name, credit in every.items()}

    with jax.enable_x64(True):
        batch = Batch.from_arrays(**log)
        out = jax.jit(credit, compiler_options=QUICK)(batch)
        return {name: tuple(to_rows(x, batch) for x in pair) for name, pair in out.items()}


def agree(found, wanted, log, tolerance=1e-9):
    """Equal on the policy's tokens, and not trivially."""
    found, wanted = found[log["mask"]], wanted[log["mask"]]
    assert np.abs(wanted).max() > 0.01
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance)
