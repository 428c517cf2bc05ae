"""A trainer's function: where it is, what it is made of, and how one call of it goes."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, final

import numpy as np
from jaxtyping import Float

from casim.bridge.arrays import Arrays, given_as, wanted_by
from casim.bridge.conventions import Convention
from casim.bridge.errors import FunctionError, MutatedError, RaisedError, SignatureError
from casim.bridge.rows import Rows

DIGITS = 12
"""Hexadecimal digits of a digest."""
_GIVEN: dict[str, Callable] = {}
"""Functions that were handed over as objects, by their digest."""


@final
@dataclasses.dataclass(frozen=True)
class Function:
    """A function as a recipe: text that a row can hold, from which it is found again.

    Attributes:
        place: `module:name` or `path/to/file.py:name`.
        digest: of the source of its file, so that what other code gave is told apart; left out, it
            is taken now.

    Raises:
        ValueError: no such module, file or function.
    """

    place: str
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(
                self,
                "digest",
                _digest(self.load()),
            )

    @classmethod
    def of(cls, function: Callable | str) -> Function:
        """The recipe of a function, or of the text that says where one is."""
        if isinstance(function, str):
            return cls(function)
        if not callable(function):
            raise ValueError(f"function must be callable, or 'module:name', got {function!r}")
        name = getattr(function, "__qualname__", type(function).__name__)
        made = cls(
            f"{function.__module__}:{name}",
            _digest(function),
        )
        _GIVEN[made.digest] = function
        return made

    def load(self) -> Callable:
        """The function itself.

        Raises:
            ValueError: no such module, file or function.
        """
        given = _GIVEN.get(self.digest)
        return _found(self.place) if given is None else given

    @property
    def name(self) -> str:
        """The last part of its place."""
        return self.place.rpartition(":")[2]


@functools.cache
def _found(place: str) -> Callable:
    """The function at a place."""
    where, _, name = place.rpartition(":")
    if not where or not name:
        raise ValueError(f"function must be 'module:name' or 'file.py:name', got {place!r}")
    value: Any = _module(where)
    for part in name.split("."):
        if not hasattr(value, part):
            known = ", ".join(sorted(_functions(value))) or "none"
            raise ValueError(f"{where} must hold {name}, got functions: {known}")
        value = getattr(value, part)
    if not callable(value):
        raise ValueError(f"{place} must be a function, got {type(value).__name__}")
    return value


def _functions(module: Any) -> Iterable[str]:
    for name, value in vars(module).items():
        if inspect.isfunction(value) and not name.startswith("_"):
            yield name


def _module(where: str) -> Any:
    """A module by its name, or that of a file."""
    if not where.endswith(".py"):
        sys.path.insert(
            0,
            str(Path.cwd()),
        )
        try:
            return importlib.import_module(where)
        except ImportError as error:
            raise ValueError(f"module {where} must be importable: {error}") from error
        finally:
            sys.path.remove(str(Path.cwd()))
    path = Path(where)
    if not path.is_file():
        raise ValueError(f"function must be in a file that exists, got {where}")
    spec = importlib.util.spec_from_file_location(
        path.stem,
        path.resolve(),
    )
    if spec is None or spec.loader is None:
        raise ValueError(f"function must be in a Python file, got {where}")
    module = importlib.util.module_from_spec(spec)
    # Its neighbours are importable from it, as where it runs as a script.
    sys.path.insert(
        0,
        str(path.resolve().parent),
    )
    sys.modules.setdefault(path.stem, module)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{where} must be importable: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    return module


def _digest(function: Callable) -> str:
    """Of the file that holds a function and of its name; without a file, of the object."""
    try:
        text = Path(inspect.getfile(inspect.unwrap(function))).read_text(encoding="utf-8")
    except (TypeError, OSError, UnicodeDecodeError):
        text = str(id(function))
    name = getattr(function, "__qualname__", repr(function))
    closure = [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    parts = repr((name, text, closure))
    return hashlib.sha256(parts.encode()).hexdigest()[:DIGITS]


class Called:
    """A function under a convention: asked for the credit of rows.

    Args:
        function: the function.
        convention: of its trainer.
        settings: what the user sets by name.
        arrays: what it computes with; None is found out.
    """

    def __init__(
        self,
        function: Function,
        convention: Convention,
        settings: dict[str, Any] | None = None,
        arrays: Arrays | None = None,
    ) -> None:
        self._function = function.load()
        self.convention = convention
        self.settings = dict(settings or {})
        self.arrays: Arrays = wanted_by(self._function) if arrays is None else arrays
        self._names, self._takes_more = _parameters(self._function)

    def takes(self, name: str) -> bool:
        """Whether the function names an argument."""
        return name in self._names

    def is_handed(self, name: str) -> bool:
        """Whether it asks for an argument of this name.

        A function that is handed everything in one dict may look for values there.
        """
        may_look = self._by_place and name == "values" and self.reads("value")
        return self.takes(name) or may_look

    def reads(self, field: str) -> bool:
        """Whether the trainer's arrays may hold this field of a batch, see `Convention.reads`."""
        return field in self.convention.reads

    def __call__(
        self,
        rows: Rows,
        watched: bool = False,
    ) -> Float[np.ndarray, "R T"]:
        """One call.

        Args:
            rows: of one batch.
            watched: also look whether the function writes into what it is handed.

        Raises:
            FunctionError: what went wrong, in a line.
        """
        offered = self.convention.offers(rows, self.settings)
        chosen = self._chosen(offered)
        given = {name: self._given(value) for name, value in chosen.items()}
        before = {name: self._given(value) for name, value in chosen.items()} if watched else {}
        by_place = [given[name] for name in self.convention.positional]
        by_name = {
            name: value for name, value in given.items() if name not in self.convention.positional
        }
        try:
            answer = self._function(*by_place, **by_name)
        except FunctionError:
            raise
        except Exception as error:
            raise RaisedError(error) from error
        if watched:
            self._check_unchanged(before, given)
        return self.convention.credit(
            answer,
            {**offered, **given},
            rows,
        )

    def _given(self, value: Any) -> Any:
        return given_as(self.arrays, value)

    def _chosen(self, offered: dict[str, Any]) -> dict[str, Any]:
        """What of the offered the function is handed.

        Raises:
            SignatureError: it wants more.
        """
        always = (*self.convention.always, *self.settings) if self._takes_more else ()
        wanted = {*self.convention.positional, *self._names, *always}
        missing = [
            name
            for name, needed in self._names.items()
            if needed and name not in offered and name not in self.settings
        ]
        missing = missing[len(self.convention.positional) :] if self._by_place else missing
        if missing:
            raise SignatureError(
                missing,
                self.convention.trainer,
                sorted(offered),
            )
        extra = {name: self.settings[name] for name in self.settings if name in wanted}
        return {name: value for name, value in offered.items() if name in wanted} | extra

    @property
    def _by_place(self) -> bool:
        """Whether the first arguments may have names of their own."""
        return bool(self.convention.positional)

    def _check_unchanged(
        self,
        before: dict[str, Any],
        after: dict[str, Any],
    ) -> None:
        """Raises `MutatedError` where an argument is not what it was."""
        changed = [
            name
            for name in before
            if not self._alike(
                before[name],
                after[name],
            )
        ]
        if changed:
            raise MutatedError(sorted(changed))

    def _alike(
        self,
        before: Any,
        after: Any,
    ) -> bool:
        """Whether nothing was written, but what is meant to be."""
        if isinstance(before, dict):
            names = (set(before) | set(after)) - set(self.convention.writes)
            there = all(name in before and name in after for name in names)
            return there and all(
                self._alike(
                    before[name],
                    after[name],
                )
                for name in names
            )
        if isinstance(before, list | tuple):
            pairs = zip(before, after, strict=False)
            return len(before) == len(after) and all(self._alike(x, y) for x, y in pairs)
        x, y = np.asarray(before), np.asarray(after)
        if x.dtype == object or x.dtype.kind not in "fiub":
            return bool(np.all(x == y))
        return x.shape == y.shape and bool(
            np.array_equal(
                x,
                y,
                equal_nan=x.dtype.kind == "f",
            )
        )


def _parameters(function: Callable) -> tuple[dict[str, bool], bool]:
    """The arguments that a function names, whether each must be given, and whether it takes more.

    Of a function that does not say, nothing, and that it takes more.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return {}, True
    kinds = inspect.Parameter
    names, takes_more = {}, False
    for name, parameter in signature.parameters.items():
        if parameter.kind is kinds.VAR_KEYWORD:
            takes_more = True
        elif parameter.kind is not kinds.VAR_POSITIONAL:
            names[name] = parameter.default is kinds.empty
    return names, takes_more
