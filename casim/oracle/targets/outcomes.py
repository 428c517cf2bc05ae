"""Targets of how likely the rewards to come are."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.oracle.along import time_of
from casim.oracle.hindsight import Outcomes, return_hindsight
from casim.oracle.information import entropy_removed, outcome_information, return_index
from casim.oracle.targets.given import Given
from casim.targets import EntropyGain, HindsightRatio


def entropy_gain(target: EntropyGain, given: Given) -> Float[Array, "N T"]:
    """The entropy of the rewards to come that the action and the transition removed."""
    outcomes = _outcomes(given, target.support)
    information = outcome_information(given.mdp, given.policy, outcomes)
    removed = entropy_removed(information, given.batch)
    return removed.action + removed.environment


def hindsight_ratio(target: HindsightRatio, given: Given) -> Float[Array, "N T"]:
    """P(z | s, a) / P(z | s) of the action taken."""
    outcomes = _outcomes(given, target.support)
    if target.outcome is None:
        index, found = return_index(outcomes, given.batch)
    else:
        index = jnp.full(given.batch.action.shape, target.support.index(target.outcome))
        found = jnp.ones_like(given.batch.live)
    time, state, action = time_of(given.batch), given.batch.state, given.batch.action
    before = outcomes.given_state[time, state, index]
    after = outcomes.given_action[time, state, action, index]
    possible = found & (before > 0)
    return jnp.where(possible, after / jnp.where(possible, before, 1.0), jnp.nan)


def _outcomes(given: Given, support: tuple[float, ...]) -> Outcomes:
    """The law of the rewards to come, which are not discounted."""
    undiscounted = given.mdp._replace(discount=jnp.ones_like(given.mdp.discount))
    return return_hindsight(undiscounted, given.policy, jnp.asarray(support))
