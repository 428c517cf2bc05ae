"""Targets that compare what was done with what was not: games and contrasts."""

from __future__ import annotations

import jax.numpy as jnp

from casim.ops import segment_broadcast
from casim.oracle.along import Path, advantage_along, time_of
from casim.oracle.contrast import Protocol, contrast
from casim.oracle.games import Game, all_coalitions, taken_game, worth
from casim.oracle.shapley import MAX_PLAYERS, shapley_values
from casim.oracle.targets.given import Given, Table
from casim.targets import Counterfactual, Difference, Shapley


def shapley_value(target: Shapley, given: Given) -> Path | None:
    """The Shapley value of the step's unit."""
    count = given.count(target.unit)
    if count > MAX_PLAYERS:
        return None
    game = _game(target, given)
    if game is None:
        return None
    value = shapley_values(all_coalitions(game, count))
    return segment_broadcast(value, given.unit(target.unit))


def difference(target: Difference, given: Given) -> Path | None:
    """What all units are worth, less what they are worth without that of the step."""
    game = _game(target, given)
    if game is None:
        return None
    count = given.count(target.unit)
    # Coalition i lacks unit i, and the last one lacks none.
    absent = jnp.arange(count + 1)[:, None]
    player = jnp.arange(count)[None, :]
    present = player != absent
    rows = given.batch.action.shape[0]
    coalitions = jnp.broadcast_to(present[None], (rows, *present.shape))
    value = worth(game, coalitions)
    lost = value[:, -1:] - value[:, :-1]
    return segment_broadcast(lost, given.unit(target.unit))


def counterfactual(target: Counterfactual, given: Given) -> Path | None:
    """What the unit's actions earned more than the default action would have."""
    if target.null >= given.num_actions:
        return None
    if target.unit == "step":
        return _of_step(target.null, given)
    unit = given.unit(target.unit)
    protocol = Protocol(
        reference=_always(target.null, given),
        downstream=given.policy,
    )
    found = contrast(
        given.mdp,
        protocol,
        given.batch,
        unit,
        given.num_steps,
    )
    return segment_broadcast(found.value, unit)


def _of_step(null: int, given: Given) -> Path:
    """Q_t(s_t, a_t) - Q_t(s_t, null), from advantages."""
    truth, batch = given.truth, given.batch
    taken = advantage_along(truth, batch)
    default = truth.advantage[time_of(batch), batch.state, null]
    return jnp.where(given.decided, taken - default, 0.0)


def _game(target: Shapley | Difference, given: Given) -> Game | None:
    """The units of each trajectory against what plays where they are absent."""
    if target.null is None:
        absent = given.policy
    elif target.null < given.num_actions:
        absent = _always(target.null, given)
    else:
        return None
    # Agents may alternate: they play in more runs than there are agents.
    runs = None if target.unit == "agent" else given.count(target.unit)
    return taken_game(
        given.mdp,
        absent,
        given.batch,
        given.unit(target.unit),
        runs,
    )


def _always(action: int, given: Given) -> Table:
    """The policy that always takes one action."""
    policy = given.policy
    chosen = jnp.arange(given.num_actions) == action
    table = jnp.broadcast_to(chosen, policy.shape)
    return table.astype(policy.dtype)
