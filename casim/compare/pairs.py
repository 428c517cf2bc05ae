"""Rows that have the same groups in the same blocks, paired.

Rows that share task, policy, judge, group size, replicates, seed and the version of casim share
their groups: what is luck of the groups is the same in both.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from casim.report import Row

BySeed = dict[int, tuple[Row, Row]]
"""A row and the one it is compared with."""


class Pairing(NamedTuple):
    """Rows of a method and of the one it is compared with, in one setting, seed by seed."""

    rows: tuple[Row, ...]
    references: tuple[Row, ...]


def labels(
    rows: Iterable[Row],
) -> list[str]:
    """The labels of the methods, in order."""
    return list(dict.fromkeys(row.label for row in rows))


def pair(
    rows: Sequence[Row],
    against: str,
) -> list[Pairing]:
    """Pairs the rows of every other method with those of one that have the same groups.

    Raises:
        ValueError: as `compare` does.
    """
    _check_labels(rows)
    references = {_groups(row): row for row in rows if row.label == against}
    # By method and setting, by seed: the pair with most replicates, the last of equals.
    best: dict[tuple[str, str], BySeed] = {}
    for row in rows:
        reference = references.get(_groups(row))
        if row.label == against or reference is None:
            continue
        method = (_setting(row), row.label)
        seeds = best.setdefault(method, {})
        known = seeds.get(row.seed)
        if known is None or row.replicates >= known[0].replicates:
            seeds[row.seed] = (row, reference)
    for label in labels(rows):
        if label != against and not any(label == other for _, other in best):
            raise ValueError(_unpaired(rows, label, against))
    pairings = []
    for seeds in best.values():
        pairs = [pair for _, pair in sorted(seeds.items())]
        own, others = zip(*pairs, strict=True)
        pairings.append(Pairing(own, others))
    return pairings


def _setting(
    row: Row,
) -> str:
    """What two rows must share to be compared, but for replicates and seeds."""
    groups = (row.num_prompts, row.num_trajectories, row.share)
    judges = (row.judge, row.judges)
    recipes = (row.task, row.policy, *judges, row.behaviour, row.reference)
    return json.dumps([*recipes, *groups], sort_keys=True)


def _groups(
    row: Row,
) -> tuple[Any, ...]:
    """What two rows must share to have the same groups in the same blocks."""
    return _setting(row), row.replicates, row.seed, row.sources.get("casim")


def _check_labels(
    rows: Sequence[Row],
) -> None:
    recipes: dict[str, str] = {}
    for row in rows:
        recipe = json.dumps(row.estimator, sort_keys=True)
        if recipes.setdefault(row.label, recipe) != recipe:
            raise ValueError(f"label must stand for one recipe, got {row.label!r} for several")


def _unpaired(
    rows: Sequence[Row],
    label: str,
    against: str,
) -> str:
    """Says what keeps the rows of two methods from having the same groups."""
    own = [_parts(row) for row in rows if row.label == label]
    others = [_parts(row) for row in rows if row.label == against]
    unlike = [_unlike(one, other) for one, other in itertools.product(own, others)]
    fewest = " and ".join(min(unlike, key=len))
    got = f"{label!r} and {against!r} with different {fewest}"
    return f"rows must share their groups to be compared, got {got}"


def _unlike(
    one: dict[str, Any],
    other: dict[str, Any],
) -> list[str]:
    return [name for name, part in one.items() if part != other[name]]


def _parts(
    row: Row,
) -> dict[str, Any]:
    """What makes the groups of a row what they are, by a name for people."""
    return {
        "task": row.task,
        "policy": row.policy,
        "judge": row.judge,
        "judges": row.judges,
        "behaviour": row.behaviour,
        "reference": row.reference,
        "num_prompts": row.num_prompts,
        "num_trajectories": row.num_trajectories,
        "share": row.share,
        "replicates": row.replicates,
        "seed": row.seed,
        "version of casim": row.sources.get("casim"),
    }
