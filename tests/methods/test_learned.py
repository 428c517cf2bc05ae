"""Methods with something fitted: fits against exact optima, and what is known of them exactly."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import (
    AllCoalitions,
    Chain,
    Contrast,
    Distilled,
    ImplicitReward,
    Increments,
    LogRatio,
    Only,
    OutcomeShares,
    OverLargest,
    OverUnit,
    PairWeight,
    Redistributed,
    Shapley,
    TimesLeft,
)
from casim.estimators.sources.fitting import Fit, itself, log_ratios, of_taken
from casim.estimators.sources.models import Network, Shape, Tabular, look_up
from casim.estimators.sources.objectives import Labels, Lesson, Outcome, Preference, Return
from casim.estimators.sources.sights import Abstract, Latent, Shown
from casim.graders import PerAction
from casim.judges import Judge
from casim.oracle import soft_optimal
from casim.oracle.moments import enumerate_trajectories
from casim.readers import Reader
from casim.simulate import World
from casim.testing import check_estimator
from casim.types import BLANK, Trajectory
from tests import reference
from tests.enumeration import (
    FixedScores,
    as_groups,
    assert_mean,
    case,
    cell_mean,
    expected_gradient,
    solve,
)
from tests.methods import reference_trainers as ref
from tests.methods.test_trainers import rows
from tests.methods.tree import ROOTS, STEPS, tree
from tests.methods.worlds import small
from tests.quick import QUICK
from tests.reference import groups as draw

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
            label = fit.sight.label(KEY, world, batch)
            shape = Shape(label.shape[-1], fit.sight.size(world), world.num_actions)
            lesson = Lesson(batch, aim, weight)
            theta = fit.table(KEY, shape, objective, lesson, label, form, known)
            return of_taken(form(look_up(theta, label), known), batch)[0]

        score = jax.jit(run, compiler_options=QUICK)()
        return np.asarray(score), jax.tree.map(lambda x: np.asarray(x)[0], batch), weight[0]


solve_soft = jax.jit(soft_optimal, compiler_options=QUICK)


class SoftValues(NamedTuple):
    value: np.ndarray
    q_value: np.ndarray
    policy: np.ndarray
    advantage: np.ndarray


def soft_of(mdp, table, temperature):
    """Soft values by dynamic programming, in double precision."""
    with jax.enable_x64(True):
        arrays = jax.tree.map(jnp.asarray, (mdp, table, float(temperature)))
        soft = solve_soft(*arrays)
        return SoftValues(*(np.asarray(x) for x in (*soft, soft.advantage)))


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_preferences_find_the_soft_advantage():
    """By dynamic programming: beta times the log-ratio is Q - V at temperature 1, R of log-odds."""
    given = tree(False)
    table = reference_table(given)
    beta = 0.4
    score, batch, _ = fitted(
        Fit(**THOROUGH), Preference(beta, by="expected"), given.mdp, given.policy, prior=table
    )
    soft = soft_of(given.mdp, table, beta)
    wanted = soft.advantage
    time = np.broadcast_to(np.arange(STEPS), batch.action.shape)
    found = beta * score
    np.testing.assert_allclose(found, wanted[time, batch.state, batch.action], atol=1e-5)
    gain = batch.reward.sum(axis=1) - soft.value[0, ROOTS[0]]
    np.testing.assert_allclose(found.sum(axis=1), gain, atol=1e-5)


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


@pytest.mark.slow
def test_a_table_of_labels_says_the_mean_label_of_each_cell():
    """In both errors; where a label has no weight it is not looked at."""
    mdp, chance = noisy(tree())

    def outcome(batch):
        last = jnp.arange(STEPS) == STEPS - 1
        total = jnp.sum(batch.reward, axis=-1, keepdims=True)
        label = jnp.where(last, total, 7.0)
        return label, jnp.broadcast_to(last, label.shape).astype(label.dtype)

    fit = Fit(**THOROUGH)
    for error in ("squared", "cross_entropy"):
        score, batch, _ = fitted(fit, Labels(error), mdp, tree().policy, goal=outcome)
        said = score[:, -1] if error == "squared" else 1 / (1 + np.exp(-score[:, -1]))
        wanted = chance[batch.state[:, -1], batch.action[:, -1]]
        np.testing.assert_allclose(said, wanted, atol=1e-5)
        assert not score[:, 0].any()


@pytest.mark.slow
def test_privileged_preferences_find_the_soft_advantage_of_the_latent_problem():
    """Where the agent sees nothing of the second state; a table by observation cannot."""
    given = tree(False)
    shown = np.array(given.mdp.emission)
    shown[1] = np.eye(8)[2]
    mdp = given.mdp._replace(emission=shown)
    policy = np.broadcast_to(given.policy[:, 2:3], given.policy.shape)
    table, beta = np.broadcast_to(reference_table(given)[:, 2:3], given.policy.shape), 0.4
    soft = soft_of(mdp, table, beta)
    aim = Preference(beta, by="expected")
    time = np.arange(STEPS)
    errors = []
    for sight in (Latent(), Shown()):
        score, batch, _ = fitted(Fit(sight=sight, **THOROUGH), aim, mdp, policy, prior=table)
        wanted = soft.advantage[time, batch.state, batch.action]
        errors.append(np.abs(beta * score - wanted).max())
    assert errors[0] < 1e-5
    assert errors[1] > 0.05


@pytest.mark.slow
def test_lare_finds_the_reward_where_its_features_say_it_and_else_a_projection():
    """By least squares: classes of the observation, mod 2, shared by all steps."""
    given = tree(False)
    rng = np.random.default_rng(3)
    worth = rng.normal(size=(2, 3))
    for exact in (True, False):
        paid = worth[np.arange(8) % 2] if exact else rng.normal(size=(8, 3))
        reward = np.broadcast_to(paid[None, ..., None], given.mdp.reward.shape)
        mdp = given.mdp._replace(reward=reward)
        fit = Fit(
            Tabular(by_step=False),
            Abstract(2),
            num_updates=500,
            learning_rate=2.0,
            optimiser="momentum",
        )
        score, batch, weight = fitted(fit, Return(averaged=True), mdp, given.policy)
        cells = np.zeros((len(score), 2, 3))
        for i, t in np.ndindex(*score.shape):
            cells[i, batch.observation[i, t] % 2, batch.action[i, t]] += 1
        root = np.sqrt(np.asarray(weight))[:, None]
        flat = cells.reshape(len(score), -1)
        goal = batch.reward.sum(axis=1)
        wanted, *_ = np.linalg.lstsq(flat * root, goal * root[:, 0], rcond=1e-10)
        own = wanted.reshape(2, 3)[batch.observation % 2, batch.action]
        np.testing.assert_allclose(score, own, atol=1e-5)
        off = np.abs(score.sum(axis=1) - goal).max()
        assert off < 1e-5 if exact else off > 0.05


@pytest.mark.slow
def test_the_correction_makes_subsets_unbiased():
    """All subsets of 2 of 5 steps: their mean loss is that of all steps, and each draw is one."""
    score, goal, size = np.array([0.3, -1.0, 0.8, 0.1, 0.5]), 0.9, 2
    losses = []
    for subset in itertools.combinations(range(5), size):
        part = score[list(subset)]
        spread = part.var(ddof=1) * (1 - size / 5) / size
        losses.append((part.mean() - goal / 5) ** 2 - spread)
    np.testing.assert_allclose(np.mean(losses), (score.mean() - goal / 5) ** 2, atol=1e-12)
    given, _ = one_row(score, goal)
    aim = Return(averaged=True, subset=size, corrected=True)
    run = jax.jit(
        lambda keys: jax.vmap(lambda key: aim.loss(key, jnp.asarray([[score]]), given))(keys),
        compiler_options=QUICK,
    )
    found = np.asarray(run(jax.random.split(KEY, 60)))
    nearest = np.abs(found[:, None] - np.array(losses)).argmin(axis=1)
    np.testing.assert_allclose(found, np.array(losses)[nearest], atol=1e-6)
    assert len(set(nearest)) > 5


def one_row(score, goal):
    """A lesson of one trajectory in which every step decides."""
    zero = np.zeros((1, 1, len(score)), int)
    batch = as_groups(
        None,
        Trajectory(
            state=zero[0],
            observation=zero[0],
            action=zero[0],
            log_prob=np.zeros(zero[0].shape, np.float32),
            reward=np.where(np.arange(len(score)) == 0, goal, 0.0)[None].astype(np.float32),
            live=zero[0] == 0,
        ),
    )
    aim = jnp.asarray([[goal]], jnp.float32)
    return Lesson(batch, aim, jnp.ones((1, 1), jnp.float32)), batch


def test_drawn_preferences_are_of_one_of_two_and_as_frequent_as_they_should_be():
    _, batch = one_row(np.zeros(3), 0.0)
    earned = np.array([0.0, 1.5, -0.5, 0.5], np.float32)
    four = jax.tree.map(lambda x: jnp.repeat(x, 4, axis=1) if x.ndim > 1 else x, batch)
    four = four._replace(reward=four.reward.at[0, :, 0].set(earned))
    aim = Preference(by="drawn")
    run = jax.jit(jax.vmap(lambda key: aim.goal(key, four)[0]), compiler_options=QUICK)
    wins = np.asarray(run(jax.random.split(KEY, 4000)))
    np.testing.assert_array_equal(
        wins + np.swapaxes(wins, 1, 2), np.tile(1 - np.eye(4), (4000, 1, 1))
    )
    chance = 1 / (1 + np.exp(earned[None, :] - earned[:, None]))
    assert_mean(wins, chance * (1 - np.eye(4)))
    exact = np.asarray(Preference(by="expected").goal(KEY, four)[0])
    np.testing.assert_allclose(exact, chance * (1 - np.eye(4)), atol=1e-6)


def test_preferences_over_turns_compare_means_over_turns():
    """Against loops, on episodes of 1 to 3 turns."""
    rng = np.random.default_rng(5)
    turn = np.array([[0, 0, 1, 1, 2], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1]])
    live = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0]], bool)
    decision = np.array([[1, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]], bool)
    score = np.where(live & decision, rng.normal(size=live.shape), 0.0).astype(np.float32)
    _, batch = one_row(np.zeros(5), 0.0)
    three = jax.tree.map(lambda x: jnp.repeat(x, 3, axis=1) if x.ndim > 1 else x, batch)
    three = three._replace(
        turn=jnp.asarray(turn)[None],
        live=jnp.asarray(live)[None],
        decision=jnp.asarray(decision)[None],
        reward=three.reward.at[0, :, 0].set(jnp.asarray([1.0, 0.0, 1.0])),
    )
    aim = Preference(0.7, over="turns")
    lesson = Lesson(three, aim.goal(KEY, three), jnp.ones((1, 3)))
    loss = jax.jit(aim.loss, compiler_options=QUICK)
    found = loss(KEY, jnp.asarray(score)[None], lesson)
    number = [3, 1, 1]  # the third says nothing in its first turn
    mean = score.sum(axis=1) / number
    wanted = np.mean([np.log1p(np.exp(-0.7 * (mean[i] - mean[1]))) for i in (0, 2)])
    assert float(found) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.slow
def test_look_ups_have_the_gradient_of_plain_indexing():
    rng = np.random.default_rng(0)
    label = jnp.asarray(rng.integers(0, 4, (2, 3, 5)))
    push = jnp.asarray(rng.normal(size=(2, 3, 5, 2)), jnp.float32)
    for steps in (5, 1):
        table = jnp.asarray(rng.normal(size=(steps, 4, 2)), jnp.float32)
        time = np.arange(5) if steps > 1 else np.zeros(5, int)
        plain = jax.grad(lambda x, time=time: jnp.sum(push * x[time, label]))(table)
        found = jax.grad(lambda x: jnp.sum(push * look_up(x, label)))(table)
        np.testing.assert_allclose(found, plain, atol=1e-6)


# Implicit rewards.


def test_an_implicit_reward_is_0_at_the_reference_and_cannot_be_positive_for_all_actions():
    """sum_a ref(a) exp(q(a)) = 1, whatever was fitted."""
    rng = np.random.default_rng(1)
    prior = rng.dirichlet(np.ones(3), size=(2, 3, 4)).astype(np.float32)
    prior[0, 0, 0] = [0.25, 0.0, 0.75]
    theta = rng.normal(size=prior.shape).astype(np.float32) * 3
    ratio = np.asarray(log_ratios(jnp.asarray(theta), jnp.asarray(prior)), np.float64)
    np.testing.assert_allclose((prior * np.exp(ratio)).sum(axis=-1), 1.0, atol=1e-5)
    assert ratio[0, 0, 0, 1] == 0
    assert (ratio.min(axis=-1) <= 0).all()
    assert not np.asarray(log_ratios(jnp.zeros(prior.shape), jnp.asarray(prior))).any()


@pytest.mark.slow
def test_where_every_action_succeeds_often_a_fit_cannot_say_so():
    """Success .9, .8 and .7: sigma(q) > 1/2 for every action would be q > 0 for every one."""
    given = tree()
    mdp, _ = noisy(given)
    prob = np.array(mdp.prob)
    prob[1, :, :, 0] = [0.9, 0.8, 0.7]
    prob[1, :, :, 1] = 1 - prob[1, :, :, 0]
    fit = Fit(**THOROUGH)
    mdp = mdp._replace(prob=prob)
    score, batch, _ = fitted(fit, Outcome(1.0), mdp, given.policy, prior=given.policy)
    said = 1 / (1 + np.exp(-score.sum(axis=1)))
    assert said.min() < 0.5
    assert np.abs(said - 0.7 - 0.1 * (2 - batch.action[:, 1])).max() > 0.1


def worlds_of_soft(temperature, mdp, table):
    """The process under its soft-optimal policy, and soft values. All is shown, steps untied."""
    soft = soft_of(mdp, table, temperature)
    world = World.make(mdp, soft.policy, reference=table)
    return world, soft


@functools.partial(jax.jit, static_argnums=0, compiler_options=QUICK)
def credit_of(recipe, world, batch, key=KEY):
    return recipe.credit(key, world, batch)


@pytest.mark.slow
def test_from_r_to_q_is_the_soft_advantage_at_the_soft_optimal_policy():
    """Summed it is the change of the soft value; with chance in it, but for a martingale."""
    given = tree(False)
    table = reference_table(given)
    for mdp, certain in ((given.mdp, True), (noisy(given)[0], False)):
        world, soft = worlds_of_soft(0.1, mdp, table)
        batch = draw(world, KEY, 2, 4)
        value = np.asarray(credit_of(methods.R_TO_Q.recipe, world, batch).value)
        state, action = np.asarray(batch.state), np.asarray(batch.action)
        time = np.arange(STEPS)
        wanted = soft.advantage[time, state, action]
        np.testing.assert_allclose(value, wanted, atol=2e-5)
        gain = np.asarray(batch.reward).sum(axis=-1) - soft.value[0, state[..., 0]]
        if certain:
            np.testing.assert_allclose(value.sum(axis=-1), gain, atol=2e-5)
        else:
            luck = (
                np.asarray(batch.reward)[..., -1] - soft.q_value[1, state[..., 1], action[..., 1]]
            )
            assert np.abs(value.sum(axis=-1) - gain).max() > 0.1
            np.testing.assert_allclose(value.sum(axis=-1), gain - luck, atol=2e-5)


def test_implicit_rewards_tend_to_the_advantage_of_the_reference():
    """As beta grows, with an error of order 1 / beta; at a low one even signs may differ.

    The first action may lead to the best answer, and most often does not.
    """
    given = tree(False)
    root = ROOTS[0]
    children = root + 1 + np.arange(3)
    paid = np.array(given.mdp.reward)
    paid[1, children, :, 0] = [[2.0, 0.0, 0.1], [0.9, 0.8, 0.95], [0.5, 0.6, 0.4]]
    given = given._replace(mdp=given.mdp._replace(reward=paid))
    table = np.broadcast_to([0.3, 0.34, 0.36], given.policy.shape)
    q_value = np.zeros(given.policy.shape)
    q_value[1, children] = np.asarray(given.mdp.reward)[1, children, :, 0]
    q_value[0, root] = (table[1, children] * q_value[1, children]).sum(axis=-1)
    advantage = q_value - (table * q_value).sum(axis=-1, keepdims=True)
    met = [(0, root), *((1, child) for child in children)]
    errors = []
    for beta in (10.0, 100.0, 1000.0):
        soft = soft_of(given.mdp, table, beta).advantage
        errors.append(max(np.abs(soft[at] - advantage[at]).max() for at in met))
    np.testing.assert_allclose(np.array(errors[:-1]) / errors[1:], 10.0, rtol=0.1)
    cold = soft_of(given.mdp, table, 0.05).advantage
    assert any((np.sign(cold[at]) != np.sign(advantage[at])).any() for at in met)


@pytest.mark.slow
def test_progress_advantage_after_a_natural_gradient_step_is_the_advantage_less_log_z():
    """c = eta A - log Z(s) for A of the reference; after more steps A has changed."""
    mdp, base = small("hidden", 1.0)
    shown = np.zeros(mdp.emission.shape)
    shown[:, range(shown.shape[1]), range(shown.shape[1])] = 1.0
    mdp = mdp._replace(emission=shown)
    base, eta = np.asarray(base, np.float64), 0.7

    def advantage(policy):
        """Of every observation; those after the states are never shown."""
        exact = reference.exact(mdp, policy)
        out = np.zeros(policy.shape)
        out[:, : len(mdp.start)] = exact.q_value - exact.value[:-1, :, None]
        return out

    def step(policy):
        new = policy * np.exp(eta * advantage(policy))
        return new / new.sum(axis=-1, keepdims=True)

    first = advantage(base)
    scale = (base * np.exp(eta * first)).sum(axis=-1)
    wanted = eta * first - np.log(scale)[..., None]
    policy, gaps = base, []
    for _ in range(3):
        policy = step(policy)
        world = World.make(mdp, policy, reference=base)
        batch = draw(world, KEY, 1, 6)
        value = np.asarray(credit_of(methods.PROGRESS_ADVANTAGE.recipe, world, batch).value)
        state, action = np.asarray(batch.state), np.asarray(batch.action)
        aim = wanted[np.arange(3), state, action]
        mine = np.asarray(batch.decided)
        gaps.append(np.abs(value - (len(gaps) + 1) * aim)[mine].max())
    assert gaps[0] < 2e-6
    assert gaps[2] > gaps[1] > 1e-3


@pytest.mark.slow
def test_a_frozen_reward_model_says_minus_the_divergence_and_knows_no_outcome():
    """E of log pi_init / pi_old under pi_old, at every step."""
    given = tree(False)
    table = reference_table(given)
    world = World.make(given.mdp, given.policy, reference=table)
    (_, step) = methods.ISTAR_FROZEN.recipe.parts
    weight, paths = enumerate_trajectories(given.mdp, given.policy)
    batch = world.attach(Trajectory(*(jnp.asarray(x)[None] for x in paths)))
    value = np.asarray(credit_of(step.parts[0], world, batch).value)[0]
    divergence = np.zeros(STEPS)
    root = ROOTS[0]
    for t, state, share in (
        (0, root, 1.0),
        *((1, root + 1 + a, given.policy[0, root, a]) for a in range(3)),
    ):
        p, q = given.policy[t, state], table[t, state]
        divergence[t] += share * (p * np.log(p / q)).sum()
    np.testing.assert_allclose(weight @ value, -0.05 * divergence, atol=1e-7)
    paid = batch._replace(reward=-batch.reward)
    np.testing.assert_array_equal(credit_of(step.parts[0], world, paid).value[0], value)


# Redistributions.


def test_increments_add_up_to_the_outcome_whatever_they_are_of():
    log = ref.nasty()
    found = rows(Chain(LogRatio(1.0), Increments()), log)
    np.testing.assert_allclose(found.sum(axis=1), ref.scores(log), atol=1e-12)
    first = np.argmax(log["mask"], axis=1)
    ratio = (log["log_prob"] - log["reference_log_prob"])[np.arange(len(first)), first]
    longer = log["mask"].sum(axis=1) > 1
    np.testing.assert_allclose(found[np.arange(len(first)), first][longer], ratio[longer])


@pytest.mark.slow
def test_least_squares_conserve_the_return_where_steps_can_say_it():
    """The last action of the tree says what is paid; of noisy outcomes only the mean is said."""
    given = tree(False)
    fit = dataclasses.replace(methods.SPA_RL.recipe.fit, num_updates=600)
    score, batch, _ = fitted(fit, Return(), given.mdp, given.policy)
    np.testing.assert_allclose(score.sum(axis=1), batch.reward.sum(axis=1), atol=1e-5)
    mdp, chance = noisy(given)
    score, batch, _ = fitted(fit, Return(), mdp, given.policy)
    said = chance[batch.state[:, 1], batch.action[:, 1]]
    np.testing.assert_allclose(score.sum(axis=1), said, atol=1e-4)


def test_released_weights_count_down_to_0():
    steps = 6
    log = {
        "reward": np.ones((1, steps)),
        "mask": np.ones((1, steps), bool),
        "prompt": np.zeros(1, int),
        "turn": np.arange(steps)[None],
    }
    found = rows("SPA_RL_RELEASED", log)
    np.testing.assert_array_equal(found[0], np.arange(steps)[::-1])


# RED.


@functools.cache
def judged(scores):
    """Rewards on the way, a step of the environment, early ends; a judge who says anything."""
    one = case(binary=False, actions=2, prompt=False)
    shape = one.all.batch.action.shape
    rng = np.random.default_rng(7)
    said = np.zeros(shape)
    if scores == "anything":
        # A function of what was seen and done, as any reader's score is.
        table = rng.normal(size=(shape[1], 5, 2))
        time = np.arange(shape[1])
        state, action = (np.asarray(x) for x in (one.all.batch.state, one.all.batch.action))
        said = table[time, state, action]
        start = rng.normal(size=5)[state[:, 0]]
    else:
        start = one.exact.value[0, np.asarray(one.all.batch.state)[:, 0]]
        state, live = np.asarray(one.all.batch.state), np.asarray(one.all.batch.live)
        after = np.pad(state[:, 1:], ((0, 0), (0, 1)))
        goes_on = np.pad(live[:, 1:], ((0, 0), (0, 1)))
        time = np.arange(shape[1])
        later = np.where(goes_on, one.exact.value[time + 1, after], 0.0)
        said = np.asarray(one.all.batch.reward) + later
    judge = FixedScores(jnp.asarray(said, jnp.float32), jnp.asarray(start, jnp.float32))
    world = World.make(one.mdp, one.policy, judges={"judge": judge})
    return one, world, as_groups(world, one.all.batch), start


def test_red_to_go_has_the_exact_gradient_for_any_reader_of_prefixes():
    one, world, batch, start = judged("anything")
    value = credit_of(methods.RED.recipe, world, batch).value[0]
    gradient = expected_gradient(one.mdp, one.policy, one.all, value)
    np.testing.assert_allclose(gradient, one.exact.gradient, atol=1e-5)
    total = np.asarray(credit_of(methods.RED_IMMEDIATE.recipe, world, batch).value[0]).sum(axis=1)
    earned = np.asarray(batch.reward[0]).sum(axis=1)
    np.testing.assert_allclose(total, earned - start, atol=1e-5)


@pytest.mark.slow
def test_red_at_once_is_the_advantage_only_if_the_reader_knows_the_values():
    for scores, right in (("exact", True), ("anything", False)):
        one, world, batch, _ = judged(scores)
        value = credit_of(methods.RED_IMMEDIATE.recipe, world, batch).value[0]
        mean, mass = cell_mean(one.mdp, one.all, np.asarray(value))
        off = np.abs(mean - one.advantage)[mass > 0].max()
        assert off < 1e-5 if right else off > 0.5
        gradient = expected_gradient(one.mdp, one.policy, one.all, value)
        agrees = np.allclose(gradient, one.exact.gradient, atol=1e-4)
        assert agrees == right


@pytest.mark.slow
def test_red_of_whole_trajectories_is_rloo():
    """Where the group has one score of its prompt."""
    _, world, batch, _ = judged("anything")
    judge = world.judges["judge"]
    same = FixedScores(judge.score, jnp.full_like(judge.start, 0.3))
    world = dataclasses.replace(world, judges={"judge": same})
    found = credit_of(methods.RED_RLOO.recipe, world, batch).value
    wanted = credit_of(methods.RLOO.recipe, None, batch).value
    np.testing.assert_allclose(found, wanted, atol=1e-5)


# T-REG.


@pytest.mark.slow
def test_t_reg_is_the_gradient_of_its_loss_and_dpo_without_its_rewards():
    """By jax.grad of L_DPO + alpha w (L_reg(y_w) + L_reg(y_l)), w held fixed."""
    given, beta, alpha = tree(False), 0.1, 0.25
    table = reference_table(given)
    truth = solve(given.mdp, given.policy)
    model = PerAction(Judge("q_value", leak=0.3)).model(given.mdp, truth)
    world = World.make(given.mdp, given.policy, reference=table, judges={"actions": model})
    batch = draw(world, KEY, 2, 4)
    tokens = credit_of(methods.T_REG_TOKENS.recipe, world, batch).value
    ratio = np.asarray(world.reference_log_prob(batch), np.float64)
    earned = np.asarray(batch.reward).sum(axis=-1)
    differ = np.ptp(earned, axis=1) > 0
    assert differ.tolist() == [True, False]
    best, worst = earned.argmax(axis=1), earned.argmin(axis=1)
    each = np.arange(2)

    def loss(log_prob, alpha):
        reward = beta * jnp.sum(log_prob - ratio, axis=-1)
        lead = reward[each, best] - reward[each, worst]
        wrong = jax.lax.stop_gradient(jax.nn.sigmoid(-lead))
        said = -beta * jnp.sum(tokens * log_prob, axis=-1)
        regular = wrong * (said[each, best] + said[each, worst])
        each_loss = -jax.nn.log_sigmoid(lead) + alpha * regular
        return jnp.sum(each_loss, where=differ)

    own = world.policy_log_prob(batch)
    for recipe, size in ((methods.T_REG.recipe, alpha), (methods.DPO.recipe, 0.0)):
        wanted = -jax.grad(loss)(own, size)
        np.testing.assert_allclose(credit_of(recipe, world, batch).value, wanted, atol=1e-6)
    assert np.abs(tokens).max() > 0.01
    assert np.abs(tokens).max() <= 0.5


@pytest.mark.slow
def test_a_weak_contrast_is_half_its_strength_times_the_advantage_under_the_reference():
    """With an error of order strength^3."""
    given = tree(False)
    table = reference_table(given)
    truth = solve(given.mdp, given.policy)
    model = PerAction(Judge("q_value")).model(given.mdp, truth)
    world = World.make(given.mdp, given.policy, reference=table, judges={"actions": model})
    batch = draw(world, KEY, 2, 4)
    q_value = np.asarray(truth.q_value, np.float64)[np.arange(STEPS), np.asarray(batch.state)]
    prior = table[np.arange(STEPS), np.asarray(batch.state)]
    lead = q_value - (prior * q_value).sum(axis=-1, keepdims=True)
    own = np.take_along_axis(lead, np.asarray(batch.action)[..., None], axis=-1)[..., 0]
    errors = []
    for strength in (0.2, 0.4):
        value = credit_of(Contrast(strength, judge="actions"), world, batch).value
        errors.append(np.abs(np.asarray(value) - strength / 2 * own).max())
    assert errors[1] < 0.02
    np.testing.assert_allclose(errors[1] / errors[0], 8.0, rtol=0.3)


# SCAR's feature game.


@functools.cache
def readable():
    """A process whose episodes end at three steps, its trajectories, and a reader of them."""
    mdp, policy = small("hidden", 0.75, prompts=2)
    mdp = mdp._replace(segment=np.arange(3))
    world = World.make(mdp, policy, judges={"reader": Reader().model(mdp, solve(mdp, policy))})
    weight, paths = enumerate_trajectories(mdp, policy)
    batch = world.attach(Trajectory(*(jnp.asarray(x)[None] for x in paths)))
    return mdp, world, np.asarray(weight), paths, batch


def read_by_enumeration(keep):
    """E[return | prompt, length, what is kept], from all trajectories."""
    mdp, _, weight, paths, _ = readable()
    returns = (paths.reward * reference.discounting(mdp)).sum(axis=1)
    prompt = np.asarray(mdp.prompt)[paths.state[:, 0]]
    kept = np.broadcast_to(keep, paths.live.shape) & paths.live
    text = np.concatenate(
        [
            prompt[:, None],
            paths.live,
            np.where(kept, paths.observation, BLANK),
            np.where(kept, paths.action, BLANK),
        ],
        axis=1,
    )
    _, kind = np.unique(text, axis=0, return_inverse=True)
    mass = np.bincount(kind, weight)
    return (np.bincount(kind, weight * returns) / mass)[kind]


@pytest.mark.slow
def test_a_reader_says_what_is_expected_of_what_is_left():
    _, world, _, paths, batch = readable()
    ask = jax.jit(lambda some: world.judge(KEY, some, "reader"), compiler_options=QUICK)
    for keep in itertools.product((False, True), repeat=3):
        shown = jnp.asarray(keep)[None, None]
        masked = batch._replace(
            observation=jnp.where(shown, batch.observation, BLANK),
            action=jnp.where(shown, batch.action, BLANK),
            reward=jnp.full_like(batch.reward, 9.0),
        )
        said = np.asarray(ask(masked))[0]
        begun = paths.live[:, 0]
        wanted = read_by_enumeration(np.array(keep))
        np.testing.assert_allclose(said[begun, 0], wanted[begun], atol=1e-5)
        assert np.isnan(said[~paths.live]).all()


@pytest.mark.slow
def test_shapley_values_of_the_feature_game_are_those_of_its_readings():
    """By the formula, of values by enumeration; a trajectory's add up to v(all) - v(none)."""
    _, world, _, paths, batch = readable()
    credit = credit_of(AllCoalitions(reader="reader"), world, batch)
    value = {
        keep: read_by_enumeration(np.array(keep))
        for keep in itertools.product((False, True), repeat=3)
    }
    found = np.asarray(credit.value)[0]
    total = np.zeros(len(found))
    for player in range(3):
        wanted = np.zeros(len(found))
        for keep in value:
            if keep[player]:
                continue
            joined = tuple(k == player or x for k, x in enumerate(keep))
            size = sum(keep)
            share = math.factorial(size) * math.factorial(2 - size) / 6
            wanted += share * (value[joined] - value[keep])
        total += wanted
        np.testing.assert_allclose(found[:, player], wanted * paths.live[:, player], atol=1e-5)
    np.testing.assert_allclose(total, value[(True,) * 3] - value[(False,) * 3], atol=1e-12)
    assert float(credit.cost.judge_calls) == 8 * len(found)
    assert float(credit.cost.env_steps) == 0


