"""Experiment files, see `docs/experiments.md`: opened, checked, and blamed by line for errors."""

from __future__ import annotations

import contextlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from casim.cli.names import check_names
from casim.scores import NAMES
from casim.study import Study


class Part(NamedTuple):
    """Something that a file must define."""

    words: str
    fits: Callable[[Any], bool]


def _is_study(x: Any) -> bool:
    return isinstance(x, Study)


def _are_names(x: Any) -> bool:
    return isinstance(x, list | tuple) and all(isinstance(name, str) for name in x)


def _takes_rows(x: Any) -> bool:
    """Whether this can be called with rows and nothing else."""
    if not callable(x):
        return False
    try:
        inspect.signature(x).bind([])
    except TypeError:
        return False
    except ValueError:  # it is not written in Python, and cannot be asked
        return True
    return True


PARTS = {
    "STUDY": Part("a casim.Study", _is_study),
    "QUICK": Part("a casim.Study", _is_study),
    "SCORES": Part("a tuple of names of scores", _are_names),
    "draw": Part("a function of rows", _takes_rows),
}


@contextlib.contextmanager
def opened(path: Path) -> Iterator[ModuleType]:
    """The module in an experiment file, checked for what it must define.

    As long as it is open it is in `sys.modules` under its stem (dataclasses look their module up
    there), and its folder is the first place to import from, as if it were run by Python itself.
    Both are taken back at the end, with all that it imported from its folder.

    Raises:
        ValueError: no Python file, one with the name of an installed module, one that raises while
            it is loaded, or one that lacks a part.
    """
    spec = importlib.util.spec_from_file_location(_module_name(path), path.resolve())
    if spec is None or spec.loader is None or not path.is_file():
        raise ValueError(f"path must be a Python file, got {str(path)!r}")
    module = importlib.util.module_from_spec(spec)
    folder = path.resolve().parent
    before = dict(sys.modules)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(folder))
    try:
        with blaming(path):
            spec.loader.exec_module(module)
        _check_parts(path, module)
        yield module
    finally:
        sys.path.remove(str(folder))
        del sys.modules[spec.name]
        for name in [name for name in sys.modules if _is_in(folder, name)]:
            del sys.modules[name]
        sys.modules.update(before)


@contextlib.contextmanager
def blaming(path: Path) -> Iterator[None]:
    """Turns whatever is raised into a `ValueError` of one line that names the line of the file."""
    try:
        yield
    except Exception as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"{_place(path, error)}: {type(error).__name__}: {said}") from error


def _place(path: Path, error: Exception) -> str:
    """Where in the file, and where in a neighbour that it imports, something was raised."""
    trace = traceback.extract_tb(error.__traceback__)
    frames = [(Path(frame.filename), frame.lineno) for frame in trace]
    if isinstance(error, SyntaxError) and error.filename is not None:
        frames.append((Path(error.filename), error.lineno))
    folder = path.resolve().parent
    lines: dict[str, int | None] = {}
    for file, line in frames:
        if file.resolve().parent == folder:
            lines[file.name] = line  # the innermost of the file's lines
    own_line = lines.pop(path.name, None)
    own = str(path) if own_line is None else f"{path}, line {own_line}"
    others = [f"{name}, line {line}" for name, line in lines.items()]
    return ", from ".join([own, *others])


def _module_name(path: Path) -> str:
    """The stem of a file, which must be the name of no other module.

    Raises:
        ValueError: an installed module has this name, and would be hidden by the file.
    """
    name = path.stem.replace(".", "_")
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # a module that was made by hand
        spec = None
    origin = None if spec is None else spec.origin
    itself = origin is not None and Path(origin).resolve() == path.resolve()
    if spec is not None and not itself:
        place = origin or "built in"
        raise ValueError(f"path must not be named like an installed module ({place}), got {path}")
    return name


def _is_in(folder: Path, name: str) -> bool:
    """Whether a module lies in the folder, or in a package there."""
    file = getattr(sys.modules[name], "__file__", None)
    top = folder / name.partition(".")[0]
    if file is None:
        return False
    return Path(file) == top.with_suffix(".py") or Path(file).is_relative_to(top)


def _check_parts(path: Path, module: ModuleType) -> None:
    names = ", ".join(PARTS)
    for name in PARTS:
        if not hasattr(module, name):
            raise ValueError(f"{path} must define {names}, got none of the name {name!r}")
    for name, part in PARTS.items():
        value = getattr(module, name)
        if not part.fits(value):
            raise ValueError(f"{name} in {path} must be {part.words}, got {value!r}")
    check_names(f"SCORES in {path}", module.SCORES, NAMES)
