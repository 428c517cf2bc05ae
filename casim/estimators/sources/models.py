"""Models that are fitted: numbers of every step, label and action, from few parameters or many.

In maths: theta_t(x, a), with x the label of the step (`casim.estimators.sources.sights`). What is
made of theta is the source's matter: a reward itself, or the logits of a policy by which a
reference is tilted.

References:
    Sutton and Barto 2018, chapter 9 (tables as the exact case of linear models) [standard].
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim import identity
from casim.checks import check_integer
from casim.estimators.sources.network import features, initial, perceptron
from casim.sums import cell_sums


class Shape(NamedTuple):
    """What a model is asked for."""

    steps: int
    """T."""
    labels: int
    """L."""
    actions: int
    """A."""


@dataclasses.dataclass(frozen=True)
class Model(abc.ABC):
    """A recipe for theta. At the start it is 0 everywhere."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Takes the digest of the source that defines the class."""
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    @abc.abstractmethod
    def init(
        self,
        shape: Shape,
        dtype: Any,
    ) -> Any:
        """Parameters at the start."""

    @abc.abstractmethod
    def table(
        self,
        params: Any,
        shape: Shape,
    ) -> Float[Array, "K L A"]:
        """Theta, for each of K = T steps, or K = 1 for all."""


@final
@dataclasses.dataclass(frozen=True)
class Tabular(Model):
    """A number for each step, label and action.

    Attributes:
        by_step: every step has numbers of its own; if False all share theirs.
    """

    by_step: bool = True

    def init(self, shape, dtype):
        steps = shape.steps if self.by_step else 1
        return jnp.zeros((steps, shape.labels, shape.actions), dtype)

    def table(self, params, shape):
        return params


@final
@dataclasses.dataclass(frozen=True)
class Network(Model):
    """MLP([onehot(x), t / T]), two hidden layers of tanh units, an output for each action.

    The weights of the last layer are 0 at the start.

    Attributes:
        hidden: units in each hidden layer, at least 1.
        seed: of the initial weights, which are the same in every call.

    Raises:
        ValueError: a setting out of its range.
    """

    hidden: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("hidden", self.hidden, 1)
        check_integer("seed", self.seed, 0)

    def init(self, shape, dtype):
        module = perceptron(self.hidden, shape.actions)
        params = initial(module, jnp.zeros((1, shape.labels + 1), dtype), self.seed)
        layers = dict(params["params"])
        last = max(layers)
        layers[last] = jax.tree.map(jnp.zeros_like, layers[last])
        return {**params, "params": layers}

    def table(self, params, shape):
        step, label = jnp.indices((shape.steps, shape.labels))
        inputs = features(label, step, shape.steps, shape.labels)
        module = perceptron(self.hidden, shape.actions)
        return jnp.asarray(module.apply(params, inputs))


@jax.custom_vjp
def look_up(
    table: Float[Array, "K L A"],
    label: Int[Array, "P N T"],
) -> Float[Array, "P N T A"]:
    """The rows of a table that the labels of steps pick.

    Gradients are added up in the order that `casim.sums` fixes, so that fits repeat to the last
    bit on every device.
    """
    steps = label.shape[-1]
    own = table.shape[0] > 1
    time = jnp.arange(steps) if own else jnp.zeros(steps, int)
    return table[time, label]


def _forward(
    table: Array,
    label: Array,
) -> tuple[Array, tuple[Array, Array]]:
    return look_up(table, label), (table, label)


def _backward(
    kept: tuple[Array, Array],
    change: Array,
) -> tuple[Array, None]:
    table, label = kept
    steps, actions = change.shape[-2:]
    of_rows = change.reshape(-1, steps, actions)
    total = cell_sums(of_rows, label.reshape(-1, steps), table.shape[1])
    if table.shape[0] == 1:
        total = jnp.sum(total, axis=0, keepdims=True)
    return total, None


look_up.defvjp(_forward, _backward)
