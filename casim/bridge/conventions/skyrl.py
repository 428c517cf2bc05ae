"""SkyRL: rows padded on the left, and a mask of the response that holds the tools' tokens too."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, final

from casim.bridge.conventions.base import (
    Config,
    Convention,
    first_of,
    from_left,
    known,
    of_shape,
    to_left,
)
from casim.bridge.rows import Rows


@final
@dataclasses.dataclass(frozen=True)
class SkyRL(Convention):
    """What SkyRL 0.3.0 calls by keywords, with `grpo_norm_by_std`, `gamma` and `lambd`.

    Which tokens are the model's (`loss_mask`) is not handed over.
    """

    name: ClassVar[str] = "skyrl"
    trainer: ClassVar[str] = "SkyRL 0.3.0"
    zero_on: ClassVar[Literal["mask", "live"] | None] = "live"
    side: ClassVar[str | None] = "left"
    always: ClassVar[tuple[str, ...]] = (
        "token_level_rewards",
        "response_mask",
        "index",
        "values",
        "grpo_norm_by_std",
        "gamma",
        "lambd",
        "config",
    )
    reads: ClassVar[tuple[str, ...]] = ("value",)

    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        defaults = {"gamma": rows.gamma, "lambd": 1.0, "grpo_norm_by_std": True}
        config = Config(defaults | settings)
        offered = {
            "token_level_rewards": to_left(rows.reward, rows.live),
            "response_mask": to_left(rows.live, rows.live).astype("int64"),
            "index": rows.names.tolist(),
            "grpo_norm_by_std": config.grpo_norm_by_std,
            "gamma": config.gamma,
            "lambd": config.lambd,
            "config": config,
        }
        # The trainer hands over None where there is no critic.
        return known(offered) | {"values": to_left(rows.value, rows.live)}

    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ):
        given = of_shape(
            first_of(answer),
            [rows.reward.shape],
            "[bs, T]",
        )
        return from_left(given, rows.live)
