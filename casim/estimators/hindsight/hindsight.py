"""Hindsight credit: how much more likely the action looks once the outcome is known.

In maths: c_t = (1 - pi(a_t | o_t) / h(a_t | t, o_t, u)) G_t, where u is what is known in hindsight and
h(a | t, o, u) = P(a_t = a | o_t = o, u) is counted on fresh rollouts, which are charged, with `prior` pseudo-counts
of pi. u is the class of the return-to-go ("return"), or the last live observation ("state").

With the exact h, and E[G_t | s_t, a_t, u] the same for all actions, the mean in a cell is
sum_u P(u | s, a) (1 - P(u | s) / P(u | s, a)) E[G | s, u] = Q - V, provided P(u | s, a) > 0 wherever
P(u | s) > 0: an outcome that the action rules out is never seen with it, and its share is missing.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 (return-conditional HCA). The taken-action form with the last
    observation is derived for casim: the paper's state-conditional estimator credits all actions at once.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import Estimator, cost, count, required, time_of
from casim.ops import class_sum, last_live, returns_to_go
from casim.simulate import World
from casim.types import Credit, Trajectory


@final
@dataclasses.dataclass(frozen=True)
class Hindsight(Estimator):
    """Return- or state-conditional hindsight credit, tabular, learned in the call.

    Consistent in the number of rollouts (the limit is the exact h); biased with a counted h, so no claim is
    made. The state form also needs the last observation to carry all that the action did to the return.

    Attributes:
        condition: "return" or "state".
        num_rollouts: fresh rollouts for the counts, at least 1.
        num_bins: classes of the return-to-go between the smallest and largest seen at the step, at least 2.
        prior: pseudo-counts of the policy in each cell, positive.
        discount: in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    condition: Literal["return", "state"] = "return"
    num_rollouts: int = 64
    num_bins: int = 2
    prior: float = 1.0
    discount: float = 1.0
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[str] = "advantage"
    needs: ClassVar[frozenset[str]] = frozenset({"critic", "outcome"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        check_choice("condition", self.condition, ("return", "state"))
        check_integer("num_rollouts", self.num_rollouts, 1)
        check_integer("num_bins", self.num_bins, 2)
        check_range("prior", self.prior, 1e-6, math.inf)
        check_range("discount", self.discount, 0.0, 1.0)

    def __call__(self, key, world, batch) -> Credit:
        world = required(world, self)
        data = world.rollout(key, self.num_rollouts)
        edges = self._edges(data)
        hindsight = self._count(world, data, self._outcome(data, edges))
        outcome = self._outcome(batch, edges)
        future = returns_to_go(batch.reward, self.discount, batch.live)
        ratio = hindsight_ratio(world, batch, hindsight[time_of(batch), batch.observation, :, outcome])
        credit = jnp.where(batch.live, (1 - 1 / ratio) * future, 0.0)
        return Credit(credit, cost(env_steps=count(data.live), critic_updates=count(data.live)))

    def _edges(self, data: Trajectory) -> tuple[Float[Array, "1 T"], Float[Array, "1 T"]]:
        """Smallest and largest return-to-go seen at each step."""
        future = returns_to_go(data.reward, self.discount, data.live)
        low = jnp.min(jnp.where(data.live, future, jnp.inf), axis=0, keepdims=True)
        high = jnp.max(jnp.where(data.live, future, -jnp.inf), axis=0, keepdims=True)
        return low, high

    def _outcome(self, batch: Trajectory, edges: tuple[Array, Array]) -> Int[Array, "N T"]:
        """The class of what is known in hindsight at each step."""
        if self.condition == "state":
            last = last_live(batch.observation, batch.live)
            return jnp.broadcast_to(last[:, None], batch.action.shape)
        low, high = edges
        future = returns_to_go(batch.reward, self.discount, batch.live)
        width = jnp.where(high > low, high - low, 1.0)
        share = jnp.where(high > low, (future - low) / width, 0.0)
        return jnp.clip(jnp.floor(share * self.num_bins), 0, self.num_bins - 1).astype(int)

    def _count(self, world: World, data: Trajectory, outcome: Int[Array, "N T"]) -> Float[Array, "T O A U"]:
        """h(a | t, o, u): counts with the policy as the prior."""
        _, observations, actions = world.policy.shape
        classes = observations if self.condition == "state" else self.num_bins
        cell = data.observation.astype(jnp.int32) * actions + data.action
        index = cell * classes + outcome
        table = class_sum(data.live.astype(world.policy.dtype), index, observations * actions * classes)
        table = table.reshape(-1, observations, actions, classes)
        policy = world.policy[world.mdp.schedule][..., None]
        seen = jnp.sum(table, axis=2, keepdims=True)
        return (table + self.prior * policy) / (seen + self.prior)


def hindsight_ratio(world: World, batch: Trajectory, hindsight: Float[Array, "N T A"]) -> Float[Array, "N T"]:
    """h(a_t | o_t, u) / pi(a_t | o_t) of the action taken; 1 where the policy decides nothing."""
    taken = jax.nn.one_hot(batch.action, hindsight.shape[-1], dtype=hindsight.dtype)
    ratio = jnp.sum(taken * hindsight, axis=-1) / jnp.sum(taken * world.probability(batch), axis=-1)
    return jnp.where(batch.live & world.decision[None, :], ratio, 1.0)
