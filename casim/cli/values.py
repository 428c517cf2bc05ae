"""Words of the command line as values of a type."""

from __future__ import annotations

import types
import typing
from typing import Any, Literal, Union

TRUTH = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


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
    early = [kind for kind in order if kind in options]
    late = [kind for kind in options if kind not in order]
    for option in early + late:
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
    pairs = zip(parts, kinds, strict=True)
    return tuple(_parse(part, kind) for part, kind in pairs)


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
