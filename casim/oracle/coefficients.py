"""What later steps say of an action: hindsight on states, and contribution coefficients.

In maths, with the notation of `casim.oracle.hindsight`:
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

Cost: for one step t O(T S^2 A (S + U)) time with O(S A S) carried, and O(T S A U) memory only for a
table that was asked for.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 (state hindsight); Meulemans et al. 2023,
    arXiv:2306.16803 (COCOA: contribution coefficients). Features per step, pooling with discount
    weights, and features of the transition are written for casim; at discount 1 the pooled form is
    the paper's.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from casim.doors import door
from casim.dynamics import absorb, can_act, state_policy
from casim.oracle.hindsight import likelihood_ratio
from casim.simulate.belief import transition_matrix
from casim.sums import outcome_sum
from casim.types import MDP
from casim.wellformed import check_labels


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
    num_steps = mdp.schedule.shape[0]
    check_labels("step", step, num_steps)
    mdp = absorb(mdp)
    acting = state_policy(mdp, policy)
    mean = _mean_reward(mdp)
    weighed = acting * mean
    earned = jnp.sum(weighed, axis=-1)
    kernels, states = earned.shape
    dtype = earned.dtype
    itself = jnp.eye(states, dtype=dtype)
    shape = (kernels, states, states)
    seen = jnp.broadcast_to(itself[None], shape)
    each = earned[..., None]
    paid = seen * each
    ahead = _look_ahead(mdp, acting, step, seen, paid, table)
    kernel = mdp.schedule[step]
    taken = acting[kernel]
    now = mean[kernel]
    earned_later = now + ahead.gain
    is_seen = taken > 0
    q_value = jnp.where(is_seen, earned_later, jnp.nan)
    if ahead.ratio is None:
        return StateHindsight(q_value, None)
    prior = taken[None, :, :, None]
    return StateHindsight(q_value, prior * ahead.ratio)


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
    num_steps = mdp.schedule.shape[0]
    check_labels("step", step, num_steps)
    mdp = absorb(mdp)
    acting = state_policy(mdp, policy)
    everywhere = jnp.ones_like(mdp.start)
    live = jnp.where(mdp.terminal, 0.0, everywhere)
    taken = acting[..., None]
    happens = taken * mdp.prob
    lives = live[None, :, None, None]
    joint = happens * lives
    kernels, states = joint.shape[:2]
    rows = (kernels, states, -1)
    of_each = jnp.broadcast_to(feature, joint.shape)
    code = of_each.reshape(rows)
    chance = joint.reshape(rows)
    seen = outcome_sum(chance, code, num_features)
    rewards = joint * mdp.reward
    earned = rewards.reshape(rows)
    paid = outcome_sum(earned, code, num_features)
    ahead = _look_ahead(mdp, acting, step, seen, paid, table)

    kernel = mdp.schedule[step]
    taken = acting[kernel]
    mean = _mean_reward(mdp)[kernel]
    on_average = taken * mean
    usual = jnp.sum(on_average, axis=-1, keepdims=True)
    paid_later = jnp.sum(ahead.paid, axis=-1)
    above = mean - usual
    now = above - paid_later[:, None]
    seen = ahead.seen
    seen_state = jnp.einsum(
        "sa,sau->su",
        taken,
        seen,
        precision="highest",
    )
    pooled = likelihood_ratio(seen, seen_state)
    pooled_gain = _paid(pooled, ahead.paid)
    is_seen = taken > 0
    ratio = ahead.ratio
    return Contribution(
        coefficient=pooled - 1.0,
        advantage=jnp.where(is_seen, now + ahead.gain, jnp.nan),
        pooled_advantage=jnp.where(is_seen, now + pooled_gain, jnp.nan),
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
    rewards = np.asarray(mdp.reward)
    reward = np.where(over, 0.0, rewards)
    may_act = np.asarray(can_act(mdp))
    allowed = may_act[:, None, :, None]
    chance = np.asarray(mdp.prob)
    possible = chance > 0
    happens = allowed & possible
    value = np.unique(reward[happens])
    place = np.searchsorted(value, reward)
    index = np.where(happens, place, 0)
    return jnp.asarray(index, int), value


class _Ahead(NamedTuple):
    """What comes after a step t: sums over k > t with weight d(t, k)."""

    gain: Float[Array, "S A"]
    """Of E[P(u_k | s, a) / P(u_k | s) r_k | s]."""
    seen: Float[Array, "S A U"]
    """Of P(u_k = u | s, a)."""
    paid: Float[Array, "S U"]
    """Of E[r_k; u_k = u | s]."""
    ratio: Float[Array, "T S A U"] | None
    """P(u_k = u | s, a) / P(u_k = u | s) of every k, if asked for."""


def _look_ahead(
    mdp: MDP,
    acting: Array,
    step: Array | int,
    seen: Array,
    paid: Array,
    table: bool,
) -> _Ahead:
    """Scans k > t = step, given P(u | s) and E[r; u | s] of each kernel under the policy.

    Both are `[M, S, U]`. `table` asks for the ratios of every k.
    """
    matrix = transition_matrix(mdp)
    move = jnp.einsum("msa,msaz->msz", acting, matrix, precision="highest")
    kernel_then = mdp.schedule[step]
    taken = acting[kernel_then]

    def look(
        carry: tuple[Array, Array, list[Array]],
        now: tuple[Array, Array],
    ):
        reached, scale, total = carry
        index, kernel = now
        state_reached = jnp.einsum("sa,say->sy", taken, reached, precision="highest")
        seen_here = seen[kernel]
        paid_then = paid[kernel]
        seen_action = _product(reached, seen_here)
        seen_state = _product(state_reached, seen_here)
        ratio = likelihood_ratio(seen_action, seen_state)
        paid_here = _product(state_reached, paid_then)
        gain = _paid(ratio, paid_here)
        here = (gain, seen_action, paid_here)
        pairs = zip(total, here, strict=True)
        total = [x + scale * more for x, more in pairs]

        onward = _product(reached, move[kernel])
        # The total is 1 up to rounding; dividing keeps that error from growing with the horizon.
        mass = jnp.sum(onward, axis=-1, keepdims=True)
        is_later = index > step
        divisor = jnp.where(is_later, mass, 1.0)
        onward = onward / divisor
        from_here = matrix[kernel]
        is_now = index == step
        reached = jnp.where(is_now, from_here, onward)
        discount = mdp.discount[kernel]
        discounted = scale * discount
        is_before = index < step
        scale = jnp.where(is_before, 1.0, discounted)
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
    one = jnp.ones((), dtype)
    (num_steps,) = mdp.schedule.shape
    times = jnp.arange(num_steps)
    steps = (times, mdp.schedule)
    start = (nowhere, one, nothing)
    found, ratio = jax.lax.scan(look, start, steps)
    _, _, total = found
    gain, seen_later, paid_later = total
    return _Ahead(gain, seen_later, paid_later, ratio)
    return *total, ratio


def _product(
    x: Float[Array, "*rows U"],
    y: Float[Array, "U V"],
) -> Float[Array, "*rows V"]:
    return jnp.matmul(x, y, precision="highest")


def _paid(
    ratio: Float[Array, "S A U"],
    paid: Float[Array, "S U"],
) -> Float[Array, "S A"]:
    """The ratio averaged over what is paid; where u is impossible nothing is."""
    each = ratio * paid[:, None, :]
    impossible = jnp.isnan(ratio)
    possible = jnp.where(impossible, 0.0, each)
    return jnp.sum(possible, axis=-1)


def _mean_reward(
    mdp: MDP,
) -> Float[Array, "M S A"]:
    earned = mdp.prob * mdp.reward
    return jnp.sum(earned, axis=-1)
