"""Trained: a policy some exact updates after its start, so that early actions matter to late ones.

In maths: theta_0 are the logarithms of the table that the policy starts from, and
theta_{i+1} = theta_i + step_size grad J(theta_i), with the exact gradient of the expected return.
The policy is softmax(theta_steps).

A random policy does not use what it wrote down or asked for, so under it neither the write nor the
question is worth anything; a policy in training does.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_integer, check_range
from casim.oracle.blocks import solver
from casim.policies import Policy, Softmax
from casim.types import MDP


@final
@dataclasses.dataclass(frozen=True)
class Trained(Policy):
    """A policy after some updates by the exact gradient.

    Attributes:
        start: the policy before the first update; an action of probability 0 stays at 0.
        steps: updates, at least 0.
        step_size: of each update of the logits, positive.

    Raises:
        ValueError: a setting out of its range.
    """

    start: Policy = Softmax(scale=0.5)
    steps: int = 20
    step_size: float = 4.0

    def __post_init__(self) -> None:
        check_integer("steps", self.steps, 0)
        check_range("step_size", self.step_size, 1e-12, math.inf)

    def table(self, mdp: MDP) -> Float[Array, "M O A"]:
        logits = jnp.log(self.start.table(mdp))
        return _climb(mdp, logits, self.steps, self.step_size)


@functools.partial(jax.jit, static_argnames="steps")
def _climb(mdp: MDP, logits: Array, steps: int, step_size: float) -> Array:
    """The policy after the updates."""
    exact = solver(mdp.schedule.shape[0], jax.default_backend())

    def update(_: Array, logits: Array) -> Array:
        gradient = exact(mdp, jax.nn.softmax(logits)).gradient
        return logits + step_size * gradient

    return jax.nn.softmax(jax.lax.fori_loop(0, steps, update, logits))
