"""Targets of how likely the rewards to come are."""

from __future__ import annotations

import jax.numpy as jnp

from casim.oracle.along import Path, time_of
from casim.oracle.hindsight import Outcomes, return_hindsight
from casim.oracle.information import entropy_removed, outcome_information, return_index
from casim.oracle.targets.given import Given
from casim.targets import EntropyGain, HindsightRatio


def entropy_gain(target: EntropyGain, given: Given) -> Path:
    """The entropy of the rewards to come that the action and the transition removed."""
    outcomes = _outcomes(given, target.support)
    information = outcome_information(
        given.mdp,
        given.policy,
        outcomes,
    )
    removed = entropy_removed(information, given.batch)
    return removed.action + removed.environment


def hindsight_ratio(target: HindsightRatio, given: Given) -> Path:
    """P(z | s, a) / P(z | s) of the action taken."""
    batch = given.batch
    outcomes = _outcomes(given, target.support)
    if target.outcome is None:
        index, found = return_index(outcomes, batch)
    else:
        stated = target.support.index(target.outcome)
        index = jnp.full(batch.action.shape, stated)
        found = jnp.ones_like(batch.live)
    time, state, action = time_of(batch), batch.state, batch.action
    before = outcomes.given_state[time, state, index]
    after = outcomes.given_action[time, state, action, index]
    possible = found & (before > 0)
    safe = jnp.where(possible, before, 1.0)
    ratio = after / safe
    return jnp.where(possible, ratio, jnp.nan)


def _outcomes(given: Given, support: tuple[float, ...]) -> Outcomes:
    """The law of the rewards to come, which are not discounted."""
    mdp = given.mdp
    one = jnp.ones_like(mdp.discount)
    undiscounted = mdp._replace(discount=one)
    points = jnp.asarray(support)
    return return_hindsight(
        undiscounted,
        given.policy,
        points,
    )
