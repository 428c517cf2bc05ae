"""TRL: a number per rollout for each reward function, in; a number per rollout, out."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, final

import numpy as np

from casim.bridge.conventions.base import Convention, first_of, known, of_shape
from casim.bridge.rows import Rows


@final
@dataclasses.dataclass(frozen=True)
class Trl(Convention):
    """What the statements inside TRL 1.16.0's `GRPOTrainer` work on.

    `rewards_per_func` is `[N, F]`, NaN where a function did not score; groups are contiguous,
    `num_generations` each. The answer is `[N]`, spread over the tokens, or `[N, T]`, which the loss
    takes as well. `tool_mask` is 1 on the model's tokens and on padding; `completion_mask` is 1 on
    all tokens of the completion.
    """

    name: ClassVar[str] = "trl"
    trainer: ClassVar[str] = "TRL 1.16.0"
    equal_groups: ClassVar[bool] = True
    always: ClassVar[tuple[str, ...]] = ("rewards_per_func", "num_generations")
    reads: ClassVar[tuple[str, ...]] = ("component", "scorable")

    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        each = rows.outcome[:, None]
        if rows.component is not None:
            each = rows.component.sum(axis=1)
        if rows.scorable is not None:
            each = np.where(
                rows.scorable[:, None],
                each,
                np.nan,
            )
        padding_or_model = rows.mask | ~rows.live
        offered = {
            "rewards_per_func": each,
            "rewards": each.sum(axis=1),
            "num_generations": rows.group_size,
            "completion_mask": rows.live.astype("int64"),
            "tool_mask": padding_or_model.astype("int64"),
            "completion_ids": rows.action.astype("int64"),
        }
        return known(offered) | settings

    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ):
        num, steps = rows.reward.shape
        given = of_shape(
            first_of(answer),
            [(num,), (num, steps)],
            "[N] or [N, T]",
        )
        return rows.spread(given) if given.ndim == 1 else given
