"""Words of the command line as settings: values by the type of a field, ranges, and recipes."""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

from casim.cli.names import named
from casim.methods import Method

T = TypeVar("T")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
DOUBLING = re.compile(rf"({NUMBER})\.\.({NUMBER})")
"""`8..2048`: 8, 16, 32, ..., 2048."""
LINEAR = re.compile(rf"({NUMBER}):({NUMBER}):(\d+)")
"""`0:0.5:6`: six numbers from 0 to 0.5."""
TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def expand(text: str) -> list[str]:
    """The values that a range or a list stands for, as text.

    `a..b` doubles from a up to b, `a:b:n` is n numbers from a to b at equal distances, and anything
    else a list with commas, where those in brackets do not part.

    Raises:
        ValueError: a range that holds nothing, or an empty entry of a list.
    """
    if doubling := DOUBLING.fullmatch(text):
        return _doubled(text, *map(float, doubling.groups()))
    if linear := LINEAR.fullmatch(text):
        first, last, number = linear.groups()
        return _spaced(text, float(first), float(last), int(number))
    return split(text)


def _doubled(text: str, first: float, last: float) -> list[str]:
    if not 0 < first <= last:
        raise ValueError(f"a range a..b must have 0 < a <= b, got {text!r}")
    values = []
    while first <= last:
        values.append(f"{first:.12g}")
        first *= 2
    return values


def _spaced(text: str, first: float, last: float, number: int) -> list[str]:
    if number < 2:
        raise ValueError(f"a range a:b:n must have n >= 2, got {text!r}")
    step = (last - first) / (number - 1)
    # Twelve digits: 0.1 + 0.2 is 0.3 here.
    return [f"{first + place * step:.12g}" for place in range(number)]


def split(text: str) -> list[str]:
    """The parts between the commas that are in no bracket.

    Raises:
        ValueError: an empty part, or brackets that do not match.
    """
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if depth < 0:
            break
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    parts = [part.strip() for part in parts]
    if depth != 0 or not all(parts):
        raise ValueError(f"a list must hold words between commas, got {text!r}")
    return parts


def hints(recipe: type) -> dict[str, Any]:
    """The types of a recipe's fields; what is known of a published method is no setting."""
    if issubclass(recipe, Method):
        return {}
    known = typing.get_type_hints(recipe)
    fields = dataclasses.fields(recipe)  # pyright: ignore
    return {field.name: known[field.name] for field in fields}


def parse(name: str, text: str, hint: Any) -> Any:
    """Text as a value of a type: a number, a truth, a word, one of several, a tuple `(1, 2)`.

    Args:
        name: of the setting, for the message.
        text: what was typed.
        hint: the type.

    Raises:
        ValueError: no value of this type.
    """
    try:
        return _parse(text.strip(), hint)
    except ValueError as error:
        reason = f" ({error})" if str(error) else ""
        raise ValueError(f"{name} must be {_words(hint)}, got {text!r}{reason}") from error


def _parse(text: str, hint: Any) -> Any:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return _first(text, options)
    if origin is Literal:
        return {str(option): option for option in options}[_one_of(text, options)]
    if origin is tuple:
        return _tuple(text, options)
    if hint is types.NoneType:
        _one_of(text.lower(), ("none",))
        return None
    if hint is bool:
        return TRUTH[_one_of(text.lower(), tuple(TRUTH))]
    if hint is int:
        return _integer(text)
    if hint is float:
        return _number(text)
    if hint is str:
        return text
    raise ValueError("which the command line cannot write")


def _first(text: str, options: tuple[Any, ...]) -> Any:
    """The value of the first type that has one: `None` and integers before numbers before words."""
    order = (types.NoneType, bool, int, float)
    ranked = sorted(options, key=lambda kind: order.index(kind) if kind in order else len(order))
    for option in ranked:
        try:
            return _parse(text, option)
        except ValueError:
            continue
    raise ValueError


def _one_of(text: str, options: tuple[Any, ...]) -> str:
    if text not in map(str, options):
        raise ValueError
    return text


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        value = _number(text)  # 1e6 is one, too
    if not value.is_integer():
        raise ValueError
    return int(value)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError from None


def _tuple(text: str, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not (text.startswith("(") and text.endswith(")")):
        raise ValueError
    inner = text[1:-1].strip().removesuffix(",")
    parts = split(inner) if inner else []
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(parts)
    if len(kinds) != len(parts):
        raise ValueError
    return tuple(_parse(part, kind) for part, kind in zip(parts, kinds, strict=True))


def _words(hint: Any) -> str:
    """A type for people."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    plain = {int: "an integer", float: "a number", str: "a word", bool: "true or false"}
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, options))
    if origin is Literal:
        return f"one of {', '.join(map(str, options))}"
    if origin is tuple:
        return "values in brackets, as (1,2)"
    if hint is types.NoneType:
        return "none"
    return plain.get(hint, f"a {getattr(hint, '__name__', hint)}")


def recipe(field: str, text: str, known: Mapping[str, type[T] | T]) -> T:
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
    chosen = hints(type(made))
    names = {key.rstrip("_"): key for key in chosen} | {key: key for key in chosen}
    changes = {}
    for part in split(inner) if inner else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise ValueError(f"a setting of {name} must be name=value, got {part!r}")
        key = named(f"a setting of {name}", key.strip(), names)
        changes[key] = parse(f"{name}.{key}", value, chosen[key])
    return dataclasses.replace(made, **changes)
