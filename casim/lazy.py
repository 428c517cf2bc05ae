"""Packages whose names are imported when they are asked for.

Importing JAX and all recipes takes seconds, and what only reads rows or the survey needs neither.
So a package writes the imports of names that do under `if TYPE_CHECKING:`, where people and type
checkers find them, and ends with

    __getattr__, __dir__ = lazily(__name__)

which imports a name from the same place when it is first used. Modules of the package are names
too, as they are after any other import.

References:
    PEP 562 (attributes of modules).
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def lazily(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package.

    No name may be that of a module of the package that it is not: which of the two is meant would
    depend on what was imported before.

    Args:
        package: its name; it is being imported.
    """
    module = sys.modules[package]
    where = places(inspect.getsource(module))

    def get(name: str) -> Any:
        place = where.get(name)
        if place is None or place == package:
            value = _module(package, name)
        else:
            home = importlib.import_module(place)
            value = getattr(home, name)
        setattr(module, name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(module), *where})

    return get, names


def _module(package: str, name: str) -> Any:
    """A module of a package.

    Raises:
        AttributeError: there is none of this name.
    """
    own = f"{package}.{name}"
    # What begins so is asked for by tools that look whether it is there.
    if name.startswith("__") or find_spec(own) is None:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return importlib.import_module(own)


def places(source: str) -> dict[str, str]:
    """The names that are imported under `if TYPE_CHECKING:`, and from where."""
    found = {}
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.If) or ast.unparse(statement.test) != "TYPE_CHECKING":
            continue
        for line in statement.body:
            if isinstance(line, ast.ImportFrom):
                found |= {alias.name: str(line.module) for alias in line.names}
    return found
