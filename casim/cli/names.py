"""Names that people type, and what they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
FEW = 40
"""Names that a message still lists; more of them are a wall in which nothing is found."""


def named(field: str, name: str, known: Mapping[str, T]) -> T:
    """What a name stands for.

    Raises:
        ValueError: not known; the message has the names that are close to it, or else all of them
            if they are few.
    """
    if name in known:
        return known[name]
    close = _like(name, known)
    if close:
        meant = " or ".join(close)
        said = f"did you mean {meant}?"
        wanted = f"{field} must be a known name"
        raise ValueError(f"{wanted}, got {name!r}: {said}")
    if len(known) > FEW:
        count = f"one of the {len(known)} names that `casim list` prints"
        wanted = f"{field} must be {count}"
        raise ValueError(f"{wanted}, got {name!r}")
    names = sorted(known)
    wanted = f"{field} must be one of {names}"
    raise ValueError(f"{wanted}, got {name!r}")


def _like(name: str, known: Iterable[str]) -> list[str]:
    """Up to three names that are close: one alone if only its letters' case differs."""
    lower = {other.lower(): other for other in known}
    typed = name.lower()
    if typed in lower:
        return [lower[typed]]
    close = difflib.get_close_matches(typed, lower, n=3)
    return [lower[found] for found in close]


def check_names(field: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises `ValueError` on the first name that is not known, see `named`."""
    choices = dict.fromkeys(known)
    for name in names:
        named(field, name, choices)
