"""Targets of what the agent knows: values given the history, by its exact belief."""

from __future__ import annotations

import jax.numpy as jnp

from casim.oracle.along import Path
from casim.oracle.belief import acting_along, beliefs
from casim.oracle.information import latent_information
from casim.oracle.targets.given import Given
from casim.targets import HistoryAdvantage, HistoryGain, LatentGain


def history_advantage(target: HistoryAdvantage, given: Given) -> Path:
    """A(h_t, a_t)."""
    advantage, _ = _of_history(given)
    return advantage


def history_gain(target: HistoryGain, given: Given) -> Path:
    """r_t + discount_t V(h_{t+1}) - V(h_t)."""
    _, value = _of_history(given)
    return given.one_step(value) - value


def latent_gain(target: LatentGain, given: Given) -> Path | None:
    """What each step told of a class of latent states."""
    mdp, batch = given.mdp, given.batch
    classes = target.classes
    if len(classes) != mdp.start.shape[0]:
        return None
    belief = beliefs(mdp, batch)
    told = latent_information(
        belief,
        batch,
        jnp.asarray(classes),
        max(classes) + 1,
    )
    if target.form == "entropy":
        return told.gain
    if target.form == "log":
        return told.truth.log_probability
    return told.truth.probability


def _of_history(given: Given) -> tuple[Path, Path]:
    """A(h_t, a_t) and V(h_t) along each trajectory; NaN from where the history is impossible."""
    mdp, truth, batch = given.mdp, given.truth, given.batch
    belief = beliefs(mdp, batch)
    acting = acting_along(mdp, given.policy, batch)
    # From advantages, because means of Q lose the digits in which actions differ.
    mean = jnp.einsum(
        "nts,tsa->nta",
        belief,
        truth.advantage,
        precision="highest",
    )
    latent_value = jnp.einsum(
        "nts,ts->nt",
        belief,
        truth.value[:-1],
        precision="highest",
    )
    by_observation = jnp.sum(acting * mean, axis=-1)
    action = batch.action[..., None].astype(jnp.int32)
    taken = jnp.take_along_axis(mean, action, axis=-1)
    advantage = taken[..., 0] - by_observation
    return advantage, latent_value + by_observation
