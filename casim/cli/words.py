"""Words of the command line as settings: ranges, and recipes with settings in brackets."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from casim.cli.names import named
from casim.cli.values import parse, split
from casim.methods import Method

T = TypeVar("T")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
DOUBLING = re.compile(rf"({NUMBER})\.\.({NUMBER})")
"""`8..2048`: 8, 16, 32, ..., 2048."""
LINEAR = re.compile(rf"({NUMBER}):({NUMBER}):(\d+)")
"""`0:0.5:6`: six numbers from 0 to 0.5."""


def expand(text: str) -> list[str]:
    """The values that a range or a list stands for, as text.

    `a..b` doubles from a up to b, `a:b:n` is n numbers from a to b at equal distances, and anything
    else a list with commas, where those in brackets do not part.

    Raises:
        ValueError: a range that holds nothing, or an empty entry of a list.
    """
    if doubling := DOUBLING.fullmatch(text):
        ends = map(float, doubling.groups())
        return _doubled(text, *ends)
    if linear := LINEAR.fullmatch(text):
        first, last, number = linear.groups()
        return _spaced(text, float(first), float(last), int(number))
    return split(text)


def _doubled(
    text: str,
    first: float,
    last: float,
) -> list[str]:
    if not 0 < first <= last:
        raise ValueError(f"a range a..b must have 0 < a <= b, got {text!r}")
    values = []
    while first <= last:
        values.append(f"{first:.12g}")
        first *= 2
    return values


def _spaced(
    text: str,
    first: float,
    last: float,
    number: int,
) -> list[str]:
    if number < 2:
        raise ValueError(f"a range a:b:n must have n >= 2, got {text!r}")
    step = (last - first) / (number - 1)
    # Twelve digits: 0.1 + 0.2 is 0.3 here.
    return [f"{first + place * step:.12g}" for place in range(number)]


def hints(recipe: type) -> dict[str, Any]:
    """The types of a recipe's fields; what is known of a published method is no setting."""
    if issubclass(recipe, Method):
        return {}
    known = typing.get_type_hints(recipe)
    fields = dataclasses.fields(recipe)  # pyright: ignore
    return {field.name: known[field.name] for field in fields}


def recipe(
    field: str,
    text: str,
    known: Mapping[str, type[T] | T],
) -> T:
    """A recipe by its name, with settings in brackets where they are not the defaults.

    `Gae(lambda_=0.5, fit=td)` as the labels of tables have it: an underscore at the end of a name
    may be left out.

    Args:
        field: what the recipe is for, for the message.
        text: what was typed.
        known: classes, or recipes made already, by name.

    Raises:
        ValueError: an unknown name or setting, or a value that is none.
    """
    name, bracket, inner = text.strip().partition("(")
    found = named(field, name.strip(), known)
    made: Any = found() if isinstance(found, type) else found
    if not bracket:
        return made
    if not inner.endswith(")"):
        raise ValueError(f"{field} must be a name or name(setting=value, ...), got {text!r}")
    inner = inner[:-1].strip()
    changes = _changes(name, inner, hints(type(made)))
    return dataclasses.replace(made, **changes)


def _changes(
    name: str,
    text: str,
    chosen: Mapping[str, Any],
) -> dict[str, Any]:
    """The settings between the brackets of a recipe, whose types are known."""
    short = {key.rstrip("_"): key for key in chosen}
    names = short | {key: key for key in chosen}
    changes = {}
    for part in split(text) if text else []:
        typed, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"a setting of {name} must be name=value, got {part!r}")
        key = named(f"a setting of {name}", typed.strip(), names)
        changes[key] = parse(f"{name}.{key}", value, chosen[key])
    return changes
