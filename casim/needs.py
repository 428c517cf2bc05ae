"""What can be checked of a study before anything runs: instances, names, and what methods need.

What a method gives is checked when it is traced, see `casim.programs.check_method`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from casim.checks import check_integer
from casim.estimators import Estimator
from casim.jobs import label_of
from casim.judging import Grader
from casim.methods import Method, recipe_of
from casim.policies import Policy
from casim.report import describe, label
from casim.tasks import Task

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
"""Names of files on every system, and never a path out of a folder."""


def check_name(field: str, name: object) -> None:
    """Raises `ValueError` unless this can be the name of a file in any folder."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:
        wanted = "1 to 100 letters, digits, '.', '_' or '-', not beginning with '.' or '-'"
        raise ValueError(f"{field} must be {wanted}, got {name!r}")


def as_tuple(field: str, values: object) -> tuple[Any, ...]:
    """A tuple or list as a tuple.

    Raises:
        ValueError: something else, as one recipe without the parentheses of a tuple.
    """
    if not isinstance(values, tuple | list):
        raise ValueError(f"{field} must be a tuple, got {values!r}")
    return tuple(values)


def check_recipe(field: str, value: object, kind: type) -> None:
    """Raises `ValueError` unless this is an instance that a row can hold and that hashes."""
    if isinstance(value, type):
        name = value.__name__
        raise ValueError(f"{field} must hold instances, got the class {name}: write {name}()")
    if not isinstance(value, kind):
        raise ValueError(f"{field} must hold a casim.{kind.__name__}, got {value!r}")
    try:
        hash(value)
        describe(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{field} must hold recipes that rows can hold: {error}") from error


def check_judges(judges: object) -> dict[str, Grader]:
    """Judges by name.

    Raises:
        ValueError: something else than recipes of judges by names that are identifiers.
    """
    if not isinstance(judges, Mapping):
        raise ValueError(f"judges must be recipes by name, got {judges!r}")
    for name, judge in judges.items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise ValueError(f"names of judges must be identifiers, got {name!r}")
        check_recipe(f"judges[{name!r}]", judge, Grader)
    return dict(judges)


def check_labels(field: str, labels: Sequence[str]) -> None:
    """Raises `ValueError` if two methods would have one name in tables and figures."""
    for number, name in enumerate(labels):
        if name in labels[:number]:
            raise ValueError(f"{field} must have different labels, got two of {name!r}")


def check_needs(
    estimator: Estimator | Method,
    tasks: Sequence[Task],
    judges: Mapping[str, Grader],
    num_trajectories: int,
    reference: Policy | None = None,
) -> None:
    """Raises `ValueError`, naming both, if an estimator needs what the study does not give."""
    name, needs = label_of(estimator), estimator.needs
    if "group" in needs and num_trajectories < 2:
        wanted = f"at least 2 for {name}, which needs a group"
        raise ValueError(f"num_trajectories must be {wanted}, got {num_trajectories}")
    for asked in sorted(recipe_of(estimator).judges):
        if asked not in judges:
            wanted = f"hold {asked!r} for {name}, which asks it"
            raise ValueError(f"judges must {wanted}, got {sorted(judges)}")
    if "reference" in needs and reference is None:
        raise ValueError(f"reference must be set for {name}, which needs one, got None")
    for task in tasks:
        if "reset" in needs and not task.replay.possible:
            wanted = f"such that one can go back to a step, which {name} needs"
            raise ValueError(f"tasks must be {wanted}, got {label(task)}")


def check_seeds(seeds: Sequence[int]) -> None:
    """Raises `ValueError` unless these are seeds."""
    for seed in seeds:
        check_integer("seeds", seed, 0, 2**32 - 1)
