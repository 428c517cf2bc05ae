"""Methods with something fitted: fits against exact optima, and what is known of them exactly."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators.sources.fitting import Fit, itself, log_ratios, of_taken
from casim.estimators.sources.models import Shape, look_up
from casim.estimators.sources.objectives import Lesson, Outcome, Preference, Return
from casim.estimators.sources.sights import Shown
from casim.oracle import soft_optimal
from casim.oracle.moments import enumerate_trajectories
from casim.simulate import World
from casim.types import Trajectory
from tests.methods.tree import ROOTS, STEPS, tree
from tests.quick import QUICK

KEY = jax.random.key(6)
THOROUGH = {"num_updates": 600, "learning_rate": 0.1}


def population(mdp, policy):
    """Every trajectory of a process as one group, in double precision, and its probability."""
    weight, paths = enumerate_trajectories(mdp, policy)
    world = World.make(jax.tree.map(jnp.asarray, mdp), jnp.asarray(policy, float))
    batch = world.attach(Trajectory(*(jnp.asarray(x)[None] for x in paths)))
    return world, batch, jnp.asarray(weight, float)[None]


def fitted(fit, objective, mdp, policy, prior=None, goal=None):
    """Scores of the actions taken after a fit to a whole population, and the batch."""
    with jax.enable_x64(True):
        world, batch, weight = population(mdp, policy)
        form = itself if prior is None else log_ratios
        known = None
        if prior is not None:
            time = jnp.arange(batch.action.shape[-1])
            known = jnp.asarray(prior, float)[time, batch.observation]

        def run():
            aim = objective.goal(KEY, batch) if goal is None else goal(batch)
            label = Shown().label(KEY, world, batch)
            shape = Shape(label.shape[-1], world.num_observations, world.num_actions)
            lesson = Lesson(batch, aim, weight)
            theta = fit.table(KEY, shape, objective, lesson, label, form, known)
            return of_taken(form(look_up(theta, label), known), batch)[0]

        score = jax.jit(run, compiler_options=QUICK)()
        return np.asarray(score), jax.tree.map(lambda x: np.asarray(x)[0], batch), weight[0]


def reference_table(given, seed=2):
    rng = np.random.default_rng(seed)
    table = rng.uniform(0.2, 1.0, given.policy.shape)
    return table / table.sum(axis=-1, keepdims=True)


def noisy(given, seed=4):
    """The tree whose outcomes are 1 with a probability of each leaf, and that probability."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.1, 0.9, given.mdp.reward.shape[1:3])
    both = np.repeat(np.asarray(given.mdp.successor), 2, axis=-1)
    prob = np.concatenate([given.mdp.prob * 1.0, given.mdp.prob * 0.0], axis=-1)
    prob[1] = np.stack([chance, 1 - chance], axis=-1)
    reward = np.zeros(prob.shape)
    reward[1, ..., 0] = 1.0
    return given.mdp._replace(successor=both, prob=prob, reward=reward), chance


def paths_of(given, table):
    """Of every pair of actions: its probability, and that by a reference."""
    pairs = list(itertools.product(range(3), repeat=STEPS))
    mine, other = np.ones((2, len(pairs)))
    for k, (first, second) in enumerate(pairs):
        for which, policy in ((mine, given.policy), (other, table)):
            which[k] = policy[0, ROOTS[0], first] * policy[1, ROOTS[0] + 1 + first, second]
    return pairs, mine, other


def test_cross_entropy_finds_the_best_distribution_over_answers():
    """Of all phi over the 9 answers, by Newton's method: log phi / ref is each answer's sum.

    beta S is no free number of an answer, because phi sums to 1.
    """
    given, beta = tree(), 0.8
    table = reference_table(given)
    mdp, chance = noisy(given)
    pairs, mine, other = paths_of(given, table)
    success = np.array([chance[ROOTS[0] + 1 + a, b] for a, b in pairs])

    def slope(logit):
        phi = np.exp(logit) / np.exp(logit).sum()
        total = np.log(phi / other)
        odds = 1 / (1 + np.exp(-beta * total))
        push = mine * beta * (odds - success)
        return push - push.sum() * phi, total

    logit = np.log(other)
    for _ in range(50):
        base, _ = slope(logit)
        change = np.array([(slope(logit + 1e-6 * e)[0] - base) / 1e-6 for e in np.eye(9)]).T
        logit = logit - np.linalg.lstsq(change, base, rcond=1e-8)[0]
    wanted = slope(logit)[1]
    np.testing.assert_allclose(slope(logit)[0], 0.0, atol=1e-9)
    fit = Fit(**THOROUGH)
    score, batch, _ = fitted(fit, Outcome(beta), mdp, given.policy, prior=table)
    for row, (a, b) in zip(score, batch.action, strict=True):
        np.testing.assert_allclose(row.sum(), wanted[pairs.index((a, b))], atol=1e-5)
    assert np.abs(wanted).max() > 0.3


def test_preferences_find_the_soft_advantage():
    """By dynamic programming: beta times the log-ratio is Q - V at temperature 1, R of log-odds."""
    given = tree(False)
    table = reference_table(given)
    beta = 0.4
    score, batch, _ = fitted(
        Fit(**THOROUGH), Preference(beta, by="expected"), given.mdp, given.policy, prior=table
    )
    with jax.enable_x64(True):
        soft = soft_optimal(jax.tree.map(jnp.asarray, given.mdp), jnp.asarray(table), beta)
        wanted = np.asarray(soft.advantage)
    time = np.broadcast_to(np.arange(STEPS), batch.action.shape)
    found = beta * score
    np.testing.assert_allclose(found, wanted[time, batch.state, batch.action], atol=1e-5)
    value = np.asarray(soft.value)
    np.testing.assert_allclose(
        found.sum(axis=1), batch.reward.sum(axis=1) - value[0, ROOTS[0]], atol=1e-5
    )


def one_hots(batch, shape):
    """A row for each trajectory: 1 at each (step, observation, action) that it decided."""
    out = np.zeros((len(batch.action), *shape))
    for i, t in zip(*np.nonzero(batch.live & batch.decision), strict=True):
        out[i, t, batch.observation[i, t], batch.action[i, t]] += 1
    return out


@pytest.mark.parametrize("averaged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_least_squares_by_momentum_is_that_of_smallest_norm(averaged):
    """Of noisy outcomes, which no sum of numbers says without error; against `lstsq`."""
    mdp, _ = noisy(tree())
    policy = tree().policy
    rate = 2.0 if averaged else 0.5
    fit = Fit(num_updates=400, learning_rate=rate, optimiser="momentum")
    score, batch, weight = fitted(fit, Return(averaged=averaged), mdp, policy)
    cells = one_hots(batch, policy.shape)
    rows = cells.reshape(len(score), -1)
    root = np.sqrt(np.asarray(weight))
    goal = batch.reward.sum(axis=1)
    wanted, *_ = np.linalg.lstsq(rows * root[:, None], goal * root, rcond=1e-10)
    table = wanted.reshape(policy.shape)
    own = table[np.arange(STEPS), batch.observation, batch.action]
    np.testing.assert_allclose(score, own, atol=1e-6)
    assert np.abs(rows @ wanted - goal).max() > 0.1
    assert np.linalg.matrix_rank(rows) < (rows.sum(axis=0) > 0).sum()
