"""A handful of exact numbers of a task under a policy, enough for several closed forms.

In maths, with E_w the mean over decision steps weighted by P(s_t = s) pi(a | s), V and A of the
policy, J its expected return, w_t the product of the discounts of the steps before t, and
p_t(s) = E[sum_{k<t} w_k r_k | s_t = s]:

    signal = E_w A^2,
    value_square = E_w V_t(s)^2,
    offset_square = E_w (p_t(s) + w_t V_t(s) - J)^2,
    future_variance = E_w Var(G_t | s, a),
    return_variance = Var(G_0).

At discount 1 with reward only at the end, an estimator whose mean is kappa (A + offset) has
bias (kappa - 1)^2 signal + kappa^2 offset_square, because A averages to 0 in every state.

References:
    Sobel 1982 (the backward recursion of second moments).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.doors import door
from casim.dynamics import absorb, discounting
from casim.ops import expectation
from casim.oracle.values import flows
from casim.types import MDP, Truth

BLOCK_FROM = 1024
"""Up to this many steps the recursion runs step by step.

Longer ones run in about sqrt(T) blocks side by side.
"""


class _Steps(NamedTuple):
    """Inputs of the backward recursion at each step, `[T, ...]` or in blocks `[B, C, ...]`."""

    weight: Float[Array, "*steps"]
    kernel: Int[Array, "*steps"]
    value: Float[Array, "*steps S"]
    later: Float[Array, "*steps S"]
    q_value: Float[Array, "*steps S A"]
    occupancy: Float[Array, "*steps S"]
    past: Float[Array, "*steps S"]
    counts: Bool[Array, "*steps"]
    """False where a step only fills up the last block."""


@door
def summary(mdp: MDP, truth: Truth) -> dict[str, Array]:
    """The numbers above, `expected_return` and `num_decisions`, as scalars.

    `num_decisions` is the mean number of live decision steps.
    """
    mdp = absorb(mdp)
    blocks = _blocks(mdp, truth)

    def step(carry: tuple[Array, Array], now: _Steps) -> tuple[tuple[Array, Array], None]:
        total, later_square = carry
        square = jax.vmap(lambda *x: _square(mdp, *x))(now, later_square)
        terms = jax.vmap(lambda *x: _terms(mdp, truth, *x))(now, square)
        before = jax.vmap(lambda kernel, x: expectation(truth.state_policy[kernel], x))(
            now.kernel, square
        )
        before = jnp.where(now.counts[:, None], before, later_square)
        return (total + jnp.where(now.counts[:, None], terms, 0.0), before), None

    after = _after(mdp, truth, blocks)
    (total, square), _ = jax.lax.scan(
        step, (jnp.zeros((after.shape[0], 5), after.dtype), after), blocks, reverse=True
    )
    total = jnp.sum(total, axis=0)
    return {
        "expected_return": truth.expected_return,
        "num_decisions": total[0],
        "signal": total[1] / total[0],
        "value_square": total[2] / total[0],
        "offset_square": total[3] / total[0],
        "future_variance": total[4] / total[0],
        "return_variance": expectation(mdp.start, square[0]) - truth.expected_return**2,
    }


def _blocks(mdp: MDP, truth: Truth) -> _Steps:
    """Blocks side by side: steps within a block on the first axis, blocks on the second."""
    steps = mdp.schedule.shape[0]
    count = 1 if steps <= BLOCK_FROM else math.isqrt(steps)
    size = -(-steps // count)

    def split(x: Array) -> Array:
        x = jnp.pad(x, [(0, count * size - steps)] + [(0, 0)] * (x.ndim - 1))
        return x.reshape(count, size, *x.shape[1:]).swapaxes(0, 1)

    value, later = truth.value[:-1], truth.value[1:]
    given = (
        discounting(mdp),
        mdp.schedule,
        value,
        later,
        truth.q_value,
        truth.occupancy,
        truth.past_reward,
    )
    return _Steps(*(split(x) for x in (*given, jnp.ones(steps, bool))))


def _square(mdp: MDP, now: _Steps, later_square: Float[Array, " S"]) -> Float[Array, "S A"]:
    """E[G_t^2 | s, a] of one step."""
    reward, after = mdp.reward[now.kernel], mdp.successor[now.kernel]
    discount = mdp.discount[now.kernel]
    outcome = (
        reward**2 + 2 * discount * reward * now.later[after] + discount**2 * later_square[after]
    )
    return expectation(mdp.prob[now.kernel], outcome)


def _terms(mdp: MDP, truth: Truth, now: _Steps, square: Float[Array, "S A"]) -> Float[Array, " 5"]:
    """What one step adds to each of the sums."""
    acting, value = truth.state_policy[now.kernel], now.value
    weight = jnp.where(mdp.decision[now.kernel], now.occupancy[:, None] * acting, 0.0)
    offset = now.past + now.weight * value - truth.expected_return
    terms = (
        jnp.ones_like(weight),
        (now.q_value - value[:, None]) ** 2,
        jnp.broadcast_to(value[:, None] ** 2, weight.shape),
        jnp.broadcast_to(offset[:, None] ** 2, weight.shape),
        square - now.q_value**2,
    )
    return jnp.stack([jnp.sum(weight * term) for term in terms])


def _after(mdp: MDP, truth: Truth, blocks: _Steps) -> Float[Array, "C S"]:
    """E[G^2 | s] after each block.

    Every block is made one map x -> move x + own, and these are run through.
    """
    count, states = blocks.kernel.shape[1], mdp.start.shape[0]
    nothing = jnp.zeros((count, states), truth.value.dtype)
    if count == 1:
        return nothing
    flow = flows(mdp, truth.state_policy)[0]
    eye = jnp.broadcast_to(jnp.eye(states, dtype=flow.dtype)[None], (count, states, states))

    def fold(
        carry: tuple[Array, Array, Array], now: _Steps
    ) -> tuple[tuple[Array, Array, Array], None]:
        own, move, scale = carry
        square = jax.vmap(lambda *x: _square(mdp, *x))(now, own)
        before = jax.vmap(lambda kernel, x: expectation(truth.state_policy[kernel], x))(
            now.kernel, square
        )
        onward = jnp.matmul(flow[now.kernel], move, precision="highest")
        # Rows sum to 1 up to rounding; dividing keeps that error from growing with the number
        # of steps.
        onward = onward / jnp.sum(onward, axis=-1, keepdims=True)
        there = now.counts
        own, move = (
            jnp.where(there[:, None], before, own),
            jnp.where(there[:, None, None], onward, move),
        )
        return (own, move, jnp.where(there, mdp.discount[now.kernel] ** 2 * scale, scale)), None

    init = (nothing, eye, jnp.ones((count,), flow.dtype))
    maps, _ = jax.lax.scan(fold, init, blocks, reverse=True)

    def join(later: Array, block: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        own, move, scale = block
        return own + scale * jnp.matmul(move, later, precision="highest"), later

    return jax.lax.scan(join, nothing[0], maps, reverse=True)[1]
