"""verl-agent: a row is a step of the agent, and each carries the score of the whole episode."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import numpy as np
from jaxtyping import Float, Int

from casim.bridge.conventions.base import Config, Convention, first_of, known, of_shape
from casim.bridge.rows import Rows
from casim.checks import check_range


class _Steps(NamedTuple):
    """The agent's steps of all rollouts, K of them: turns in which the policy has tokens."""

    rollout: Int[np.ndarray, " K"]
    turn: Int[np.ndarray, " K"]
    row: Int[np.ndarray, " M"]
    """Of each of the policy's M tokens, the step that it is in."""
    column: Int[np.ndarray, " M"]
    """And its place there."""
    source: tuple[np.ndarray, np.ndarray]
    """And where it stands in the rollouts: row and column."""
    width: int

    @classmethod
    def of(cls, rows: Rows) -> _Steps:
        """Cuts the rollouts where their turns change."""
        at, time = np.nonzero(rows.mask)
        source = (at, time)
        label = np.stack(
            [at, rows.turn[source].astype(int)],
            axis=1,
        )
        steps, row = np.unique(label, axis=0, return_inverse=True)
        row = row.ravel()
        # Tokens come in the order of rollouts and of time, so those of a step are a run.
        first = np.searchsorted(
            row,
            np.arange(len(steps)),
        )
        column = np.arange(len(row)) - first[row]
        rollout, turn = steps.T
        return cls(
            rollout,
            turn,
            row,
            column,
            source,
            int(column.max(initial=0)) + 1,
        )


@final
@dataclasses.dataclass(frozen=True)
class VerlAgent(Convention):
    """What verl-agent hands to `compute_gigpo_outcome_advantage` and its kin.

    A rollout is several rows of one `traj_index`, each a turn: the policy's tokens of it, without
    the environment's. `token_level_rewards` has the score of the episode on each row's last token,
    `step_rewards` the discounted return over turns from this one on, `anchor_obs` what was seen
    before the turn.

    Attributes:
        step_gamma: of `step_rewards`, in [0, 1]; 0.95 in its scripts.

    Raises:
        ValueError: a setting out of its range.
    """

    step_gamma: float = 0.95
    name: ClassVar[str] = "verl-agent"
    trainer: ClassVar[str] = "verl-agent (a fork of 2025)"
    always: ClassVar[tuple[str, ...]] = (
        "token_level_rewards",
        "step_rewards",
        "response_mask",
        "anchor_obs",
        "index",
        "traj_index",
    )
    reads: ClassVar[tuple[str, ...]] = ("value", "turn", "observation")

    def __post_init__(self) -> None:
        check_range("step_gamma", self.step_gamma, 0.0, 1.0)

    def offers(
        self,
        rows: Rows,
        settings: dict[str, Any],
    ) -> dict[str, Any]:
        steps = _Steps.of(rows)
        num = len(steps.rollout)
        token = (steps.row, steps.column)
        first = np.searchsorted(
            steps.row,
            np.arange(num),
        )
        start = tuple(x[first] for x in steps.source)
        mask = np.zeros((num, steps.width), "int64")
        mask[token] = 1
        reward = np.zeros(mask.shape, rows.reward.dtype)
        reward[np.arange(num), mask.sum(axis=1) - 1] = rows.outcome[steps.rollout]
        values = None
        if rows.value is not None:
            values = np.zeros(mask.shape, rows.value.dtype)
            values[token] = rows.value[steps.source]
        defaults = {"gamma": rows.gamma, "lam": 1.0}
        config = Config(defaults | settings)
        labels = [f"rollout-{rollout}" for rollout in steps.rollout]
        seen = [f"seen-{label}" for label in rows.observation[start]]
        return known(
            {
                "token_level_rewards": reward,
                "step_rewards": self._returns(rows, steps),
                "response_mask": mask,
                "anchor_obs": np.array(seen, dtype=object),
                "index": rows.names[steps.rollout],
                "traj_index": np.array(labels, dtype=object),
                "values": values,
                "config": config,
                "gamma": config.gamma,
                "lam": config.lam,
            }
        )

    def _returns(
        self,
        rows: Rows,
        steps: _Steps,
    ) -> Float[np.ndarray, " K"]:
        """The discounted return over the rows of its rollout from each step on."""
        num = len(rows.reward)
        turns = int(rows.turn.max(initial=0)) + 1
        each = np.zeros(
            (num, turns),
            rows.reward.dtype,
        )
        row = np.broadcast_to(
            np.arange(num)[:, None],
            rows.turn.shape,
        )
        np.add.at(
            each,
            (row, rows.turn.astype(int)),
            rows.reward,
        )
        acts = np.zeros((num, turns), bool)
        acts[steps.rollout, steps.turn] = True
        # A turn of the environment alone is no row: what it earned is that of the turn before.
        discount = np.where(acts, self.step_gamma, 1.0)
        for turn in reversed(range(turns - 1)):
            each[:, turn] += discount[:, turn + 1] * each[:, turn + 1]
        return each[steps.rollout, steps.turn]

    def credit(
        self,
        answer: Any,
        offered: dict[str, Any],
        rows: Rows,
    ):
        steps = _Steps.of(rows)
        shape = (len(steps.rollout), steps.width)
        given = of_shape(first_of(answer), [shape], "[steps, T]")
        out = np.zeros(rows.reward.shape, given.dtype)
        out[steps.source] = given[steps.row, steps.column]
        return out
