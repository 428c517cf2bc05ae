"""What a credit method will meet in a log, in numbers.

Shares are of decisions: tokens of the policy in rollouts that count.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from casim.types import Batch

QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
"""Least, tenth, middle, nine tenths, most."""
Z = 1.959964
"""Of an interval of 95%."""
DIGITS = 9
"""Of outcomes that are compared."""
SAME = 1e-9
FEW = 6
"""Values of the outcome that are listed."""


class Share(NamedTuple):
    """A share with its interval of 95% (Wilson 1927)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(
        cls,
        hits: int,
        number: int,
    ) -> Share:
        """So many of a number, which is at least 1."""
        value = hits / number
        more = Z**2 / number
        size = 1 + more
        middle = (value + more / 2) / size
        variance = value * (1 - value) / number
        spread = variance + more / (4 * number)
        half = Z / size * math.sqrt(spread)
        low = max(0.0, middle - half)
        high = min(1.0, middle + half)
        return cls(value, low, high)


class Description(NamedTuple):
    """A log in numbers; None is what it does not say."""

    rollouts: int
    prompts: int
    group_size: list[float]
    """Quantiles, as all lists of five numbers here."""
    length: list[float]
    """Tokens."""
    decisions: list[float]
    """Tokens of the policy in a rollout."""
    turns: list[float]
    agents: int
    tool_share: float
    """Tokens of the environment among all."""
    truncated: Share | None
    outcome: list[float]
    outcome_values: dict[str, float] | None
    """Each value and its share, where there are few."""
    success: Share | None
    """Share of outcomes that are the larger one, where there are two."""
    success_by_prompt: list[float] | None
    """Its quantiles over prompts."""
    equal_groups: Share
    """Groups of several rollouts whose outcomes are all equal: they teach group methods nothing."""
    entropy: list[float] | None
    """Of decisions, in nats; where only log-probabilities are known, their negative."""
    anchor_coverage: float | None
    """Decisions whose observation was met by another decision of the group."""
    prefix_sharing: float | None
    """Decisions before which another rollout of the group took the same actions."""


def describe(batch: Batch) -> Description:
    """The numbers of a batch, from a log or a world; outcomes are sums of rewards.

    Raises:
        ValueError: no rollout counts.
    """
    arrays = _Arrays.of(batch)
    outcome = arrays.outcome
    groups = arrays.groups
    won = _won(outcome)
    success, by_prompt = None, None
    if won is not None:
        success = Share.of(
            int(won.sum()),
            len(won),
        )
        rates = [won[own].mean() for own in groups]
        by_prompt = _quantiles(rates)
    company = [own for own in groups if own.size > 1]
    equal = sum(np.ptp(outcome[own]) < SAME for own in company)
    decided = arrays.decided
    entropy = arrays.hesitation
    tokens = arrays.live.sum()
    sizes = [own.size for own in groups]
    return Description(
        rollouts=len(outcome),
        prompts=len(groups),
        group_size=_quantiles(sizes),
        length=_quantiles(arrays.live.sum(axis=1)),
        decisions=_quantiles(decided.sum(axis=1)),
        turns=_quantiles(arrays.turns),
        agents=arrays.agents,
        tool_share=float(1 - decided.sum() / tokens),
        truncated=arrays.truncated,
        outcome=_quantiles(outcome),
        outcome_values=_listed(outcome),
        success=success,
        success_by_prompt=by_prompt,
        equal_groups=Share.of(
            int(equal),
            max(1, len(company)),
        ),
        entropy=None if entropy is None else _quantiles(entropy[decided]),
        anchor_coverage=arrays.coverage,
        prefix_sharing=arrays.sharing,
    )


def _won(outcome: Float[np.ndarray, " R"]) -> Bool[np.ndarray, " R"] | None:
    """Which outcomes are the larger one of two; None where there are not two."""
    values = np.unique(np.round(outcome, DIGITS))
    if len(values) != 2:
        return None
    middle = values.mean()
    return outcome > middle


def _listed(outcome: Float[np.ndarray, " R"]) -> dict[str, float] | None:
    """Each outcome and its share, where there are few."""
    values, hits = np.unique(
        np.round(outcome, DIGITS),
        return_counts=True,
    )
    if len(values) > FEW:
        return None
    shares = hits / len(outcome)
    return {f"{value:g}": float(share) for value, share in zip(values, shares, strict=True)}


