"""rLLM: an array of rewards for each group, in; arrays of the same shapes, out."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, final

import numpy as np

from casim.bridge.arrays import taken_back
from casim.bridge.conventions.base import Config, Convention, first_of
from casim.bridge.errors import ShapeError
from casim.bridge.rows import Rows


@final
@dataclasses.dataclass(frozen=True)
class Rllm(Convention):
    """What rLLM 0.3 calls for one role: `fn(rewards, algorithm_config, **kw)`.

    `rewards` is a list of NumPy arrays, one a group; the answer is `(advantages, returns)`, lists
    of the same shapes. A rollout's number is copied to all of its steps.
    """

    name: ClassVar[str] = "rllm"
    trainer: ClassVar[str] = "rLLM 0.3.0.pre (August 2026)"
    positional: ClassVar[tuple[str, ...]] = ("rewards", "algorithm_config")
    side: ClassVar[str | None] = None

    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        defaults = {"gamma": rows.gamma, "norm_adv_by_std_in_grpo": True}
        rewards = [rows.outcome[own] for own in _groups(rows)]
        return {"rewards": rewards, "algorithm_config": Config(defaults | settings)}

    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ):
        groups = _groups(rows)
        found = first_of(answer)
        if not isinstance(found, list | tuple) or len(found) != len(groups):
            raise ShapeError(
                f"a list of {len(groups)} arrays",
                type(found).__name__,
            )
        arrays = [taken_back(each) for each in found]
        out = np.zeros(
            len(rows.group),
            np.result_type(*arrays),
        )
        for own, each in zip(groups, arrays, strict=True):
            if each.shape != own.shape:
                raise ShapeError(
                    f"[{len(own)}] of each group",
                    each.shape,
                )
            out[own] = each
        return rows.spread(out)


def _groups(rows: Rows) -> list[np.ndarray]:
    """The rows of each group, in the order in which groups first appear."""
    labels, first = np.unique(rows.group, return_index=True)
    return [np.flatnonzero(rows.group == label) for label in labels[np.argsort(first)]]
