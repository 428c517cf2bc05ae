"""Validation: a bad setting or array raises a `ValueError` that names the field, the range and the value."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from casim.types import MDP, Kind

ROW_SUM_TOLERANCE = 1e-5  # float32 rows of up to a few hundred entries


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Raises `ValueError` unless `low <= value <= high` and finite."""
    if not (low <= value <= high and math.isfinite(value)):
        raise ValueError(f"{field} must be in [{low}, {high}], got {value!r}")


def check_integer(field: str, value: int, low: int, high: float = math.inf) -> None:
    """Raises `ValueError` unless `value` is an integer in `[low, high]`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise ValueError(f"{field} must be an integer in [{low}, {high}], got {value!r}")
    check_range(field, value, low, high)


def check_choice(field: str, value: object, choices: Sequence[object]) -> None:
    """Raises `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{field} must be one of {tuple(choices)}, got {value!r}")


def check_distinct(field: str, values: Iterable[object]) -> None:
    """Raises `ValueError` naming the first value that occurs twice."""
    seen = []
    for value in values:
        if value in seen:
            raise ValueError(f"{field} must hold distinct values, got {value!r} twice")
        seen.append(value)


def check_probability(field: str, rows: np.ndarray) -> None:
    """Raises `ValueError` unless entries are in [0, 1] and the last axis sums to 1."""
    rows = np.asarray(rows, np.float64)
    _first(field, "finite probabilities in [0, 1]", rows, ~((rows >= 0) & (rows <= 1)))
    total = np.asarray(rows.sum(-1))
    _first(f"{field} row sum", "1", total, np.asarray(~(np.abs(total - 1) <= ROW_SUM_TOLERANCE)))


def check_policy(policy: np.ndarray, mdp: MDP) -> None:
    """Raises `ValueError` unless `policy` is a probability table [M, O, A] that fits the MDP."""
    expected = (*mdp.emission.shape[::2], mdp.prob.shape[2])
    if np.shape(policy) != expected:
        raise ValueError(f"policy must have shape [M, O, A] = {expected}, got {np.shape(policy)}")
    check_probability("policy", np.asarray(policy))


def check_mdp(mdp: MDP) -> MDP:
    """Returns the MDP if every array is well formed.

    Raises:
        ValueError: a shape that disagrees with the others, an array of the wrong type, a probability row that does
            not sum to 1, an index out of range, a reward that is not finite, units that are not numbered 0, 1, 2,
            ... in order of time, or a discount outside [0, 1]. The message names field, range and value.
    """
    arrays = {name: np.asarray(value) for name, value in mdp._asdict().items()}
    if arrays["prob"].ndim != 4 or arrays["emission"].ndim != 3 or arrays["schedule"].ndim != 1:
        shapes = {name: arrays[name].shape for name in ("prob", "emission", "schedule")}
        raise ValueError(f"prob, emission, schedule must have shapes [M, S, A, K], [M, S, O], [T], got {shapes}")
    kernels, states, actions, successors = arrays["prob"].shape
    steps = arrays["schedule"].shape[0]
    check_range("horizon (length of schedule)", steps, 1, math.inf)
    table = (kernels, states, actions, successors)
    shapes = {
        "start": (states,),
        "successor": table,
        "reward": table,
        "emission": (kernels, states, arrays["emission"].shape[2]),
        "terminal": (states,),
        "decision": (kernels,),
        "kind": (kernels,),
        "segment": (steps,),
        "turn": (steps,),
        "agent": (steps,),
        "discount": (),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {arrays[name].shape}")
    for name in ("terminal", "decision"):
        _dtype(name, arrays[name], np.bool_, "booleans")
    for name in ("schedule", "successor", "kind", "segment", "turn", "agent"):
        _dtype(name, arrays[name], np.integer, "integers")
    for name in ("start", "prob", "emission"):
        check_probability(name, arrays[name])
    _indices("schedule", arrays["schedule"], kernels)
    _indices("successor", arrays["successor"], states)
    _indices("agent", arrays["agent"], np.inf)
    _indices("kind", arrays["kind"], len(Kind))
    _first("reward", "finite", arrays["reward"], ~np.isfinite(arrays["reward"]))
    for name in ("segment", "turn"):
        check_range(f"{name}[0]", int(arrays[name][0]), 0, 0)
        rise = np.diff(arrays[name], prepend=0)
        _first(name, "numbered 0, 1, 2, ... in order of time", arrays[name], (rise != 0) & (rise != 1))
    check_range("discount", float(arrays["discount"]), 0.0, 1.0)
    return mdp


def _dtype(field: str, values: np.ndarray, kind: type, words: str) -> None:
    if not np.issubdtype(values.dtype, kind):
        raise ValueError(f"{field} must hold {words}, got {values.dtype}")


def _indices(field: str, values: np.ndarray, size: float) -> None:
    _first(field, f"in [0, {size - 1}]", values, (values < 0) | (values >= size))


def _first(field: str, wanted: str, values: np.ndarray, wrong: np.ndarray) -> None:
    if wrong.any():
        where = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise ValueError(f"{field}{list(where)} must be {wanted}, got {values[where]!r}")
