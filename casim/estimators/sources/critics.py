"""Generalised advantage estimation over a critic that is given, or learned inside the call.

In maths: A_t = sum_l (discount lambda)^l delta_{t+l}, delta_t = r_t + discount v(o_{t+1}) - v(o_t).
A log may bring its values; else v is a table over (step, observation) fitted to fresh rollouts,
which are charged.
Monte Carlo fit: v = the mean return-to-go of the cell. TD(lambda) fit: sweeps of
v <- v + rate (mean lambda-return of the cell - v), from v = 0. Traces: v <- v + rate delta_t e,
step by step along each rollout, e <- discount lambda e, and 1 more in the cell of the step.

What the environment's tokens do is where trainers differ. At lambda 0 and discount 1, with values
.5 .6 .9 .1 .7 .8 of which the two in the middle are of such tokens, the decision before them gets
.7 - .6 in verl, 0 - .6 in OpenRLHF, .9 - .6 in SkyRL.

References:
    Schulman et al. 2016, arXiv:1506.02438 (GAE); Sutton 1988 (TD(lambda)).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.accumulate import onto_decisions
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
from casim.recurrence import affine_scan
from casim.simulate import World
from casim.targets import Advantage, Target
from casim.types import Batch, Cost, Trajectory


@final
@dataclasses.dataclass(frozen=True)
class Gae(Source):
    """GAE over a tabular critic.

    With lambda = 1 its mean in a cell is Q_t(s, a) minus the critic's value of the observation,
    whatever that is, and the gradient is exact; with a critic that is V itself it is unbiased at
    every lambda. A learned critic and lambda < 1 give bias, so no claim is made for the defaults.
    (The critic is fitted to rollouts of its own, which keeps it independent of the scored batch.)

    Attributes:
        lambda_: of the advantage, in [0, 1].
        fit: "monte_carlo", "td", or "traces"; of a batch without values.
        num_rollouts: fresh rollouts for the fit; 0 fits to the scored batch itself, which costs
            nothing but makes the baseline depend on the scored action.
        critic_lambda: of the TD fit, in [0, 1].
        num_sweeps: of the TD fit, at least 1.
        learning_rate: of the TD fit, in (0, 1].
        discount: of values and advantage, in [0, 1]; None is the world's, see `discount_of`.
        gaps: what the environment's tokens are to the advantage: steps that "count", with values of
            their own (SkyRL); "skipped", as if they were not there (verl); or "zeroed", steps of
            value 0 that earn nothing, their reward given to the last decision (OpenRLHF).
        steps: the advantage sums so many errors, at least 1; None is all of them.

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
    gaps: Literal["count", "skipped", "zeroed"] = "count"
    steps: int | None = None
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("fit", self.fit, ("monte_carlo", "td", "traces"))
        check_choice("gaps", self.gaps, ("count", "skipped", "zeroed"))
        check_integer("num_rollouts", self.num_rollouts, 0)
        check_integer("num_sweeps", self.num_sweeps, 1)
        check_range("lambda_", self.lambda_, 0.0, 1.0)
        check_range("critic_lambda", self.critic_lambda, 0.0, 1.0)
        check_range("learning_rate", self.learning_rate, 1e-6, 1.0)
        check_discount(self.discount)
        if self.steps is not None:
            check_integer("steps", self.steps, 1)

    def give(self, key, world, batch):
        discount = discount_of(world, batch, self.discount)
        if batch.value is not None:
            return self._advantage(batch, batch.value, discount), cost()
        value, used = self._fitted(key, required(world, self), batch, discount)
        return self._advantage(batch, value, discount), used

    def _advantage(
        self,
        batch: Batch,
        value: Float[Array, "P N T"],
        discount: Discount,
    ) -> Float[Array, "P N T"]:
        """What each step is worth by these values."""
        where = batch.live & batch.counted[..., None]
        reward = jnp.where(where, batch.reward, 0.0)
        value = jnp.where(where, value, 0.0)
        if self.gaps == "skipped":
            where = where & batch.decision
        if self.gaps == "zeroed":
            value = jnp.where(batch.decision, value, 0.0)
            reward = onto_decisions(reward, batch)
        if self.steps is None:
            return gae(reward, value, where, discount, self.lambda_)
        error = gae(reward, value, where, discount, 0.0)
        return some_errors(error, where, discount * self.lambda_, self.steps)

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
            after = jnp.where(on, table[jnp.minimum(t + 1, steps - 1), then], 0.0)
            error = reward + factor * after - table[t, seen]
            table = jnp.where(live, table + self.learning_rate * error * trace, table)
            return (table, factor * self.critic_lambda * trace), None

        flat = jax.tree.map(lambda x: x.reshape(-1), rows)
        zero = jnp.zeros((steps, size), data.reward.dtype)
        return jax.lax.scan(step, (zero, zero), flat)[0][0]


def some_errors(
    error: Float[Array, "P N T"],
    where: Bool[Array, "P N T"],
    factor: Discount,
    steps: int,
) -> Float[Array, "P N T"]:
    """The errors of each step in `where` and of the next ones, `steps` in all, discounted.

    In maths: A^(n)_t = delta_t + factor_t A^(n-1) of the next step, from A^(0) = 0.
    """

    def longer(shorter: Array, _) -> tuple[Array, None]:
        following = affine_scan(0.0, shorter, where, reverse=True, exclusive=True)
        return jnp.where(where, error + factor * following, 0.0), None

    return jax.lax.scan(longer, jnp.zeros_like(error), None, length=steps)[0]
