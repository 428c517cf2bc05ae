"""verl: rows padded on the right, a mask of the policy's tokens, a label of each row's prompt."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, final

import numpy as np

from casim.bridge.conventions.base import Config, Convention, first_of, known, of_shape
from casim.bridge.rows import Rows


@final
@dataclasses.dataclass(frozen=True)
class Verl(Convention):
    """What verl 0.9.1 calls by keywords: `fn(token_level_rewards, response_mask, index, config)`.

    The mask is 1 on tokens of the model; 0 is a tool's token or padding, not told apart. `values`,
    `gamma`, `lam`, `old_log_probs` and `sum_pi_squared` go to functions that name them. A function
    returns `(advantages, returns)`, both `[bs, T]`; the returns feed the critic only.

    The components of the reward, where a batch has some, stand in `non_tensor_batch` under the
    names that `config.gdpo_reward_keys` lists: a number a row, as a reward function gives it.
    `batch` then holds `prompts`, of one token, and `attention_mask` over prompt and response.
    """

    name: ClassVar[str] = "verl"
    trainer: ClassVar[str] = "verl 0.9.1"
    zero_on: ClassVar[Literal["mask", "live"] | None] = "mask"
    always: ClassVar[tuple[str, ...]] = (
        "token_level_rewards",
        "response_mask",
        "config",
        "index",
        "reward_baselines",
    )
    reads: ClassVar[tuple[str, ...]] = (
        "value",
        "log_prob",
        "sum_pi_squared",
        "reward_baseline",
        "component",
    )

    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        defaults: dict[str, Any] = {
            "gamma": rows.gamma,
            "lam": 1.0,
            "norm_adv_by_std_in_grpo": True,
        }
        components = _components(rows)
        if components:
            defaults["gdpo_reward_keys"] = list(components)
        config = Config(defaults | settings)
        return known(
            {
                "token_level_rewards": rows.reward,
                "response_mask": rows.mask.astype("int64"),
                "index": rows.names,
                "config": config,
                "gamma": config.gamma,
                "lam": config.lam,
                "values": rows.value,
                "old_log_probs": rows.log_prob,
                "sum_pi_squared": rows.sum_pi_squared,
                "reward_baselines": rows.reward_baseline,
                "turn_index": rows.turn,
                "non_tensor_batch": components or None,
                "batch": _sequences(rows) if components else None,
            }
        )

    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ):
        return of_shape(
            first_of(answer),
            [rows.reward.shape],
            "[bs, T]",
        )


def _components(rows: Rows) -> dict[str, np.ndarray]:
    """What each component of the reward is of each row, as this trainer keeps what is no tensor."""
    if rows.component is None:
        return {}
    whole = rows.component.sum(axis=1)
    return {f"reward_{index}": each.astype(object) for index, each in enumerate(whole.T)}


def _sequences(rows: Rows) -> dict[str, np.ndarray]:
    """Prompts of one token, and which tokens of prompt and response are no padding."""
    prompts = np.zeros((len(rows.live), 1), "int64")
    attended = np.concatenate([np.ones_like(prompts), rows.live], axis=1)
    return {"prompts": prompts, "attention_mask": attended.astype("int64")}
