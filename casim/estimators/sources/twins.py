"""ArCHer: two critics of turns, fitted off policy to a buffer, and the lower of each.

In maths, for critics i = 1, 2, tables Q_i(h, a) of a turn's last decision and V_i(h) of its first,
with slow copies Qbar <- (1 - tau) Qbar + tau Q, on a buffer of rollouts of the behaviour:

    Q_i(h, a) -> R + D Vbar_i(h'),      V_i(h) -> Qbar_i(h, a'),  a' ~ pi,
    A = min(Q_1, Q_2) - min(V_1, V_2),

R what the turn earns and D the discount of a turn, however many tokens it has. Each epoch a critic
takes a step to the mean of its targets in each cell, over as many rollouts as the buffer has, drawn
with replacement for it alone.

Where both estimates have independent Gaussian errors of deviation sigma_Q and sigma_V, E[A] is the
advantage - (sigma_Q - sigma_V) / sqrt(pi): pessimism cancels only if they are as noisy.

References:
    Zhou et al. 2024, arXiv:2402.19446 (ArCHer), and its code. The table is casim's stand-in for its
    networks, and the formula of pessimism is derived here.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_integer, check_range
from casim.estimators.base import Source, check_discount, cost, count, required
from casim.estimators.sources.turns import (
    clocked,
    first_decisions,
    following,
    last_decisions,
    spread,
    stretches,
)
from casim.ops import Discount, class_value
from casim.recurrence import affine_scan
from casim.simulate import World
from casim.sums import class_sum
from casim.targets import Advantage, Target
from casim.types import Batch, Trajectory

CRITICS = 2


@final
@dataclasses.dataclass(frozen=True)
class TwinCritics(Source):
    """The advantage of each turn by two critics of turns, on every token of it.

    The policy's own turns a' are played from the histories of the buffer, to the end of the turn,
    and charged. A turn that the buffer does not have gets 0.

    Attributes:
        num_rollouts: the buffer, at least 1.
        num_epochs: steps of each critic, at least 1.
        learning_rate: of a step to the mean target, in (0, 1].
        polyak: tau, of the slow copies, in (0, 1].
        discount: of values, per turn, in [0, 1]; None is the world's, which counts every step.

    Raises:
        ValueError: a setting out of its range.
    """

    num_rollouts: int = 32
    num_epochs: int = 50
    learning_rate: float = 0.5
    polyak: float = 0.1
    discount: float | None = None
    granularity: ClassVar[str] = "turn"
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic", "reset"})

    def __post_init__(self) -> None:
        check_integer("num_rollouts", self.num_rollouts, 1)
        check_integer("num_epochs", self.num_epochs, 1)
        check_range("learning_rate", self.learning_rate, 1e-6, 1.0)
        check_range("polyak", self.polyak, 1e-6, 1.0)
        check_discount(self.discount)

    def give(self, key, world, batch):
        world = required(world, self)
        discount = clocked(self.discount, "turn", world, batch)
        first, second, third = jax.random.split(key, 3)
        data = world.rollout(first, self.num_rollouts)
        buffer = _Buffer.of(second, world, data, discount)
        keys = jax.random.split(third, CRITICS)
        critics = jax.vmap(lambda own: self._fit(own, buffer))(keys)
        # Of each critic both tables, at every turn.
        tables = 2 * CRITICS
        updates = tables * self.num_epochs * count(buffer.begins)
        played = count(data.live) + buffer.played
        used = cost(env_steps=played, critic_updates=updates)
        return _credit(world, batch, buffer, critics), used

    def _fit(
        self,
        key: Key[Array, ""],
        buffer: _Buffer,
    ) -> _Tables:
        """One critic."""

        def epoch(
            carry: tuple[_Tables, _Tables],
            own: Key[Array, ""],
        ) -> tuple[tuple[_Tables, _Tables], None]:
            now, slow = carry
            times = self._drawn(own)
            value = class_value(slow.value, buffer.seen)
            later = following(value, buffer.begins)
            outcome = buffer.earned + buffer.passed * later
            q_value = self._step(
                now.q_value,
                outcome,
                buffer.cell,
                buffer.ends * times,
            )
            own_turn = slow.q_value[buffer.own_time, buffer.own_cell]
            value = self._step(
                now.value,
                own_turn,
                buffer.seen,
                buffer.begins * times,
            )
            now = _Tables(q_value, value)

            def closer(x: Array, y: Array) -> Array:
                return x + self.polyak * (y - x)

            slow = jax.tree.map(closer, slow, now)
            return (now, slow), None

        no_q_value = jnp.zeros_like(buffer.met)
        no_value = jnp.zeros_like(buffer.seen_before)
        nothing = _Tables(no_q_value, no_value)
        keys = jax.random.split(key, self.num_epochs)
        (fitted, _), _ = jax.lax.scan(epoch, (nothing, nothing), keys)
        return fitted

    def _drawn(
        self,
        key: Key[Array, ""],
    ) -> Float[Array, "N 1"]:
        """How often each rollout is drawn, with replacement."""
        number = self.num_rollouts
        drawn = jax.random.randint(key, (number,), 0, number)
        times = jnp.zeros(number).at[drawn].add(1.0)
        return times[:, None]

    def _step(
        self,
        table: Float[Array, "T C"],
        target: Float[Array, "N T"],
        cell: Int[Array, "N T"],
        weight: Float[Array, "N T"],
    ) -> Float[Array, "T C"]:
        """A step of the table to the mean target of each cell that was drawn."""
        size = table.shape[1]
        number = class_sum(weight, cell, size)
        total = class_sum(weight * target, cell, size)
        mean = total / jnp.maximum(number, 1.0)
        moved = table + self.learning_rate * (mean - table)
        return jnp.where(number > 0, moved, table)


class _Tables(NamedTuple):
    """One critic."""

    q_value: Float[Array, "T C"]
    """Of a turn's last observation and action, C = O A."""
    value: Float[Array, "T O"]


