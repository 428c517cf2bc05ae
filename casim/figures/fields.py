"""Fields of rows by name: what a figure's x may be, where a row lies on it, and how rows differ.

A name is a field of the row ("num_trajectories"), or of a recipe in it ("task.horizon",
"judge.fidelity", "estimator.lambda_"); a whole recipe ("policy") is a name too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from casim.report import RESERVED, Row

RECIPES = ("task", "policy", "judge", "estimator", "behaviour", "reference")

MEASURED = (
    "scores",
    "left_out",
    "notes",
    "exact",
    "versions",
    "device",
    "compile_time",
    "wall_time",
)
"""What a row holds that is no setting."""

ABSENT = object()
"""What stands for a field that a row does not have."""

CAPTIONS = {
    "num_steps": "length T (steps)",
    "horizon": "horizon",
    "task.horizon": "horizon T (steps)",
    "num_prompts": "prompts P (groups of a batch)",
    "num_trajectories": "group size N (trajectories)",
    "replicates": "replicates (batches)",
}


def settings(row: Row) -> dict[str, Any]:
    """All that was chosen about a row, by name."""
    chosen = {}
    for field in dataclasses.fields(row):
        if field.name not in MEASURED:
            chosen[field.name] = getattr(row, field.name)
    return dict(_flat(chosen))


def find(row: Row, name: str) -> Any:
    """The field of this name, or `ABSENT`."""
    root, *rest = name.split(".")
    if root in MEASURED:
        return ABSENT
    value: Any = getattr(row, root, ABSENT)
    for key in rest:
        if not isinstance(value, Mapping):
            return ABSENT
        value = value.get(key, ABSENT)
    return value


def has(row: Row, name: str) -> bool:
    """Whether the row has a field of this name."""
    return find(row, name) is not ABSENT


def read(row: Row, name: str) -> float | str:
    """The field as a number, or else as text."""
    value = find(row, name)
    if value is ABSENT:
        return "none"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return text(value)
    return value


def known_names(rows: Iterable[Row]) -> list[str]:
    """What x may be: the fields of any of the rows, without the digests of their code."""
    names: set[str] = set(RECIPES)
    for row in rows:
        names.update(settings(row))
    code = [name for name in names if name.startswith("sources") or name.endswith(".module")]
    return sorted(names.difference(code))


def check_known(rows: Sequence[Row], name: str, argument: str) -> None:
    """Raises `ValueError`, with the names that there are, unless some row has this field."""
    if not any(has(row, name) for row in rows):
        known = known_names(rows)
        raise ValueError(f"{argument} must be one of {known}, got {name!r}")


def text(value: Any) -> str:
    """A setting in few words; recipes as they would be written."""
    if isinstance(value, Mapping) and "recipe" in value:
        inner = []
        for key, part in value.items():
            if key not in RESERVED:
                inner.append(f"{key}={text(part)}")
        return f"{value['recipe']}({', '.join(inner)})"
    if isinstance(value, list):
        inner = [text(part) for part in value]
        return f"({', '.join(inner)})"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def differing(first: Row, second: Row) -> list[str]:
    """Names of the settings, other than the seed, in which two rows differ."""
    one, two = settings(first), settings(second)
    unlike = []
    for name in one.keys() | two.keys():
        same = one.get(name, ABSENT) == two.get(name, ABSENT)
        if name != "seed" and not same:
            unlike.append(name)
    return sorted(unlike, key=_telling)


def without(label: str, name: str) -> str:
    """The label of an estimator without a setting: `Gae(lambda=0.9, fit=td)` to `Gae(fit=td)`."""
    recipe, bracket, inside = label.partition("(")
    if not bracket:
        return label
    key = name.removeprefix("estimator.").rstrip("_")
    parts = _parts(inside.removesuffix(")"))
    kept = [part for part in parts if not part.startswith(f"{key}=")]
    return f"{recipe}({', '.join(kept)})" if kept else recipe


def caption(name: str) -> str:
    """What to write at an axis of this field."""
    if name in CAPTIONS:
        return CAPTIONS[name]
    root, _, rest = name.partition(".")
    words = (rest or root).strip("_")
    for mark, space in (("_", " "), (".", ", ")):
        words = words.replace(mark, space)
    return f"{words} of the {root}" if rest else words


def _telling(name: str) -> tuple[bool, bool, str]:
    """Order in which differences are named.

    A class comes before the fields that only it has, and a cause before what follows from it: the
    number of steps follows from the task.
    """
    follows = "." not in name
    return not name.endswith(".recipe"), follows, name


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested recipes."""
    for key, part in value.items():
        if isinstance(part, Mapping):
            yield from _flat(part, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", part


def _parts(inside: str) -> list[str]:
    """Splits at the commas that are in no bracket."""
    parts = [""]
    depth = 0
    for letter in inside:
        if letter in "([":
            depth += 1
        if letter in ")]":
            depth -= 1
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
