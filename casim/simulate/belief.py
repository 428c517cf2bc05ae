"""The hidden state given what was observed: redrawn when a prefix is re-fed instead of restored.

In maths,

    b_0(s) ~ P(s_0 = s) P(o_0 | s),
    b_{t+1}(s') ~ P(o_{t+1} | s') sum_s b_t(s) P(s' | s, a_t),

normalised, over the states in which the episode still runs. Rewards are not part of what was
observed.

A run of steps is an S x S matrix: what the filter makes of each state, and how likely the
observations were from it. So a long sequence is cut into about sqrt(T) blocks whose matrices are
made side by side, and each block then starts from the belief that the blocks before it left: a
depth of about 3 sqrt(T) steps. Rows are scaled apart by powers of two, which rounds nothing, so
that a state that was unlikely for a while is not lost.

References:
    Kaelbling, Littman and Cassandra 1998 (the filter); Sarkka and Garcia-Fernandez 2021,
    arXiv:1905.13002 (filters as associative products). The blocks are casim's own.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.blocks import Blocks, cut, fold, join, starts
from casim.platforms import numbers
from casim.simulate.noise import draw, thresholds
from casim.sums import outcome_sum
from casim.types import MDP, Trajectory


class Evidence(NamedTuple):
    """What the filter reads at each step, `[T, N]` or in blocks; -1 fills up the last block."""

    index: Int[Array, "*steps"]
    kernel: Int[Array, "*steps"]
    observation: Int[Array, "*steps"]
    previous: Int[Array, "*steps"]
    """Kernel of the step before."""
    action: Int[Array, "*steps"]
    """Action of the step before."""


class Filter(NamedTuple):
    """The tables of the filter."""

    matrix: Float[Array, "M S A S"]
    likelihood: Float[Array, "M O S"]
    """P(o | s) where the episode still runs."""

    @classmethod
    def make(
        cls,
        mdp: MDP,
    ) -> Filter:
        running = jnp.where(mdp.terminal[None, :, None], 0.0, mdp.emission)
        return cls(transition_matrix(mdp), running.swapaxes(1, 2))

    def advance(
        self,
        rows: Float[Array, "L R S"],
        now: Evidence,
    ) -> Float[Array, "L R S"]:
        """P(state before the step) times P(state and observation at it), not normalised.

        Step 0 does not move.
        """
        move = self.matrix[now.previous, :, now.action]
        moved = jnp.einsum("lrs,lsz->lrz", rows, move, precision="highest")
        prior = jnp.where((now.index == 0)[:, None, None], rows, moved)
        return prior * self.likelihood[now.kernel, now.observation][:, None, :]


def transition_matrix(mdp: MDP) -> Float[Array, "M S A S"]:
    """P(s' | s, a) as a dense table, successors that repeat added up."""
    states = mdp.terminal.shape[0]
    return outcome_sum(mdp.prob, mdp.successor, states)


def filter_to(
    mdp: MDP,
    batch: Trajectory,
    step: Int[Array, " N"],
    start: Float[Array, " S"] | Float[Array, "N S"],
) -> Float[Array, "N S"]:
    """Belief over the state at each row's own step, given its observations and actions until then.

    The observation at the step is among them, its action is not. `start` is the belief before the
    first observation. Where the prefix is impossible under it the belief is 0.
    """
    table = Filter.make(mdp)
    blocks, before = _starts(table, mdp, batch, start)
    rows = jnp.arange(step.shape[0])
    block = step // _blocks(mdp).length
    mine = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1)[:, block, rows], blocks)

    def update(
        belief: Array,
        now: Evidence,
    ) -> tuple[Array, None]:
        return jnp.where((now.index <= step)[:, None], _posterior(table, belief, now), belief), None

    return jax.lax.scan(update, before[block, rows], mine)[0]


def filter_all(
    mdp: MDP,
    batch: Trajectory,
    start: Float[Array, "N S"],
) -> Float[Array, "N T S"]:
    """Belief at every step, from that before o_0 on.

    0 from where the observations are impossible.
    """
    table = Filter.make(mdp)
    blocks, before = _starts(table, mdp, batch, start)
    number, length, rows = blocks.index.shape

    def update(
        belief: Array,
        now: Evidence,
    ) -> tuple[Array, Array]:
        belief = _posterior(table, belief, now)
        return belief, belief

    lanes = jax.tree.map(_side_by_side, blocks)
    _, belief = jax.lax.scan(update, before.reshape(number * rows, -1), lanes)
    belief = jnp.transpose(belief.reshape(length, number, rows, -1), (2, 1, 0, 3))
    return join(belief, _blocks(mdp), axis=1)


