"""OpenRLHF: the whole sequence less one, the prompt in front; rewards on the policy's tokens."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, final

import numpy as np
from jaxtyping import Float

from casim.bridge.conventions.base import Config, Convention, first_of, known, of_shape
from casim.bridge.rows import Rows

PROMPT = 2
"""Columns of the prompt in front, all of mask 0."""


@final
@dataclasses.dataclass(frozen=True)
class OpenRLHF(Convention):
    """What OpenRLHF 0.11.2 has in its experience maker: `values`, `rewards`, `action_mask`.

    Position t predicts token t + 1, so the mask begins with zeros for the prompt. It is 1 on the
    model's tokens of every turn. What is earned on a token of a tool is given to the last token of
    the model. Rows are in the order of their prompts, `n_samples_per_prompt` each.
    """

    name: ClassVar[str] = "openrlhf"
    trainer: ClassVar[str] = "OpenRLHF 0.11.2"
    zero_on: ClassVar[Literal["mask", "live"] | None] = "mask"
    equal_groups: ClassVar[bool] = True
    always: ClassVar[tuple[str, ...]] = ("rewards", "action_mask", "values", "gamma", "lambd")
    reads: ClassVar[tuple[str, ...]] = ("value",)

    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        defaults = {"gamma": rows.gamma, "lambd": 1.0, "n_samples_per_prompt": rows.group_size}
        config = Config(defaults | settings)
        return known(
            {
                "self": Config(args=config, **config),
                "rewards": _after_prompt(_on_policy(rows)),
                "action_mask": _after_prompt(rows.mask),
                "values": None if rows.value is None else _after_prompt(rows.value),
                "gamma": config.gamma,
                "lambd": config.lambd,
                "n_samples_per_prompt": config.n_samples_per_prompt,
                "index": np.arange(len(rows.group)),
            }
        )

    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ):
        num, steps = rows.reward.shape
        given = of_shape(
            first_of(answer),
            [(num, PROMPT + steps)],
            "[bs, S - 1]",
        )
        return given[:, PROMPT:]


def _after_prompt(x: np.ndarray) -> np.ndarray:
    return np.pad(
        x,
        [(0, 0), (PROMPT, 0)],
    )


def _on_policy(rows: Rows) -> Float[np.ndarray, "R T"]:
    """Rewards, those of tools' tokens on the last token of the policy."""
    reward = np.where(rows.mask, rows.reward, 0.0)
    steps = reward.shape[1]
    last = (
        steps
        - 1
        - np.argmax(
            rows.mask[:, ::-1],
            axis=1,
        )
    )
    earned = np.where(rows.live, rows.reward, 0.0)
    missing = earned.sum(axis=1) - reward.sum(axis=1)
    reward[np.arange(len(reward)), last] += np.where(
        rows.mask.any(axis=1),
        missing,
        0.0,
    )
    return reward
