"""A handful of exact numbers of a task under a policy, enough for the closed forms of several estimators.

In maths, with E_w the mean over decision steps weighted by P(s_t = s) pi(a | s), V and A of the policy, J its expected
return, and p_t(s) = E[discounted rewards before t | s_t = s]:
signal = E_w A^2, value_square = E_w V_t(s)^2, offset_square = E_w (p_t(s) + discount^t V_t(s) - J)^2,
future_variance = E_w Var(G_t | s, a), return_variance = Var(G_0).
At discount 1 with reward only at the end, an estimator whose mean is kappa (A + offset) has
bias (kappa - 1)^2 signal + kappa^2 offset_square, because A averages to 0 in every state.

References:
    Sobel 1982 (the backward recursion of second moments).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array

from casim.dynamics import absorb
from casim.ops import expectation
from casim.types import MDP, Truth


def summary(mdp: MDP, truth: Truth) -> dict[str, Array]:
    """The numbers above, `expected_return`, and `num_decisions` (the mean number of live decision steps): scalars."""
    mdp = absorb(mdp)
    time = jnp.arange(mdp.schedule.shape[0])

    def step(carry: tuple[Array, Array], inputs) -> tuple[tuple[Array, Array], None]:
        total, later_square = carry
        t, kernel, value, later, q_value, occupancy, past = inputs
        acting, after = truth.state_policy[kernel], mdp.successor[kernel]
        reward = mdp.reward[kernel]
        outcome = reward**2 + 2 * mdp.discount * reward * later[after] + mdp.discount**2 * later_square[after]
        square = expectation(mdp.prob[kernel], outcome)
        weight = jnp.where(mdp.decision[kernel], occupancy[:, None] * acting, 0.0)
        offset = past + mdp.discount**t * value - truth.expected_return
        terms = (
            jnp.ones_like(weight),
            (q_value - value[:, None]) ** 2,
            jnp.broadcast_to(value[:, None] ** 2, weight.shape),
            jnp.broadcast_to(offset[:, None] ** 2, weight.shape),
            square - q_value**2,
        )
        total = total + jnp.stack([jnp.sum(weight * term) for term in terms])
        return (total, expectation(acting, square)), None

    init = (jnp.zeros(5), jnp.zeros(mdp.start.shape[0]))
    xs = (time, mdp.schedule, truth.value[:-1], truth.value[1:], truth.q_value, truth.occupancy, truth.past_reward)
    (total, square), _ = jax.lax.scan(step, init, xs, reverse=True)
    return {
        "expected_return": truth.expected_return,
        "num_decisions": total[0],
        "signal": total[1] / total[0],
        "value_square": total[2] / total[0],
        "offset_square": total[3] / total[0],
        "future_variance": total[4] / total[0],
        "return_variance": expectation(mdp.start, square) - truth.expected_return**2,
    }
