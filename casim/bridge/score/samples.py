"""Small batches from the smallest on, in each of which something is awkward.

A function is handed each twice: as wide as its longest row, so that this row has no padding, and
with columns to spare, so that every row has. A method sees one shape, so that it is compiled once
for all of them; what is smaller has places that no rollout fills and padding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from casim.bridge.rows import TOKENS, Rows
from casim.types import Batch

PROMPTS = 2
NUM = 3
STEPS = 5
MODEL = "m"
"""A token of the policy in a row written as text; the other, "t", is one of a tool."""

Fields = dict[str, Any]
"""What of a batch a trainer can be handed, NumPy arrays `[P, N, T]` and `[P, N]`."""


class Row(NamedTuple):
    """A rollout in words."""

    tokens: str
    reward: tuple[float, ...]
    """Of the last tokens; those before earn nothing."""


def _row(tokens: str, *reward: float) -> Row:
    return Row(tokens, reward)


BATCHES: dict[str, tuple[tuple[Row, ...], ...]] = {
    "alone": ((_row("m", 1.0),),),
    "pair": (
        (
            _row("m", 1.0),
            _row("m", 0.0),
        ),
    ),
    "two tokens": (
        (
            _row("mm", 1.0),
            _row("mm", 0.0),
        ),
    ),
    "unequal lengths": (
        (
            _row("mm", 1.0),
            _row("m", 0.0),
        ),
    ),
    "a tool between": (
        (
            _row("mtm", 1.0),
            _row("mtm", 0.0),
        ),
    ),
    "ends on a tool": (
        (
            _row("mt", 1.0),
            _row("mt", 0.0),
        ),
    ),
    "begins with a tool": (
        (
            _row("tm", 1.0),
            _row("tm", 0.0),
        ),
    ),
    "rewards between": (
        (
            _row("mm", 0.5, 0.25),
            _row("mm", 0.0, 1.0),
        ),
    ),
    "three rewards": (
        (
            _row("m", 1.0),
            _row("m", 0.25),
            _row("m", -0.5),
        ),
    ),
    "all equal": (
        (
            _row("m", 0.5),
            _row("m", 0.5),
        ),
    ),
    "two prompts": (
        (
            _row("m", 1.0),
            _row("m", 0.0),
        ),
        (
            _row("m", 0.5),
            _row("m", 0.25),
        ),
    ),
    "one prompt is solved": (
        (
            _row("mm", 1.0),
            _row("m", 1.0),
        ),
        (
            _row("m", 0.0),
            _row("mm", 1.0),
        ),
    ),
    "both alone": ((_row("mm", 1.0),), (_row("m", 0.5),)),
    "uneven groups": (
        (
            _row("m", 1.0),
            _row("mm", 0.0),
        ),
        (_row("m", 0.75),),
    ),
    "everything": (
        (
            _row("mmtmm", 0.25, 0.0, 1.0),
            _row("mtmm", 0.0, -0.5),
            _row("mmm", 0.5),
        ),
        (
            _row("mmtm", 1.0),
            _row("mm", 0.25),
            _row("mmttm", 0.5, 0.0, 0.0, 0.75),
        ),
    ),
    "everything, uneven": (
        (
            _row("mtmm", 0.25, 1.0),
            _row("mmm", 0.0),
        ),
        (
            _row("mmtm", 1.0),
            _row("m", 0.25),
            _row("mtmtm", 0.5, 0.0, 0.0),
        ),
    ),
}
"""By a name, groups of rows."""


class Sample(NamedTuple):
    """A batch and its name."""

    name: str
    fields: Fields
    columns: int = STEPS
    """How wide it is where a trainer has it."""

    @property
    def rows(self) -> Rows:
        """As a trainer has it."""
        return Rows.of(self.narrow)

    @property
    def narrow(self) -> Fields:
        """The arrays without the columns that a trainer does not have."""
        return {name: _cut(name, x, self.columns) for name, x in self.fields.items()}

    @property
    def batch(self) -> Batch:
        """As casim has it."""
        arrays = {name: jnp.asarray(x) for name, x in self.fields.items()}
        nothing = jnp.zeros(arrays["reward"].shape, jnp.int32)
        return Batch(
            state=nothing,
            segment=nothing,
            agent=nothing,
            kind=nothing,
            prompt=jnp.arange(len(nothing)),
            **{"log_prob": None, **arrays},
        )

    @property
    def sizes(self) -> list[int]:
        """Of the groups that have any row."""
        found = (~self.fields["absent"]).sum(axis=1)
        return [int(size) for size in found if size > 0]

    def changed(self, **fields: np.ndarray) -> Sample:
        """The same with other arrays; with other rewards their components are others too."""
        if "reward" in fields:
            fields = {"component": np.stack(halved(fields["reward"]), axis=-1), **fields}
        return self._replace(fields={**self.fields, **fields})

    def mistaken(self, change: Callable[[Fields], Fields]) -> Sample:
        """What a function makes of it that changes the arrays it is handed."""
        changed = change(self.narrow)
        return self.changed(**{name: _widened(name, x) for name, x in changed.items()})


def samples(equal_groups: bool) -> list[Sample]:
    """The batches, from small to large.

    Args:
        equal_groups: leave out those whose groups are of unequal size.
    """
    every = [sample for name, groups in BATCHES.items() for sample in _of_widths(name, groups)]
    if not equal_groups:
        return every
    return [sample for sample in every if len(set(sample.sizes)) == 1]


def _of_widths(
    name: str,
    groups: tuple[tuple[Row, ...], ...],
) -> list[Sample]:
    """A batch as wide as its longest row, and with columns to spare if there are any."""
    fields = _fields(groups)
    longest = max(len(row.tokens) for group in groups for row in group)
    spare = [Sample(f"{name}, padded", fields)] if longest < STEPS else []
    return [Sample(name, fields, longest), *spare]


def _cut(
    name: str,
    x: np.ndarray,
    columns: int,
) -> np.ndarray:
    """The first columns of an array of tokens; what is of rollouts stays."""
    return x[:, :, :columns] if name in TOKENS else x


def _widened(
    name: str,
    x: np.ndarray,
) -> np.ndarray:
    """The opposite of `_cut`: what is missing is padding."""
    if name not in TOKENS:
        return x
    missing = STEPS - x.shape[2]
    wider = [(0, 0)] * x.ndim
    wider[2] = (0, missing)
    return np.pad(x, wider)


def _fields(groups: tuple[tuple[Row, ...], ...]) -> Fields:
    """The arrays of a batch written in words; what is not said there is drawn once for all."""
    shape = (PROMPTS, NUM, STEPS)
    rng = np.random.default_rng(17)
    live = np.zeros(shape, bool)
    decision = np.zeros(shape, bool)
    reward = np.zeros(shape)
    absent = np.ones(shape[:2], bool)
    for prompt, group in enumerate(groups):
        for num, row in enumerate(group):
            size = len(row.tokens)
            first = size - len(row.reward)
            written = [token == MODEL for token in row.tokens]
            absent[prompt, num] = False
            live[prompt, num, :size] = True
            decision[prompt, num, :size] = written
            reward[prompt, num, first:size] = row.reward
    chance = rng.integers(2, 9, size=shape) / 10
    other = 1 - chance
    log_prob = np.log(chance)
    # Every token is a turn of its own, so that a trainer of turns has a row for each.
    turn = np.arange(STEPS, dtype=np.int32)
    value = rng.integers(1, 10, size=shape)
    greedy = rng.integers(1, 10, size=shape[:2])
    return {
        "reward": reward,
        "component": np.stack(halved(reward), axis=-1),
        "live": live,
        "decision": decision,
        "absent": absent,
        "turn": np.broadcast_to(turn, shape),
        "observation": rng.integers(2, size=shape, dtype=np.int32),
        "action": rng.integers(3, size=shape, dtype=np.int32),
        "discount": np.ones(shape),
        "value": value / 10,
        "log_prob": log_prob,
        "policy_log_prob": log_prob,
        "sum_pi_squared": chance**2 + other**2,
        "reward_baseline": greedy / 10,
    }


def last_token(fields: Fields) -> Array | np.ndarray:
    """Where the last token of each row is: booleans `[P, N, T]`."""
    live = fields["live"]
    after = np.zeros_like(live)
    after[..., :-1] = live[..., 1:]
    return live & ~after


def halved(reward: Any) -> tuple[Any, Any]:
    """A reward in two components that add up to it: half the outcome's square first, and the rest.

    So neither is a share of the reward, both are known where it is, and of two rollouts the better
    one is better by both: where components cancel, an epsilon and rounding are all that is left.
    """
    outcome = reward.sum(axis=-1, keepdims=True)
    at_first = np.broadcast_to(np.arange(reward.shape[-1]) == 0, reward.shape)
    first = at_first * outcome * outcome / 2
    return first, reward - first