def redraw(
    belief: Float[Array, "N S"],
    noise: Float[Array, " N"],
) -> Int[Array, " N"]:
    """A state from each belief."""
    return draw(thresholds(belief), noise)


def _starts(
    table: Filter,
    mdp: MDP,
    batch: Trajectory,
    start: Array,
) -> tuple[Evidence, Float[Array, "B N S"]]:
    """The evidence in blocks `[B, L, N]`, and the belief that each block starts from."""
    steps, rows = mdp.schedule.shape[0], batch.action.shape[0]
    cuts = _blocks(mdp)

    def split(x: Array) -> Array:
        each = jnp.broadcast_to(x, (rows, steps)).astype(jnp.int32)
        return jnp.moveaxis(cut(each, cuts, axis=1, fill=-1), 0, -1)

    def before(x: Array) -> Array:
        return jnp.concatenate([x[..., :1], x[..., :-1]], axis=-1)

    evidence = (
        jnp.arange(steps),
        mdp.schedule,
        batch.observation,
        before(mdp.schedule),
        before(batch.action),
    )
    blocks = Evidence(*(split(x if x.ndim > 1 else x[None]) for x in evidence))
    states = start.shape[-1]
    first = jnp.broadcast_to(start, (rows, states))
    if cuts.number == 1:
        return blocks, first[None]
    maps = _fold(table, blocks, states)
    return blocks, starts(lambda belief, map_: _through(belief, *map_), first, maps)


def _blocks(mdp: MDP) -> Blocks:
    steps = mdp.schedule.shape[0]
    whole = steps <= numbers().filtered
    return Blocks.of_number(steps, 1) if whole else Blocks.roots(steps)


def _side_by_side(x: Array) -> Array:
    """Steps within a block on the first axis, all blocks of all rows on the second."""
    number, length, rows = x.shape
    return jnp.swapaxes(x, 0, 1).reshape(length, number * rows)


def _fold(
    table: Filter,
    blocks: Evidence,
    states: int,
) -> tuple[Float[Array, "B N S S"], Int[Array, "B N S"]]:
    """What each block makes of each state: rows, each to be multiplied by its power of two."""
    number, _, rows = blocks.index.shape
    eye = jnp.eye(states, dtype=table.matrix.dtype)
    eye = jnp.broadcast_to(eye, (number, rows, states, states))

    def step(
        carry: tuple[Array, Array],
        now: Evidence,
    ) -> tuple[Array, Array]:
        row, power = carry
        joint = table.advance(row, now)
        change = jnp.frexp(jnp.sum(joint, axis=-1))[1]
        keep = (now.index < 0)[:, None]
        row = jnp.where(keep[..., None], row, jnp.ldexp(joint, -change[..., None]))
        return row, jnp.where(keep, power, power + change)

    return fold(step, (eye, jnp.zeros(eye.shape[:3], jnp.int32)), blocks)


def _through(
    belief: Float[Array, "N S"],
    row: Float[Array, "N S S"],
    power: Int[Array, "N S"],
) -> Float[Array, "N S"]:
    """The belief after a block."""
    alive = (belief > 0) & (jnp.sum(row, axis=-1) > 0)
    largest = jnp.max(jnp.where(alive, power, jnp.iinfo(jnp.int32).min), axis=-1, keepdims=True)
    weight = jnp.where(alive, jnp.ldexp(belief, jnp.where(alive, power - largest, 0)), 0.0)
    return _normalise(jnp.einsum("ns,nsz->nz", weight, row, precision="highest"))


def _posterior(
    table: Filter,
    belief: Float[Array, "L S"],
    now: Evidence,
) -> Float[Array, "L S"]:
    """The belief after a step; unchanged by what fills up a block."""
    after = _normalise(table.advance(belief[:, None, :], now)[:, 0])
    return jnp.where((now.index < 0)[:, None], belief, after)


def _normalise(joint: Float[Array, "L S"]) -> Float[Array, "L S"]:
    total = jnp.sum(joint, axis=-1, keepdims=True)
    return joint / jnp.where(total > 0, total, 1.0)
