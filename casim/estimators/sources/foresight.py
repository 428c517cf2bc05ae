"""Baselines that know the future but not the action: what came of luck is taken off.

In maths, with d(t, k) the product of the discounts of the steps t to k - 1, G_t the return, phi_k a
number of what is seen, done and earned at step k, and b_t(o) the mean of G_t - Phi_t at o,

    Phi_t = sum_{k>t} d(t, k) phi_k,
    V(o_t, Phi_t) = b_t(o_t) + Phi_t,
    c_t = G_t - V(o_t, Phi_t),

phi minimises, on fresh rollouts which are charged, the mean of

    c_t^2 + penalty (E[Phi_t | o_t, a_t] - E[Phi_t | o_t])^2.

The second term stands for the dependence of Phi on the action: the mean of the credit at (o, a) is
the advantage less what Phi tells of a, E[Phi | o, a] - E[Phi | o]. Without it Phi becomes the
return and nothing is left. With the penalty it cannot be 0 on every sample: small samples hold Phi
back.

References:
    Mesnard et al. 2021, arXiv:2011.09464 (counterfactual credit assignment), whose Phi is a network
    that reads the future, and whose penalty is KL(pi || P(a | s, Phi)). That a statistic which adds
    up over the future needs the same mean after every action, and no more, is derived here.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.checks import check_range
from casim.estimators.base import (
    check_discount,
    check_recipes,
    discount_of,
)
from casim.estimators.sources.fitting import Fit, cell_means, own_of
from casim.estimators.sources.lessons import FromRollouts
from casim.estimators.sources.models import Shape, look_up
from casim.estimators.sources.objectives import weighted_mean
from casim.estimators.sources.sights import Earning
from casim.ops import class_value, returns_to_go
from casim.simulate import World
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Foresight(FromRollouts):
    """The return from each step on, less what is expected of it by what is seen and what came.

    Attributes:
        penalty: of dependence on the action, at least 0.
        fit: of phi.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    penalty: float = 30.0
    fit: Fit = Fit(sight=Earning(), num_updates=200, learning_rate=0.02)
    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"

    def __post_init__(self) -> None:
        check_range("penalty", self.penalty, 0.0, math.inf)
        check_recipes(self, fit=Fit)
        check_discount(self.discount)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"critic"}) | self.fit.sight.needs

    def on(
        self,
        key: Array,
        world: World,
        batch: Batch,
        data: Batch,
        weight: Float[Array, "P N"],
    ) -> Float[Array, "P N T"]:
        """The credit of a batch, with phi and b fitted to these rollouts, each of its weight."""
        key_fit, key_see, key_ask = jax.random.split(key, 3)
        sight = self.fit.sight
        label = sight.label(key_see, world, data)
        shape = Shape(label.shape[-1], sight.size(world), world.num_actions)
        lesson = self._seen(world, data, weight)
        sizes = world.num_observations, world.num_observations * world.num_actions

        def loss(
            _: Array,
            theta: Array,
            given: _Seen,
        ) -> Float[Array, ""]:
            statistic = given.statistic(theta)
            left = given.future - statistic
            fixed = jax.lax.stop_gradient(left)
            baseline = cell_means(fixed, given.seen, sizes[0], given.weight)
            error = left - class_value(baseline, given.seen)
            told = self._told(statistic, given, sizes)
            return weighted_mean(error**2 + self.penalty * told**2, given.weight)

        theta = self.fit.minimised(key_fit, shape, label, lesson, loss)
        left = lesson.future - lesson.statistic(look_up(theta, label))
        baseline = cell_means(left, lesson.seen, sizes[0], lesson.weight)
        all_rows = jnp.ones(batch.live.shape[:-1], weight.dtype)
        mine = self._seen(world, batch, all_rows)
        statistic = mine.statistic(look_up(theta, sight.label(key_ask, world, batch)))
        credit = mine.future - statistic - class_value(baseline, mine.seen)
        return jnp.where(mine.weight > 0, credit, 0.0)

    def _seen(
        self,
        world: World,
        batch: Batch,
        weight: Float[Array, "P N"],
    ) -> _Seen:
        discount = discount_of(world, batch, self.discount)
        each = jnp.broadcast_to(discount, batch.reward.shape)
        live = batch.live & batch.counted[..., None]
        observation = batch.observation.astype(jnp.int32)
        return _Seen(
            batch,
            each,
            jnp.where(live, weight[..., None], 0.0),
            returns_to_go(batch.reward, each, live),
            observation,
            observation * world.num_actions + batch.action,
        )

    def _told(
        self,
        statistic: Float[Array, "P N T"],
        given: _Seen,
        sizes: tuple[int, int],
    ) -> Float[Array, "P N T"]:
        """What Phi tells of the action on average: 0 where nothing is decided."""
        by_seen = cell_means(statistic, given.seen, sizes[0], given.weight)
        by_done = cell_means(statistic, given.done, sizes[1], given.weight)
        return class_value(by_done, given.done) - class_value(by_seen, given.seen)


class _Seen(NamedTuple):
    """What is read of some groups, `[P, N, T]`."""

    batch: Batch
    discount: Float[Array, "P N T"]
    weight: Float[Array, "P N T"]
    """How much each step counts, 0 where not live."""
    future: Float[Array, "P N T"]
    seen: Int[Array, "P N T"]
    done: Int[Array, "P N T"]
    """What is seen and done, as one label."""

    def statistic(self, theta: Float[Array, "P N T A"]) -> Float[Array, "P N T"]:
        """Phi_t, of the steps after t."""
        there = self.weight > 0
        own = jnp.where(there, own_of(theta, self.batch), 0.0)
        return returns_to_go(own, self.discount, there) - own
