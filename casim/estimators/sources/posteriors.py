"""Hindsight by a fitted model: how much likelier each action was, by cross-entropy on counts.

In maths, with n_t(o, a, u) how often rollouts did a at o and then met u (weighed by discounts), and
h_t(a | o, u) = pi_t(a | o) exp theta_t(o, u, a) / sum_b pi_t(b | o) exp theta_t(o, u, b),

    min over theta of  - sum_t sum_{o, a, u} n_t(o, a, u) log (h_t(a | o, u) / pi_t(a | o)).

A table goes to the counted h; a network gives pairs (o, u), and steps, that were not met what alike
ones have. At theta = 0 nothing is known: h = pi. All pairs of steps are in n, none is drawn.

References:
    Meulemans et al. 2023, arXiv:2306.16803 (COCOA) and Harutyunyan et al. 2019, arXiv:1912.02503
    (HCA), whose h are networks fitted by cross-entropy. That h tilts the policy is casim's own.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.estimators.sources.fitting import Fit, log_ratios
from casim.estimators.sources.models import Shape, look_up
from casim.estimators.sources.objectives import weighted_mean


def fitted_ratio(
    fit: Fit,
    number: Float[Array, "T O A U"],
    policy: Float[Array, "T O A"],
) -> Float[Array, "T O A U"]:
    """h_t(a | o, u) / pi_t(a | o); 1 for an action that the policy never takes.

    Args:
        fit: how; its sight, rollouts and minibatches are not read: all counts are taken at once.
        number: n.
        policy: as it acts at each step.
    """
    steps, observations, actions, size = number.shape
    labels = observations * size
    label = jnp.arange(labels)[:, None]
    shape_of_labels = (labels, steps)
    every = jnp.broadcast_to(label, shape_of_labels)[None]
    shape_of_prior = (steps, observations, size, actions)
    prior = jnp.broadcast_to(policy[:, :, None], shape_of_prior)

    def by_label(
        x: Float[Array, "T O U A"],
    ) -> Float[Array, "1 L T A"]:
        """A row for each pair of what is seen and met."""
        rows = x.reshape(steps, labels, actions)
        return jnp.swapaxes(rows, 0, 1)[None]

    counts = by_label(jnp.swapaxes(number, 2, 3))
    given = (counts, by_label(prior))

    def loss(
        _: Array,
        theta: Array,
        given: tuple[Array, Array],
    ) -> Float[Array, ""]:
        counts, prior = given
        each = log_ratios(theta, prior)
        return -weighted_mean(each, counts)

    shape = Shape(steps, labels, actions)
    whole = dataclasses.replace(fit, minibatch=None)
    # Nothing is drawn.
    key = jax.random.key(0)
    theta = whole.minimised(key, shape, every, given, loss)
    logits = look_up(theta, every)
    found = log_ratios(logits, given[1])[0]
    by_step = jnp.swapaxes(found, 0, 1)
    ratio = jnp.exp(by_step)
    impossible = policy[..., None] <= 0
    by_pair = ratio.reshape(shape_of_prior)
    by_action = jnp.swapaxes(by_pair, 2, 3)
    return jnp.where(impossible, 1.0, by_action)
