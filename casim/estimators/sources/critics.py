"""Generalised advantage estimation over a critic that is learned inside the call.

In maths: A_t = sum_l (discount lambda)^l delta_{t+l}, delta_t = r_t + discount v(o_{t+1}) - v(o_t),
with v a table over (step, observation) fitted to fresh rollouts, which are charged.
Monte Carlo fit: v = the mean return-to-go of the cell. TD(lambda) fit: sweeps of
v <- v + rate (mean lambda-return of the cell - v), from v = 0.

References:
    Schulman et al. 2016, arXiv:1506.02438 (GAE); Sutton 1988 (TD(lambda)).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

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
from casim.ops import class_mean, class_value, gae, returns_to_go
from casim.targets import Advantage, Target
from casim.types import Trajectory


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
        fit: "monte_carlo" or "td".
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
    fit: Literal["monte_carlo", "td"] = "monte_carlo"
    num_rollouts: int = 16
    critic_lambda: float = 0.95
    num_sweeps: int = 10
    learning_rate: float = 0.5
    discount: float | None = None
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("fit", self.fit, ("monte_carlo", "td"))
        check_integer("num_rollouts", self.num_rollouts, 0)
        check_integer("num_sweeps", self.num_sweeps, 1)
        check_range("lambda_", self.lambda_, 0.0, 1.0)
        check_range("critic_lambda", self.critic_lambda, 0.0, 1.0)
        check_range("learning_rate", self.learning_rate, 1e-6, 1.0)
        check_discount(self.discount)

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        fresh = self.num_rollouts > 0
        data = world.rollout(key, self.num_rollouts) if fresh else rows_of(batch)
        used = count(data.live) if fresh else 0.0
        table = self._table(data, discount, world.policy.shape[1])
        value = class_value(table, batch.observation)
        advantage = gae(batch.reward, value, batch.live, discount, self.lambda_)
        sweeps = 1 if self.fit == "monte_carlo" else self.num_sweeps
        updates = sweeps * count(data.live)
        return advantage, cost(env_steps=used, critic_updates=updates)

    def _table(
        self, data: Trajectory, discount: float | Float[Array, ""], size: int
    ) -> Float[Array, "T O"]:
        """The fitted critic."""
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
