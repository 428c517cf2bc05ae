"""Where decisions matter: some action's advantage is no rounding beside the largest of the task."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.types import MDP, Truth

TOLERANCE = 1e-3
"""A step matters if some action's |advantage| there exceeds this share of the largest there is."""


def advantage_on_path(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    """The advantage of decisions that the policy can meet and take; 0 elsewhere."""
    policy = truth.state_policy[mdp.schedule]
    decision = mdp.decision[mdp.schedule]
    taken = policy > 0
    reached = truth.occupancy > 0
    met = reached & decision[:, None]
    return jnp.where(
        taken & met[:, :, None],
        truth.advantage,
        0.0,
    )


def matters_mask(
    mdp: MDP,
    truth: Truth,
) -> Bool[Array, "T S"]:
    """Where some action's advantage exceeds the tolerance."""
    advantage = advantage_on_path(mdp, truth)
    size = jnp.abs(advantage)
    largest = jnp.max(size, axis=-1)
    least = TOLERANCE * jnp.max(largest)
    return largest > least


def pivotal_steps(
    mdp: MDP,
    truth: Truth,
) -> Bool[Array, " T"]:
    """Steps at which the decision matters in some state that the policy meets."""
    matters = matters_mask(mdp, truth)
    return jnp.any(matters, axis=1)
