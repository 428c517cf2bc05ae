"""The contracts of tasks and estimators, for casim's own and for anybody else's.

`check_task(task)` and `check_estimator(estimator)` raise `AssertionError` with what is wrong, and return nothing.
`enumerate_trajectories` lists every trajectory of a small world with its probability, in float64: with it, any
expectation can be computed exactly by a second way.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from casim.checks import check_mdp
from casim.dynamics import observe, untie
from casim.estimators import Estimator
from casim.estimators.base import CLAIMS, GRANULARITIES, METHODOLOGIES, NEEDS, TARGETS
from casim.judges import Judge
from casim.metrics import group_gradient
from casim.oracle import expected_return, optimal, path_target, solve
from casim.oracle.moments import Enumeration, enumerate_trajectories
from casim.policies import EpsilonOptimal, Softmax
from casim.simulate import World
from casim.tasks import Bifurcation, Task
from casim.types import MDP, Trajectory, Truth

__all__ = ["Enumeration", "check_estimator", "check_task", "enumerate_trajectories"]

STANDARD_ERRORS = 5.0
"""A two-sided z-test at 5 standard errors fails by chance once in 1.7 million numbers."""
RELATIVE = 1e-5
"""Agreement asked of float32 dynamic programming with float64 enumeration, relative to the largest value."""


def check_task(task: Task, enumerable: Task | None = None, num: int = 20_000) -> None:
    """The contract of a task.

    It is a frozen, hashable recipe whose settings print and compare; it builds the same valid MDP twice; its
    horizon knob sets the number of steps; every state and kernel can be reached; Monte Carlo
    agrees with dynamic programming within 5 standard errors; its fully observed twin has the same latent law; the
    policy that is greedy on the optimal values attains the optimum.

    Args:
        task: the recipe.
        enumerable: the same family at a size whose trajectories can be listed; dynamic programming must agree
            with the list. None skips this part.
        num: episodes of the Monte Carlo part.
    """
    assert hash(task) == hash(dataclasses.replace(task)), "equal recipes must hash alike"
    assert task.with_horizon(task.horizon) == task, "with_horizon at the present horizon must change nothing"
    mdp = check_mdp(task.build())
    _same(mdp, task.build(), "build() must give the same MDP twice")
    longer = task.with_horizon(task.horizon + 1).build()
    assert longer.schedule.shape[0] > mdp.schedule.shape[0], "a larger horizon must give more steps"
    policy = Softmax(seed=1).table(mdp)
    facts = _facts(mdp, task.observed().build(), policy)
    truth = facts.truth
    reached = (np.asarray(truth.occupancy).sum(axis=0) > 0) | _last(mdp, truth)
    assert (reached | np.asarray(mdp.terminal)).all(), f"states {np.flatnonzero(~reached)} cannot be reached"
    assert set(np.asarray(mdp.schedule)) == set(range(mdp.prob.shape[0])), "every kernel must be scheduled"
    _check_monte_carlo(mdp, policy, float(truth.expected_return), num)
    _close(facts.twin, truth.value, "the observed twin must have the same latent law")
    if enumerable is not None:
        _check_enumeration(enumerable)


class _Facts(NamedTuple):
    truth: Truth
    twin: Any  # values of the observed twin under the same state policy
    optimal: Any
    greedy: Any  # expected return of the policy that is greedy on the optimal values


@jax.jit
def _facts(mdp: MDP, twin: MDP, policy) -> _Facts:
    """All that dynamic programming says of a task, in one program: compilation is what a contract costs."""
    truth = solve(mdp, policy)
    lifted = jnp.where(mdp.decision[:, None, None], truth.state_policy, 1.0 / policy.shape[-1])
    greedy = expected_return(mdp, EpsilonOptimal(epsilon=0.0).table(mdp))
    return _Facts(truth, solve(twin, lifted).value, optimal(mdp), greedy)


def check_estimator(estimator: Estimator, num_groups: int = 4000) -> None:
    """The contract of an estimator, on a small bifurcation chain with recovery and noise.

    Its taxonomy is from the allowed sets; it is frozen and hashable; its credit is finite, shaped `[N, T]`, the same
    for the same key, and does not depend on the latent state unless it declares a need for it; it runs under jit and
    vmap; costs are not negative; and what it claims to be unbiased for passes a z-test at 5 standard errors.

    Args:
        estimator: an instance.
        num_groups: groups of 3 trajectories for the z-tests.
    """
    assert estimator.granularity in GRANULARITIES, estimator.granularity
    assert estimator.methodology in METHODOLOGIES, estimator.methodology
    assert {estimator.target, estimator.scored_target} <= set(TARGETS), estimator.target
    assert estimator.needs <= set(NEEDS), estimator.needs
    assert estimator.unbiased <= set(CLAIMS), estimator.unbiased
    assert hash(estimator) == hash(dataclasses.replace(estimator)), "equal estimators must hash alike"
    mdp = _relabelled(Bifurcation(horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, num_segments=3).build())
    policy = Softmax(seed=2).table(mdp)
    truth = solve(mdp, policy)
    world = World.make(mdp, policy, reference=Softmax(seed=3).table(mdp), scorer=Judge().model(mdp, truth))

    @jax.jit
    def group(key):
        batch = world.rollout(jax.random.fold_in(key, 0), 3)
        return batch, estimator(jax.random.fold_in(key, 1), world, batch)

    key = jax.random.key(0)
    batch, credit = group(key)
    assert credit.value.shape == batch.action.shape, f"credit must be [N, T], got {credit.value.shape}"
    assert bool(jnp.isfinite(credit.value).all()), "credit must be finite"
    assert not bool(jnp.any(jnp.where(batch.live, 0.0, credit.value))), "credit must be 0 where not live"
    assert all(x.shape == () and float(x) >= 0 for x in credit.cost), f"costs must be scalars >= 0, got {credit.cost}"
    _same(group(key), (batch, credit), "the same key must give the same credit")
    wide = batch._replace(
        **{name: getattr(batch, name).astype(jnp.int32) for name in ("state", "observation", "action")}
    )
    again = estimator(jax.random.fold_in(key, 1), world, wide)
    _close(again.value, credit.value, "credit must not compute in int8: widen labels before arithmetic")
    if not estimator.needs & {"reset", "judge", "privileged"}:
        blind = estimator(jax.random.fold_in(key, 1), world, batch._replace(state=jnp.zeros_like(batch.state)))
        _close(blind.value, credit.value, "credit must not read the latent state without declaring it")
    batch, credit = jax.lax.map(group, jax.random.split(key, num_groups), batch_size=200)
    if "gradient" in estimator.unbiased:
        gradient = jax.vmap(group_gradient, in_axes=(None, None, 0, 0))(mdp, policy, batch, credit.value)
        _unbiased(gradient - truth.gradient[None], "policy gradient")
    for claim in estimator.unbiased - {"gradient"}:
        name = estimator.scored_target if claim == "target" else claim

        def target(batch: Trajectory, name: str = name):
            return path_target(name, mdp, policy, truth, batch, world.num_segments)

        error = credit.value - jax.vmap(target)(batch)
        index = batch.state.astype(jnp.int32) * policy.shape[-1] + batch.action
        cell = jax.nn.one_hot(index, policy.shape[-1] * mdp.start.shape[0])
        _unbiased(jnp.mean(error[..., None] * cell, axis=1), f"{name} in every cell")


def _relabelled(mdp: MDP, by: int = 100) -> MDP:
    """The same process with higher labels, so that a product of labels does not fit the type they are stored in.

    The states and observations below are never met: those states stay where they are.
    """
    _, _, actions, slots = mdp.prob.shape
    before = [(0, 0), (by, 0), (0, 0), (0, 0)]
    below = jnp.broadcast_to(jnp.arange(by)[None, :, None, None], (mdp.prob.shape[0], by, actions, slots))
    stay = jnp.broadcast_to((jnp.arange(slots) == 0)[None, None, None, :], below.shape)
    emission = jnp.pad(mdp.emission, [(0, 0), (by, 0), (by, 0)])
    return mdp._replace(
        start=jnp.pad(mdp.start, (by, 0)),
        successor=jnp.concatenate([below, mdp.successor + by], axis=1),
        prob=jnp.concatenate([stay.astype(mdp.prob.dtype), mdp.prob], axis=1),
        reward=jnp.pad(mdp.reward, before),
        emission=emission.at[:, :by, 0].set(1.0),
        terminal=jnp.pad(mdp.terminal, (by, 0)),
    )


def _unbiased(error, what: str) -> None:
    """z-tests that the mean over the leading axis is 0."""
    error = np.asarray(error, np.float64)
    spread = error.std(axis=0, ddof=1) / np.sqrt(len(error))
    z = np.abs(error.mean(axis=0)) / (spread + 1e-6)
    assert z.max() < STANDARD_ERRORS, f"the {what} must be unbiased, got {z.max():.1f} standard errors"


@functools.partial(jax.jit, static_argnums=1)
def _returns(world: World, num: int):
    reward = world.rollout(jax.random.key(5), num).reward
    return jnp.sum(reward * (world.discount ** jnp.arange(reward.shape[1]))[None, :], axis=1)


def _check_monte_carlo(mdp: MDP, policy, expected: float, num: int) -> None:
    returns = np.asarray(_returns(World.make(mdp, policy), num), np.float64)
    error, spread = returns.mean() - expected, returns.std() / num**0.5
    assert abs(error) <= STANDARD_ERRORS * spread + 1e-6, f"Monte Carlo is off by {error:.2g}, error {spread:.2g}"


def _check_enumeration(task: Task) -> None:
    mdp = task.build()
    policy = Softmax(seed=4).table(mdp)
    facts = _facts(mdp, task.observed().build(), policy)
    truth = facts.truth
    weight, paths = enumerate_trajectories(mdp, np.asarray(policy))
    steps = np.arange(paths.reward.shape[1])
    scaling = float(mdp.discount) ** steps
    earned = paths.reward * scaling
    returns = earned.sum(axis=1)
    _close(truth.expected_return, weight @ returns, "the expected return must equal the enumeration's")
    future = (np.cumsum(earned[:, ::-1], axis=1)[:, ::-1]) / scaling
    shape = truth.q_value.shape
    mass, total = np.zeros(shape), np.zeros(shape)
    where = (np.broadcast_to(steps, paths.state.shape), paths.state, paths.action)
    live = weight[:, None] * paths.live
    np.add.at(mass, where, live)
    np.add.at(total, where, live * future)
    met = mass > 0
    _close(np.asarray(truth.q_value)[met], total[met] / mass[met], "Q must equal the enumeration's")
    _close(truth.occupancy, mass.sum(axis=2), "the occupancy must equal the enumeration's")
    # The score-function form of the gradient: E[return * sum_t grad log pi].
    kernel = np.broadcast_to(np.asarray(mdp.schedule), paths.state.shape)
    decides = live * np.asarray(mdp.decision)[kernel] * returns[:, None]
    taken = np.zeros(policy.shape)
    np.add.at(taken, (kernel, paths.observation, paths.action), decides)
    gradient = taken - np.asarray(policy) * taken.sum(axis=-1, keepdims=True)
    _close(truth.gradient, gradient, "the policy gradient must equal the enumeration's")
    _check_optimum(mdp, facts, scaling)


def _check_optimum(mdp: MDP, facts: _Facts, scaling: np.ndarray) -> None:
    best = np.asarray(facts.optimal.q_value)
    greedy = np.eye(best.shape[-1])[best.argmax(axis=-1)]
    weight, paths = enumerate_trajectories(untie(observe(mdp)), greedy)
    optimum = float(np.asarray(mdp.start) @ np.asarray(facts.optimal.value[0]))
    attained = weight @ (paths.reward * scaling).sum(axis=1)
    _close(optimum, attained, "the optimal policy must attain the optimum")
    gap = optimum - float(facts.greedy)
    assert gap >= -RELATIVE * max(1.0, abs(optimum)), f"no policy may beat the optimum, got one by {-gap:.2g}"


def _last(mdp: MDP, truth: Truth) -> np.ndarray:
    """Which states can be met after the last step."""
    weight = truth.occupancy[-1][:, None] * truth.state_policy[mdp.schedule[-1]]
    met = (weight[:, :, None] * mdp.prob[mdp.schedule[-1]] > 0) & ~mdp.terminal[:, None, None]
    reached = np.zeros(mdp.start.shape[0], bool)
    reached[np.asarray(mdp.successor[mdp.schedule[-1]])[np.asarray(met)]] = True
    return reached


def _close(actual, wanted, message: str) -> None:
    actual, wanted = np.asarray(actual, np.float64), np.asarray(wanted, np.float64)
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    error = float(np.abs(actual - wanted).max(initial=0.0))
    assert error <= RELATIVE * scale, f"{message}: off by {error:.2g}"


def _same(actual, wanted, message: str) -> None:
    for x, y in zip(jax.tree.leaves(actual), jax.tree.leaves(wanted), strict=True):
        assert np.array_equal(np.asarray(x), np.asarray(y)), message
