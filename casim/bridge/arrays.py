"""The edge: NumPy arrays become what a function wants, and what it gives becomes NumPy.

PyTorch is imported here and only where a function wants it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from casim.bridge.errors import ElsewhereError, NotArrayError

Arrays = Literal["numpy", "torch"]
"""What a function computes with."""
TORCH: Literal["torch"] = "torch"


def wanted_by(function: Callable) -> Arrays:
    """What a function computes with: PyTorch if its module or its annotations speak of it."""
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    # An annotation is a type, or its text.
    hints = getattr(function, "__annotations__", {})
    annotated = any(TORCH in str(hint) for hint in hints.values())
    imported = any(map(_is_of_torch, scope.values()))
    return "torch" if annotated or imported else "numpy"


def _is_of_torch(value: Any) -> bool:
    name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
    return isinstance(name, str) and name.split(".")[0] == TORCH


def given_as(
    arrays: Arrays,
    tree: Any,
) -> Any:
    """Numeric NumPy arrays in dicts, lists and tuples, each as what the function computes with.

    Arrays of objects, labels for instance, stay as they are, as trainers keep them.

    Raises:
        ValueError: PyTorch is wanted and not installed.
    """
    if isinstance(tree, dict):
        return type(tree)({name: given_as(arrays, x) for name, x in tree.items()})
    if isinstance(tree, list | tuple):
        return type(tree)(given_as(arrays, x) for x in tree)
    if not isinstance(tree, np.ndarray) or tree.dtype == object:
        return tree
    # A copy, so that a function which writes into it writes into nothing of ours.
    return tree.copy() if arrays == "numpy" else _torch().from_numpy(tree.copy())


def taken_back(value: Any) -> np.ndarray:
    """What a function gave as a NumPy array: an array, a tensor of the CPU, or numbers in lists.

    Raises:
        ElsewhereError: a tensor on another device.
        NotArrayError: nothing of the kind, or no numbers.
    """
    device = getattr(value, "device", None)
    place = getattr(device, "type", None)
    if place not in (None, "cpu"):
        raise ElsewhereError(str(device))
    if hasattr(value, "detach"):
        value = value.detach()
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        value = value.float()
    try:
        found = np.asarray(value)
    except (TypeError, ValueError) as error:
        raise NotArrayError(type(value).__name__) from error
    if found.dtype.kind not in "fiub":
        raise NotArrayError(type(value).__name__)
    return found


def _torch() -> Any:
    try:
        return importlib.import_module(TORCH)
    except ImportError as error:
        wanted = "PyTorch must be installed for this function: pip install 'casim[torch]'"
        raise ValueError(wanted) from error
