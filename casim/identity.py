"""Digests of source: what a recipe's code was, so that rows of other code are told apart.

A digest is the start of the SHA-256 of some source text. casim's own covers every Python file of
the package, because its version stays the same during development. That of a recipe from elsewhere
covers the module it is defined in and the modules which that one refers to, other than casim and
what is installed. It is taken when the class is defined, so it is a digest of the code that runs,
even if the file is edited later in the same process.

What is typed into a notebook or a prompt has no file: its source is that of the cells that hold the
class. A class whose source cannot be found gets a mark that no other process repeats, so its rows
are never used again.

Not seen: helpers in other cells of a notebook, modules that are imported inside functions, and data
files.
"""

from __future__ import annotations

import hashlib
import inspect
import linecache
import secrets
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

CASIM = "casim"
"""The package, whose recipes share one digest."""
DIGITS = 12
"""Hexadecimal digits of a digest: two differ with probability 1 - 4e-15."""
GENERATED = "<string>"
"""The file name of methods that `dataclasses` writes, and of what `exec` runs."""


def digest(parts: dict[str, str]) -> str:
    """The digest of named texts, in the order of their names."""
    sha = hashlib.sha256()
    for name, text in sorted(parts.items()):
        for part in (name, text):
            data = part.encode("utf-8", "surrogateescape")
            # The length parts the name from the text and the text from the next name.
            sha.update(f"{len(data)} ".encode())
            sha.update(data)
    return sha.hexdigest()[:DIGITS]


def digest_of_package(folder: Path) -> str:
    """The digest of all Python files under a folder, by their paths in it."""
    parts = {}
    for path in folder.rglob("*.py"):
        name = path.relative_to(folder).as_posix()
        parts[name] = _read(path)
    return digest(parts)


def place(kind: type) -> str:
    """Where a class is defined: `module:qualified name`."""
    return f"{kind.__module__}:{kind.__qualname__}"


def remember(kind: type) -> None:
    """Takes the digest of a recipe's source; base classes call it when a subclass is defined."""
    if not _in_casim(kind.__module__):
        _DIGESTS[place(kind)] = _digest_of(kind)


def sources(kinds: set[type]) -> dict[str, str]:
    """The digest of casim, under "casim", and by its place that of every class from elsewhere."""
    found = {CASIM: _CASIM_DIGEST}
    for kind in kinds:
        if _in_casim(kind.__module__):
            continue
        name = place(kind)
        if name not in _DIGESTS:
            remember(kind)
        found[name] = _DIGESTS[name]
    return dict(sorted(found.items()))


def _in_casim(module: str) -> bool:
    return module.split(".")[0] == CASIM


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def _digest_of(kind: type) -> str:
    """The digest of a class from elsewhere, or a mark that is used once."""
    parts: dict[str, str] = {}
    for ancestor in kind.__mro__:
        if _is_foreign(ancestor, kind):
            continue
        found = _source_of(ancestor, kind)
        if not found:
            return f"unknown-{secrets.token_hex(DIGITS // 2)}"
        parts |= found
    return digest(parts)


def _is_foreign(ancestor: type, kind: type) -> bool:
    """Whether a base of a class is Python's, casim's or that of an installed package."""
    name = ancestor.__module__
    if name in sys.builtin_module_names or _in_casim(name):
        return True
    return _is_installed(_file_of(sys.modules.get(name)), kind)


def _source_of(ancestor: type, kind: type) -> dict[str, str]:
    """The source behind one class: of its modules if it is in a file, else of its cells."""
    module = sys.modules.get(ancestor.__module__)
    written = _file_names(ancestor)
    if not written:
        return {} if module is None else _source_of_modules(module, kind)
    parts = {}
    for name in written:
        path = Path(name)
        if not path.is_file():
            cell = "".join(linecache.getlines(name))
            if not cell:
                return {}
            # Cells are named after the process and their number, so the name says nothing.
            label = f"cell of {place(ancestor)}, {len(parts)}"
            parts[label] = cell
        elif module is not None and _file_of(module) == path.resolve():
            parts |= _source_of_modules(module, kind)
        else:
            parts[path.name] = _read(path)
    return parts


def _file_names(kind: type) -> list[str]:
    """The files that hold the methods of a class, in the order in which it lists them."""
    names = []
    for member in vars(kind).values():
        code = _code_of(member)
        if code is not None and code.co_filename not in (GENERATED, *names):
            names.append(code.co_filename)
    return names


def _code_of(member: Any) -> CodeType | None:
    if isinstance(member, property):
        member = member.fget
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    if not inspect.isfunction(member):
        return None
    return inspect.unwrap(member).__code__


def _source_of_modules(module: ModuleType, kind: type) -> dict[str, str]:
    """The source of a module and of those it refers to, directly or not."""
    parts: dict[str, str] = {}
    waiting, seen = [module], {module.__name__}
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        if path is None or _is_installed(path, kind):
            continue
        parts[module.__name__] = _read(path)
        for name in _referred(module):
            if name in seen or name not in sys.modules or _in_casim(name):
                continue
            seen.add(name)
            waiting.append(sys.modules[name])
    return parts


def _referred(module: ModuleType) -> Iterator[str]:
    """The names of the modules that a module's names come from."""
    for value in list(vars(module).values()):
        if inspect.ismodule(value):
            yield value.__name__
        elif inspect.isfunction(value) or inspect.isclass(value):
            yield value.__module__


def _file_of(module: ModuleType | None) -> Path | None:
    """The Python file of a module, if it has one."""
    name = getattr(module, "__file__", None)
    if not name:
        return None
    path = Path(name)
    if path.suffix != ".py" or not path.is_file():
        return None
    return path.resolve()


def _is_installed(path: Path | None, kind: type) -> bool:
    """Whether a file is Python's own or a package's, other than the one that defines the recipe."""
    if path is None:
        return False
    folders = [folder for folder in _INSTALLED if path.is_relative_to(folder)]
    if not folders:
        return False
    # The folder of packages lies within that of Python.
    deepest = max(folders, key=lambda folder: len(folder.parts))
    package = Path(path.relative_to(deepest).parts[0]).stem
    return package != kind.__module__.split(".")[0]


def _folders() -> list[Path]:
    """Where Python and packages are installed."""
    kinds = ("stdlib", "platstdlib", "purelib", "platlib")
    paths = [sysconfig.get_path(kind) for kind in kinds]
    paths += site.getsitepackages()
    paths.append(site.getusersitepackages())
    return [Path(path).resolve() for path in paths]


_INSTALLED = _folders()
_DIGESTS: dict[str, str] = {}
_CASIM_DIGEST = digest_of_package(Path(__file__).parent)
