"""Hindsight credit: how much more likely the action looks once the outcome is known.

In maths: c_t = (1 - pi(a_t | o_t) / h(a_t | t, o_t, u)) G_t, where u is what is known in hindsight
and h(a | t, o, u) = P(a_t = a | o_t = o, u) is counted on fresh rollouts, which are charged, with
`prior` pseudo-counts of pi. u is the class of the return-to-go ("return"), or the last live
observation ("state").

With the exact h, and E[G_t | s_t, a_t, u] the same for all actions, the mean in a cell is
sum_u P(u | s, a) (1 - P(u | s) / P(u | s, a)) E[G | s, u] = Q - V, provided P(u | s, a) > 0
wherever P(u | s) > 0: an outcome that the action rules out is never seen with it, and its share is
missing.

An action that the policy never takes, which a branch can impose, has no h / pi: by Bayes it is
P(u | s, a) / P(u | s), and rollouts of the policy say nothing of P(u | s, a). Its credit is 0. (As
pi goes to 0 the counted form goes to -n / prior G, with n the visits that came to u: no limit of
the truth.)

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 (return-conditional HCA). The taken-action form with
    the last observation is derived for casim: the paper's state-conditional estimator credits all
    actions at once.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Source,
    check_discount,
    check_recipes,
    cost,
    count,
    discount_of,
    required,
    time_of,
)
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.posteriors import fitted_ratio
from casim.ops import last_live, returns_to_go
from casim.simulate import World
from casim.sums import class_sum
from casim.targets import Advantage, Target
from casim.types import Batch, Cost, Trajectory


@final
@dataclasses.dataclass(frozen=True)
class Hindsight(Source):
    """Return- or state-conditional hindsight credit, tabular, learned in the call.

    Consistent in the number of rollouts (the limit is the exact h); biased with a counted h, so no
    claim is made. The state form also needs the last observation to carry all that the action did
    to the return.

    Attributes:
        condition: "return" or "state".
        num_rollouts: fresh rollouts for the counts, at least 1.
        num_bins: classes of the return-to-go between the smallest and largest seen at the step, at
            least 2.
        prior: pseudo-counts of the policy in each cell, positive.
        discount: of the return-to-go, in [0, 1]; None is the world's, see `discount_of`.
        fit: of a model of h (`casim.estimators.sources.posteriors`), whose own rollouts and sight
            are not read; None counts, with the prior.

    Raises:
        ValueError: a setting out of its range.
    """

    condition: Literal["return", "state"] = "return"
    num_rollouts: int = 64
    num_bins: int = 2
    prior: float = 1.0
    discount: float | None = None
    fit: Fit | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic", "outcome"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("condition", self.condition, ("return", "state"))
        check_integer("num_rollouts", self.num_rollouts, 1)
        check_integer("num_bins", self.num_bins, 2)
        check_range("prior", self.prior, 1e-6, math.inf)
        check_discount(self.discount)
        if self.fit is not None:
            check_recipes(self, fit=Fit)

    def give(self, key, world, batch):
        world = required(world, self)
        hindsight, future, used = self.posterior(key, world, batch)
        ratio = hindsight_ratio(world, batch, hindsight)
        share = 1 - 1 / ratio
        value = jnp.where(batch.live, share * future, 0.0)
        return value, used

    def posterior(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
    ) -> tuple[Float[Array, "P N T A"], Float[Array, "P N T"], Cost]:
        """How likely each action was, the return from each step on, and what counting cost."""
        data = world.rollout(key, self.num_rollouts)
        future = self._future(world, batch)
        fresh = self._future(world, data)
        outcome, fresh_outcome = self._outcomes(batch, future, data, fresh)
        table = self._count(world, data, fresh_outcome)
        time = time_of(batch)
        hindsight = table[time, batch.observation, :, outcome]
        used = count(data.live)
        sweeps = 1 if self.fit is None else self.fit.num_updates
        paid = cost(env_steps=used, critic_updates=sweeps * used)
        return hindsight, future, paid

    def _future(
        self,
        world: World,
        batch: Batch | Trajectory,
    ) -> Float[Array, "*rows T"]:
        discount = discount_of(world, batch, self.discount)
        return returns_to_go(batch.reward, discount, batch.live)

    def _outcomes(
        self,
        batch: Batch,
        future: Float[Array, "P N T"],
        data: Trajectory,
        fresh: Float[Array, "R T"],
    ) -> tuple[Int[Array, "P N T"], Int[Array, "R T"]]:
        """The class of what is known in hindsight at each step, of batch and rollouts."""
        if self.condition == "state":
            return _last_observation(batch), _last_observation(data)
        or_least = jnp.where(data.live, fresh, jnp.inf)
        or_most = jnp.where(data.live, fresh, -jnp.inf)
        low = jnp.min(or_least, axis=0)
        high = jnp.max(or_most, axis=0)
        apart = high > low
        width = jnp.where(apart, high - low, 1.0)
        last = self.num_bins - 1

        def bins(
            future: Array,
        ) -> Array:
            tables = (low, width, apart)
            least, size, wide = (jnp.broadcast_to(x, future.shape) for x in tables)
            above = future - least
            share = jnp.where(wide, above / size, 0.0)
            number = jnp.floor(share * self.num_bins)
            within = jnp.clip(number, 0, last)
            return within.astype(int)

        return bins(future), bins(fresh)

    def _count(
        self,
        world: World,
        data: Trajectory,
        outcome: Int[Array, "R T"],
    ) -> Float[Array, "T O A U"]:
        """h(a | t, o, u): counts with the policy as the prior, or a model fitted to them."""
        _, observations, actions = world.policy.shape
        classes = observations if self.condition == "state" else self.num_bins
        observation = data.observation.astype(jnp.int32)
        cell = observation * actions + data.action
        index = cell * classes + outcome
        live = data.live.astype(world.policy.dtype)
        labels = observations * actions * classes
        table = class_sum(live, index, labels)
        table = table.reshape(-1, observations, actions, classes)
        of_step = world.policy[world.schedule]
        policy = of_step[..., None]
        if self.fit is not None:
            ratio = fitted_ratio(self.fit, table, policy[..., 0])
            return ratio * policy
        seen = jnp.sum(table, axis=2, keepdims=True)
        prior = self.prior * policy
        counted = (table + prior) / (seen + self.prior)
        return jnp.where(seen > 0, counted, policy)  # not prior * policy / prior, which rounds


def hindsight_ratio(
    world: World,
    batch: Batch,
    hindsight: Float[Array, "P N T A"],
) -> Float[Array, "P N T"]:
    """h(a_t | o_t, u) / pi(a_t | o_t) of the action taken.

    1 where the policy decides nothing, and for an action that it never takes.
    """
    actions = hindsight.shape[-1]
    taken = jax.nn.one_hot(batch.action, actions, dtype=hindsight.dtype)
    posterior = jnp.sum(taken * hindsight, axis=-1)
    of_taken = taken * world.probability(batch)
    chance = jnp.sum(of_taken, axis=-1)
    possible = batch.decided & (chance > 0)
    safe = jnp.where(possible, chance, 1.0)
    return jnp.where(possible, posterior / safe, 1.0)


def _last_observation(
    batch: Batch | Trajectory,
) -> Int[Array, "*rows T"]:
    last = last_live(batch.observation, batch.live)
    return jnp.broadcast_to(last[..., None], batch.action.shape)