@pytest.mark.slow
def test_sampled_orders_of_the_feature_game_have_its_values_as_their_mean():
    _, world, _, _, batch = readable()
    few = jax.tree.map(lambda x: x if x.ndim < 2 else x[:, ::40], batch)
    wanted = np.asarray(credit_of(AllCoalitions(reader="reader"), world, few).value)
    keys = jax.random.split(KEY, 300)
    run = jax.jit(
        jax.vmap(lambda key: Shapley(2, reader="reader").credit(key, world, few).value),
        compiler_options=QUICK,
    )
    assert_mean(run(keys), wanted)


# What all fitted recipes have in common.


@pytest.mark.slow
def test_a_network_finds_what_a_table_finds():
    given = tree(False)
    table, beta = reference_table(given), 0.4
    soft = soft_of(given.mdp, table, beta)
    fit = Fit(Network(hidden=24), num_updates=1500, learning_rate=0.02)
    aim = Preference(beta, by="expected")
    score, batch, _ = fitted(fit, aim, given.mdp, given.policy, prior=table)
    wanted = soft.advantage[np.arange(STEPS), batch.state, batch.action]
    assert np.abs(beta * score - wanted).max() < 0.02


@pytest.mark.slow
def test_a_fit_pays_for_its_rollouts_and_updates_and_is_new_in_every_call():
    mdp, policy = small("lengths", 1.0)
    world = World.make(mdp, policy, reference=policy)
    batch = draw(world, KEY, 2, 3)
    fit = Fit(num_prompts=3, num_rollouts=4, num_updates=6, minibatch=2)
    run = functools.partial(credit_of, Redistributed(fit=fit), world, batch)
    credit, again, other = run(), run(), run(jax.random.key(99))
    data = draw(world, jax.random.split(KEY, 5)[0], 3, 4)
    live = float(np.asarray(data.live).sum())
    assert live < 3 * 4 * 3
    assert float(credit.cost.env_steps) == live
    assert float(credit.cost.critic_updates) == pytest.approx(6 * live * 2 / 3)
    np.testing.assert_array_equal(credit.value, again.value)
    assert (np.asarray(credit.value) != np.asarray(other.value)).any()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["PRIME", "ISTAR", "SWEET_RL", "MATH_SHEPHERD_PRM", "LARE_RRD", "ITPO_NORM", "DPO", "RED"],
)
def test_they_keep_the_contract(name):
    check_estimator(methods.named_methods()[name].recipe, num_groups=200)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fit(num_prompts=0), "num_prompts must be"),
        (lambda: Fit(num_rollouts=0), "num_rollouts must be"),
        (lambda: Fit(num_updates=0), "num_updates must be"),
        (lambda: Fit(minibatch=0), "minibatch must be"),
        (lambda: Fit(learning_rate=0.0), "learning_rate must be"),
        (lambda: Fit(optimiser="sgd"), "optimiser must be one of"),
        (lambda: Fit(ridge=-1.0), "ridge must be"),
        (lambda: Fit(model=Shown()), "model must be"),
        (lambda: Fit(sight=Tabular()), "sight must be"),
        (lambda: Abstract(0), "classes must be"),
        (lambda: Abstract(noise=1.5), "noise must be"),
        (lambda: Network(hidden=0), "hidden must be"),
        (lambda: Network(seed=-1), "seed must be"),
        (lambda: Outcome(beta=0.0), "beta must be"),
        (lambda: Outcome(success=math.nan), "success must be"),
        (lambda: Preference(by="chance"), "by must be one of"),
        (lambda: Preference(over="tokens"), "over must be one of"),
        (lambda: Preference(beta=-1.0), "beta must be"),
        (lambda: Return(subset=1, corrected=True), "subset must be"),
        (lambda: Labels("absolute"), "error must be one of"),
        (lambda: ImplicitReward(beta=0.0), "beta must be"),
        (lambda: ImplicitReward(start="policy"), "start must be one of"),
        (lambda: ImplicitReward(objective=Fit()), "objective must be"),
        (lambda: Redistributed(fit=Return()), "fit must be"),
        (lambda: Distilled(Fit()), "teacher must be"),
        (lambda: Contrast(strength=-1.0), "strength must be"),
        (lambda: PairWeight(beta=-1.0), "beta must be"),
        (lambda: OverUnit("agent"), "unit must be one of"),
        (lambda: Only("middle"), "place must be one of"),
        (lambda: TimesLeft("agent"), "unit must be one of"),
        (lambda: OutcomeShares(0.0), "temperature must be"),
        (lambda: OverLargest("mean"), "of must be one of"),
        (lambda: OverLargest(epsilon=-1.0), "epsilon must be"),
        (lambda: Reader(noise=-1.0), "noise must be"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
