"""Every target of `casim.targets`, evaluated exactly along given trajectories.

`exact_value` finds the function of a recipe by its class. One from elsewhere joins by
`exact_value.register(Mine, function)`.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.doors import door
from casim.oracle.targets.games import shapley_value
from casim.oracle.targets.given import Given
from casim.oracle.targets.values import (
    advantage,
    log_gain,
    segment_advantage,
    td_error,
    trajectory_advantage,
)
from casim.simulate import World
from casim.targets import (
    Advantage,
    LogGain,
    SegmentAdvantage,
    Shapley,
    Target,
    TdError,
    TrajectoryAdvantage,
)
from casim.types import MDP, Trajectory, Truth

__all__ = ["Given", "exact_value", "path_target"]


@functools.singledispatch
def exact_value(target: Target, given: Given) -> Float[Array, "N T"] | None:
    """The target at every step, whatever it is where not live; None if it has no exact value there.

    This is the answer for a recipe that names no function of its own.
    """
    return None


exact_value.register(Advantage, advantage)
exact_value.register(TrajectoryAdvantage, trajectory_advantage)
exact_value.register(TdError, td_error)
exact_value.register(SegmentAdvantage, segment_advantage)
exact_value.register(LogGain, log_gain)
exact_value.register(Shapley, shapley_value)


def path_target(
    target: Target, world: World, truth: Truth, batch: Trajectory
) -> Float[Array, "N T"] | None:
    """The target at every step of a batch, 0 where not live; None if it has no exact value here.

    Args:
        target: a recipe of `casim.targets`, static under jit.
        world: whose policy is meant.
        truth: of that policy, from `casim.oracle.solve`.
        batch: trajectories of the world.
    """
    given = _admitted(world.mdp, world.policy, world.reference, truth, batch, world.num_segments)
    found = exact_value(target, given)
    return None if found is None else jnp.where(given.batch.live, found, 0.0)


@door
def _admitted(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    reference: Float[Array, "M O A"] | None,
    truth: Truth,
    batch: Trajectory,
    num_segments: int,
) -> Given:
    """What is given, as arrays that fit each other."""
    return Given(mdp, policy, reference, truth, batch, num_segments)
