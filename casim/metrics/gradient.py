"""The policy gradient that credit gives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.dynamics import discounting, force
from casim.metrics.by_label import kernel_sums
from casim.types import MDP, Trajectory, Truth


def group_gradient(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
    value: Float[Array, "N T"],
) -> Float[Array, "M O A"]:
    """(1/N) sum_i sum_t w_t c_it grad log pi(a_it | o_it), in the logits of the table.

    In maths: w_t is the product of the discounts of the steps before t; the derivative of
    log pi(a | o) in the logit of b is 1[a = b] - pi(b | o).
    """
    kernels, observations, actions = policy.shape
    num = value.shape[0]
    decision = mdp.decision[mdp.schedule]
    decided = batch.live & decision[None, :]
    discounted = discounting(mdp)[None, :] * value
    weight = jnp.where(decided, discounted, 0.0) / num
    observation = batch.observation.astype(jnp.int32)  # labels of 8 bits would overflow
    taken = kernel_sums(
        weight,
        observation * actions + batch.action,
        jnp.asarray(mdp.schedule),
        kernels,
        observations * actions,
    )
    taken = taken.reshape(policy.shape)
    total = jnp.sum(taken, axis=-1, keepdims=True)
    return taken - force(mdp, policy) * total


def gradient_sums(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    truth: Truth,
    batch: Trajectory,
    value: Float[Array, "C N T"],
    scale: Float[Array, ""],
) -> tuple[Float[Array, "M O A"], Float[Array, "2"]]:
    """Sums over groups of g - g*, and of |g - g*|^2 and |g|^2, in units of the task.

    `value` is in these units already, the truth is multiplied by `scale`.
    """
    of_group = jax.vmap(group_gradient, in_axes=(None, None, 0, 0))
    gradient = of_group(mdp, policy, batch, value)
    error = gradient - scale * truth.gradient[None]
    squares = [jnp.sum(error**2), jnp.sum(gradient**2)]
    return jnp.sum(error, axis=0), jnp.stack(squares)
