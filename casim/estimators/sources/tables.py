"""Critics that are tables over (step, observation): given by the batch, or fitted inside the call.

In maths: a log may bring its values v(o_t); else v is fitted to fresh rollouts, which are charged.
Monte Carlo fit: v = the mean return-to-go of the cell. TD(lambda) fit: sweeps of
v <- v + rate (mean lambda-return of the cell - v), from v = 0. Traces: v <- v + rate delta_t e,
step by step along each rollout, e <- discount lambda e, and 1 more in the cell of the step.

References:
    Sutton 1988 (TD(lambda)).
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    count,
    discount_of,
    required,
    rows_of,
)
from casim.ops import Discount, class_mean, class_value, gae, returns_to_go, shift_left
from casim.simulate import World
from casim.targets import Advantage, Target
from casim.types import Batch, Cost, Trajectory


@dataclasses.dataclass(frozen=True)
class TableCritic(Source):
    """What makes credit of the values of a table; subclasses say how, in `advantage`.

    The values are those of the batch, where it has some. Else they are fitted to rollouts of their
    own, which keeps them independent of the scored batch.

    Attributes:
        lambda_: of the advantage, in [0, 1].
        fit: "monte_carlo", "td", or "traces"; of a batch without values.
        num_rollouts: fresh rollouts for the fit; 0 fits to the scored batch itself, which costs
            nothing but makes the baseline depend on the scored action.
        critic_lambda: of the TD fit, in [0, 1].
        num_sweeps: of the TD fit, at least 1.
        learning_rate: of the TD fit, in (0, 1].
        discount: of values and advantage, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    lambda_: float = 0.95
    fit: Literal["monte_carlo", "td", "traces"] = "monte_carlo"
    num_rollouts: int = 16
    critic_lambda: float = 0.95
    num_sweeps: int = 10
    learning_rate: float = 0.5
    discount: float | None = None
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic"})

    def __post_init__(self) -> None:
        check_choice("fit", self.fit, ("monte_carlo", "td", "traces"))
        check_integer("num_rollouts", self.num_rollouts, 0)
        check_integer("num_sweeps", self.num_sweeps, 1)
        check_range("lambda_", self.lambda_, 0.0, 1.0)
        check_range("critic_lambda", self.critic_lambda, 0.0, 1.0)
        check_range("learning_rate", self.learning_rate, 1e-6, 1.0)
        check_discount(self.discount)

    @abc.abstractmethod
    def advantage(
        self,
        batch: Batch,
        value: Float[Array, "P N T"],
        discount: Discount,
    ) -> Float[Array, "P N T"]:
        """What each step is worth by these values, 0 where not live."""

    def discounts(self, world: World | None, batch: Batch) -> Discount:
        """What each step discounts."""
        return discount_of(world, batch, self.discount)

    def values(
        self,
        key: Key[Array, ""],
        world: World | None,
        batch: Batch,
    ) -> tuple[Float[Array, "P N T"], Cost]:
        """The value of each step, and what the fit used."""
        if batch.value is not None:
            return batch.value, cost()
        discount = self.discounts(world, batch)
        return self._fitted(key, required(world, self), batch, discount)

    def give(self, key, world, batch):
        value, used = self.values(key, world, batch)
        return self.advantage(batch, value, self.discounts(world, batch)), used

    def _fitted(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        discount: Discount,
    ) -> tuple[Float[Array, "P N T"], Cost]:
        """The table's value of each step, and what the fit used."""
        fresh = self.num_rollouts > 0
        data = world.rollout(key, self.num_rollouts) if fresh else rows_of(batch)
        used = count(data.live) if fresh else 0.0
        table = self._table(data, discount, world.policy.shape[1])
        sweeps = self.num_sweeps if self.fit == "td" else 1
        updates = sweeps * count(data.live)
        value = class_value(table, batch.observation)
        return value, cost(env_steps=used, critic_updates=updates)

    def _table(
        self,
        data: Trajectory,
        discount: Discount,
        size: int,
    ) -> Float[Array, "T O"]:
        """The fitted critic."""
        if self.fit == "traces":
            return self._traced(data, discount, size)
        if self.fit == "monte_carlo":
            future = returns_to_go(data.reward, discount, data.live)
            return class_mean(future, data.observation, data.live, size)

        def sweep(table: Array, _) -> tuple[Array, None]:
            value = class_value(table, data.observation)
            rest = gae(data.reward, value, data.live, discount, self.critic_lambda)
            mean = class_mean(value + rest, data.observation, data.live, size)
            return table + self.learning_rate * (mean - table), None

        table = jnp.zeros((data.reward.shape[-1], size), data.reward.dtype)
        return jax.lax.scan(sweep, table, None, length=self.num_sweeps)[0]

    def _traced(
        self,
        data: Trajectory,
        discount: Discount,
        size: int,
    ) -> Float[Array, "T O"]:
        """The table after one pass of online TD(lambda) over the rollouts, one after the other."""
        steps = data.reward.shape[-1]
        each = jnp.broadcast_to(discount, data.reward.shape).astype(data.reward.dtype)
        following = shift_left(data.observation)
        goes_on = shift_left(data.live, False)
        time = jnp.broadcast_to(jnp.arange(steps), data.reward.shape)
        rows = (time, data.observation, following, data.reward, each, data.live, goes_on)

        def step(
            carry: tuple[Array, Array],
            now: Any,
        ) -> tuple[tuple[Array, Array], None]:
            table, trace = carry
            t, seen, then, reward, factor, live, on = now
            # No trace outlives its rollout.
            trace = jnp.where(t == 0, 0.0, trace)
            trace = trace.at[t, seen].add(1.0)
            following = jnp.minimum(t + 1, steps - 1)
            after = jnp.where(on, table[following, then], 0.0)
            error = reward + factor * after - table[t, seen]
            learned = table + self.learning_rate * error * trace
            table = jnp.where(live, learned, table)
            return (table, factor * self.critic_lambda * trace), None

        flat = jax.tree.map(lambda x: x.reshape(-1), rows)
        zero = jnp.zeros((steps, size), data.reward.dtype)
        return jax.lax.scan(step, (zero, zero), flat)[0][0]
