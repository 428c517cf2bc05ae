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

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.blocks import Blocks, cut, fold, starts
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
    """Inputs of the backward recursion at each step, `[T, ...]` or in blocks `[B, L, ...]`."""

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
def summary(
    mdp: MDP,
    truth: Truth,
) -> dict[str, Array]:
    """The numbers above, `expected_return` and `num_decisions`, as scalars.

    `num_decisions` is the mean number of live decision steps.
    """
    mdp = absorb(mdp)
    blocks = _blocks(mdp, truth)

    def step(
        carry: tuple[Array, Array],
        now: _Steps,
    ) -> tuple[Array, Array]:
        total, later_square = carry
        square = _square(mdp, now, later_square)
        terms = _terms(mdp, truth, now, square)
        before = expectation(truth.state_policy[now.kernel], square)
        return (
            total + jnp.where(now.counts, terms, 0.0),
            jnp.where(now.counts, before, later_square),
        )

    after = _after(mdp, truth, blocks)
    nothing = jnp.zeros((after.shape[0], 5), after.dtype)
    total, square = fold(step, (nothing, after), blocks, reverse=True)
    total = jnp.sum(total, axis=0)
    square_of_return = expectation(mdp.start, square[0])
    return {
        "expected_return": truth.expected_return,
        "num_decisions": total[0],
        "signal": total[1] / total[0],
        "value_square": total[2] / total[0],
        "offset_square": total[3] / total[0],
        "future_variance": total[4] / total[0],
        "return_variance": square_of_return - truth.expected_return**2,
    }


def _blocks(
    mdp: MDP,
    truth: Truth,
) -> _Steps:
    """The steps in blocks."""
    steps = mdp.schedule.shape[0]
    blocks = Blocks.of_number(steps, 1) if steps <= BLOCK_FROM else Blocks.roots(steps)
    given = (
        discounting(mdp),
        mdp.schedule,
        truth.value[:-1],
        truth.value[1:],
        truth.q_value,
        truth.occupancy,
        truth.past_reward,
        jnp.ones(steps, bool),
    )
    return _Steps(*(cut(x, blocks) for x in given))


def _square(
    mdp: MDP,
    now: _Steps,
    later_square: Float[Array, " S"],
) -> Float[Array, "S A"]:
    """E[G_t^2 | s, a] of one step."""
    reward = mdp.reward[now.kernel]
    after = mdp.successor[now.kernel]
    discount = mdp.discount[now.kernel]
    mixed = 2 * discount * reward * now.later[after]
    outcome = reward**2 + mixed + discount**2 * later_square[after]
    return expectation(mdp.prob[now.kernel], outcome)


def _terms(
    mdp: MDP,
    truth: Truth,
    now: _Steps,
    square: Float[Array, "S A"],
) -> Float[Array, " 5"]:
    """What one step adds to each of the sums."""
    acting = truth.state_policy[now.kernel]
    value = now.value
    visits = now.occupancy[:, None] * acting
    weight = jnp.where(mdp.decision[now.kernel], visits, 0.0)
    offset = now.past + now.weight * value - truth.expected_return
    here, away = value[:, None], offset[:, None]
    terms = (
        jnp.ones_like(weight),
        (now.q_value - here) ** 2,
        jnp.broadcast_to(here**2, weight.shape),
        jnp.broadcast_to(away**2, weight.shape),
        square - now.q_value**2,
    )
    return jnp.stack([jnp.sum(weight * term) for term in terms])


def _after(
    mdp: MDP,
    truth: Truth,
    blocks: _Steps,
) -> Float[Array, "B S"]:
    """E[G^2 | s] after each block.

    Every block is made one map x -> move x + own, and these are run through.
    """
    count, states = blocks.kernel.shape[0], mdp.start.shape[0]
    nothing = jnp.zeros((count, states), truth.value.dtype)
    if count == 1:
        return nothing
    flow = flows(mdp, truth.state_policy)[0]
    itself = jnp.eye(states, dtype=flow.dtype)
    eye = jnp.broadcast_to(itself[None], (count, states, states))

    def step(
        carry: tuple[Array, Array, Array],
        now: _Steps,
    ) -> tuple[Array, Array, Array]:
        own, move, scale = carry
        square = _square(mdp, now, own)
        before = expectation(truth.state_policy[now.kernel], square)
        onward = jnp.matmul(flow[now.kernel], move, precision="highest")
        # Rows sum to 1 up to rounding; dividing keeps that error from growing with the number
        # of steps.
        onward = onward / jnp.sum(onward, axis=-1, keepdims=True)
        further = mdp.discount[now.kernel] ** 2 * scale
        return (
            jnp.where(now.counts, before, own),
            jnp.where(now.counts, onward, move),
            jnp.where(now.counts, further, scale),
        )

    def through(
        later: Array,
        block: tuple[Array, Array, Array],
    ) -> Array:
        own, move, scale = block
        return own + scale * jnp.matmul(move, later, precision="highest")

    identity = (nothing, eye, jnp.ones((count,), flow.dtype))
    maps = fold(step, identity, blocks, reverse=True)
    return starts(through, nothing[0], maps, reverse=True)
