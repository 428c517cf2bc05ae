"""Doors: what a public function is given becomes JAX arrays of one float type, and is checked.

An MDP, a policy table or a batch may be made of NumPy arrays or of nested lists. Behind a door they
are JAX arrays: NumPy's cannot be indexed by a step that is traced. Floats of one call get one type,
the widest of them: a scan over a process in single precision cannot carry what a policy in double
precision makes of it.

Shapes and types are checked always, because they are known even under `jit`. Values are checked
where they are known: outside `jit`, `vmap` and `grad`. Only policy tables are read for that, which
are small; of a process with a schedule of a million steps nothing is copied. What reads a whole
process is `casim.wellformed.check_mdp`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from casim.types import MDP, Batch, Trajectory, Truth, recorded
from casim.wellformed import (
    check_batch,
    check_form,
    check_policy,
    check_truth,
    check_units,
)

P = ParamSpec("P")
R = TypeVar("R")

TABLES = ("policy", "behaviour", "reference", "null")
"""Arguments of these names are policy tables `[M, O, A]`."""
UNITS = ("unit", "player")
"""Arguments of these names number the units of steps, `[T]`."""
REAL = ("start", "prob", "reward", "emission", "discount", "log_prob")
"""Fields of a process or a batch that hold floats, also where integers are given."""


def door(function: Callable[P, R]) -> Callable[P, R]:
    """Makes a function a door, see the module.

    Arguments are known by what they are (an `MDP`, a `Truth`, a `Trajectory`) and by their names
    (`TABLES`, `UNITS`). Whatever else is an array or a list becomes an array; numbers, recipes and
    functions stay as they are.

    Raises:
        ValueError: by the function that is returned, where arrays do not fit each other or a policy
            table is none.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def opened(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.arguments = admit(bound.arguments)
        return function(*bound.args, **bound.kwargs)

    return opened


def admit(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one call, by name, as arrays that fit each other.

    Raises:
        ValueError: as `door`.
    """
    arrays = {}
    for name, value in given.items():
        arrays[name] = _as_arrays(name, value)
    arrays = _with_one_float(arrays)
    for value in arrays.values():
        if isinstance(value, MDP):
            _check_fit(value, arrays)
    return arrays


def _as_arrays(name: str, value: Any) -> Any:
    """Arrays instead of what can be one; of a tuple with names, field by field.

    Of a batch only what happened is handed on: processes have layouts of their own.
    """
    if isinstance(value, Batch):
        value = recorded(value)
    if isinstance(value, MDP | Trajectory | Truth):
        return _each_field(_as_array, value)  # every field of theirs is an array, scalars too
    if _is_named_tuple(value):
        return _each_field(_as_arrays, value)
    if isinstance(value, list | np.ndarray):
        return _as_array(name, value)
    if isinstance(value, np.floating):
        return float(value)  # as a number of Python it takes the type of the arrays it meets
    if name in TABLES and value is not None:
        return _as_array(name, value)
    return value


def _each_field(convert: Callable, value: Any) -> Any:
    fields = value._asdict()
    converted = {name: convert(name, x) for name, x in fields.items()}
    return value._replace(**converted)


def _as_array(name: str, value: Any) -> jax.Array:
    if not isinstance(value, jax.Array):
        try:
            value = jnp.asarray(value)
        except (TypeError, ValueError) as error:
            message = f"{name} must be an array of numbers, got {value!r:.80}"
            raise ValueError(message) from error
    holds_floats = name in REAL or name in TABLES
    if holds_floats and not _is_float(value):
        return jnp.asarray(value, float)
    return value


def _with_one_float(arrays: dict[str, Any]) -> dict[str, Any]:
    """The same arrays, their floats promoted to one type."""
    leaves, structure = jax.tree.flatten(arrays, is_leaf=_is_leaf)
    found = {x.dtype for x in leaves if _is_float(x)}
    if len(found) < 2:
        return arrays
    widest = jnp.result_type(*found)

    def promote(x: Any) -> Any:
        return x.astype(widest) if _is_float(x) else x

    return jax.tree.unflatten(structure, map(promote, leaves))


def _is_float(x: Any) -> bool:
    if not isinstance(x, jax.Array):
        return False
    return jnp.issubdtype(x.dtype, jnp.floating)


def _is_leaf(x: Any) -> bool:
    """All but tuples of arrays and the dict of the arguments: recipes and worlds stay whole."""
    return not isinstance(x, dict) and not _is_named_tuple(x)


def _is_named_tuple(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")


def _check_fit(mdp: MDP, arrays: dict[str, Any]) -> None:
    """Whatever else is given belongs to this process."""
    check_form(mdp)
    for name, value in arrays.items():
        if value is None:
            continue
        if name in TABLES:
            check_policy(value, mdp, name)
        elif name in UNITS:
            check_units(name, value, mdp)
        elif isinstance(value, Trajectory):
            check_batch(value, mdp)
        elif isinstance(value, Truth):
            check_truth(value, mdp)
