"""AgentPRM: a table of what turns promise, fitted to TD targets of a critic.

In maths, on fresh rollouts, with A_k the advantage of turn k by GAE(lambda) over turns and V(h_k)
the critic: a table Q(h, a) of the turn's last decision is fitted by

    sum_k (Q_k - (A_k + V(h_k)))^2 + beta sum_k (Q_k - Q_{k-1} - A_k)^2.

Q is the promise of a turn and Q_k - Q_{k-1} its progress; before the first turn stands V(h_0). With
certain transitions and a reward at the end the progress is the advantage; else it also holds the
luck of the transition before, a function of the history.

References:
    Xi et al. 2025, arXiv:2511.08325 (AgentPRM), second-hand: which terms the second sum pairs is
    not known for sure. Kingma and Ba 2015, arXiv:1412.6980 (Adam).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import add_costs, cost, count, required, rows_of, time_of
from casim.estimators.sources.tables import TableCritic
from casim.estimators.sources.turns import (
    first_decisions,
    following,
    last_decisions,
    spread,
    stretches,
)
from casim.ops import Discount, class_mean, class_value
from casim.recurrence import affine_scan
from casim.simulate import World
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Promise(TableCritic):
    """The progress or the promise of each turn, by a table that is fitted to TD targets.

    The critic, and then the table, are fitted to the same fresh rollouts. What the policy never did
    in them promises what others do at its step.

    Attributes:
        lambda_: of the targets, in [0, 1].
        fit: "monte_carlo", "td", or "traces". This and the next are those of `TableCritic`.
        num_rollouts: fresh rollouts for the fit, or 0 for the scored batch itself.
        critic_lambda: of the TD fit, in [0, 1].
        num_sweeps: of the TD fit, at least 1.
        learning_rate: of the TD fit, in (0, 1].
        discount: of values and targets, in [0, 1]; None is the world's, see `discount_of`.
        gives: "progress" or "promise".
        beta: of the second sum, at least 0.
        num_updates: Adam steps, at least 1.
        step_size: of Adam, positive.

    Raises:
        ValueError: a setting out of its range.
    """

    gives: Literal["progress", "promise"] = "progress"
    beta: float = 1.0
    num_updates: int = 100
    step_size: float = 0.01
    granularity: ClassVar[str] = "turn"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("gives", self.gives, ("progress", "promise"))
        check_range("beta", self.beta, 0.0, math.inf)
        check_integer("num_updates", self.num_updates, 1)
        check_range("step_size", self.step_size, 1e-8, math.inf)

    def give(self, key, world, batch):
        world = required(world, self)
        discount = self.discounts(world, batch)
        data, used = batch, cost()
        if self.num_rollouts > 0:
            fresh = world.rollout(key, self.num_rollouts)
            one_prompt = jax.tree.map(lambda x: x[None], fresh)
            data = world.attach(one_prompt)
            used = cost(env_steps=count(fresh.live))
        critic = self._table(rows_of(data), discount, world.num_observations)
        value = class_value(critic, data.observation)
        table, ends = self._promises(world, data, value, discount)
        start = class_value(critic, batch.observation)
        updates = self.num_updates * count(ends)
        sweeps = 1
        if self.fit == "td":
            sweeps = self.num_sweeps
        swept = sweeps * count(data.live)
        paid = cost(critic_updates=updates + swept)
        total = add_costs(used, paid)
        return self._credit(table, start, world, batch), total

    def advantage(self, batch, value, discount):
        begins = first_decisions(batch, batch.turn)
        over = stretches(batch, begins, discount)
        later = following(value, begins)
        total = over.advantage(begins, value, later, self.lambda_)
        return spread(total, begins)

    def _promises(
        self,
        world: World,
        data: Batch,
        value: Float[Array, "P N T"],
        discount: Discount,
    ) -> tuple[Float[Array, "T C"], Bool[Array, "P N T"]]:
        """The table, and the ends of turns that it is fitted to."""
        import optax

        value = jnp.where(data.live, value, 0.0)
        advantage = self.advantage(data, value, discount)
        begins = first_decisions(data, data.turn)
        target = advantage + spread(value, begins)
        at = _ends(world, data)
        size = world.num_observations * world.num_actions

        def loss(table: Array) -> Array:
            promise, before = at.read(table)
            wrong = promise - target
            wrong = jnp.where(at.ends, wrong, 0.0)
            step = promise - before - advantage
            later = at.ends & ~at.first
            step = jnp.where(later, step, 0.0)
            of_wrong = jnp.sum(wrong**2)
            of_step = jnp.sum(step**2)
            total = of_wrong + self.beta * of_step
            number = jnp.sum(at.ends)
            return total / jnp.maximum(number, 1)

        optimiser = optax.adam(self.step_size)

        def update(carry, _):
            table, state = carry
            slope = jax.grad(loss)(table)
            change, state = optimiser.update(slope, state)
            table = table + jnp.asarray(change)
            return (table, state), None

        def by_rows(x: Array) -> Array:
            return x.reshape(-1, x.shape[-1])

        # What is best without the second sum.
        table = class_mean(
            by_rows(target),
            by_rows(at.cell),
            by_rows(at.ends),
            size,
        )
        start = table, optimiser.init(table)
        (table, _), _ = jax.lax.scan(update, start, length=self.num_updates)
        return table, at.ends

    def _credit(
        self,
        table: Float[Array, "T C"],
        start: Float[Array, "P N T"],
        world: World,
        batch: Batch,
    ) -> Float[Array, "P N T"]:
        """What each step of a turn is worth: what the table says at the end of the turn."""
        at = _ends(world, batch)
        promise, before = at.read(table)
        begins = first_decisions(batch, batch.turn)
        of_first = spread(start, begins)
        before_turn = jnp.where(at.first, of_first, before)
        gain = promise - before_turn
        given = gain if self.gives == "progress" else promise
        of_turn = affine_scan(0.0, given, at.ends, reverse=True)
        counted = batch.counted[..., None]
        shown = batch.decided & counted
        return jnp.where(shown, of_turn, 0.0)


class _Ends(NamedTuple):
    """The last decisions of turns, and where in a table they and those before them stand."""

    ends: Bool[Array, "P N T"]
    first: Bool[Array, "P N T"]
    """No turn ended before."""
    time: Int[Array, "P N T"]
    cell: Int[Array, "P N T"]
    time_before: Int[Array, "P N T"]
    cell_before: Int[Array, "P N T"]

    def read(self, table: Float[Array, "T C"]) -> tuple[Array, Array]:
        """What a table says of each step as an end, and of the end before it."""
        promise = table[self.time, self.cell]
        before = table[self.time_before, self.cell_before]
        return promise, before


def _ends(
    world: World,
    batch: Batch,
) -> _Ends:
    ends = last_decisions(batch)
    time = time_of(batch)
    observation = batch.observation.astype(jnp.int32)
    cell = observation * world.num_actions + batch.action
    ended = jnp.cumsum(ends, axis=-1) - ends
    number = time.astype(batch.reward.dtype)
    before = affine_scan(0.0, number, ends, exclusive=True)
    before = before.astype(jnp.int32)
    cell_before = jnp.take_along_axis(cell, before, axis=-1)
    return _Ends(ends, ended == 0, time, cell, before, cell_before)
