"""Validation of arrays: a bad one raises a `ValueError` with its field, range and value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from casim.checks import check_range
from casim.types import MDP, Batch, Kind, Trajectory, Truth, recorded

ROW_SUM_TOLERANCE = 1e-5  # float32 rows of up to a few hundred entries


def known(value: Any) -> bool:
    """Whether a value can be read now.

    It cannot under `jit`, `vmap` or `grad`, nor where other processes hold parts of it.
    """
    if isinstance(value, Tracer):
        return False
    if isinstance(value, jax.Array):
        return value.is_fully_addressable or value.is_fully_replicated
    return True


def check_labels(
    field: str,
    labels: Any,
    size: int,
    shapes: Sequence[tuple[int, ...]] = ((),),
    low: int = 0,
) -> None:
    """Raises `ValueError` unless labels are integers in `[low, size - 1]`, of one of the shapes.

    Of labels that are not known yet, because they are traced, only shape and type are checked.
    """
    kind = labels.dtype if hasattr(labels, "dtype") else np.asarray(labels).dtype
    if np.shape(labels) not in shapes:
        wanted = " or ".join(map(str, shapes))
        got = f"{labels!r} of shape {np.shape(labels)}"
        raise ValueError(f"{field} must have shape {wanted}, got {got}")
    if not np.issubdtype(kind, np.integer):
        raise ValueError(f"{field} must be an integer in [{low}, {size - 1}], got {labels!r}")
    if known(labels):
        _indices(field, np.asarray(labels), size, low)


def check_probability(
    field: str,
    rows: np.ndarray,
) -> None:
    """Raises `ValueError` unless entries are in [0, 1] and the last axis sums to 1."""
    rows = np.asarray(rows, np.float64)
    inside = (rows >= 0) & (rows <= 1)
    _first(field, "finite probabilities in [0, 1]", rows, ~inside)
    total = np.asarray(rows.sum(-1))
    # A sum that is no number is not near 1 either.
    near = np.abs(total - 1) <= ROW_SUM_TOLERANCE
    _first(f"{field} row sum", "1", total, np.asarray(~near))


def check_policy(
    policy: Any,
    mdp: MDP,
    field: str = "policy",
) -> None:
    """Raises `ValueError` unless `policy` is a probability table [M, O, A] that fits the MDP.

    Of a table that is not known yet, because it is traced, only the shape is checked.
    """
    kernels, _, observations = np.shape(mdp.emission)
    expected = (kernels, observations, np.shape(mdp.prob)[2])
    if np.shape(policy) != expected:
        raise ValueError(f"{field} must have shape [M, O, A] = {expected}, got {np.shape(policy)}")
    if known(policy):
        check_probability(field, np.asarray(policy))


def check_batch(
    batch: Trajectory | Batch,
    mdp: MDP,
) -> None:
    """Raises `ValueError` unless a batch is of the process: arrays of one shape `[*batch, T]`.

    It reads no values.
    """
    steps, shape = mdp.schedule.shape[0], batch.action.shape
    if shape[-1:] != (steps,):
        raise ValueError(f"batch must have {steps} steps, those of the process, got shape {shape}")
    for field, value in recorded(batch)._asdict().items():
        if value.shape != shape:
            raise ValueError(f"batch.{field} must have shape {shape}, got {value.shape}")


def check_truth(
    truth: Truth,
    mdp: MDP,
) -> None:
    """Raises `ValueError` unless a truth is of a process of these sizes; reads no values."""
    _, states, actions, _ = mdp.prob.shape
    wanted = (mdp.schedule.shape[0], states, actions)
    shape = truth.advantage.shape
    if shape != wanted:
        raise ValueError(f"truth.advantage must have shape [T, S, A] = {wanted}, got {shape}")


def check_units(
    field: str,
    unit: Any,
    mdp: MDP,
) -> None:
    """Raises `ValueError` unless every step of the process has a number; reads no values."""
    wanted = mdp.schedule.shape
    whole = np.issubdtype(unit.dtype, np.integer)
    if unit.shape != wanted or not whole:
        got = f"{unit.dtype} of shape {unit.shape}"
        raise ValueError(f"{field} must hold integers [T] of shape {wanted}, got {got}")


def check_form(mdp: MDP) -> None:
    """Raises `ValueError` unless shapes and types of an MDP's arrays fit; reads no values."""
    arrays = mdp._asdict()
    shapes = {name: arrays[name].shape for name in ("prob", "emission", "schedule")}
    if [len(shape) for shape in shapes.values()] != [4, 3, 1]:
        wanted = "have shapes [M, S, A, K], [M, S, O], [T]"
        raise ValueError(f"prob, emission, schedule must {wanted}, got {shapes}")
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
        "discount": (kernels,),
        "prompt": (states,),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {arrays[name].shape}")
    for name in ("terminal", "decision"):
        _dtype(name, arrays[name], np.bool_, "booleans")
    for name in ("schedule", "successor", "kind", "segment", "turn", "agent", "prompt"):
        _dtype(name, arrays[name], np.integer, "integers")


def check_mdp(mdp: MDP) -> MDP:
    """Returns the MDP if every array is well formed.

    Raises:
        ValueError: a shape that disagrees with the others, an array of the wrong type, a
            probability row that does not sum to 1, an index out of range, a reward that is not
            finite, units that are not numbered 0, 1, 2, ... in order of time, a discount outside
            [0, 1], or labels of prompts with gaps. The message names field, range and value.
    """
    fields = mdp._asdict()
    arrays = {name: np.asarray(value) for name, value in fields.items()}
    check_form(mdp._replace(**arrays))
    kernels, states = arrays["prob"].shape[:2]
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
        _first(
            name, "numbered 0, 1, 2, ... in order of time", arrays[name], (rise != 0) & (rise != 1)
        )
    discount = arrays["discount"]
    _first("discount", "in [0.0, 1.0]", discount, ~((discount >= 0) & (discount <= 1)))
    _check_prompt(arrays["prompt"])
    return mdp


def _check_prompt(prompt: np.ndarray) -> None:
    """Labels are 0, 1, 2, ... without gaps, so that the largest says how many prompts there are."""
    _indices("prompt", prompt, len(prompt))
    used = np.unique(prompt)
    wrong = np.flatnonzero(used != np.arange(len(used)))
    if len(wrong) > 0:
        missing = int(wrong[0])
        raise ValueError(f"prompt must hold labels 0, 1, 2, ... without gaps, got no {missing}")


def _dtype(
    field: str,
    values: Any,
    kind: type,
    words: str,
) -> None:
    if not np.issubdtype(values.dtype, kind):
        raise ValueError(f"{field} must hold {words}, got {values.dtype}")


def _indices(
    field: str,
    values: np.ndarray,
    size: float,
    low: int = 0,
) -> None:
    outside = (values < low) | (values >= size)
    _first(field, f"in [{low}, {size - 1}]", values, outside)


def _first(
    field: str,
    wanted: str,
    values: np.ndarray,
    wrong: np.ndarray | np.bool_,
) -> None:
    if not np.any(wrong):
        return
    first = np.argwhere(wrong)[0]
    where = tuple(first.tolist())
    if not where:
        raise ValueError(f"{field} must be {wanted}, got {values.item()!r}")
    raise ValueError(f"{field}{list(where)} must be {wanted}, got {values[where]!r}")
