"""Every target of `casim.targets`, evaluated exactly along given trajectories.

`exact_value` finds the function of a recipe by its class. One from elsewhere joins by
`exact_value.register(Mine, function)`.
"""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.doors import door
from casim.oracle.targets import errors, games, history, outcomes, rewards, values
from casim.oracle.targets.given import Given
from casim.simulate import World
from casim.targets import (
    Advantage,
    Counterfactual,
    Difference,
    EntropyGain,
    FirstError,
    FirstLoss,
    HindsightRatio,
    HistoryAdvantage,
    HistoryGain,
    LatentGain,
    LogGain,
    Redistribution,
    Regularised,
    SegmentAdvantage,
    Shapley,
    Soft,
    StepError,
    Subgoal,
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


exact_value.register(Advantage, values.advantage)
exact_value.register(TrajectoryAdvantage, values.trajectory_advantage)
exact_value.register(TdError, values.td_error)
exact_value.register(SegmentAdvantage, values.segment_advantage)
exact_value.register(LogGain, values.log_gain)
exact_value.register(Redistribution, values.redistribution)
exact_value.register(HistoryAdvantage, history.history_advantage)
exact_value.register(HistoryGain, history.history_gain)
exact_value.register(LatentGain, history.latent_gain)
exact_value.register(EntropyGain, outcomes.entropy_gain)
exact_value.register(HindsightRatio, outcomes.hindsight_ratio)
exact_value.register(Soft, rewards.soft)
exact_value.register(Regularised, rewards.regularised)
exact_value.register(Subgoal, rewards.subgoal)
exact_value.register(Counterfactual, games.counterfactual)
exact_value.register(Shapley, games.shapley_value)
exact_value.register(Difference, games.difference)
exact_value.register(FirstError, errors.first_error)
exact_value.register(StepError, errors.step_error)
exact_value.register(FirstLoss, errors.first_loss)


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
    given = _admitted(world.mdp, world.policy, world.reference, truth, batch)
    counts = (world.num_segments, world.num_turns, world.num_agents)
    found = exact_value(target, Given(*given, world.discount, *counts))
    return None if found is None else jnp.where(given[-1].live, found, 0.0)


@door
def _admitted(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    reference: Float[Array, "M O A"] | None,
    truth: Truth,
    batch: Trajectory,
) -> tuple[MDP, Array, Array | None, Truth, Trajectory]:
    """What is given, as arrays that fit each other."""
    return mdp, policy, reference, truth, batch
