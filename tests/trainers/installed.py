"""Trainers are no dependency: where one is missing its tests are skipped, and say how to get it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import warnings
from typing import Any

import pytest

NAMES = {"trl": "TRL", "openrlhf": "OpenRLHF"}
"""As they are written, where that is not the name of the package."""


def needed(trainer: str, *modules: str) -> list[Any]:
    """Modules of a trainer; what only it can tell is imported here, without its warnings.

    Args:
        trainer: the package.
        modules: what is imported of it.

    Raises:
        Skipped: it is not installed. One that is installed and cannot be imported is an error.
    """
    if importlib.util.find_spec(trainer) is None:
        reason = f"{trainer} is not installed: make test-trainer TRAINER={trainer}"
        pytest.skip(reason, allow_module_level=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [importlib.import_module(module) for module in modules]


def release(trainer: str) -> str:
    """Name and version, as docs/bridge.md writes them."""
    version = importlib.metadata.version(trainer)
    return f"{NAMES.get(trainer, trainer)} {version}"
