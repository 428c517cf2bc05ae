"""What tests name: read from their source, through the helpers and tables of their file."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parent.parent


def _name(node: ast.AST) -> str | None:
    """The name, attribute or text that a node of source is; None of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return None


def _names(node: ast.AST) -> set[str]:
    """Every name, attribute and text in a piece of source."""
    found = map(_name, ast.walk(node))
    return set(filter(None, found))


@functools.cache
def _definitions(path: str) -> dict[str, set[str]]:
    """What each function and each table of a file names."""
    found: dict[str, set[str]] = {}
    source = (ROOT / path).read_text()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = _names(node)
        elif isinstance(node, ast.Assign):
            said = _names(node.value)
            for target in node.targets:
                for name in _names(target):
                    found[name] = found.get(name, set()) | said
    return found


def reached(path: str, test: str) -> set[str]:
    """All that a test of a file under `tests` names, directly or through what it calls."""
    definitions = _definitions(path)
    assert test in definitions, f"{path} has no {test}"
    seen: set[str] = set()
    new = {test}
    while new:
        seen |= new
        new = set().union(*(definitions.get(name, set()) for name in new)) - seen
    return seen
