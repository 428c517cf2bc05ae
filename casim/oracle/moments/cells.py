"""Expectation and variance of the credit in every cell (t, s, a), by one scan over time.

In maths, for L_t = e_t + decay_t L_{t+1}, backwards from 0,

    E[L_t^j | s, a] = sum_k P(k | s, a) E[(e + decay_t L_{t+1})^j | s'], j = 1, 2.

For a whole return G = past_t + w_t G_t, w_t the product of the discounts of the steps before, whose
two parts are independent given (s_t, a_t):
the same backwards for G_t, and forwards the mean and the variance of past_t given s_t.

References:
    Sobel 1982 (the backward recursion of second moments).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.dynamics import discounting
from casim.ops import expectation
from casim.oracle.moments.forms import Product, Trace
from casim.sums import axis_sum
from casim.types import MDP


class Cells(NamedTuple):
    """Moments of the credit of the action taken, without the part that every action gets."""

    mean: Float[Array, "T S A"]
    variance: Float[Array, "T S A"]


def trace_cells(mdp: MDP, acting: Float[Array, "M S A"], form: Trace) -> Cells:
    """Moments of L_t in each cell; `mdp` has absorbing tables."""
    live = ~mdp.terminal[:, None, None]

    def step(carry: tuple[Array, Array], inputs) -> tuple[tuple[Array, Array], Cells]:
        kernel, after, before = inputs
        target, decay = mdp.successor[kernel], form.decay[kernel]
        worth = mdp.discount[kernel] * after[target]
        gain = form.reward * mdp.reward[kernel] + worth - before[..., None]
        outcome = jnp.where(live, gain + decay * carry[0][target], 0.0)
        mean = expectation(mdp.prob[kernel], outcome)
        later = decay**2 * jnp.where(live, carry[1][target], 0.0)
        spread = expectation(mdp.prob[kernel], (outcome - mean[..., None]) ** 2 + later)
        return _mix(acting[kernel], mean, spread), Cells(mean, spread)

    zero = jnp.zeros_like(mdp.start)
    return jax.lax.scan(
        step, (zero, zero), (mdp.schedule, form.after[1:], form.before), reverse=True
    )[1]


def product_cells(
    mdp: MDP, acting: Float[Array, "M S A"], form: Product
) -> tuple[Cells, Float[Array, "times S"], Float[Array, "2"]]:
    """Of the return: its moments in each cell, the value of what is left, its mean and variance.

    The last are over all trajectories. `mdp` has absorbing tables.
    """
    own = mdp._replace(discount=jnp.asarray(form.discount, mdp.prob.dtype))
    zero = jnp.zeros_like(form.table)
    nothing = Trace(1.0, form.discount, jnp.zeros((len(zero) + 1, zero.shape[1])), zero, zero)
    future = trace_cells(own, acting, nothing)
    value, spread = _mix(acting[mdp.schedule], future.mean, future.variance)
    mean = expectation(mdp.start, value[0])
    variance = expectation(mdp.start, spread[0] + (value[0] - mean) ** 2)
    past, past_spread = (x[..., None] for x in _past(own, acting))
    scale = discounting(own)[:, None, None]
    cells = Cells(past + scale * future.mean, past_spread + scale**2 * future.variance)
    return cells, jnp.concatenate([value, jnp.zeros_like(value[:1])]), jnp.stack([mean, variance])


def _past(mdp: MDP, acting: Array) -> tuple[Array, Array]:
    """Mean and variance of the rewards before t, discounted to step 0, given s_t: both `[T, S]`."""
    states = mdp.start.shape[0]

    def step(carry: tuple[Array, Array, Array, Array], kernel: Array):
        reached, mean, spread, scale = carry
        joint = reached[:, None, None] * acting[kernel][..., None] * mdp.prob[kernel]
        target = mdp.successor[kernel].ravel()
        earned = mean[:, None, None] + scale * mdp.reward[kernel]

        def collect(x: Array) -> Array:
            return axis_sum((joint * x).ravel(), target, states)

        onward = collect(jnp.ones_like(joint))
        safe = jnp.where(onward > 0, onward, 1.0)
        later = collect(earned) / safe
        off = (earned - later[mdp.successor[kernel]]) ** 2
        later_spread = collect(off + spread[:, None, None]) / safe
        scale = scale * mdp.discount[kernel]
        return (onward / jnp.sum(onward), later, later_spread, scale), (mean, spread)

    zero = jnp.zeros_like(mdp.start)
    return jax.lax.scan(step, (mdp.start, zero, zero, jnp.ones((), zero.dtype)), mdp.schedule)[1]


def _mix(policy: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    """Mean and variance in a state, from those of its actions."""
    total = expectation(policy, mean)
    return total, expectation(policy, variance + (mean - total[..., None]) ** 2)
