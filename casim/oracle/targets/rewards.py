"""Targets that are advantages in the process with other rewards, or of another policy."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.dynamics import force
from casim.oracle.along import Path, advantage_along, time_of
from casim.oracle.soft import soft_optimal
from casim.oracle.targets.given import Given, Table
from casim.oracle.values import solve
from casim.targets import Regularised, Soft, Subgoal


def soft(target: Soft, given: Given) -> Path | None:
    """Soft Q less soft V."""
    if given.reference is None:
        return None
    batch = given.batch
    best = soft_optimal(
        given.mdp,
        given.reference,
        target.temperature,
    )
    time = time_of(batch)
    return best.advantage[time, batch.state, batch.action]


def regularised(target: Regularised, given: Given) -> Path | None:
    """The advantage where every action costs its log-ratio to the reference.

    What an action costs depends on the observation. On average over actions and observations it is
    a cost of the state, with which the process is solved; the action's own takes its place
    afterwards.
    """
    if given.reference is None:
        return None
    mdp, batch = given.mdp, given.batch
    policy = force(mdp, given.policy)
    reference = force(mdp, given.reference)
    ratio = _log_ratio(policy, reference)
    price = target.temperature * ratio
    mean_price = jnp.einsum(
        "mso,moa->ms",
        mdp.emission,
        policy * price,
        precision="highest",
    )
    paid_on_average = mean_price[..., None, None]
    advantage = _advantage(given, mdp.reward - paid_on_average)
    kernel = mdp.schedule[None, :]
    own = price[kernel, batch.observation, batch.action]
    average = mean_price[kernel, batch.state]
    return advantage + average - own


def subgoal(target: Subgoal, given: Given) -> Path | None:
    """The advantage with rewards for arriving at goals."""
    mdp, goals = given.mdp, target.goals
    states = mdp.start.shape[0]
    if not goals or max(goals) >= states:
        return None
    states_rewarded = jnp.asarray(goals)
    arrives = jnp.isin(mdp.successor, states_rewarded)
    arrival = arrives.astype(mdp.reward.dtype)
    bonus = target.weight * arrival
    shaped = bonus if target.alone else mdp.reward + bonus
    return _advantage(given, shaped)


def _log_ratio(policy: Table, reference: Table) -> Table:
    """log(pi / ref), 0 for what the policy never does."""
    plays = policy > 0
    ours = jnp.where(plays, policy, 1.0)
    theirs = jnp.where(plays, reference, 1.0)
    return jnp.log(ours) - jnp.log(theirs)


def _advantage(given: Given, reward: Float[Array, "M S A K"]) -> Path:
    """The advantage along each trajectory if the process paid this."""
    other = given.mdp._replace(reward=reward)
    truth = solve(other, given.policy)
    return advantage_along(truth, given.batch)
