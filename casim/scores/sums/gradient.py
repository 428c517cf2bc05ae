"""The policy gradient that credit gives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.discounts import weights
from casim.dynamics import force, step_discount
from casim.ops import Discount
from casim.sums import kernel_sums
from casim.types import MDP, Trajectory, Truth


def weighted(
    value: Float[Array, "*rows T *A"],
    weight: Float[Array, "*rows T"],
) -> Float[Array, "*rows T *A"]:
    """What the loss takes of each step: value x weight."""
    if value.ndim > weight.ndim:
        return value * weight[..., None]
    return value * weight


def of_taken(
    value: Float[Array, "*rows T *A"],
    batch: Trajectory,
) -> Float[Array, "*rows T"]:
    """The value of the action taken, where every action has one."""
    if value.ndim == batch.action.ndim:
        return value
    action = batch.action.astype(jnp.int32)
    return jnp.take_along_axis(value, action[..., None], axis=-1)[..., 0]


def group_gradient(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
    value: Float[Array, "N T *A"],
    discount: Discount | None = None,
) -> Float[Array, "M O A"]:
    """The policy gradient of N trajectories, in the logits of the table.

    In maths: (1/N) sum_i sum_t w_t c_it grad log pi(a_it | o_it), with w_t the product of the
    discounts of the steps before t and c the value times the weight; and sum_a c_it(a) grad pi(a |
    o_it) in place of the last factors where every action has a value. The derivative of log pi(a |
    o) in the logit of b is 1[a = b] - pi(b | o).

    Args:
        mdp: the process.
        policy: whose gradient.
        batch: trajectories.
        value: the credit.
        discount: that of a `World`, which is one number where all kernels share it: less to
            compile; None is the process's.
    """
    num, steps = batch.action.shape
    if discount is None:
        discount = step_discount(mdp)
    decision = mdp.decision[mdp.schedule]
    decided = batch.live & decision[None, :]
    weight = jnp.where(decided, weights(discount, steps)[None, :], 0.0) / num
    seen = weighted(value, weight)
    if value.ndim == 2:
        taken = _by_action(mdp, policy, batch, seen, batch.action)
    else:
        taken = _of_every_action(mdp, policy, batch, seen)
    total = jnp.sum(taken, axis=-1, keepdims=True)
    return taken - force(mdp, policy) * total


def _of_every_action(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
    value: Float[Array, "N T A"],
) -> Float[Array, "M O A"]:
    """Sums of value x pi of each action, over the visits of each observation under each kernel."""
    actions = policy.shape[-1]
    columns = []
    for action in range(actions):
        every = jnp.full_like(batch.action, action)
        summed = _by_action(mdp, policy, batch, value[..., action], every)
        columns.append(summed[..., action])
    return force(mdp, policy) * jnp.stack(columns, axis=-1)


def _by_action(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    batch: Trajectory,
    value: Float[Array, "N T"],
    action: Int[Array, "N T"],
) -> Float[Array, "M O A"]:
    """Sums of the values by kernel, observation and action."""
    kernels, observations, actions = policy.shape
    observation = batch.observation.astype(jnp.int32)  # labels of 8 bits would overflow
    total = kernel_sums(
        value,
        observation * actions + action,
        jnp.asarray(mdp.schedule),
        kernels,
        observations * actions,
    )
    return total.reshape(policy.shape)


def gradient_sums(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    truth: Truth,
    batch: Trajectory,
    value: Float[Array, "C N T *A"],
    scale: Float[Array, ""],
    discount: Discount | None = None,
) -> tuple[Float[Array, "M O A"], Float[Array, "2"]]:
    """Sums over groups of g - g*, and of |g - g*|^2 and |g|^2, in units of the task.

    `value` is in these units already, the truth is multiplied by `scale`.
    """
    of_group = jax.vmap(group_gradient, in_axes=(None, None, 0, 0, None))
    gradient = of_group(mdp, policy, batch, value, discount)
    error = gradient - scale * truth.gradient[None]
    squares = [jnp.sum(error**2), jnp.sum(gradient**2)]
    return jnp.sum(error, axis=0), jnp.stack(squares)
