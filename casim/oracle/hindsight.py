"""Hindsight: how likely an action of the past looks once something that came after it is known.

In maths, with s the latent state, pi(a | s) the policy averaged over the emission, and u anything
later than a_t:

    h(a | s, u) = P(a_t = a | s_t = s, u) = pi(a | s) P(u | s, a) / P(u | s),

NaN where P(u | s) = 0.
- return, u = Z_t = sum_{k>=t} d(t, k) r_k, with d(t, k) the product of the discounts of
  the steps t to k - 1:

      Q(s, a) = E[h(a | s, Z) / pi(a | s) Z | s],

  and on the action taken A(s, a) = E[(1 - pi(a | s) / h(a | s, Z)) Z | s, a] if every return that s
  allows is possible after a.
- state, u = S_k:

      Q(s, a) = r(s, a) + sum_{k>t} d(t, k) E[h_k(a | s, S_k) / pi(a | s) r_k | s].

- feature, u = U_k = f(s_k, a_k, successor), with contribution coefficients
  w_k(s, a, u) = P(u | s, a) / P(u | s) - 1:

      A(s, a) = r(s, a) - r_pi(s) + sum_{k>t} d(t, k) E[w_k(s, a, U_k) r_k | s]

  if U_k is fully predictive of the reward: E[r_k | s, a, U_k = u] is the same for all a. Pooled
  over k > t, P(U_k = u | .) is replaced by sum_{k>t} d(t, k) P(U_k = u | .), and
  E[r_k | U_k = u] must not depend on k either.

Where pi(a | s) = 0 nothing is seen of the action: what hindsight says of its Q is NaN. Transitions
and rewards may be random.

Cost: returns O(T S A K Z); state and feature, for one step t, O(T S^2 A (S + U)) time with O(S A S)
carried, and O(T S A U) memory only for a table that was asked for.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 (state and return hindsight); Meulemans et al. 2023,
    arXiv:2306.16803 (COCOA: contribution coefficients). Features per step, pooling with discount
    weights, and features of the transition are written for casim; at discount 1 the pooled form is
    the paper's.
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
from casim.simulate.belief import transition_matrix
from casim.sums import outcome_sum
from casim.types import MDP
from casim.wellformed import check_labels

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


class StateHindsight(NamedTuple):
    """What the later states say of the action of one step t."""

    q_value: Float[Array, "S A"]
    """Q_t(s, a) by the identity of the module's docstring; NaN where pi(a | s) = 0."""
    table: Float[Array, "T S A S"] | None
    """h_k(a | s, y) for every later step k, if asked for.

    NaN for k <= t and where y is impossible.
    """


