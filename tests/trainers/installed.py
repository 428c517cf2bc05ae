"""Trainers are no dependency: where one is missing its tests are skipped, and say how to get it."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

NAMES = {"trl": "TRL", "openrlhf": "OpenRLHF", "skyrl": "SkyRL"}
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


def opened(packages: Iterable[str], stood_in: Iterable[str]) -> None:
    """Makes modules importable whose packages import what is not there.

    Args:
        packages: the outermost first; opened without their `__init__`.
        stood_in: modules that are replaced by what takes anything.
    """
    outermost, *_ = packages
    spec = importlib.util.find_spec(outermost)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    for name in packages:
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    for name in stood_in:
        sys.modules[name] = mock.MagicMock()
