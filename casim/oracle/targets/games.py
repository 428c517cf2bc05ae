"""Targets that compare what was done with what was not: games and contrasts."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.ops import segment_broadcast
from casim.oracle.along import advantage_along, time_of
from casim.oracle.contrast import Protocol, contrast
from casim.oracle.games import Game, all_coalitions, taken_game, worth
from casim.oracle.shapley import MAX_PLAYERS, shapley_values
from casim.oracle.targets.given import Given
from casim.targets import Counterfactual, Difference, Shapley


def shapley_value(target: Shapley, given: Given) -> Float[Array, "N T"] | None:
    """The Shapley value of the step's unit."""
    count = given.count(target.unit)
    if count > MAX_PLAYERS:
        return None
    game = _game(target, given, count)
    if game is None:
        return None
    value = shapley_values(all_coalitions(game, count))
    return segment_broadcast(value, given.unit(target.unit))


def difference(target: Difference, given: Given) -> Float[Array, "N T"] | None:
    """What all units are worth, less what they are worth without that of the step."""
    count = given.count(target.unit)
    game = _game(target, given, count)
    if game is None:
        return None
    # Coalition i lacks unit i, and the last one lacks none.
    present = jnp.arange(count + 1)[:, None] != jnp.arange(count)[None, :]
    rows = given.batch.action.shape[0]
    value = worth(game, jnp.broadcast_to(present[None], (rows, *present.shape)))
    return segment_broadcast(value[:, -1:] - value[:, :-1], given.unit(target.unit))


def counterfactual(target: Counterfactual, given: Given) -> Float[Array, "N T"] | None:
    """What the unit's actions earned more than the default action would have."""
    if target.null >= given.num_actions:
        return None
    if target.unit == "step":
        default = given.truth.advantage[time_of(given.batch), given.batch.state, target.null]
        more = advantage_along(given.truth, given.batch) - default
        return jnp.where(given.decided, more, 0.0)
    unit = given.unit(target.unit)
    protocol = Protocol(reference=_always(target.null, given), downstream=given.policy)
    more = contrast(given.mdp, protocol, given.batch, unit, unit.shape[0]).value
    return segment_broadcast(more, unit)


def _game(target: Shapley | Difference, given: Given, count: int) -> Game | None:
    """The units of each trajectory against what plays where they are absent."""
    if target.null is None:
        absent = given.policy
    elif target.null < given.num_actions:
        absent = _always(target.null, given)
    else:
        return None
    # Agents may alternate: they play in more runs than there are agents.
    runs = None if target.unit == "agent" else count
    return taken_game(given.mdp, absent, given.batch, given.unit(target.unit), runs)


def _always(action: int, given: Given) -> Float[Array, "M O A"]:
    """The policy that always takes one action."""
    chosen = jnp.arange(given.num_actions) == action
    return jnp.broadcast_to(chosen, given.policy.shape).astype(given.policy.dtype)