class Contribution(NamedTuple):
    """Contribution coefficients of the action of one step t, and the mean credit that they give."""

    coefficient: Float[Array, "S A U"]
    """w(s, a, u) pooled over the later steps; NaN where u is impossible."""
    advantage: Float[Array, "S A"]
    """Mean credit with the coefficients of each step.

    It is A_t(s, a) if the feature is fully predictive.
    """
    pooled_advantage: Float[Array, "S A"]
    """Mean credit with the pooled coefficients. Both are NaN where pi(a | s) = 0."""
    table: Float[Array, "T S A U"] | None
    """w_k(s, a, u) for every later step k, if asked for.

    NaN for k <= t and where u is impossible.
    """


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
    truth = solve(mdp._replace(discount=one), policy)
    given_action = _success(truth.q_value)
    given_state = _success(truth.value[:-1])
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
    beyond = jnp.abs(inside - probability)
    is_rounding = beyond <= SUPPORT_TOLERANCE
    inside = jnp.where(is_rounding, inside, jnp.nan)
    failure = 1.0 - inside
    return jnp.stack([failure, inside], axis=-1)


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
    shape = (states, actions, support.shape[0])
    row = jnp.arange(states)[:, None, None, None]
    column = jnp.arange(actions)[None, :, None, None]

    def step(
        later: Array,
        kernel: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        index, hit, _ = _landing(mdp, support, kernel)
        prob = mdp.prob[kernel][..., None]
        target = mdp.successor[kernel]
        weight = prob * later[target]
        lands = hit | (weight == 0)
        weight = jnp.where(lands, weight, jnp.nan)
        given_action = jnp.zeros(shape, weight.dtype)
        place = given_action.at[row, column, index]
        given_action = place.add(weight)
        # The total is 1 up to rounding; dividing keeps that error from growing with the horizon.
        total = jnp.sum(given_action, axis=-1, keepdims=True)
        given_action = given_action / total
        # What the policy never does, on forced steps for instance, may lie off the support: it
        # counts with weight 0.
        taken = acting[kernel][..., None]
        of_taken = jnp.where(taken > 0, given_action, 0.0)
        given_state = jnp.sum(taken * of_taken, axis=1)
        total = jnp.sum(given_state, axis=-1, keepdims=True)
        given_state = given_state / total
        return given_state, (given_action, given_state)

    # After the horizon every return is 0.
    zero = jnp.argmin(jnp.abs(support))
    points = support.shape[0]
    nothing = jax.nn.one_hot(zero, points, dtype=support.dtype)[None]
    last = jnp.broadcast_to(nothing, (states, points))
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
    untaken = (acting == 0)[..., None]
    possible = (given_state > 0)[..., None, :]
    ratio = _ratio(given_action, given_state)
    posterior = acting[..., None] * ratio
    return jnp.where(untaken & possible, 0.0, posterior)


def nearest(
    support: Float[Array, " Z"],
    value: Float[Array, "*shape"],
) -> tuple[Int[Array, "*shape"], Bool[Array, "*shape"]]:
    """The nearest point of the support, and whether it is near enough to be the value."""
    neighbours = support[1:] + support[:-1]
    halfway = neighbours / 2
    index = jnp.searchsorted(halfway, value)
    largest = jnp.max(jnp.abs(support))
    close = SUPPORT_TOLERANCE * jnp.maximum(1.0, largest)
    point = support[index]
    apart = jnp.abs(value - point)
    return index, apart <= close


@door
def state_hindsight(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    step: Int[Array, ""] | int,
    table: bool = False,
) -> StateHindsight:
    """What the states after step t say of a_t.

    Set `table` (static under jit) for the posteriors of every k.

    Raises:
        ValueError: a step that is none, if it is known before compilation.
    """
    check_labels("step", step, mdp.schedule.shape[0])
    mdp = absorb(mdp)
    acting = state_policy(mdp, policy)
    mean = _mean_reward(mdp)
    earned = jnp.sum(acting * mean, axis=-1)
    kernels, states = earned.shape
    itself = jnp.eye(states, dtype=earned.dtype)
    shape = (kernels, states, states)
    seen = jnp.broadcast_to(itself[None], shape)
    paid = seen * earned[..., None]
    gain, _, _, ratio = _look_ahead(
        mdp,
        acting,
        step,
        seen,
        paid,
        table,
    )
    kernel = mdp.schedule[step]
    taken = acting[kernel]
    earned_later = mean[kernel] + gain
    is_seen = taken > 0
    q_value = jnp.where(is_seen, earned_later, jnp.nan)
    if ratio is None:
        return StateHindsight(q_value, None)
    prior = taken[None, :, :, None]
    return StateHindsight(q_value, prior * ratio)


@door
def contribution(
    mdp: MDP,
    policy: Float[Array, "M O A"],
    step: Int[Array, ""] | int,
    feature: Int[Array, "M S A K"],
    num_features: int,
    table: bool = False,
) -> Contribution:
    """Contribution coefficients of a_t with respect to a feature of the later live steps.

    Args:
        mdp: the process.
        policy: its policy.
        step: t.
        feature: f in [0, num_features) of every transition. A feature of (s, a) is repeated along
            K; that of `reward_feature` is the reward itself.
        num_features: U, static under jit.
        table: whether to return the coefficients of every k (static under jit).

    Raises:
        ValueError: a step that is none, if it is known before compilation.
    """
    check_labels("step", step, mdp.schedule.shape[0])
    mdp = absorb(mdp)
    acting = state_policy(mdp, policy)
    everywhere = jnp.ones_like(mdp.start)
    live = jnp.where(mdp.terminal, 0.0, everywhere)
    happens = acting[..., None] * mdp.prob
    joint = happens * live[None, :, None, None]
    kernels, states = joint.shape[:2]
    rows = (kernels, states, -1)
    of_each = jnp.broadcast_to(feature, joint.shape)
    code = of_each.reshape(rows)
    chance = joint.reshape(rows)
    seen = outcome_sum(chance, code, num_features)
    earned = (joint * mdp.reward).reshape(rows)
    paid = outcome_sum(earned, code, num_features)
    gain, seen, paid, ratio = _look_ahead(
        mdp,
        acting,
        step,
        seen,
        paid,
        table,
    )

    kernel = mdp.schedule[step]
    taken = acting[kernel]
    mean = _mean_reward(mdp)[kernel]
    on_average = taken * mean
    usual = jnp.sum(on_average, axis=-1, keepdims=True)
    paid_later = jnp.sum(paid, axis=-1)
    now = mean - usual - paid_later[:, None]
    seen_state = jnp.einsum(
        "sa,sau->su",
        taken,
        seen,
        precision="highest",
    )
    pooled = _ratio(seen, seen_state)
    pooled_gain = _paid(pooled, paid)
    return Contribution(
        coefficient=pooled - 1.0,
        advantage=jnp.where(taken > 0, now + gain, jnp.nan),
        pooled_advantage=jnp.where(taken > 0, now + pooled_gain, jnp.nan),
        table=None if ratio is None else ratio - 1.0,
    )


@door
def reward_feature(
    mdp: MDP,
) -> tuple[Int[Array, "M S A K"], np.ndarray]:
    """The reward as a feature: its index among the distinct rewards, and those rewards `[U]`.

    Only transitions that can happen have rewards: of positive probability, after an action that can
    be taken. The others get the index of the first reward; no contribution counts them. Not for use
    in jit.
    """
    terminal = np.asarray(mdp.terminal)
    over = terminal[:, None, None]
    reward = np.where(over, 0.0, np.asarray(mdp.reward))
    may_act = np.asarray(can_act(mdp))
    allowed = may_act[:, None, :, None]
    possible = np.asarray(mdp.prob) > 0
    happens = allowed & possible
    value = np.unique(reward[happens])
    place = np.searchsorted(value, reward)
    index = np.where(happens, place, 0)
    return jnp.asarray(index, int), value


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
    largest = float(np.max(sizes, initial=0.0))
    apart = 4 * SUPPORT_TOLERANCE * max(1.0, largest)
    if points.ndim != 1 or np.any(np.diff(points) <= apart):
        raise ValueError(f"support must be ascending [Z] with gaps above {apart:.1g}, got {points}")
    if not np.any(points == 0):
        raise ValueError(f"support must contain 0, the return after the horizon, got {points}")
    asked = jnp.asarray(points, mdp.prob.dtype)
    missing = float(_missing(mdp, asked))
    if not np.isnan(missing):
        raise ValueError(f"support must hold every return-to-go, got {points} without {missing}")


def _look_ahead(
    mdp: MDP,
    acting: Array,
    step: Array | int,
    seen: Array,
    paid: Array,
    table: bool,
):
    """Scans k > t = step, given P(u | s) and E[r; u | s] of each kernel under the policy.

    Both are `[M, S, U]`.

    Returns:
        Sums with weight d(t, k), namely of E[P(u_k | s, a) / P(u_k | s) r_k | s] `[S, A]`,
        of P(u_k = u | s, a) `[S, A, U]` and of E[r_k; u_k = u | s] `[S, U]`; and the ratios
        P(u_k = u | s, a) / P(u_k = u | s) `[T, S, A, U]` if `table`, else None.
    """
    matrix = transition_matrix(mdp)
    move = jnp.einsum("msa,msaz->msz", acting, matrix, precision="highest")
    taken = acting[mdp.schedule[step]]

    def look(
        carry: tuple[Array, Array, list[Array]],
        now: tuple[Array, Array],
    ):
        reached, scale, total = carry
        index, kernel = now
        state_reached = jnp.einsum("sa,say->sy", taken, reached, precision="highest")
        seen_here = seen[kernel]
        seen_action = jnp.matmul(reached, seen_here, precision="highest")
        seen_state = jnp.matmul(state_reached, seen_here, precision="highest")
        ratio = _ratio(seen_action, seen_state)
        paid_here = jnp.matmul(state_reached, paid[kernel], precision="highest")
        here = (_paid(ratio, paid_here), seen_action, paid_here)
        pairs = zip(total, here, strict=True)
        total = [x + scale * more for x, more in pairs]

        onward = jnp.matmul(reached, move[kernel], precision="highest")
        # The total is 1 up to rounding; dividing keeps that error from growing with the horizon.
        mass = jnp.sum(onward, axis=-1, keepdims=True)
        divisor = jnp.where(index > step, mass, 1.0)
        onward = onward / divisor
        from_here = matrix[kernel]
        reached = jnp.where(index == step, from_here, onward)
        discounted = scale * mdp.discount[kernel]
        scale = jnp.where(index < step, 1.0, discounted)
        shown = ratio if table else None
        return (reached, scale, total), shown

    states, actions = taken.shape
    size = seen.shape[-1]
    dtype = seen.dtype
    nowhere = jnp.zeros((states, actions, states), dtype)
    nothing = [
        jnp.zeros((states, actions), dtype),
        jnp.zeros((states, actions, size), dtype),
        jnp.zeros((states, size), dtype),
    ]
    init = (nowhere, jnp.ones((), dtype), nothing)
    times = jnp.arange(mdp.schedule.shape[0])
    steps = (times, mdp.schedule)
    found, ratio = jax.lax.scan(look, init, steps)
    _, _, total = found
    return *total, ratio


def _paid(
    ratio: Float[Array, "S A U"],
    paid: Float[Array, "S U"],
) -> Float[Array, "S A"]:
    """The ratio averaged over what is paid; where u is impossible nothing is."""
    each = ratio * paid[:, None, :]
    possible = jnp.where(jnp.isnan(ratio), 0.0, each)
    return jnp.sum(possible, axis=-1)


def _ratio(
    given_action: Float[Array, "*t S A U"],
    given_state: Float[Array, "*t S U"],
) -> Float[Array, "*t S A U"]:
    """P(u | s, a) / P(u | s); NaN where u is impossible in s."""
    possible = given_state > 0
    safe = jnp.where(possible, given_state, 1.0)
    ratio = given_action / safe[..., None, :]
    of_actions = possible[..., None, :]
    return jnp.where(of_actions, ratio, jnp.nan)


def _mean_reward(
    mdp: MDP,
) -> Float[Array, "M S A"]:
    earned = mdp.prob * mdp.reward
    return jnp.sum(earned, axis=-1)


def _landing(
    mdp: MDP,
    support: Float[Array, " Z"],
    kernel: Int[Array, ""],
) -> tuple[Int[Array, "S A K Z"], Bool[Array, "S A K Z"], Float[Array, "S A K Z"]]:
    """Where r + discount z falls among the points of the support.

    The nearest point, whether that is it, and the number itself.
    """
    later = mdp.discount[kernel] * support
    reward = mdp.reward[kernel][..., None]
    value = reward + later[None, None, None, :]
    return *nearest(support, value), value


@jax.jit
def _missing(
    mdp: MDP,
    support: Float[Array, " Z"],
) -> Float[Array, ""]:
    """A return-to-go that the support lacks; NaN if it lacks none."""
    mdp = absorb(mdp)
    point = jnp.arange(support.shape[0])
    may_act = can_act(mdp)[:, None, :, None]
    happens = (mdp.prob > 0) & may_act

    def step(
        carry: tuple[Array, Array],
        kernel: Array,
    ) -> tuple[tuple[Array, Array], None]:
        possible, missing = carry
        index, hit, value = _landing(mdp, support, kernel)
        after = possible[mdp.successor[kernel]]
        here = happens[kernel][..., None]
        land = here & after
        misses = land & ~hit
        off = jnp.where(misses, value, -jnp.inf)
        lost = jnp.max(off)
        points = point[None, None, None, None, :]
        there = index[..., None] == points
        on = (land & hit)[..., None]
        arrivals = on & there
        reached = jnp.any(arrivals, axis=(1, 2, 3))
        is_lost = lost > -jnp.inf
        missing = jnp.where(is_lost, lost, missing)
        return (reached, missing), None

    states = mdp.start.shape[0]
    is_zero = (support == 0)[None, :]
    nothing = jnp.broadcast_to(is_zero, (states, support.shape[0]))
    none = jnp.full((), jnp.nan, support.dtype)
    start = (nothing, none)
    (_, missing), _ = jax.lax.scan(step, start, mdp.schedule, reverse=True)
    return missing
