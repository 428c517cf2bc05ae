"""Synthetic returns: what each past state is said to have added to later rewards.

In maths, on fresh rollouts which are charged, three numbers of what is seen at each step minimise
the mean over live steps of

    (r_t - sigma(g_t(o_t)) sum_{k<t} c_k(o_k) - b_t(o_t))^2,

and the credit of a step is c_t(o_t), before anything is summed. c tells of states and not of
actions, and adds up: states that come together share what either does, and what takes two states
together (one and not the other) is nobody's.

References:
    Raposo et al. 2021, arXiv:2102.12425 (synthetic returns; the gate sigma(g) is the paper's as it
    is told by others).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.estimators.base import check_recipes
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.lessons import FromRollouts
from casim.estimators.sources.models import Shape, look_up
from casim.estimators.sources.objectives import weighted_mean
from casim.simulate import World
from casim.types import Batch

NUMBERS = 3
"""Of each label: c, the gate g and the base b."""


@final
@dataclasses.dataclass(frozen=True)
class SyntheticReturns(FromRollouts):
    """What the state of each step is said to have added to the rewards after it: a reward itself.

    Attributes:
        fit: of c, g and b; what they are shown is its sight.

    Raises:
        ValueError: a fit that is none.
    """

    fit: Fit = Fit(num_updates=300, learning_rate=0.05)
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"

    def __post_init__(self) -> None:
        check_recipes(self, fit=Fit)

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
        """What states add, by a fit to these rollouts, each of its weight."""
        key_fit, key_see, key_ask = jax.random.split(key, 3)
        sight = self.fit.sight
        label = sight.label(key_see, world, data)
        steps = label.shape[-1]
        shape = Shape(steps, sight.size(world), NUMBERS)
        live = data.live & data.counted[..., None]
        each = jnp.where(live, weight[..., None], 0.0)

        def loss(
            _: Array,
            theta: Array,
            given: tuple[Array, Array],
        ) -> Float[Array, ""]:
            reward, weight = given
            added, gate, base = jnp.unstack(theta, axis=-1)
            added = jnp.where(weight > 0, added, 0.0)
            so_far = jnp.cumsum(added, axis=-1)
            before = so_far - added
            opened = jax.nn.sigmoid(gate)
            error = reward - opened * before - base
            return weighted_mean(error**2, weight)

        theta = self.fit.minimised(key_fit, shape, label, (data.reward, each), loss)
        said = look_up(theta, sight.label(key_ask, world, batch))
        shown = batch.live & batch.counted[..., None]
        return jnp.where(shown, said[..., 0], 0.0)
