"""A log of a trainer as a batch: JSON lines, or Parquet where pyarrow is installed; never pickle.

A rollout is an object, or a row of a table:

    {"prompt": "q17", "reward": 1.0, "mask": [1, 1, 0, 1], "turn": [0, 0, 0, 1], "entropy": [...]}

`prompt` is a label. `mask` is 1 on the policy's tokens and 0 on the environment's, and says how
long the rollout is: padding is left out. `reward` is a number, earned by the last token, or one a
token. What else is read, where all rollouts have it: a number or label a token (`TOKENS`), a number
or flag a rollout (`ROLLOUTS`). Other keys are left alone.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from casim.types import Batch

NUMBERS = (
    "log_prob",
    "policy_log_prob",
    "reference_log_prob",
    "entropy",
    "value",
    "sum_pi_squared",
)
"""A number of each token."""
LABELS = ("turn", "segment", "agent", "observation", "action")
"""A whole number, or a text, of each token; texts are numbered as they appear."""
TOKENS = (*LABELS, *NUMBERS)
ROLLOUTS = ("scorable", "truncated", "reward_baseline")
NEEDED = ("prompt", "reward", "mask")
PARQUET = ".parquet"

Record = dict[str, Any]
"""A rollout of a log."""


def load(path: str | Path) -> Batch:
    """Reads a log into a batch: rollouts of a prompt are a group, `batch.row` says which is where.

    Args:
        path: a file of JSON lines, or one whose name ends in ".parquet".

    Raises:
        ValueError: no rollouts, or one that is not as it should be; the message says which. Or
            pyarrow is needed and not installed.
    """
    path = Path(path)
    records = _of_parquet(path) if path.suffix == PARQUET else _of_json(path)
    if not records:
        raise ValueError(f"{path} must hold rollouts, got none")
    for number, record in enumerate(records, start=1):
        _check(
            record,
            f"{path}, rollout {number}",
        )
    masks = [record["mask"] for record in records]
    rewards = [_earned(record) for record in records]
    prompts = [str(record["prompt"]) for record in records]
    lengths = np.array([len(mask) for mask in masks])
    longest = int(lengths.max())
    shape = (len(records), longest)
    arrays: dict[str, Any] = {}
    for name in TOKENS:
        if _is_in_all(name, records, path):
            lists = [record[name] for record in records]
            numbers = _numbered(lists) if name in LABELS else lists
            arrays[name] = _padded(numbers, shape)
    for name in ROLLOUTS:
        if _is_in_all(name, records, path):
            each = [record[name] for record in records]
            arrays[name] = np.array(each)
    return Batch.from_arrays(
        _padded(rewards, shape),
        _padded(masks, shape),
        _places(prompts),
        live=np.arange(longest) < lengths[:, None],
        **arrays,
    )


def _of_json(path: Path) -> list[Record]:
    """The objects of a file, one a line; empty lines are left out."""
    records = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number} must be JSON: {error}") from error
            if not isinstance(record, dict):
                raise ValueError(f"{path}, line {number} must be an object, got {line.strip()!r}")
            records.append(record)
    return records


def _of_parquet(path: Path) -> list[Record]:
    """The rows of a table."""
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        wanted = "pyarrow must be installed to read Parquet: pip install 'casim[parquet]'"
        raise ValueError(wanted) from error
    known = set(NEEDED) | set(TOKENS) | set(ROLLOUTS)
    try:
        file = parquet.ParquetFile(path)
    except ValueError as error:
        raise ValueError(f"{path} must be Parquet: {error}") from error
    columns = [name for name in file.schema_arrow.names if name in known]
    rows = file.read(columns=columns).to_pylist()
    # An empty cell is a key that is not there.
    return [{name: x for name, x in row.items() if x is not None} for row in rows]


def _check(
    record: Record,
    where: str,
) -> None:
    """Raises `ValueError` unless a rollout has what it needs, in lists of one length."""
    missing = [name for name in NEEDED if name not in record]
    if missing:
        raise ValueError(f"{where} must have {', '.join(NEEDED)}, got no {missing[0]}")
    if not isinstance(record["mask"], list) or not record["mask"]:
        raise ValueError(f"{where}: mask must be a list of tokens, got {record['mask']!r}")
    size = len(record["mask"])
    lists = [name for name in TOKENS if name in record]
    if isinstance(record["reward"], list):
        lists.append("reward")
    for name in lists:
        value = record[name]
        if not isinstance(value, list) or len(value) != size:
            got = len(value) if isinstance(value, list) else repr(value)
            raise ValueError(f"{where}: {name} must have {size} entries, as mask has, got {got}")
    for name in ("mask", "reward", *NUMBERS):
        if name in record:
            _check_numbers(
                record[name],
                f"{where}: {name}",
            )


def _check_numbers(
    value: Any,
    where: str,
) -> None:
    each = value if isinstance(value, list) else [value]
    for x in each:
        if not isinstance(x, int | float):
            raise ValueError(f"{where} must hold numbers, got {x!r}")


def _is_in_all(
    name: str,
    records: Sequence[Record],
    path: Path,
) -> bool:
    """Whether all rollouts have it, or none."""
    having = sum(name in record for record in records)
    if 0 < having < len(records):
        raise ValueError(f"{path}: {name} must be in all {len(records)} rollouts, got {having}")
    return having > 0


def _earned(record: Record) -> list[float]:
    """The reward of each token."""
    reward = record["reward"]
    if isinstance(reward, list):
        return reward
    return [0.0] * (len(record["mask"]) - 1) + [float(reward)]


def _numbered(lists: Sequence[list]) -> list[list[int]]:
    """Labels as whole numbers, texts in the order in which they appear."""
    every = {x for each in lists for x in each}
    if all(isinstance(x, int) for x in every):
        return list(lists)
    known: dict[Any, int] = {}
    return [
        [
            known.setdefault(
                x,
                len(known),
            )
            for x in each
        ]
        for each in lists
    ]


def _places(labels: Sequence[str]) -> np.ndarray:
    """Labels of prompts as whole numbers, in the order in which they appear."""
    known: dict[str, int] = {}
    return np.array(
        [
            known.setdefault(
                label,
                len(known),
            )
            for label in labels
        ]
    )


def _padded(
    lists: Sequence[list],
    shape: tuple[int, int],
) -> np.ndarray:
    """Lists as an array, 0 after the end of each."""
    whole = all(isinstance(x, int) for each in lists for x in each)
    out = np.zeros(
        shape,
        np.int32 if whole else np.float64,
    )
    for row, each in enumerate(lists):
        out[row, : len(each)] = each
    return out