class _Buffer(NamedTuple):
    """Rollouts in turns: what critics are fitted to."""

    begins: Bool[Array, "N T"]
    ends: Bool[Array, "N T"]
    seen: Int[Array, "N T"]
    cell: Int[Array, "N T"]
    earned: Float[Array, "N T"]
    """Of the turn that ends here."""
    passed: Float[Array, "N T"]
    own_time: Int[Array, "N T"]
    """Where the turn that the policy plays from here ends."""
    own_cell: Int[Array, "N T"]
    met: Float[Array, "T C"]
    """1 for the ends that the buffer has."""
    seen_before: Float[Array, "T O"]
    """1 for the histories that turns begin with."""
    played: Float[Array, ""]

    @classmethod
    def of(
        cls,
        key: Key[Array, ""],
        world: World,
        data: Trajectory,
        discount: Discount,
    ) -> _Buffer:
        batch = world.attach(jax.tree.map(lambda x: x[None], data))
        begins = first_decisions(batch, batch.turn)
        over = stretches(batch, begins, discount)
        earned, passed = (spread(x, begins)[0] for x in over)
        begins, ends = begins[0], last_decisions(batch)[0]
        seen = data.observation.astype(jnp.int32)
        cell = _cell(world, data)
        time, own, played = _own_turns(key, world, data, begins)
        size = world.num_observations
        number = class_sum(ends.astype(float), cell, size * world.num_actions)
        begun = class_sum(begins.astype(float), seen, size)
        met, before = jnp.minimum(number, 1.0), jnp.minimum(begun, 1.0)
        return cls(
            begins,
            ends,
            seen,
            cell,
            earned,
            passed,
            own_time=time,
            own_cell=own,
            met=met,
            seen_before=before,
            played=played,
        )


def _own_turns(
    key: Key[Array, ""],
    world: World,
    data: Trajectory,
    begins: Bool[Array, "N T"],
) -> tuple[Int[Array, "N T"], Int[Array, "N T"], Float[Array, ""]]:
    """From each step that begins a turn: where the policy's own turn ends, its cell, and steps."""
    last = data.action.shape[-1] - 1
    steps = jnp.arange(last + 1)[None]

    def of_turn(
        inputs: tuple[Array, Array],
    ) -> tuple[Array, Array, Array]:
        own, number = inputs
        of_number = (world.turn == number)[None]
        here = begins & of_number
        since = jnp.argmax(here, axis=-1)
        branches = world.branch(own, data, since, 1)
        branch = jax.tree.map(lambda x: x[:, 0], branches)
        ahead = branch.live & (steps >= since[:, None])
        mine = ahead & world.decision[None] & of_number
        end = last - jnp.argmax(mine[:, ::-1], axis=-1)
        at_end = end[:, None]
        cells = jnp.take_along_axis(_cell(world, branch), at_end, axis=-1)
        cell = cells[:, 0]
        begun = jnp.any(here, axis=-1, keepdims=True)
        within = steps <= at_end
        played = count(ahead & begun & within)
        return end, cell, played

    numbers = jnp.arange(world.num_turns)
    keys = jax.random.split(key, world.num_turns)
    end, cell, played = jax.lax.map(of_turn, (keys, numbers))
    return end[world.turn].T, cell[world.turn].T, jnp.sum(played)


def _credit(
    world: World,
    batch: Batch,
    buffer: _Buffer,
    critics: _Tables,
) -> Float[Array, "P N T"]:
    """Min Q - min V of each turn of a batch, on its steps."""
    begins = first_decisions(batch, batch.turn)
    ends = last_decisions(batch)
    cell = _cell(world, batch)
    q_value = jax.vmap(lambda table: class_value(table, cell))(critics.q_value)
    value = jax.vmap(lambda table: class_value(table, batch.observation))(critics.value)
    advantage = lower(q_value) - spread(lower(value), begins)
    begun = class_value(buffer.seen_before, batch.observation)
    known = class_value(buffer.met, cell) * spread(begun, begins)
    of_turn = affine_scan(0.0, known * advantage, ends, reverse=True)
    shown = batch.decided & batch.counted[..., None]
    return jnp.where(shown, of_turn, 0.0)


def lower(
    estimate: Float[Array, "critics *shape"],
) -> Float[Array, "*shape"]:
    """The lower of the critics' estimates."""
    return jnp.min(estimate, axis=0)


def _cell(
    world: World,
    batch: Batch | Trajectory,
) -> Int[Array, "*rows T"]:
    return batch.observation.astype(jnp.int32) * world.num_actions + batch.action
