"""Direct advantage estimation: advantages that explain the return, with or without its luck.

In maths, with d(t, k) the product of the discounts of the steps t to k - 1, V_t the mean of what is
left at what is seen, and sum_a pi(a | o) A_t(o, a) = 0 at every step: skill alone minimises

    E[sum_t (sum_{k>=t} d(t, k) (r_k - A_k(o_k, a_k)) - V_t(o_t))^2],

and with luck the sum also loses B_k(o_k, a_k, o_{k+1}), whose mean over what follows is 0: A + B is
one number of each passage (o, a, o'), A its mean given (o, a), and both are centred on the rollouts
that they are fitted to. In the limit A is the advantage, with what is hidden averaged out of Q: no
luck and no other advantage correlates with what the policy centres. B is the rest of the TD error.

References:
    Pan et al. 2022, arXiv:2109.06093 (DAE); Pan and Schoelkopf 2024, arXiv:2402.12874 (skill and
    luck). That V in closed form leaves the same minimum is derived here.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.estimators.base import (
    check_discount,
    check_recipes,
    discount_of,
)
from casim.estimators.sources.fitting import Fit, cell_means, of_taken, own_of
from casim.estimators.sources.lessons import FromRollouts
from casim.estimators.sources.models import Shape, look_up
from casim.estimators.sources.objectives import weighted_mean
from casim.estimators.sources.sights import Passage
from casim.ops import class_value, returns_to_go
from casim.simulate import World
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class DirectAdvantage(FromRollouts):
    """The advantage of the action taken, fitted to returns without a critic to bootstrap from.

    Attributes:
        luck: whether the transitions have numbers of their own; what the model is shown is then the
            passage from one observation to the next, whatever the sight of the fit is.
        fit: how.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    luck: bool = False
    fit: Fit = Fit(num_updates=200, learning_rate=0.05)
    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"

    def __post_init__(self) -> None:
        check_recipes(self, fit=Fit)
        check_discount(self.discount)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"critic"}) | (frozenset() if self.luck else self.fit.sight.needs)

    def on(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        data: Batch,
        weight: Float[Array, "P N"],
    ) -> Float[Array, "P N T"]:
        """The advantages that explain these rollouts, each of its weight, at the steps of a batch.

        Args:
            key: of the fit, and of what the sights draw.
            world: where all of them are from.
            batch: the trajectories that are credited.
            data: the groups that are fitted to.
            weight: of each of their trajectories.
        """
        key_fit, key_see, key_ask = jax.random.split(key, 3)
        sight = Passage() if self.luck else self.fit.sight
        label = sight.label(key_see, world, data)
        shape = Shape(label.shape[-1], sight.size(world), world.num_actions)
        discount = discount_of(world, data, self.discount)
        live = data.live & data.counted[..., None]
        lesson = _Lesson(
            data,
            jnp.broadcast_to(discount, label.shape),
            jnp.where(live, weight[..., None], 0.0),
            world.probability(data),
            data.observation.astype(jnp.int32) if self.luck else label,
        )
        cells = world.num_observations if self.luck else shape.labels

        def loss(
            _: Array,
            theta: Array,
            given: _Lesson,
        ) -> Float[Array, ""]:
            explained = self._explained(theta, given, cells)
            there = given.weight > 0
            earned = jnp.where(there, given.batch.reward - explained, 0.0)
            left = returns_to_go(earned, given.discount, there)
            # V is the least squares of its own: to theta it is as if it were fixed.
            value = cell_means(jax.lax.stop_gradient(left), given.seen, cells, given.weight)
            error = left - class_value(value, given.seen)
            return weighted_mean(error**2, given.weight)

        theta = self.fit.minimised(key_fit, shape, label, lesson, loss)
        if self.luck:
            skill = self._skill(look_up(theta, label), lesson, world)
            scores = look_up(skill, batch.observation.astype(jnp.int32))
        else:
            scores = look_up(theta, sight.label(key_ask, world, batch))
        return of_taken(_centred(scores, world.probability(batch)), batch)

    def _explained(
        self,
        theta: Float[Array, "P N T A"],
        given: _Lesson,
        cells: int,
    ) -> Float[Array, "P N T"]:
        """What of the return each step accounts for: its skill, or skill and luck together."""
        if not self.luck:
            return of_taken(_centred(theta, given.chance), given.batch)
        own = own_of(theta, given.batch)
        mean = cell_means(own, given.seen, cells, given.weight)
        return own - class_value(mean, given.seen)

    def _skill(
        self,
        theta: Float[Array, "P N T A"],
        given: _Lesson,
        world: World,
    ) -> Float[Array, "T O A"]:
        """The mean of each passage over what followed the action; 0 of one that was never done."""
        together = self._explained(theta, given, world.num_observations)
        cell = given.seen * world.num_actions + given.batch.action
        size = world.num_observations * world.num_actions
        mean = cell_means(together, cell, size, given.weight)
        return mean.reshape(-1, world.num_observations, world.num_actions)


class _Lesson(NamedTuple):
    """What is learned from, `[P, N, T]`."""

    batch: Batch
    discount: Float[Array, "P N T"]
    weight: Float[Array, "P N T"]
    """How much each step counts, 0 where not live."""
    chance: Float[Array, "P N T A"]
    seen: Int[Array, "P N T"]
    """The cell of V."""


def _centred(
    scores: Float[Array, "P N T A"],
    chance: Float[Array, "P N T A"],
) -> Float[Array, "P N T A"]:
    """Less their mean under the policy."""
    mean = jnp.sum(chance * scores, axis=-1, keepdims=True)
    return scores - mean
