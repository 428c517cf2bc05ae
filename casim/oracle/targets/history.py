"""Targets of what the agent knows: values given the history, by its exact belief."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.ops import shift_left
from casim.oracle.belief import acting_along, beliefs
from casim.oracle.information import latent_information
from casim.oracle.targets.given import Given
from casim.targets import HistoryAdvantage, HistoryGain, LatentGain


def history_advantage(target: HistoryAdvantage, given: Given) -> Float[Array, "N T"]:
    """A(h_t, a_t)."""
    advantage, _ = _of_history(given)
    return advantage


def history_gain(target: HistoryGain, given: Given) -> Float[Array, "N T"]:
    """r_t + discount V(h_{t+1}) - V(h_t)."""
    _, value = _of_history(given)
    goes_on = shift_left(given.batch.live, False)
    later = jnp.where(goes_on, shift_left(value), 0.0)
    return given.batch.reward + given.step_discount[None, :] * later - value


def latent_gain(target: LatentGain, given: Given) -> Float[Array, "N T"] | None:
    """What each step told of a class of latent states."""
    if len(target.classes) != given.mdp.start.shape[0]:
        return None
    labels = jnp.asarray(target.classes)
    belief = beliefs(given.mdp, given.batch)
    told = latent_information(belief, given.batch, labels, max(target.classes) + 1)
    if target.form == "entropy":
        return told.gain
    return told.truth.log_probability if target.form == "log" else told.truth.probability


def _of_history(given: Given) -> tuple[Float[Array, "N T"], Float[Array, "N T"]]:
    """A(h_t, a_t) and V(h_t) along each trajectory; NaN from where the history is impossible."""
    belief = beliefs(given.mdp, given.batch)
    acting = acting_along(given.mdp, given.policy, given.batch)
    # From advantages, because means of Q lose the digits in which actions differ.
    mean = jnp.einsum("nts,tsa->nta", belief, given.truth.advantage, precision="highest")
    by_observation = jnp.sum(acting * mean, axis=-1)
    action = given.batch.action[..., None].astype(jnp.int32)
    taken = jnp.take_along_axis(mean, action, axis=-1)[..., 0]
    value = jnp.einsum("nts,ts->nt", belief, given.truth.value[:-1], precision="highest")
    return taken - by_observation, value + by_observation
