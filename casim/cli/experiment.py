"""Experiment files: what `casim run` and `casim figure` read."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType


def load_experiment(path: Path) -> ModuleType:
    """The module in a file, checked for what an experiment must define.

    Raises:
        ValueError: no Python file, or one that lacks a name.
    """
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise ValueError(f"path must be a Python file, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("STUDY", "QUICK", "SCORES", "draw"):
        if not hasattr(module, name):
            raise ValueError(f"{path} must define STUDY, QUICK, SCORES and draw, got none of the name {name!r}")
    return module
