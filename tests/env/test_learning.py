"""An actor-critic that knows nothing of casim learns a task, and the oracle says how well."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import casim
from casim.env import Environment
from tests import reference

# Environments, steps between updates (not a multiple of the horizon), updates.
NUM, LENGTH, UPDATES = 64, 7, 100
TASK = casim.Bifurcation(
    horizon=5,
    pivots=(1, 3),
    gap=0.8,
    base=0.45,
    recovery=0.2,
    noise=0.05,
    num_actions=3,
    filler_entropy=0.6,
)


class Moment(NamedTuple):
    observation: jax.Array
    action: jax.Array
    reward: jax.Array
    ended: jax.Array


def init(key, inputs: int, actions: int, hidden: int = 16):
    one, two = jax.random.split(key)
    return {
        "body": jax.random.normal(one, (inputs, hidden)) / np.sqrt(inputs),
        "actor": 0.1 * jax.random.normal(two, (hidden, actions)),
        "critic": jnp.zeros((hidden, 1)),
    }


def network(weights, observation):
    """Logits and value."""
    hidden = jnp.tanh(observation @ weights["body"])
    return hidden @ weights["actor"], (hidden @ weights["critic"])[..., 0]


def objective(weights, moments: Moment, last, gamma, decay=0.9):
    """Advantage actor-critic with GAE; both ends of an episode are worth 0, as in the oracle."""
    logits, value = network(weights, moments.observation)
    following = jnp.concatenate([value[1:], network(weights, last)[1][None]])
    goes_on = gamma * ~moments.ended
    error = moments.reward + goes_on * following - value

    def backward(later, x):
        now = x[0] + decay * x[1] * later
        return now, now

    _, advantage = jax.lax.scan(backward, jnp.zeros(NUM), (error, goes_on), reverse=True)
    advantage = jax.lax.stop_gradient(advantage)
    taken = jnp.take_along_axis(jax.nn.log_softmax(logits), moments.action[..., None], axis=-1)[
        ..., 0
    ]
    target = jax.lax.stop_gradient(value) + advantage
    return jnp.mean(-taken * advantage + 0.5 * (value - target) ** 2)


@functools.partial(jax.jit, static_argnums=0)
def train(env, key):
    """Plain gymnax style: a key for every step, vmapped environments, auto-reset in mid-batch."""
    params, optimiser = env.default_params, optax.adam(0.02)
    key, one, two = jax.random.split(key, 3)
    weights = init(one, env.observation_space(params).shape[0], env.action_space(params).n)
    seen, state = jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(two, NUM), params)

    def act(carry, key):
        weights, seen, state = carry
        choose, move = jax.random.split(key)
        action = jax.random.categorical(choose, network(weights, seen)[0])
        keys = jax.random.split(move, NUM)
        new, state, reward, terminated, truncated, _ = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            keys, state, action, params
        )
        return (weights, new, state), Moment(seen, action, reward, terminated | truncated)

    def update(carry, key):
        weights, memory, seen, state = carry
        (_, seen, state), moments = jax.lax.scan(
            act, (weights, seen, state), jax.random.split(key, LENGTH)
        )
        gradient = jax.grad(objective)(weights, moments, seen, params.discount[0])
        change, memory = optimiser.update(gradient, memory)
        return (optax.apply_updates(weights, change), memory, seen, state), None

    carry = (weights, optimiser.init(weights), seen, state)
    return jax.lax.scan(update, carry, jax.random.split(key, UPDATES))[0][0]


@pytest.mark.slow
def test_an_actor_critic_reaches_90_percent_of_the_exact_optimum():
    env = Environment(TASK, observation="one_hot")
    mdp = env.default_params
    best = float(mdp.start @ reference.optimal_value(mdp)[0])
    exact_return = jax.jit(lambda policy: casim.solve(mdp, policy).expected_return)
    assert exact_return(casim.Uniform().table(mdp)) < 0.5 * best
    weights = train(env, jax.random.key(0))
    policy = jax.nn.softmax(network(weights, env.observations())[0])
    assert exact_return(policy) >= 0.9 * best
