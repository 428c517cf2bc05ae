"""slime: lists of vectors without padding, and a function that writes into the dict it is given."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, final

import numpy as np
from jaxtyping import Float

from casim.bridge.arrays import taken_back
from casim.bridge.conventions.base import Config, Convention, known
from casim.bridge.errors import ShapeError
from casim.bridge.rows import Rows

NORMALISED = ("grpo", "gspo", "cispo", "reinforce_plus_plus_baseline")
"""Estimators whose rewards the trainer normalises by group before it calls."""


@final
@dataclasses.dataclass(frozen=True)
class Slime(Convention):
    """What slime calls by `--custom-advantage-function-path`: `fn(args, rollout_data) -> None`.

    `rollout_data` holds lists over samples: `rewards` (numbers, already normalised by group where
    `args.advantage_estimator` is one of `NORMALISED`), `loss_masks`, `values`, `response_lengths`.
    The function sets `rollout_data["advantages"]`, a vector as long as each response.
    """

    name: ClassVar[str] = "slime"
    trainer: ClassVar[str] = "slime (August 2026)"
    positional: ClassVar[tuple[str, ...]] = ("args", "rollout_data")
    side: ClassVar[str | None] = None
    reads: ClassVar[tuple[str, ...]] = ("value", "log_prob")
    writes: ClassVar[tuple[str, ...]] = ("advantages", "returns")

    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        defaults = {
            "gamma": rows.gamma,
            "lambd": 1.0,
            "advantage_estimator": "grpo",
            "normalize_advantages": False,
        }
        args = Config(defaults | settings)
        reward = rows.outcome
        if args.advantage_estimator in NORMALISED:
            scale = args.advantage_estimator != NORMALISED[-1]
            reward = _normalised(reward, rows.group, scale)
        data = {
            "rewards": [float(x) for x in reward],
            "loss_masks": _cut(rows.mask.astype("int64"), rows),
            "response_lengths": rows.length.tolist(),
            "values": None if rows.value is None else _cut(rows.value, rows),
            "log_probs": None if rows.log_prob is None else _cut(rows.log_prob, rows),
            "kl": _cut(np.zeros_like(rows.reward), rows),
        }
        return {"args": args, "rollout_data": known(data)}

    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ):
        found = offered["rollout_data"].get("advantages")
        if not isinstance(found, list | tuple) or len(found) != len(rows.reward):
            wanted = f"a list of {len(rows.reward)} vectors in rollout_data['advantages']"
            raise ShapeError(wanted, type(found).__name__)
        vectors = [taken_back(vector) for vector in found]
        out = np.zeros(
            rows.reward.shape,
            np.result_type(*vectors),
        )
        for row, (vector, size) in enumerate(zip(vectors, rows.length, strict=True)):
            if vector.shape != (size,):
                raise ShapeError(
                    f"[{size}] in row {row}",
                    vector.shape,
                )
            out[row, :size] = vector
        return out


def _cut(
    x: np.ndarray,
    rows: Rows,
) -> list[np.ndarray]:
    """A vector for each row, without padding."""
    return [each[:size] for each, size in zip(x, rows.length, strict=True)]


def _normalised(
    reward: Float[np.ndarray, " R"],
    group: np.ndarray,
    scale: bool,
) -> Float[np.ndarray, " R"]:
    """Less the group's mean, over its deviation, as the trainer does it; a group of one gets 0."""
    out = reward.copy()
    for label in np.unique(group):
        own = group == label
        out[own] -= reward[own].mean()
        if scale and own.sum() > 1:
            out[own] /= reward[own].std(ddof=1) + 1e-6
    return out
