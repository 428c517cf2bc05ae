"""A batch as trainers lay it out: a row for each rollout, in NumPy.

A `Batch` is P prompts x N places; a trainer has R rows and a label that says whose group each is
in. What is live is a run of tokens from the first column on, the rest is padding.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

TOKENS = (
    "reward",
    "live",
    "decision",
    "turn",
    "observation",
    "action",
    "discount",
    "value",
    "log_prob",
    "policy_log_prob",
    "sum_pi_squared",
    "component",
)
"""Fields of a batch that are `[P, N, T, ...]`."""
ROLLOUTS = ("scorable", "absent", "truncated", "reward_baseline")
"""Fields that are `[P, N]`."""
FIELDS = (*TOKENS, *ROLLOUTS)
"""What of a batch a trainer can be handed."""


class Rows(NamedTuple):
    """R rollouts of up to T tokens; fields that may be absent are None."""

    reward: Float[np.ndarray, "R T"]
    mask: Bool[np.ndarray, "R T"]
    """True on the policy's tokens: neither padding nor the environment's."""
    live: Bool[np.ndarray, "R T"]
    """True on every token of the rollout; False is padding."""
    group: Int[np.ndarray, " R"]
    """Which group each row is in, from 0."""
    place: Int[np.ndarray, " R"]
    """Where each row stands among the P N places of the batch."""
    turn: Int[np.ndarray, "R T"]
    observation: Int[np.ndarray, "R T"]
    action: Int[np.ndarray, "R T"]
    discount: Float[np.ndarray, "R T"]
    value: Float[np.ndarray, "R T"] | None = None
    log_prob: Float[np.ndarray, "R T"] | None = None
    policy_log_prob: Float[np.ndarray, "R T"] | None = None
    sum_pi_squared: Float[np.ndarray, "R T"] | None = None
    component: Float[np.ndarray, "R T C"] | None = None
    scorable: Bool[np.ndarray, " R"] | None = None
    truncated: Bool[np.ndarray, " R"] | None = None
    reward_baseline: Float[np.ndarray, " R"] | None = None

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Rows:
        """The rows of a batch, group by group, without the places that no rollout fills.

        Args:
            fields: those of `FIELDS` that the batch has, NumPy arrays.
        """
        prompts, num = fields["reward"].shape[:2]
        there = np.ones(prompts * num, bool)
        if "absent" in fields:
            there = ~fields["absent"].reshape(-1)
        (place,) = np.nonzero(there)

        def of_rows(name: str) -> Any:
            if name not in fields:
                return None
            x = np.asarray(fields[name])
            return x.reshape(
                prompts * num,
                *x.shape[2:],
            )[place]

        given = {name: of_rows(name) for name in cls._fields if name in FIELDS}
        live = given["live"]
        given["mask"] = live & of_rows("decision")
        # What a world leaves after the end of an episode is no part of the row.
        given["reward"] = np.where(live, given["reward"], 0.0).astype(given["reward"].dtype)
        return cls(
            group=place // num,
            place=place,
            **given,
        )

    @property
    def outcome(self) -> Float[np.ndarray, " R"]:
        """The sum of each row's rewards, wherever they are."""
        return self.reward.sum(axis=1)

    @property
    def length(self) -> Int[np.ndarray, " R"]:
        """Tokens of each row, padding left out."""
        return self.live.sum(axis=1)

    @property
    def names(self) -> np.ndarray:
        """The label of each row's group, as text in an array of objects."""
        return np.array(
            [f"prompt-{group}" for group in self.group],
            dtype=object,
        )

    @property
    def gamma(self) -> float:
        """The one discount of all tokens.

        Raises:
            ValueError: tokens have different ones, and a trainer has one.
        """
        if not self.live.any():
            return 1.0
        found = self.discount[self.live]
        low = float(found.min())
        high = float(found.max())
        if high - low > 1e-6:
            raise ValueError(f"discount must be one for all tokens here, got {low} to {high}")
        return round(low, 7)

    @property
    def group_size(self) -> int:
        """The number of rows of every group.

        Raises:
            ValueError: groups are of unequal size, and this trainer has one size.
        """
        _, sizes = np.unique(self.group, return_counts=True)
        different = np.unique(sizes)
        if len(different) > 1:
            found = different.tolist()
            raise ValueError(f"groups must be of one size here, got {found}")
        return int(different[0])

    def wider(self, columns: int) -> Rows:
        """The same rows with more padding."""
        more = {}
        for name in TOKENS:
            x = getattr(self, name, None)
            if x is not None:
                ends = [(0, 0), (0, columns)] + [(0, 0)] * (x.ndim - 2)
                more[name] = np.pad(x, ends)
        more["mask"] = np.pad(
            self.mask,
            [(0, 0), (0, columns)],
        )
        return self._replace(**more)

    def taken(self, order: Int[np.ndarray, " K"]) -> Rows:
        """Some rows, in this order."""
        fields: Any = [None if x is None else x[order] for x in self]
        return Rows(*fields)

    def spread(self, each: Float[np.ndarray, " R"]) -> Float[np.ndarray, "R T"]:
        """The same number for every token of a row, 0 on padding."""
        return np.where(
            self.live,
            each[:, None],
            0.0,
        )


def present(batch: Any) -> dict[str, Any]:
    """Those fields of a batch that a trainer can be handed and that are not None."""
    found = {name: getattr(batch, name) for name in FIELDS}
    return {name: x for name, x in found.items() if x is not None}


def to_places(
    credit: Float[np.ndarray, "R T"],
    rows: Rows,
    shape: tuple[int, ...],
) -> Float[np.ndarray, "P N T"]:
    """What rows were given, back in the places of the batch; 0 where there is no row."""
    prompts, num, steps = shape
    out = np.zeros(
        (prompts * num, steps),
        credit.dtype,
    )
    out[rows.place] = credit
    return out.reshape(shape)
