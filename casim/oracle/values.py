"""Exact values of a policy by dynamic programming, scanning in time.

In maths, backwards from V_T = 0,

    Q_t(s, a) = sum_k P(k | s, a) [r(s, a, k) + discount_t V_{t+1}(s')],
    V_t(s) = sum_a pi(a | s) Q_t(s, a),

and forwards from P(s_0),

    d_{t+1}(s') = sum_{s, a} d_t(s) pi(a | s) P(s' | s, a).

The policy gradient with respect to the logits theta[m, o, a] of the table is

    sum_{t: m_t = m} w_t sum_s d_t(s) P(o | s) pi(a | o)
        [Q_t(s, a) - sum_b pi(b | o) Q_t(s, b)],

w_t the product of the discounts of the steps before t.

Cost: O(T S A K) time, and O(T S A) memory for what is returned. Sums over time are compensated: the
error of V does not grow with the horizon, those of occupancies and of the gradient slowly do
(figures in `docs/performance.md`). `casim.oracle.solve_in_blocks` is parallel in time.

References:
    Puterman 1994, chapter 4; Sutton et al. 1999 (policy gradient theorem).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from casim.doors import door
from casim.dynamics import absorb, discounting, force, state_policy
from casim.ops import expectation
from casim.sums import outcome_sum, schedule_sum
from casim.types import MDP, Truth


class Optimal(NamedTuple):
    """Values of the best policy that sees the latent state: an upper bound for any other."""

    value: Float[Array, "T+1 S"]
    q_value: Float[Array, "T S A"]


@door
def solve(
    mdp: MDP,
    policy: Float[Array, "M O A"],
) -> Truth:
    """Everything exact about a policy: values, occupancy, past rewards, and the policy gradient."""
    mdp = likely_first(absorb(mdp))
    acting = state_policy(mdp, policy)
    weight = discounting(mdp)
    occupancy, past_reward = arrive(
        flows(mdp, acting), mdp.schedule, mdp.start, jnp.zeros_like(mdp.start), weight
    )
    nothing = jnp.zeros((2, *mdp.start.shape), mdp.prob.dtype)
    _, value, advantage = evaluate(mdp, acting, mdp.schedule, nothing)
    return assemble(
        mdp,
        policy,
        acting,
        value,
        advantage,
        occupancy,
        past_reward,
        weight,
    )


def assemble(
    mdp: MDP,
    policy: Array,
    acting: Array,
    value: Array,
    advantage: Array,
    reached: Array,
    past_reward: Array,
    weight: Array,
) -> Truth:
    """The `Truth` made of V `[T, S]`, A, what `arrive` gives, and the weights of steps."""
    live = ~mdp.terminal[None, :]
    occupancy = jnp.where(live, reached, 0.0)
    return Truth(
        value=jnp.concatenate([value, jnp.zeros_like(value[:1])]),
        advantage=advantage,
        occupancy=occupancy,
        past_reward=jnp.where(live, past_reward, 0.0),
        state_policy=acting,
        gradient=_gradient(mdp, policy, advantage, occupancy, weight),
        expected_return=expectation(mdp.start, value[0]),
    )


@door
def optimal(
    mdp: MDP,
) -> Optimal:
    """Optimal values of the fully observed process, with the policy free to depend on the step.

    On kernels that are no decision, action 0 is the only one.
    """

    def best(
        q: Array,
        kernel: Array,
    ) -> Array:
        best = jnp.max(q, axis=-1)
        return jnp.where(mdp.decision[kernel], best, q[:, 0])

    return Optimal(*_backward(absorb(mdp), best))


@door
def expected_return(
    mdp: MDP,
    policy: Float[Array, "M O A"],
) -> Float[Array, ""]:
    """E[sum_t w_t r_t] alone, differentiable in the policy: a second way to the gradient."""
    mdp = absorb(mdp)
    acting = state_policy(mdp, policy)
    value, _ = _backward(mdp, lambda q, kernel: expectation(acting[kernel], q))
    return expectation(mdp.start, value[0])


def likely_first(
    mdp: MDP,
) -> MDP:
    """The same process with the likeliest outcome of every row listed first.

    A mean over differences to the first entry reads its weight as one minus the others: of a large
    weight that loses nothing, of a weight of 1e-6 in single precision it loses most digits.
    """
    order = jnp.argsort(-mdp.prob, axis=-1, stable=True)
    successor, prob, reward = (
        jnp.take_along_axis(x, order, axis=-1) for x in (mdp.successor, mdp.prob, mdp.reward)
    )
    return mdp._replace(successor=successor, prob=prob, reward=reward)


def evaluate(
    mdp: MDP,
    acting: Float[Array, "M S A"],
    schedule: Int[Array, " T"],
    after: Float[Array, "2 S"],
):
    """V and A along a schedule, from the values after it; `mdp` has absorbing tables.

    A value is carried as a sum of two floats, and every mean is taken over differences to a first
    entry. So a value of thousands neither rounds away the differences between actions nor adds up
    its own rounding over a long horizon.

    Returns:
        The values at the first step, as given and taken: the sum of the two rows; V `[T, S]`;
            A `[T, S, A]`.
    """

    def step(
        carry: Array,
        kernel: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        # Q = base + small. Discounted state by state: so equal actions have equal numbers, and an
        # advantage of exactly 0.
        discounted = mdp.discount[kernel] * carry
        high, low = discounted[:, mdp.successor[kernel]]
        base = high[..., 0]
        later = (high - high[..., :1]) + low
        outcome = mdp.reward[kernel] + later
        small = expectation(mdp.prob[kernel], outcome)
        of_base = base - base[:, :1]
        of_small = small - small[:, :1]
        gain = of_base + of_small
        mean = jnp.sum(acting[kernel] * gain, axis=-1)
        above = small[:, 0] + mean
        high, low = _two_sum(base[:, 0], above)
        advantage = gain - mean[:, None]
        return jnp.stack([high, low]), (high + low, advantage)

    first, found = jax.lax.scan(step, after, schedule, reverse=True)
    value, advantage = found
    return first, value, advantage


def _two_sum(
    x: Array,
    y: Array,
) -> tuple[Array, Array]:
    """The rounded sum x + y and its rounding error, exactly (Knuth)."""
    total = x + y
    part = total - x
    lost_of_x = x - (total - part)
    lost_of_y = y - part
    return total, lost_of_x + lost_of_y


def _backward(
    mdp: MDP,
    backup,
) -> tuple[Array, Array]:
    """Values `[T+1, S]` and action values `[T, S, A]`; `backup` turns Q_t into V_t."""

    def step(
        value: Array,
        kernel: Array,
    ) -> tuple[Array, tuple[Array, Array]]:
        later = mdp.discount[kernel] * value
        target = mdp.successor[kernel]
        outcome = mdp.reward[kernel] + later[target]
        q_value = expectation(mdp.prob[kernel], outcome)
        return backup(q_value, kernel), (value, q_value)

    zero = jnp.zeros(mdp.start.shape, mdp.prob.dtype)
    first, found = jax.lax.scan(step, zero, mdp.schedule, reverse=True)
    later, q_value = found
    return jnp.concatenate([first[None], later]), q_value


def flows(
    mdp: MDP,
    acting: Float[Array, "M S A"],
) -> tuple[Float[Array, "M S S"], Float[Array, "M S S"]]:
    """P(s' | s) and E[r; s' | s] of every kernel under the policy; `mdp` has absorbing tables."""
    joint = acting[..., None] * mdp.prob
    states = mdp.start.shape[0]
    rows = (*joint.shape[:2], -1)
    successor = mdp.successor.reshape(rows)

    def towards(
        x: Float[Array, "M S A K"],
    ) -> Float[Array, "M S S"]:
        return outcome_sum(x.reshape(rows), successor, states)

    return towards(joint), towards(joint * mdp.reward)


def arrive(
    flow: tuple[Float[Array, "M S S"], Float[Array, "M S S"]],
    schedule: Int[Array, " T"],
    reached: Float[Array, " S"],
    earned: Float[Array, " S"],
    weight: Float[Array, " T"],
) -> tuple[Float[Array, "T S"], Float[Array, "T S"]]:
    """P(s_t = s) and E[discounted rewards before t | s_t = s] along a schedule.

    Args:
        flow: from `flows`.
        schedule: of these steps.
        reached: P(s) at the first of them.
        earned: E[rewards before; s] there.
        weight: of these steps, from `discounting`.
    """
    move, earn = flow
    # What leaves each state; what stays is the rest. So no rounding of rows makes a state gain
    # or lose probability, and nothing is left in a state that all leave.
    own = jnp.eye(move.shape[1], dtype=move.dtype)[None]
    leave = move * (1 - own)
    keeps = jnp.sum(move * own, axis=-1) > 0
    left = jnp.sum(leave, axis=-1)

    def step(
        carry: tuple[Array, Array],
        inputs: tuple[Array, Array],
    ):
        now, rest = carry  # (reached, earned) as sums of two floats
        kernel, scale = inputs
        keep = keeps[kernel][None]
        come = jnp.matmul(now, leave[kernel], precision="highest")
        earned = jnp.matmul(now[0], earn[kernel], precision="highest")
        gain = scale * earned
        # The total is 1 up to rounding; taking off what is too much keeps that error from
        # growing with the horizon.
        known = jnp.sum(now[0]) - 1
        excess = known + jnp.sum(rest[0])
        change = jnp.where(keep, come - now * left[kernel][None] + rest, come) - excess * jnp.where(
            keep, now, come
        )
        later = _two_sum(
            jnp.where(keep, now, 0.0), change + jnp.stack([jnp.zeros_like(gain), gain])
        )
        there = now[0] > 0
        reached, earned = now
        safe = jnp.where(there, reached, 1.0)
        mean = jnp.where(there, earned / safe, 0.0)
        return later, (jnp.maximum(now[0], 0.0), mean)

    now = jnp.stack([reached, earned])
    start = (now, jnp.zeros_like(now))
    _, found = jax.lax.scan(step, start, (schedule, weight))
    return found


def _gradient(
    mdp: MDP,
    policy: Array,
    advantage: Array,
    occupancy: Array,
    weight: Array,
) -> Array:
    """The policy gradient `[M, O, A]`; zero on kernels that are no decision."""
    kernels = mdp.decision.shape[0]
    visits = weight[:, None] * occupancy
    weighted = visits[:, :, None] * advantage
    total = schedule_sum(weighted, mdp.schedule, kernels)
    seen = jnp.einsum("mso,msa->moa", mdp.emission, total, precision="highest")
    table = force(mdp, policy)
    mean = jnp.sum(table * seen, axis=-1, keepdims=True)
    centred = seen - mean
    decides = mdp.decision[:, None, None]
    return jnp.where(decides, table * centred, 0.0)
