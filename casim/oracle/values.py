"""Exact values of a policy by dynamic programming, scanning in time.

In maths, backwards from V_T = 0:
Q_t(s, a) = sum_k P(k | s, a) [r(s, a, k) + discount V_{t+1}(s')] and V_t(s) = sum_a pi(a | s) Q_t(s, a);
forwards from P(s_0): d_{t+1}(s') = sum_{s, a} d_t(s) pi(a | s) P(s' | s, a).
The policy gradient with respect to the logits theta[m, o, a] of the table is
sum_{t: m_t = m} discount^t sum_s d_t(s) P(o | s) pi(a | o) [Q_t(s, a) - sum_b pi(b | o) Q_t(s, b)].
Cost: O(T S A K) time, and O(T S A) memory for what is returned.

References:
    Puterman 1994, chapter 4; Sutton et al. 1999 (policy gradient theorem).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.dynamics import absorb, force, state_policy
from casim.ops import expectation
from casim.types import MDP, Truth


class Optimal(NamedTuple):
    """Values of the best policy that sees the latent state: an upper bound for any other."""

    value: Float[Array, "T+1 S"]
    q_value: Float[Array, "T S A"]


def solve(mdp: MDP, policy: Float[Array, "M O A"]) -> Truth:
    """Everything exact about a policy: values, occupancy, past rewards, and the policy gradient."""
    mdp = absorb(mdp)
    acting = state_policy(mdp, policy)
    value, q_value = _backward(mdp, lambda q, kernel: expectation(acting[kernel], q))
    occupancy, past_reward = _forward(mdp, acting)
    return Truth(
        value=value,
        q_value=q_value,
        occupancy=occupancy,
        past_reward=past_reward,
        state_policy=acting,
        gradient=_gradient(mdp, policy, q_value - value[:-1, :, None], occupancy),
        expected_return=expectation(mdp.start, value[0]),
    )


def optimal(mdp: MDP) -> Optimal:
    """Optimal values of the fully observed process, with the policy free to depend on the step.

    On kernels that are no decision, action 0 is the only one.
    """

    def best(q: Array, kernel: Array) -> Array:
        return jnp.where(mdp.decision[kernel], jnp.max(q, axis=-1), q[:, 0])

    return Optimal(*_backward(absorb(mdp), best))


def expected_return(mdp: MDP, policy: Float[Array, "M O A"]) -> Float[Array, ""]:
    """E[sum_t discount^t r_t] alone, differentiable in the policy table: a second way to the gradient."""
    mdp = absorb(mdp)
    acting = state_policy(mdp, policy)
    value, _ = _backward(mdp, lambda q, kernel: expectation(acting[kernel], q))
    return expectation(mdp.start, value[0])


def _backward(mdp: MDP, backup) -> tuple[Array, Array]:
    """Values `[T+1, S]` and action values `[T, S, A]`; `backup` turns Q_t into V_t."""

    def step(value: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
        outcome = mdp.reward[kernel] + mdp.discount * value[mdp.successor[kernel]]
        q_value = expectation(mdp.prob[kernel], outcome)
        return backup(q_value, kernel), (value, q_value)

    zero = jnp.zeros(mdp.start.shape, mdp.prob.dtype)
    first, (later, q_value) = jax.lax.scan(step, zero, mdp.schedule, reverse=True)
    return jnp.concatenate([first[None], later]), q_value


def _forward(mdp: MDP, acting: Array) -> tuple[Array, Array]:
    """P(s_t = s, live) and E[discounted rewards before t | s_t = s], both `[T, S]`."""
    states = mdp.start.shape[0]
    joint = acting[..., None] * mdp.prob
    onehot = jax.nn.one_hot(mdp.successor, states, dtype=mdp.prob.dtype)
    move = jnp.einsum("msak,msakz->msz", joint, onehot, precision="highest")
    earn = jnp.einsum("msak,msakz->msz", joint * mdp.reward, onehot, precision="highest")

    def step(carry: tuple[Array, Array, Array], kernel: Array):
        reached, earned, scale = carry
        onward = jnp.matmul(reached, move[kernel], precision="highest")
        gain = scale * jnp.matmul(reached, earn[kernel], precision="highest")
        earned_onward = jnp.matmul(earned, move[kernel], precision="highest") + gain
        # The total is 1 up to rounding; dividing keeps that error from growing with the horizon.
        total = jnp.sum(onward)
        later = (onward / total, earned_onward / total, scale * mdp.discount)
        return later, (reached, earned)

    init = (mdp.start, jnp.zeros_like(mdp.start), jnp.ones((), mdp.start.dtype))
    _, (reached, earned) = jax.lax.scan(step, init, mdp.schedule)
    live = ~mdp.terminal[None, :]
    past = jnp.where(reached > 0, earned / jnp.where(reached > 0, reached, 1.0), 0.0)
    return jnp.where(live, reached, 0.0), jnp.where(live, past, 0.0)


def _gradient(mdp: MDP, policy: Array, advantage: Array, occupancy: Array) -> Array:
    """The policy gradient `[M, O, A]`; zero on kernels that are no decision."""
    kernels = mdp.decision.shape[0]
    discounting = mdp.discount ** jnp.arange(mdp.schedule.shape[0])
    weighted = (discounting[:, None] * occupancy)[:, :, None] * advantage
    total = jax.ops.segment_sum(weighted, mdp.schedule, num_segments=kernels)
    seen = jnp.einsum("mso,msa->moa", mdp.emission, total, precision="highest")
    table = force(mdp, policy)
    centred = seen - jnp.sum(table * seen, axis=-1, keepdims=True)
    return jnp.where(mdp.decision[:, None, None], table * centred, 0.0)
