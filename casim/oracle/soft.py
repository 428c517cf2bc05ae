"""Soft-optimal values: the best policy that pays for leaving a reference, and its implicit rewards.

In maths, with temperature b > 0, a reference ref(a | s), and w_t the product of the discounts of
the steps before t, the maximum over policies of

    E[sum_t w_t (r_t - b log(pi_t(a_t | s_t) / ref(a_t | s_t)))]

is reached, backwards from V_T = 0, by

    Q_t(s, a) = E[r_t + discount_t V_{t+1}(s') | s, a],
    V_t(s) = b log sum_a ref(a | s) exp(Q_t(s, a) / b),
    pi_t(a | s) = ref(a | s) exp(A_t(s, a) / b),

with the soft advantage A_t = Q_t - V_t = b log(pi_t / ref). So

    sum_a ref(a | s) exp(A_t(s, a) / b) = 1:

not every action can have a positive implicit reward b log(pi / ref). Along a trajectory, with
n_u = r_u + discount_u V_{u+1}(s_{u+1}) - Q_u(s_u, a_u) what the environment did by chance,

    sum_{u<=t} w_u [b log(pi_u / ref) - r_u + n_u]
        = w_{t+1} V_{t+1}(s_{t+1}) - V_0(s_0).

n_u is 0 if transitions and rewards are deterministic, and otherwise a martingale difference:
E[n_u | s_u, a_u] = 0. As b grows, A_t tends to the advantage of the reference policy, with an error
of order 1 / b.

The policy sees the latent state and the step, as a language model sees its whole prefix; under
partial observability it is a clairvoyant one, and ref(a | s) is the table averaged over the
emission. It is a policy table of `untie(observe(mdp))`. Where the policy decides nothing, action 0
is forced and costs nothing.

Cost: O(T S A K) time, O(T S A) memory.

References:
    Rafailov et al. 2024, arXiv:2404.12358 (From r to Q*: the identity for deterministic transitions
    and a terminal reward); Ziebart 2010 (maximum causal entropy). Rewards at every step, discount
    and the martingale are derived here.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_range
from casim.doors import door
from casim.dynamics import absorb, discounting, state_policy, step_discount
from casim.ops import expectation, shift_left
from casim.types import MDP, Trajectory
from casim.wellformed import known

COLDEST = 1e-30
"""The lowest temperature: soft values divide by it."""


class Soft(NamedTuple):
    """Values of the KL-regularised optimal policy."""

    value: Float[Array, "T+1 S"]
    """V_t(s); the last row, after the horizon, is 0."""
    q_value: Float[Array, "T S A"]
    """Q_t(s, a), also of actions that the reference never takes."""
    policy: Float[Array, "T S A"]
    """pi_t(a | s) of the latent state and the step."""

    @property
    def advantage(self) -> Float[Array, "T S A"]:
        """The soft advantage, A_t(s, a) = Q_t(s, a) - V_t(s).

        It is b log(pi_t / ref) where the reference is positive.
        """
        value = self.value[:-1, :, None]
        return self.q_value - value


class ImplicitReward(NamedTuple):
    """The log-ratio of the soft-optimal policy along each trajectory, taken apart.

    At every step, cumulative = progress - sum_{u<=t} w_u noise_u; 0 where not live.
    """

    log_ratio: Float[Array, "N T"]
    """The implicit reward, b log(pi_t(a_t | s_t) / ref(a_t | s_t)).

    NaN for an action that ref rules out.
    """
    cumulative: Float[Array, "N T"]
    """sum_{u<=t} w_u log_ratio_u."""
    progress: Float[Array, "N T"]
    """w_{t+1} V_{t+1}(s_{t+1}) + sum_{u<=t} w_u r_u - V_0(s_0)."""
    noise: Float[Array, "N T"]
    """n_t = r_t + d_t V_{t+1}(s_{t+1}) - Q_t(s_t, a_t): what the environment did."""


@door
def soft_optimal(
    mdp: MDP,
    reference: Float[Array, "M O A"],
    temperature: float | Float[Array, ""],
) -> Soft:
    """Soft values and the soft-optimal policy, by dynamic programming.

    Args:
        mdp: the process.
        reference: ref, a policy table.
        temperature: b, positive, in units of reward.

    Raises:
        ValueError: a temperature that is not positive and finite, if it is known before
            compilation.
    """
    if known(temperature):
        number = float(temperature)
        check_range("temperature", number, COLDEST, math.inf)
    mdp = absorb(mdp)
    prior = state_policy(mdp, reference)

    def step(
        later: Array,
        kernel: Array,
    ) -> tuple[Array, tuple[Array, Array, Array]]:
        discount = mdp.discount[kernel]
        discounted = discount * later
        target = mdp.successor[kernel]
        paid = mdp.reward[kernel]
        outcome = paid + discounted[target]
        chance = mdp.prob[kernel]
        q_value = expectation(chance, outcome)
        here = prior[kernel]
        value, policy = _soft_maximum(here, q_value, temperature)
        return value, (later, q_value, policy)

    states = mdp.start.shape
    dtype = mdp.prob.dtype
    zero = jnp.zeros(states, dtype)
    steps = mdp.schedule
    first, found = jax.lax.scan(step, zero, steps, reverse=True)
    later, q_value, policy = found
    by_step = (first[None], later)
    value = jnp.concatenate(by_step)
    return Soft(value, q_value, policy)


@door
def implicit_reward(
    mdp: MDP,
    reference: Float[Array, "M O A"],
    soft: Soft,
    batch: Trajectory,
) -> ImplicitReward:
    """The implicit-reward identity along trajectories of any policy.

    `soft` was made with the same reference.
    """
    shape = batch.state.shape
    times = jnp.arange(shape[-1])
    every_row = times[None, :]
    time = jnp.broadcast_to(every_row, shape)
    state = (time, batch.state)
    cell = (*state, batch.action)

    def where_live(x: Array) -> Array:
        return jnp.where(batch.live, x, 0.0)

    acting = state_policy(mdp, reference)
    prior = acting[mdp.schedule]
    possible = prior[cell] > 0
    # As Q - V, because the probability itself underflows at a low temperature.
    advantage = soft.advantage[cell]
    log_ratio = jnp.where(possible, advantage, jnp.nan)
    log_ratio = where_live(log_ratio)

    value = soft.value[state]
    goes_on = shift_left(batch.live, False)
    next_value = shift_left(value)
    later = jnp.where(goes_on, next_value, 0.0)
    discount = step_discount(mdp)
    later = discount[None, :] * later
    worth = batch.reward + later
    noise = worth - soft.q_value[cell]

    weight = discounting(mdp)
    scale = weight[None, :]
    discounted = scale * batch.reward
    earned = jnp.cumsum(discounted, axis=1)
    so_far = scale * later + earned
    first_value = value[:, :1]
    progress = so_far - first_value
    weighed = scale * log_ratio
    cumulative = jnp.cumsum(weighed, axis=1)
    return ImplicitReward(
        log_ratio=log_ratio,
        cumulative=where_live(cumulative),
        progress=where_live(progress),
        noise=where_live(noise),
    )


def _soft_maximum(
    prior: Float[Array, "S A"],
    q_value: Float[Array, "S A"],
    temperature: float | Float[Array, ""],
) -> tuple[Float[Array, " S"], Float[Array, "S A"]]:
    """V = b log sum_a ref exp(Q / b), and the policy ref exp((Q - V) / b).

    With x = (Q - max Q) / b, near 0 for a high temperature, log1p(sum ref expm1(x)) keeps the
    digits that log(sum ref exp(x)) loses, and a constant Q comes out unchanged to the last bit; far
    from 0 the plain form is the better one.
    """
    possible = prior > 0
    of_possible = jnp.where(possible, q_value, -jnp.inf)
    largest = jnp.max(of_possible, axis=-1, keepdims=True)
    below = (q_value - largest) / temperature
    exponent = jnp.where(possible, below, 0.0)
    growth = prior * jnp.expm1(exponent)
    change = jnp.sum(growth, axis=-1)
    weight = prior * jnp.exp(exponent)
    mass = jnp.sum(weight, axis=-1)
    bounded = jnp.maximum(change, -0.5)
    near = jnp.log1p(bounded)
    far = jnp.log(mass)
    is_near = change > -0.5
    log_mean = jnp.where(is_near, near, far)
    best = largest[:, 0]
    value = best + temperature * log_mean
    policy = weight / mass[:, None]
    return value, policy
