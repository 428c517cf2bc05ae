"""Hindsight: how likely an action of the past looks once something that came after it is known.

In maths, with s the latent state, pi(a | s) the policy averaged over the emission, and u anything
later than a_t:

    h(a | s, u) = P(a_t = a | s_t = s, u) = pi(a | s) P(u | s, a) / P(u | s),

NaN where P(u | s) = 0. With u the return, u = Z_t = sum_{k>=t} d(t, k) r_k, and d(t, k) the product
of the discounts of the steps t to k - 1,

    Q(s, a) = E[h(a | s, Z) / pi(a | s) Z | s],

and on the action taken A(s, a) = E[(1 - pi(a | s) / h(a | s, Z)) Z | s, a] if every return that s
allows is possible after a. What is met later, states or features of steps, is in
`casim.oracle.coefficients`.

Where pi(a | s) = 0 nothing is seen of the action: what hindsight says of its Q is NaN. Transitions
and rewards may be random.

Cost: O(T S A K Z).

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 (return hindsight).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from casim.doors import door
from casim.dynamics import absorb, can_act, state_policy, step_discount
from casim.oracle.values import solve
from casim.types import MDP

SUPPORT_TOLERANCE = 1e-5
"""How far a return may lie from a point of the support, relative to its largest (at least 1)."""


class Outcomes(NamedTuple):
    """The law of the return-to-go from every step and state, and what it says of the action."""

    support: Float[Array, " Z"]
    """The values that Z_t can take, ascending."""
    given_action: Float[Array, "T S A Z"]
    """P(Z_t = z | s_t = s, a_t = a)."""
    given_state: Float[Array, "T S Z"]
    """P(Z_t = z | s_t = s)."""
    hindsight: Float[Array, "T S A Z"]
    """h(a | s, z); NaN where z is impossible in s."""
    discount: Float[Array, " T"]
    """The discount of each step in Z_t."""


@door
def success_hindsight(
    mdp: MDP,
    policy: Float[Array, "M O A"],
) -> Outcomes:
    """Hindsight on a binary outcome, where the rewards of every episode add up to 0 or 1.

    In maths, with discount 1 whatever the discount of the process:

        P(Z_t = 1 | s, a) = Q_t(s, a),    h(a | s, 1) = pi(a | s) Q_t(s, a) / V_t(s).

    `check_support(mdp at discount 1, [0, 1])` tells whether the outcome is binary; what is no
    probability becomes NaN.
    """
    one = jnp.ones_like(mdp.discount)
    undiscounted = mdp._replace(discount=one)
    truth = solve(undiscounted, policy)
    given_action = _success(truth.q_value)
    value = truth.value[:-1]
    given_state = _success(value)
    acting = truth.state_policy[mdp.schedule]
    hindsight = _posterior(acting, given_action, given_state)
    support = jnp.arange(2, dtype=one.dtype)
    return Outcomes(
        support,
        given_action,
        given_state,
        hindsight,
        discount=one[mdp.schedule],
    )


def _success(
    probability: Float[Array, "*shape"],
) -> Float[Array, "*shape 2"]:
    """Failure and success, with rounding beyond [0, 1] removed."""
    inside = jnp.clip(probability, 0.0, 1.0)
    change = inside - probability
    beyond = jnp.abs(change)
    is_rounding = beyond <= SUPPORT_TOLERANCE
    inside = jnp.where(is_rounding, inside, jnp.nan)
    failure = 1.0 - inside
    both = [failure, inside]
    return jnp.stack(both, axis=-1)


@door
def return_hindsight(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    support: Float[Array, " Z"],
) -> Outcomes:
    """Hindsight on the discounted return-to-go, by dynamic programming on its distribution.

    Probability that falls between the points of `support` makes the result NaN; `check_support`
    tells beforehand. An action that the policy never takes has no part in that, whatever it could
    earn.
    """
    mdp = absorb(mdp)
    support = support.astype(mdp.prob.dtype)
    acting = state_policy(mdp, policy)
    _, states, actions = acting.shape
    points = support.shape[0]
    shape = (states, actions, points)
    every_state = jnp.arange(states)
    every_action = jnp.arange(actions)
    row = every_state[:, None, None, None]
    column = every_action[None, :, None, None]

    def step(
        later: Array,
        kernel: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        index, hit, _ = _landing(mdp, support, kernel)
        prob = mdp.prob[kernel]
        target = mdp.successor[kernel]
        chance = prob[..., None]
        weight = chance * later[target]
        is_nothing = weight == 0
        lands = hit | is_nothing
        weight = jnp.where(lands, weight, jnp.nan)
        given_action = jnp.zeros(shape, weight.dtype)
        place = given_action.at[row, column, index]
        given_action = place.add(weight)
        # The total is 1 up to rounding; dividing keeps that error from growing with the horizon.
        total = jnp.sum(given_action, axis=-1, keepdims=True)
        given_action = given_action / total
        # What the policy never does, on forced steps for instance, may lie off the support: it
        # counts with weight 0.
        policy_here = acting[kernel]
        taken = policy_here[..., None]
        of_taken = jnp.where(taken > 0, given_action, 0.0)
        weighed = taken * of_taken
        given_state = jnp.sum(weighed, axis=1)
        total = jnp.sum(given_state, axis=-1, keepdims=True)
        given_state = given_state / total
        return given_state, (given_action, given_state)

    # After the horizon every return is 0.
    distance = jnp.abs(support)
    zero = jnp.argmin(distance)
    dtype = support.dtype
    nothing = jax.nn.one_hot(zero, points, dtype=dtype)
    shape_of_last = (states, points)
    at_zero = nothing[None]
    last = jnp.broadcast_to(at_zero, shape_of_last)
    steps = mdp.schedule
    _, laws = jax.lax.scan(step, last, steps, reverse=True)
    given_action, given_state = laws
    chosen = acting[mdp.schedule]
    return Outcomes(
        support,
        given_action,
        given_state,
        hindsight=_posterior(chosen, given_action, given_state),
        discount=step_discount(mdp),
    )


def _posterior(
    acting: Float[Array, "T S A"],
    given_action: Float[Array, "T S A Z"],
    given_state: Float[Array, "T S Z"],
) -> Float[Array, "T S A Z"]:
    """h(a | s, z) = pi(a | s) P(z | s, a) / P(z | s).

    0 for what is never done, NaN where z is impossible.
    """
    untaken = acting == 0
    possible = given_state > 0
    ratio = likelihood_ratio(given_action, given_state)
    prior = acting[..., None]
    posterior = prior * ratio
    possible = possible[..., None, :]
    is_never = untaken[..., None]
    never = is_never & possible
    return jnp.where(never, 0.0, posterior)


def nearest(
    support: Float[Array, " Z"],
    value: Float[Array, "*shape"],
) -> tuple[Int[Array, "*shape"], Bool[Array, "*shape"]]:
    """The nearest point of the support, and whether it is near enough to be the value."""
    right = support[1:]
    left = support[:-1]
    neighbours = right + left
    halfway = neighbours / 2
    index = jnp.searchsorted(halfway, value)
    sizes = jnp.abs(support)
    largest = jnp.max(sizes)
    scale = jnp.maximum(1.0, largest)
    close = SUPPORT_TOLERANCE * scale
    point = support[index]
    gap = value - point
    apart = jnp.abs(gap)
    return index, apart <= close


@door
def check_support(
    mdp: MDP,
    support: np.ndarray | Array,
) -> None:
    """Checks that every return-to-go, from any step, state and action, is a point of the support.

    Where the policy decides nothing, action 0 is the only one. Not for use in jit.

    Raises:
        ValueError: a support that is not strictly ascending, has no 0 (the return after the
            horizon), or is not closed.
    """
    points = np.asarray(support)
    sizes = np.abs(points)
    largest = np.max(sizes, initial=0.0)
    scale = max(1.0, float(largest))
    scale = max(1.0, largest)
    apart = 4 * SUPPORT_TOLERANCE * scale
    if points.ndim != 1 or np.any(np.diff(points) <= apart):
        raise ValueError(f"support must be ascending [Z] with gaps above {apart:.1g}, got {points}")
    if not np.any(points == 0):
        raise ValueError(f"support must contain 0, the return after the horizon, got {points}")
    dtype = mdp.prob.dtype
    asked = jnp.asarray(points, dtype)
    missing = float(_missing(mdp, asked))
    if not np.isnan(missing):
        raise ValueError(f"support must hold every return-to-go, got {points} without {missing}")


def likelihood_ratio(
    given_action: Float[Array, "*t S A U"],
    given_state: Float[Array, "*t S U"],
) -> Float[Array, "*t S A U"]:
    """P(u | s, a) / P(u | s); NaN where u is impossible in s."""
    possible = given_state > 0
    safe = jnp.where(possible, given_state, 1.0)
    given = safe[..., None, :]
    ratio = given_action / given
    of_actions = possible[..., None, :]
    return jnp.where(of_actions, ratio, jnp.nan)


def _landing(
    mdp: MDP,
    support: Float[Array, " Z"],
    kernel: Int[Array, ""],
) -> tuple[Int[Array, "S A K Z"], Bool[Array, "S A K Z"], Float[Array, "S A K Z"]]:
    """Where r + discount z falls among the points of the support.

    The nearest point, whether that is it, and the number itself.
    """
    later = mdp.discount[kernel] * support
    after = later[None, None, None, :]
    reward = mdp.reward[kernel]
    now = reward[..., None]
    value = now + after
    return *nearest(support, value), value


@jax.jit
def _missing(
    mdp: MDP,
    support: Float[Array, " Z"],
) -> Float[Array, ""]:
    """A return-to-go that the support lacks; NaN if it lacks none."""
    mdp = absorb(mdp)
    (points,) = support.shape
    point = jnp.arange(points)
    acts = can_act(mdp)
    may_act = acts[:, None, :, None]
    happens = (mdp.prob > 0) & may_act

    def step(
        carry: tuple[Array, Array],
        kernel: Array,
    ) -> tuple[tuple[Array, Array], None]:
        possible, missing = carry
        index, hit, value = _landing(mdp, support, kernel)
        target = mdp.successor[kernel]
        after = possible[target]
        now = happens[kernel]
        here = now[..., None]
        land = here & after
        misses = land & ~hit
        off = jnp.where(misses, value, -jnp.inf)
        lost = jnp.max(off)
        at_points = point[None, None, None, None, :]
        place = index[..., None]
        there = place == at_points
        hits = land & hit
        on = hits[..., None]
        arrivals = on & there
        reached = jnp.any(arrivals, axis=(1, 2, 3))
        is_lost = lost > -jnp.inf
        missing = jnp.where(is_lost, lost, missing)
        return (reached, missing), None

    states = mdp.start.shape[0]
    is_zero = (support == 0)[None, :]
    nothing = jnp.broadcast_to(is_zero, (states, points))
    dtype = support.dtype
    none = jnp.full((), jnp.nan, dtype)
    start = (nothing, none)
    steps = mdp.schedule
    (_, missing), _ = jax.lax.scan(step, start, steps, reverse=True)
    return missing
