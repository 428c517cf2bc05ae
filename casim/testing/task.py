"""The contract of tasks."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from casim.dynamics import discounting, observe, untie
from casim.oracle import expected_return, optimal, solve
from casim.oracle.moments import enumerate_trajectories
from casim.policies import EpsilonOptimal, Softmax
from casim.simulate import World
from casim.tasks import Task
from casim.testing.compare import RELATIVE, STANDARD_ERRORS, close, same
from casim.types import MDP, Truth
from casim.wellformed import check_mdp


def check_task(
    task: Task,
    enumerable: Task | None = None,
    num: int = 20_000,
) -> None:
    """The contract of a task.

    It is a frozen, hashable recipe whose settings print and compare; it builds the same valid MDP
    twice; its horizon knob sets the number of steps; every state and kernel can be reached; Monte
    Carlo agrees with dynamic programming within 5 standard errors; its fully observed twin has the
    same latent law; the policy that is greedy on the optimal values attains the optimum.

    Args:
        task: the recipe.
        enumerable: the same family at a size whose trajectories can be listed; dynamic programming
            must agree with the list. None skips this part.
        num: episodes of the Monte Carlo part.
    """
    assert hash(task) == hash(dataclasses.replace(task)), "equal recipes must hash alike"
    assert task.with_horizon(task.horizon) == task, (
        "with_horizon at the present horizon must change nothing"
    )
    mdp = check_mdp(task.build())
    same(mdp, task.build(), "build() must give the same MDP twice")
    longer = task.with_horizon(task.horizon + 1).build()
    assert longer.schedule.shape[0] > mdp.schedule.shape[0], "a larger horizon must give more steps"
    policy = Softmax(seed=1).table(mdp)
    facts = _facts(mdp, task.observed().build(), policy)
    truth = facts.truth
    visits = np.asarray(truth.occupancy).sum(axis=0)
    reached = (visits > 0) | _last(mdp, truth)
    assert (reached | np.asarray(mdp.terminal)).all(), (
        f"states {np.flatnonzero(~reached)} cannot be reached"
    )
    assert set(np.asarray(mdp.schedule)) == set(range(mdp.prob.shape[0])), (
        "every kernel must be scheduled"
    )
    _check_monte_carlo(mdp, policy, float(truth.expected_return), num)
    close(facts.twin, truth.value, "the observed twin must have the same latent law")
    if enumerable is not None:
        _check_enumeration(enumerable)


class _Facts(NamedTuple):
    truth: Truth
    twin: Any  # values of the observed twin under the same state policy
    optimal: Any
    greedy: Any  # expected return of the policy that is greedy on the optimal values


@jax.jit
def _facts(
    mdp: MDP,
    twin: MDP,
    policy,
) -> _Facts:
    """All that dynamic programming says of a task, in one program.

    Compilation is what a contract costs.
    """
    truth = solve(mdp, policy)
    decides = mdp.decision[:, None, None]
    any_action = 1.0 / policy.shape[-1]
    lifted = jnp.where(decides, truth.state_policy, any_action)
    greedy = expected_return(mdp, EpsilonOptimal(epsilon=0.0).table(mdp))
    value = solve(twin, lifted).value
    return _Facts(truth, value, optimal(mdp), greedy)


@functools.partial(jax.jit, static_argnums=1)
def _returns(
    world: World,
    num: int,
):
    reward = world.rollout(jax.random.key(5), num).reward
    discount = discounting(world.mdp)[None, :]
    return jnp.sum(reward * discount, axis=1)


def _check_monte_carlo(
    mdp: MDP,
    policy,
    expected: float,
    num: int,
) -> None:
    world = World.make(mdp, policy)
    returns = np.asarray(_returns(world, num), np.float64)
    error = returns.mean() - expected
    spread = returns.std() / num**0.5
    assert abs(error) <= STANDARD_ERRORS * spread + 1e-6, (
        f"Monte Carlo is off by {error:.2g}, error {spread:.2g}"
    )


def _check_enumeration(
    task: Task,
) -> None:
    mdp = task.build()
    policy = Softmax(seed=4).table(mdp)
    facts = _facts(mdp, task.observed().build(), policy)
    truth = facts.truth
    weight, paths = enumerate_trajectories(mdp, np.asarray(policy))
    steps = np.arange(paths.reward.shape[1])
    schedule = np.asarray(mdp.schedule)
    discount = np.asarray(mdp.discount, np.float64)[schedule]
    scaling = np.append(1.0, np.cumprod(discount[:-1]))
    returns = (paths.reward * scaling).sum(axis=1)
    close(
        truth.expected_return, weight @ returns, "the expected return must equal the enumeration's"
    )
    future = np.array(paths.reward)
    for t in reversed(range(len(steps) - 1)):
        future[:, t] += discount[t] * future[:, t + 1]
    shape = truth.q_value.shape
    mass = np.zeros(shape)
    total = np.zeros(shape)
    time = np.broadcast_to(steps, paths.state.shape)
    where = (time, paths.state, paths.action)
    live = weight[:, None] * paths.live
    np.add.at(mass, where, live)
    np.add.at(total, where, live * future)
    met = mass > 0
    solved = np.asarray(truth.q_value)
    listed = total[met] / mass[met]
    close(solved[met], listed, "Q must equal the enumeration's")
    close(truth.occupancy, mass.sum(axis=2), "the occupancy must equal the enumeration's")
    # The score-function form of the gradient: E[return * sum_t grad log pi].
    kernel = np.broadcast_to(schedule, paths.state.shape)
    decision = np.asarray(mdp.decision)[kernel]
    decides = live * decision * returns[:, None]
    taken = np.zeros(policy.shape)
    logit = (kernel, paths.observation, paths.action)
    np.add.at(taken, logit, decides)
    chosen = taken.sum(axis=-1, keepdims=True)
    gradient = taken - np.asarray(policy) * chosen
    close(truth.gradient, gradient, "the policy gradient must equal the enumeration's")
    _check_optimum(mdp, facts, scaling)


def _check_optimum(
    mdp: MDP,
    facts: _Facts,
    scaling: np.ndarray,
) -> None:
    best = np.asarray(facts.optimal.q_value)
    actions = np.eye(best.shape[-1])
    greedy = actions[best.argmax(axis=-1)]
    weight, paths = enumerate_trajectories(untie(observe(mdp)), greedy)
    first = np.asarray(facts.optimal.value[0])
    optimum = float(np.asarray(mdp.start) @ first)
    attained = weight @ (paths.reward * scaling).sum(axis=1)
    close(optimum, attained, "the optimal policy must attain the optimum")
    gap = optimum - float(facts.greedy)
    assert gap >= -RELATIVE * max(1.0, abs(optimum)), (
        f"no policy may beat the optimum, got one by {-gap:.2g}"
    )


def _last(
    mdp: MDP,
    truth: Truth,
) -> np.ndarray:
    """Which states can be met after the last step."""
    last = mdp.schedule[-1]
    visits = truth.occupancy[-1][:, None]
    weight = visits * truth.state_policy[last]
    possible = weight[:, :, None] * mdp.prob[last] > 0
    met = possible & ~mdp.terminal[:, None, None]
    reached = np.zeros(mdp.start.shape[0], bool)
    target = np.asarray(mdp.successor[last])
    reached[target[np.asarray(met)]] = True
    return reached
