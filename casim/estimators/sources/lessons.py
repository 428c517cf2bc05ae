"""Sources that learn from fresh rollouts before they credit a batch, and pay for both."""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.estimators.base import Source, add_costs, cost, required
from casim.estimators.sources.fitting import Fit
from casim.simulate import World
from casim.types import Batch


class FromRollouts(Source):
    """Credit by what is fitted to rollouts of its own, which are charged with the updates.

    Subclasses have a setting `fit` and define `on`.
    """

    fit: Fit

    def give(self, key, world, batch):
        world = required(world, self)
        key_data, key_fit = jax.random.split(key)
        data, used = self.fit.rollouts(key_data, world)
        weight = jnp.ones(data.live.shape[:-1], data.reward.dtype)
        value = self.on(key_fit, world, batch, data, weight)
        return value, add_costs(used, cost(critic_updates=self.fit.updates(data)))

    @abc.abstractmethod
    def on(
        self,
        key: Array,
        world: World,
        batch: Batch,
        data: Batch,
        weight: Float[Array, "P N"],
    ) -> Float[Array, "P N T"]:
        """The credit of a batch, by a fit to these rollouts, each of its weight."""
