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
        over = mdp.terminal[None, :, None]
        running = jnp.where(over, 0.0, mdp.emission)
        return cls(
            matrix=transition_matrix(mdp),
            likelihood=running.swapaxes(1, 2),
        )

    def advance(
        self,
        rows: Float[Array, "L R S"],
        now: Evidence,
    ) -> Float[Array, "L R S"]:
        """P(state before the step) times P(state and observation at it), not normalised.

        Step 0 does not move.
        """
        moves = self.matrix[now.previous, :, now.action]
        moved = jnp.einsum("lrs,lsz->lrz", rows, moves, precision="highest")
        begins = now.index == 0
        at_start = begins[:, None, None]
        prior = jnp.where(at_start, rows, moved)
        likely = self.likelihood[now.kernel, now.observation]
        return prior * likely[:, None, :]


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
    num_rows = step.shape[0]
    rows = jnp.arange(num_rows)
    block = step // _blocks(mdp).length

    def of_own_block(x: Array) -> Array:
        lanes = jnp.swapaxes(x, 0, 1)
        return lanes[:, block, rows]

    mine = jax.tree.map(of_own_block, blocks)

    def update(
        belief: Array,
        now: Evidence,
    ) -> tuple[Array, None]:
        within = now.index <= step
        after = _posterior(table, belief, now)
        belief = jnp.where(within[:, None], after, belief)
        return belief, None

    start_of_own = before[block, rows]
    belief, _ = jax.lax.scan(update, start_of_own, mine)
    return belief


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
    lanes_number = number * rows
    lanes_before = before.reshape(lanes_number, -1)
    _, found = jax.lax.scan(update, lanes_before, lanes)
    by_block = found.reshape(length, number, rows, -1)
    belief = jnp.transpose(by_block, (2, 1, 0, 3))
    return join(belief, _blocks(mdp), axis=1)


def redraw(
    belief: Float[Array, "N S"],
    noise: Float[Array, " N"],
) -> Int[Array, " N"]:
    """A state from each belief."""
    cuts = thresholds(belief)
    return draw(cuts, noise)


def _starts(
    table: Filter,
    mdp: MDP,
    batch: Trajectory,
    start: Array,
) -> tuple[Evidence, Float[Array, "B N S"]]:
    """The evidence in blocks `[B, L, N]`, and the belief that each block starts from."""
    (steps,) = mdp.schedule.shape
    rows = batch.action.shape[0]
    shape = (rows, steps)
    cuts = _blocks(mdp)

    def split(x: Array) -> Array:
        each = jnp.broadcast_to(x, shape)
        each = each.astype(jnp.int32)
        blocks = cut(each, cuts, axis=1, fill=-1)
        return jnp.moveaxis(blocks, 0, -1)

    def before(x: Array) -> Array:
        first = x[..., :1]
        others = x[..., :-1]
        return jnp.concatenate([first, others], axis=-1)

    def of_all(x: Array) -> Array:
        return x[None]

    blocks = Evidence(
        index=split(of_all(jnp.arange(steps))),
        kernel=split(of_all(mdp.schedule)),
        observation=split(batch.observation),
        previous=split(of_all(before(mdp.schedule))),
        action=split(before(batch.action)),
    )
    states = start.shape[-1]
    shape_of_first = (rows, states)
    first = jnp.broadcast_to(start, shape_of_first)
    if cuts.number == 1:
        return blocks, first[None]

    def through(belief: Array, map_: tuple[Array, Array]) -> Array:
        return _through(belief, *map_)

    maps = _fold(table, blocks, states)
    return blocks, starts(through, first, maps)


def _blocks(mdp: MDP) -> Blocks:
    steps = mdp.schedule.shape[0]
    whole = steps <= numbers().filtered
    if whole:
        return Blocks.of_number(steps, 1)
    return Blocks.roots(steps)


def _side_by_side(x: Array) -> Array:
    """Steps within a block on the first axis, all blocks of all rows on the second."""
    number, length, rows = x.shape
    by_step = jnp.swapaxes(x, 0, 1)
    return by_step.reshape(length, number * rows)


def _fold(
    table: Filter,
    blocks: Evidence,
    states: int,
) -> tuple[Float[Array, "B N S S"], Int[Array, "B N S"]]:
    """What each block makes of each state: rows, each to be multiplied by its power of two."""
    number, _, rows = blocks.index.shape
    shape = (number, rows, states, states)
    dtype = table.matrix.dtype
    itself = jnp.eye(states, dtype=dtype)
    rows_of_all = jnp.broadcast_to(itself, shape)

    def step(
        carry: tuple[Array, Array],
        now: Evidence,
    ) -> tuple[Array, Array]:
        row, power = carry
        joint = table.advance(row, now)
        mass = jnp.sum(joint, axis=-1)
        _, change = jnp.frexp(mass)
        fills_up = now.index < 0
        keep = fills_up[:, None]
        down = -change[..., None]
        scaled = jnp.ldexp(joint, down)
        kept = keep[..., None]
        row = jnp.where(kept, row, scaled)
        raised = power + change
        power = jnp.where(keep, power, raised)
        return row, power

    each = shape[:3]
    powers = jnp.zeros(each, jnp.int32)
    return fold(step, (rows_of_all, powers), blocks)


def _through(
    belief: Float[Array, "N S"],
    row: Float[Array, "N S S"],
    power: Int[Array, "N S"],
) -> Float[Array, "N S"]:
    """The belief after a block."""
    mass = jnp.sum(row, axis=-1)
    reached = mass > 0
    alive = (belief > 0) & reached
    lowest = jnp.iinfo(jnp.int32).min
    of_alive = jnp.where(alive, power, lowest)
    largest = jnp.max(of_alive, axis=-1, keepdims=True)
    apart = power - largest
    below = jnp.where(alive, apart, 0)
    scaled = jnp.ldexp(belief, below)
    weight = jnp.where(alive, scaled, 0.0)
    joint = jnp.einsum("ns,nsz->nz", weight, row, precision="highest")
    return _normalise(joint)


def _posterior(
    table: Filter,
    belief: Float[Array, "L S"],
    now: Evidence,
) -> Float[Array, "L S"]:
    """The belief after a step; unchanged by what fills up a block."""
    rows = belief[:, None, :]
    joint = table.advance(rows, now)
    after = _normalise(joint[:, 0])
    fills_up = now.index < 0
    kept = fills_up[:, None]
    return jnp.where(kept, belief, after)


def _normalise(joint: Float[Array, "L S"]) -> Float[Array, "L S"]:
    total = jnp.sum(joint, axis=-1, keepdims=True)
    possible = total > 0
    safe = jnp.where(possible, total, 1.0)
    return joint / safe
