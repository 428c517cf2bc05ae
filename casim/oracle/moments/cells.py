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

from typing import Any, NamedTuple

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


def trace_cells(
    mdp: MDP,
    acting: Float[Array, "M S A"],
    form: Trace,
) -> Cells:
    """Moments of L_t in each cell; `mdp` has absorbing tables."""
    over = mdp.terminal[:, None, None]
    live = ~over

    def step(
        later: tuple[Array, Array],
        inputs: Any,
    ) -> tuple[tuple[Array, Array], Cells]:
        """One step back, from the moments of L_{t+1} in each state to those of L_t."""
        later_mean, later_variance = later
        kernel, after, before = inputs
        target = mdp.successor[kernel]
        chance = mdp.prob[kernel]
        decay = form.decay[kernel]
        later_value = after[target]
        worth = mdp.discount[kernel] * later_value
        paid = mdp.reward[kernel]
        reward = form.reward * paid
        now = before[..., None]
        gain = reward + worth - now
        mean_after = decay * later_mean[target]
        total = gain + mean_after
        outcome = jnp.where(live, total, 0.0)
        mean = expectation(chance, outcome)
        centre = mean[..., None]
        away = outcome - centre
        between = away**2
        spread_after = later_variance[target]
        variance_after = jnp.where(live, spread_after, 0.0)
        within = decay**2 * variance_after
        square = between + within
        variance = expectation(chance, square)
        found = Cells(mean, variance)
        here = _mix(acting[kernel], mean, variance)
        return here, found

    zero = jnp.zeros_like(mdp.start)
    _, cells = jax.lax.scan(
        step,
        (zero, zero),
        (mdp.schedule, form.after[1:], form.before),
        reverse=True,
    )
    return cells


def product_cells(
    mdp: MDP,
    acting: Float[Array, "M S A"],
    form: Product,
) -> tuple[Cells, Float[Array, "times S"], Float[Array, "2"]]:
    """Of the return: its moments in each cell, the value of what is left, its mean and variance.

    The last are over all trajectories. `mdp` has absorbing tables.
    """
    dtype = mdp.prob.dtype
    discount = jnp.asarray(form.discount, dtype)
    own = mdp._replace(discount=discount)
    future = _return_cells(own, acting, form)
    chosen = acting[mdp.schedule]
    value, spread = _mix(chosen, future.mean, future.variance)
    first = value[0]
    first_spread = spread[0]
    mean = expectation(mdp.start, first)
    away = first - mean
    square = first_spread + away**2
    variance = expectation(mdp.start, square)
    past, past_spread = _past(own, acting)
    past = past[..., None]
    past_spread = past_spread[..., None]
    weight = discounting(own)
    scale = weight[:, None, None]
    cells = Cells(
        past + scale * future.mean,
        past_spread + scale**2 * future.variance,
    )
    after_the_end = jnp.zeros_like(value[:1])
    left = jnp.concatenate([value, after_the_end])
    total = jnp.stack([mean, variance])
    return cells, left, total


def _return_cells(
    mdp: MDP,
    acting: Float[Array, "M S A"],
    form: Product,
) -> Cells:
    """Moments of the return from t on: a trace that compares with nothing."""
    zero = jnp.zeros_like(form.table)
    steps, states, _ = zero.shape
    shape = (steps + 1, states)
    after = jnp.zeros(shape)
    nothing = Trace(1.0, form.discount, after, zero, zero)
    return trace_cells(mdp, acting, nothing)


def _past(
    mdp: MDP,
    acting: Array,
) -> tuple[Array, Array]:
    """Mean and variance of the rewards before t, discounted to step 0, given s_t: both `[T, S]`."""
    states = mdp.start.shape[0]

    def step(
        carry: tuple[Array, Array, Array, Array],
        kernel: Array,
    ) -> tuple[tuple[Array, Array, Array, Array], tuple[Array, Array]]:
        reached, mean, spread, scale = carry
        acts = acting[kernel]
        chosen = reached[:, None] * acts
        chance = mdp.prob[kernel]
        joint = chosen[..., None] * chance
        successor = mdp.successor[kernel]

        def collect(
            x: Array,
        ) -> Array:
            """Sums over the transitions into each state, each by its probability."""
            arriving = (joint * x).ravel()
            return axis_sum(arriving, successor.ravel(), states)

        onward = collect(jnp.ones_like(joint))
        safe = jnp.where(onward > 0, onward, 1.0)
        paid = mdp.reward[kernel]
        reward = scale * paid
        so_far = mean[:, None, None]
        earned = so_far + reward
        later = collect(earned) / safe
        away = earned - later[successor]
        within = spread[:, None, None]
        square = away**2 + within
        later_spread = collect(square) / safe
        later_scale = scale * mdp.discount[kernel]
        reached = onward / jnp.sum(onward)
        carried = (reached, later, later_spread, later_scale)
        return carried, (mean, spread)

    zero = jnp.zeros_like(mdp.start)
    one = jnp.ones((), zero.dtype)
    start = (mdp.start, zero, zero, one)
    _, found = jax.lax.scan(step, start, mdp.schedule)
    return found


def _mix(
    policy: Array,
    mean: Array,
    variance: Array,
) -> tuple[Array, Array]:
    """Mean and variance in a state, from those of its actions."""
    total = expectation(policy, mean)
    centre = total[..., None]
    away = mean - centre
    square = variance + away**2
    return total, expectation(policy, square)
