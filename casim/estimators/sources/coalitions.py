"""Shapley values of segments, turns or agents, from reruns of all their coalitions.

In maths, of G units, with v(S) = E[R | s_0, a_t as taken for t in the units of S, a_t ~ pi
elsewhere]:

    phi_i = sum_{S without i} |S|! (G - |S| - 1)! / G! [v(S + i) - v(S)].

Every step of a unit receives the unit's value.

References:
    Shapley 1953; Cao et al. 2025, arXiv:2505.20417 (SCAR: Shapley values of text segments).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from casim import targets
from casim.checks import check_choice, check_integer
from casim.estimators.base import (
    Source,
    add_costs,
    check_discount,
    cost,
    discount_of,
    keeps_discount,
    required,
)
from casim.estimators.sources.games import game_needs, read, replayed
from casim.estimators.sources.players import UNITS, Unit, players
from casim.ops import segment_broadcast
from casim.types import Cost

MAX_PLAYERS = 12
"""Units of which all coalitions are played: 2^12 of them."""


@final
@dataclasses.dataclass(frozen=True)
class AllCoalitions(Source):
    """Shapley values of units from reruns of every coalition: no order is left to chance.

    The reruns of all coalitions share their noise, and so cancel where presence changes nothing.

    Attributes:
        num_reruns: of each coalition, at least 1; text is read once.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.
        reader: the name of the judge that reads masked text, of the feature game (`Shapley`); None
            is the interventional game.
        unit: who plays: each "segment", "turn" or "agent".

    Raises:
        ValueError: a setting out of its range, or a world of more than 12 units.
    """

    num_reruns: int = 1
    discount: float | None = None
    reader: str | None = None
    unit: Unit = "segment"
    granularity: ClassVar[str] = "segment"
    methodology: ClassVar[str] = "game_theoretic"
    unbiased: ClassVar[frozenset[str]] = frozenset({"target"})

    @property
    def target(self) -> targets.Target:  # pyright: ignore[reportIncompatibleVariableOverride]
        return targets.Shapley(self.unit)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return game_needs(self.reader)

    @property
    def judges(self) -> frozenset[str]:
        return frozenset() if self.reader is None else frozenset({self.reader})

    def __post_init__(self) -> None:
        check_integer("num_reruns", self.num_reruns, 1)
        check_discount(self.discount)
        check_choice("unit", self.unit, UNITS)

    def claims(self, discount: float) -> frozenset[str]:
        exact = self.reader is None and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def give(self, key, world, batch):
        world = required(world, self)
        owner, number = players(world, self.unit)
        check_integer(f"number of {self.unit}s", number, 1, MAX_PLAYERS)
        member, share = _coalitions(number)
        discount = discount_of(world, batch, self.discount)
        *rows, _ = batch.action.shape
        shape = (*rows, number)

        def add(
            so_far: tuple[Array, Cost],
            now: tuple[Array, Array],
        ) -> tuple[tuple[Array, Cost], None]:
            total, used = so_far
            present, weight = now
            played = present[owner]
            keep = jnp.broadcast_to(played, batch.action.shape)
            if self.reader is not None:
                value, more = read(key, world, batch, keep, self.reader)
            else:
                value, more = replayed(key, world, batch, keep, self.num_reruns, discount)
            weight = jnp.broadcast_to(weight, shape)
            total = total + value[..., None] * weight
            return (total, add_costs(used, more)), None

        nothing = jnp.zeros(shape, batch.reward.dtype)
        share = jnp.asarray(share, nothing.dtype)
        coalitions = (jnp.asarray(member), share)
        empty = (nothing, cost())
        sums, _ = jax.lax.scan(add, empty, coalitions)
        total, used = sums
        credit = segment_broadcast(total, owner)
        credit = jnp.where(batch.live, credit, 0.0)
        return credit, used


def _coalitions(players: int) -> tuple[np.ndarray, np.ndarray]:
    """All coalitions `[2^G, G]`, and what v of each counts in the value of each player."""
    number = np.arange(2**players)[:, None]
    bits = number >> np.arange(players)
    member = bits % 2 == 1
    size = member.sum(axis=1)
    orders = math.factorial(players)
    before = [math.factorial(k) for k in range(players)]
    after = before[::-1]
    without = [x * y for x, y in zip(before, after, strict=True)]
    # A coalition with the player is one larger than the same without it.
    joined = np.array([0, *without]) / orders
    missed = np.array([*without, 0]) / orders
    gain = joined[size][:, None]
    loss = missed[size][:, None]
    share = np.where(member, gain, -loss)
    return member, share
