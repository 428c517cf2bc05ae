"""Targets that are advantages in the process with other rewards, or of another policy."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.dynamics import force
from casim.oracle.along import advantage_along, time_of
from casim.oracle.soft import soft_optimal
from casim.oracle.targets.given import Given
from casim.oracle.values import solve
from casim.targets import Regularised, Soft, Subgoal


def soft(target: Soft, given: Given) -> Float[Array, "N T"] | None:
    """Soft Q less soft V."""
    if given.reference is None:
        return None
    best = soft_optimal(given.mdp, given.reference, target.temperature)
    return best.advantage[time_of(given.batch), given.batch.state, given.batch.action]


def regularised(target: Regularised, given: Given) -> Float[Array, "N T"] | None:
    """The advantage where every action costs its log-ratio to the reference.

    What the log-ratio of an action costs depends on the observation. On average over action and
    observation it is a cost of the state, at which the process is solved; the action's own is put
    in its place afterwards.
    """
    if given.reference is None:
        return None
    mdp = given.mdp
    policy, reference = (force(mdp, table) for table in (given.policy, given.reference))
    plays = policy > 0
    ratio = jnp.log(jnp.where(plays, policy, 1.0)) - jnp.log(jnp.where(plays, reference, 1.0))
    price = target.temperature * ratio
    mean_price = jnp.einsum("mso,moa->ms", mdp.emission, policy * price, precision="highest")
    priced = mdp._replace(reward=mdp.reward - mean_price[:, :, None, None])
    advantage = advantage_along(solve(priced, given.policy), given.batch)
    kernel = mdp.schedule[None, :]
    paid = price[kernel, given.batch.observation, given.batch.action]
    return advantage + mean_price[kernel, given.batch.state] - paid


def subgoal(target: Subgoal, given: Given) -> Float[Array, "N T"] | None:
    """The advantage with rewards for arriving at goals."""
    states = given.mdp.start.shape[0]
    if not target.goals or max(target.goals) >= states:
        return None
    reached = jnp.isin(given.mdp.successor, jnp.asarray(target.goals))
    bonus = jnp.where(reached, target.weight, 0.0).astype(given.mdp.reward.dtype)
    own = jnp.zeros_like(bonus) if target.alone else given.mdp.reward
    shaped = given.mdp._replace(reward=own + bonus)
    return advantage_along(solve(shaped, given.policy), given.batch)
