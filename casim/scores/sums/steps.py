"""A chunk of groups seen step by step: what the sums read."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.oracle.along import advantage_along
from casim.scores.sums.matters import matters_mask
from casim.types import MDP, Trajectory, Truth


class Steps(NamedTuple):
    """C groups of N trajectories, arrays `[C, N, T]`, credit in units of the task."""

    value: Float[Array, "C N T"]
    """What the estimator gave."""
    advantage: Float[Array, "C N T"]
    target: Float[Array, "C N T"]
    """What the estimator aims at."""
    decided: Bool[Array, "C N T"]
    cell: Int[Array, "C N T"]
    """s A + a."""
    matters: Bool[Array, "C N T"]
    """Some action matters in this state at this step."""


def steps_of(
    mdp: MDP,
    truth: Truth,
    batch: Trajectory,
    value: Float[Array, "C N T"],
    target: Float[Array, "C N T"],
    scale: Float[Array, ""],
) -> Steps:
    """The steps of a chunk, with credit and truth multiplied by `scale`."""
    _, _, actions = truth.advantage.shape
    time = jnp.arange(value.shape[-1])
    time = jnp.broadcast_to(time[None, None, :], value.shape)
    decision = mdp.decision[mdp.schedule]
    advantage = jax.vmap(advantage_along, in_axes=(None, 0))
    state = batch.state.astype(jnp.int32)  # labels of 8 bits would overflow
    matters = matters_mask(mdp, truth)
    return Steps(
        value=scale * value,
        advantage=scale * advantage(truth, batch),
        target=scale * target,
        decided=batch.live & decision[None, None, :],
        cell=state * actions + batch.action,
        matters=matters[time, batch.state],
    )
