"""Shapley values of segments, turns or agents in the interventional game, by permutation sampling.

In maths: v(S) = E[R | s_0, a_t as taken for t in the units of S, a_t ~ pi elsewhere], the
environment's noise drawn afresh; phi_i = mean over random orders of v(before i, and i) - v(before
i). Every v(S) is one rerun per order, and the reruns of one order share their noise. Every step of
a unit receives the unit's value.

In the feature game v(S) is instead what a judge says of the text of the trajectory in which the
steps of all other segments are blank: nothing is played again.

Owen values are the mean over those orders only that keep the segments of a turn together.

References:
    Shapley 1953; Owen 1977 (values of games with unions); Castro, Gomez and Tejada 2009
    (permutation sampling); Cao et al. 2025, arXiv:2505.20417 (SCAR: Shapley and Owen values of text
    segments).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim import targets
from casim.checks import check_choice, check_integer
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    count,
    discount_of,
    episode_return,
    keeps_discount,
    required,
)
from casim.estimators.sources.players import UNITS, Unit, players
from casim.ops import segment_broadcast
from casim.simulate import World
from casim.types import BLANK, Batch, Cost


@final
@dataclasses.dataclass(frozen=True)
class Shapley(Source):
    """Permutation-sampled Shapley values of units: unbiased for them, not for the advantage.

    (The advantage is the marginal in the order of time only; other orders put later units first.)

    Attributes:
        num_permutations: orders drawn for each trajectory, at least 1.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.
        unions: only orders that keep together the segments that begin in one turn: Owen values,
            which have no exact target.
        reader: the name of the judge that reads masked text, of the feature game, which has no
            exact target but its own; None is the interventional game.
        unit: who plays: each "segment", "turn" or "agent"; unions are of segments.

    Raises:
        ValueError: a setting out of its range.
    """

    num_permutations: int = 4
    discount: float | None = None
    unions: bool = False
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
        check_integer("num_permutations", self.num_permutations, 1)
        check_choice("unit", self.unit, UNITS)
        if self.unions:
            check_choice("unit of unions", self.unit, ("segment",))
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        exact = not self.unions and self.reader is None and keeps_discount(self.discount, discount)
        return self.unbiased if exact else frozenset()

    def give(self, key, world, batch):
        world = required(world, self)
        key_order, key_noise = jax.random.split(key)
        owner, number = players(world, self.unit)
        rows = batch.action.shape[:-1]
        shape = (self.num_permutations, *rows, number)
        draws = jax.random.uniform(key_order, shape, jnp.float32)
        if self.unions:
            draws = draws + self._turns_first(key_order, rows, world)
        rank = _places(draws)

        def one_order(inputs: tuple[Array, Array]) -> tuple[Array, Cost]:
            return self._marginals(*inputs, world, batch)

        keys = jax.random.split(key_noise, self.num_permutations)
        marginal, used = jax.lax.map(one_order, (keys, rank))
        credit = segment_broadcast(jnp.mean(marginal, axis=0), owner)
        return jnp.where(batch.live, credit, 0.0), jax.tree.map(jnp.sum, used)

    def _turns_first(
        self,
        key: Array,
        rows: tuple[int, ...],
        world: World,
    ) -> Int[Array, "M *rows G"]:
        """The place of each segment's turn in an order of turns: it comes before all else."""
        own_key = jax.random.fold_in(key, 0)
        shape = (self.num_permutations, *rows, world.num_turns)
        draws = jax.random.uniform(own_key, shape, jnp.float32)
        segments = jnp.arange(world.num_segments)
        first = jnp.searchsorted(world.segment, segments)
        turn = world.turn[first]
        return _places(draws)[..., turn]

    def _marginals(
        self,
        key: Array,
        rank: Array,
        world: World,
        batch: Batch,
    ) -> tuple[Array, Cost]:
        """Marginal of each unit `[P, N, G]` in one order per trajectory, and what they cost."""
        owner, number = players(world, self.unit)
        discount = discount_of(world, batch, self.discount)

        def coalition(size: Array) -> tuple[Array, Cost]:
            keep = segment_broadcast(rank < size, owner)
            if self.reader is not None:
                return read(key, world, batch, keep, self.reader)
            return replayed(key, world, batch, keep, 1, discount)

        value, used = jax.lax.map(coalition, jnp.arange(number + 1))
        value = jnp.moveaxis(value, 0, -1)
        gain = jnp.diff(value, axis=-1)  # of the unit at each place of the order
        return jnp.take_along_axis(gain, rank, axis=-1), jax.tree.map(jnp.sum, used)


def game_needs(reader: str | None) -> frozenset[str]:
    """A judge where masked text is read, else the way back to the start."""
    return frozenset({"reset"} if reader is None else {"judge"})


def replayed(
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    keep: Bool[Array, "P N T"],
    num: int,
    discount: Array | float,
) -> tuple[Float[Array, "P N"], Cost]:
    """The mean return of so many reruns with some actions as taken, and what they cost."""
    rerun = world.intervene(key, batch, keep, num)
    returns = episode_return(rerun, discount)
    return jnp.mean(returns, axis=-1), cost(env_steps=count(rerun.live))


def read(
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    keep: Bool[Array, "P N T"],
    reader: str,
) -> tuple[Float[Array, "P N"], Cost]:
    """What a judge says of each trajectory with the other steps blank, and what that cost."""
    blank = jnp.full_like(batch.action, BLANK)
    masked = batch._replace(
        observation=jnp.where(keep, batch.observation, blank.astype(batch.observation.dtype)),
        action=jnp.where(keep, batch.action, blank),
        reward=jnp.zeros_like(batch.reward),
    )
    said = world.judge(key, masked, reader)
    # One word for the whole text, said at every step of it.
    texts = math.prod(batch.action.shape[:-1])
    return said[..., 0], cost(judge_calls=texts)


def _places(draws: Float[Array, "*rows G"]) -> Int[Array, "*rows G"]:
    """Each one's place in the order of the draws."""
    order = jnp.argsort(draws, axis=-1)
    return jnp.argsort(order, axis=-1)