class _Arrays(NamedTuple):
    """The rollouts that count, `[R, T]`."""

    reward: Float[np.ndarray, "R T"]
    live: Bool[np.ndarray, "R T"]
    decided: Bool[np.ndarray, "R T"]
    turn: Int[np.ndarray, "R T"]
    group: Int[np.ndarray, " R"]
    batch: Batch
    rows: Bool[np.ndarray, "P N"]

    @classmethod
    def of(cls, batch: Batch) -> _Arrays:
        rows = np.asarray(batch.counted)
        if not rows.any():
            raise ValueError("batch must hold rollouts that count, got none")
        live = np.asarray(batch.live)[rows]
        return cls(
            reward=np.where(
                live,
                np.asarray(batch.reward)[rows],
                0.0,
            ),
            live=live,
            decided=live & np.asarray(batch.decision)[rows],
            turn=np.asarray(batch.turn)[rows],
            group=np.nonzero(rows)[0],
            batch=batch,
            rows=rows,
        )

    @property
    def outcome(self) -> Float[np.ndarray, " R"]:
        return self.reward.sum(
            axis=1,
            dtype=np.float64,
        )

    @property
    def groups(self) -> list[np.ndarray]:
        """The rows of each group."""
        return [np.flatnonzero(self.group == label) for label in np.unique(self.group)]

    @property
    def turns(self) -> list[int]:
        """How many turns each row has."""
        pairs = zip(
            self.turn,
            self.live,
            strict=True,
        )
        return [len(np.unique(turn[live])) for turn, live in pairs]

    @property
    def agents(self) -> int:
        """Who has tokens of the policy."""
        agent = np.asarray(self.batch.agent)[self.rows]
        return max(1, len(np.unique(agent[self.decided])))

    @property
    def truncated(self) -> Share | None:
        if self.batch.truncated is None:
            return None
        cut = np.asarray(self.batch.truncated)[self.rows]
        return Share.of(
            int(cut.sum()),
            len(cut),
        )

    @property
    def hesitation(self) -> np.ndarray | None:
        """The entropy of each token, or how unlikely it was."""
        if self.batch.entropy is not None:
            return np.asarray(self.batch.entropy)[self.rows]
        if self.batch.log_prob is not None:
            return -np.asarray(self.batch.log_prob)[self.rows]
        return None

    @property
    def coverage(self) -> float | None:
        """None where all observations are one: then the log has none."""
        seen = np.asarray(self.batch.observation)[self.rows].astype(np.int64)
        if not self.decided.any() or np.ptp(seen[self.decided]) == 0:
            return None
        group = np.broadcast_to(
            self.group[:, None],
            seen.shape,
        )
        pairs = np.stack([group[self.decided], seen[self.decided]])
        return _met_twice(pairs)

    @property
    def sharing(self) -> float | None:
        """None where all actions are one."""
        action = np.asarray(self.batch.action)[self.rows].astype(np.uint64)
        if not self.decided.any() or np.ptp(action[self.decided].astype(np.int64)) == 0:
            return None
        rng = np.random.default_rng(0)
        steps = action.shape[1]
        # A sum of random words, one for each place and action, tells prefixes apart.
        word = rng.integers(
            2**63,
            size=steps,
            dtype=np.uint64,
        ) | np.uint64(1)
        with np.errstate(over="ignore"):
            terms = (action + np.uint64(1)) * word
            before = (
                np.cumsum(
                    terms,
                    axis=1,
                    dtype=np.uint64,
                )
                - terms
            )
        group = np.broadcast_to(
            self.group[:, None],
            before.shape,
        ).astype(np.uint64)
        time = np.broadcast_to(
            np.arange(
                steps,
                dtype=np.uint64,
            ),
            before.shape,
        )
        keys = [x[self.decided] for x in (group, time, before)]
        return _met_twice(np.stack(keys))


def _met_twice(keys: np.ndarray) -> float:
    """The share of columns that occur more than once."""
    _, label, number = np.unique(
        keys,
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    return float((number[label.ravel()] > 1).mean())


def _quantiles(x: Any) -> list[float]:
    """Of the numbers, at `QUANTILES`."""
    return [
        float(q)
        for q in np.quantile(
            np.asarray(x, float),
            QUANTILES,
        )
    ]
