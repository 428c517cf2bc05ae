"""GAE over a small network critic, trained inside the call by optax.

In maths: v(o, t) = MLP([onehot(o), t / T]), two hidden layers of tanh units, fitted by Adam to the
mean squared error against returns-to-go of fresh rollouts, which are charged; then GAE as in `Gae`.

References:
    Schulman et al. 2016, arXiv:1506.02438 (GAE); Kingma and Ba 2015, arXiv:1412.6980 (Adam).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from casim.checks import check_integer, check_range
from casim.estimators.base import Source, check_discount, cost, count, discount_of, required
from casim.estimators.sources.descent import descend
from casim.ops import class_value, gae, returns_to_go
from casim.targets import Advantage, Target
from casim.types import Trajectory

STEPS_AT_ONCE = 4096
"""Steps whose observations the network evaluates together."""


@final
@dataclasses.dataclass(frozen=True)
class GaeNetwork(Source):
    """GAE over a flax critic. With lambda = 1 the gradient is exact, whatever the network says.

    Attributes:
        lambda_: of the advantage, in [0, 1].
        num_rollouts: fresh rollouts for the fit, at least 1.
        hidden: units in each of the two hidden layers, at least 1.
        num_updates: Adam steps, at least 1.
        minibatch: (episode, step) pairs per Adam step, at least 1.
        learning_rate: of Adam, positive.
        discount: of values and advantage, in [0, 1]; None is the world's, see `discount_of`.
        seed: of the initial weights, which are the same in every call.

    Raises:
        ValueError: a setting out of its range.
    """

    lambda_: float = 0.95
    num_rollouts: int = 16
    hidden: int = 16
    num_updates: int = 100
    minibatch: int = 128
    learning_rate: float = 0.01
    discount: float | None = None
    seed: int = 0
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic"})
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        for field in ("num_rollouts", "hidden", "num_updates", "minibatch"):
            check_integer(field, getattr(self, field), 1)
        check_integer("seed", self.seed, 0)
        check_range("lambda_", self.lambda_, 0.0, 1.0)
        check_range("learning_rate", self.learning_rate, 1e-8, math.inf)
        check_discount(self.discount)

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        key_data, key_fit = jax.random.split(key)
        data = world.rollout(key_data, self.num_rollouts)
        target = returns_to_go(data.reward, discount, data.live)
        size = world.policy.shape[1]
        model, params = self._fit(key_fit, data, target, size)
        critic_table = table(model, params, batch.action.shape[-1], size)
        value = class_value(critic_table, batch.observation)
        advantage = gae(batch.reward, value, batch.live, discount, self.lambda_)
        updates = float(self.num_updates * self.minibatch)
        return advantage, cost(env_steps=count(data.live), critic_updates=updates)

    def _fit(
        self,
        key: Array,
        data: Trajectory,
        target: Float[Array, "N T"],
        size: int,
    ) -> tuple[Any, Any]:
        """Adam on minibatches of live steps, drawn with replacement."""
        import optax

        model = perceptron(self.hidden, 1)
        optimiser = optax.flatten(optax.adam(self.learning_rate))
        params = initial(model, jnp.zeros((1, size + 1)), self.seed)
        steps = target.shape[1]
        observation = data.observation.reshape(-1)
        goal = target.reshape(-1)
        # Live steps lead each row, so a random row and a random live step of it are two draws.
        length = jnp.sum(data.live, axis=1)

        def loss(
            params: Any,
            pick: Array,
        ) -> Array:
            inputs = features(observation[pick], pick % steps, steps, size)
            said = jnp.asarray(model.apply(params, inputs))[..., 0]
            return jnp.mean((said - goal[pick]) ** 2)

        picks = self._picks(key, length, steps)
        return model, descend(optimiser, loss, params, picks)

    def _picks(
        self,
        key: Array,
        length: Int[Array, " N"],
        steps: int,
    ) -> Int[Array, "U B"]:
        """Flat indices of one minibatch of live steps per update."""
        shape = (2, self.num_updates, self.minibatch)
        row, step = jax.random.uniform(key, shape, jnp.float32)
        row = (row * length.shape[0]).astype(int)
        return row * steps + (step * length[row]).astype(int)


def features(
    observation: Int[Array, "*shape"],
    step: Int[Array, "*shape"],
    horizon: int,
    size: int,
) -> Float[Array, "*shape F"]:
    """One-hot observation and the share of the horizon that has passed."""
    shown = jax.nn.one_hot(observation, size)
    passed = step[..., None] / horizon
    return jnp.concatenate([shown, passed], axis=-1)


def table(
    model,
    params,
    horizon: int,
    size: int,
) -> Float[Array, "T O"]:
    """What the network says of every observation at every step, a few steps at a time."""

    def at(step: Int[Array, ""]) -> Float[Array, " O"]:
        every = jnp.arange(size)
        inputs = features(every, jnp.full_like(every, step), horizon, size)
        return jnp.asarray(model.apply(params, inputs))[..., 0]

    return jax.lax.map(at, jnp.arange(horizon), batch_size=STEPS_AT_ONCE)


def initial(
    model,
    example: Array,
    seed: int,
):
    """Weights N(0, 1 / fan-in) and biases 0, drawn on the host, which costs no compilation."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(model.init, jax.random.key(0), example)

    def draw(shape: jax.ShapeDtypeStruct) -> Array:
        scale = shape.shape[0] ** -0.5 if len(shape.shape) == 2 else 0.0
        return jnp.asarray(scale * rng.standard_normal(shape.shape), shape.dtype)

    return jax.tree.map(draw, shapes)


def perceptron(
    hidden: int,
    outputs: int,
):
    """The network; flax is imported here because importing it takes long."""
    import flax.linen as nn

    class Perceptron(nn.Module):
        """Two hidden layers of tanh units, and linear outputs."""

        @nn.compact
        def __call__(self, x: Array) -> Array:
            for _ in range(2):
                x = nn.tanh(nn.Dense(hidden)(x))
            return nn.Dense(outputs)(x)

    return Perceptron()
