"""Moments by enumeration of groups, against all ordered tuples of trajectories and a study."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.estimators import Whole
from casim.estimators.base import to_steps
from casim.oracle.moments import (
    by_anchor,
    by_return,
    by_reward,
    enumerate_trajectories,
    exact_scores,
    group_moments,
    precise_truth,
    whole,
)
from casim.tasks.variable_turns import VariableTurns
from tests import chains
from tests.enumeration import Rule
from tests.oracle.test_moments_bias import anchor_mean, turn_leave_one_out
from tests.reference import discounting, enumerate_paths, random_mdp

EXACT = 1e-11
"""Relative; double precision and sums of up to 10^5 terms."""


def world(seed, schedule, **sizes):
    mdp, policy = random_mdp(seed, schedule=schedule, **sizes)
    policy = np.asarray(policy, np.float64)
    return mdp, policy / policy.sum(axis=-1, keepdims=True)


def rounded(mdp, policy):
    """Rewards that often coincide.

    So classes merge trajectories of different states and actions.
    """
    return mdp._replace(reward=jnp.round(mdp.reward)), policy


# 44 trajectories of 0 to 2 steps, which share a kernel; and 280 of 0 to 3 steps of two kernels.
SMALL = rounded(*world(8, (2, 2), states=3, observations=2, successors=3))
WIDE = world(10, (0, 2, 0), states=4, observations=2, successors=3)


class Tuples:
    """All ordered groups of N trajectories, `[B, N, T]`, with their probabilities."""

    def __init__(self, mdp, policy, num):
        self.mdp, self.policy = mdp, policy
        paths = enumerate_paths(mdp, policy)
        index = np.array(list(itertools.product(range(len(paths.probability)), repeat=num)))
        self.weight = paths.probability[index].prod(axis=1)
        names = ("state", "observation", "action", "reward", "live")
        self.state, self.observation, self.action, self.reward, self.live = (
            getattr(paths, n)[index] for n in names
        )

    def moments(self, credit):
        """Mean and variance of every cell's credit, and of the gradient, from their definitions."""
        mdp, policy = self.mdp, self.policy
        steps, num = self.live.shape[2], self.live.shape[1]
        schedule, weight = np.asarray(mdp.schedule), discounting(mdp)
        shape = (steps, mdp.start.shape[0], policy.shape[2])
        mass, first, second = np.zeros((3, *shape))
        gradient = np.zeros((len(self.weight), *policy.shape))
        row = np.arange(len(self.weight))
        for t, i in itertools.product(range(steps), range(num)):
            if not mdp.decision[schedule[t]]:
                continue
            live, c = self.live[:, i, t], credit[:, i, t]
            where = (t, self.state[:, i, t], self.action[:, i, t])
            for total, x in ((mass, 1.0), (first, c), (second, c**2)):
                np.add.at(total, where, self.weight * live * x)
            seen = self.observation[:, i, t]
            score = (np.arange(policy.shape[2]) == self.action[:, i, t, None]) - policy[
                schedule[t], seen
            ]
            gradient[row, schedule[t], seen] += (weight[t] * live * c / num)[:, None] * score
        mean = self.weight @ gradient.reshape(len(row), -1)
        square = self.weight @ (gradient.reshape(len(row), -1) - mean) ** 2
        with np.errstate(invalid="ignore"):
            expectation = first / mass
            variance = second / mass - expectation**2
        return (
            mass / num,
            expectation,
            variance,
            mean.reshape(policy.shape),
            square.reshape(policy.shape),
        )


def grpo(batch, discount, ddof, epsilon):
    """GRPO from its formula, in NumPy."""
    returns = batch.reward @ discount ** np.arange(batch.reward.shape[2])
    off = returns - returns.mean(axis=1, keepdims=True)
    return (off / (returns.std(axis=1, ddof=ddof, keepdims=True) + epsilon))[..., None] * batch.live


def turn_credit(batch):
    """The reward-to-go less the mean of the peers live at the step, or the raw one without any."""
    future = np.cumsum(batch.reward[..., ::-1], axis=2)[..., ::-1]
    credit = future.copy()
    for i in range(future.shape[1]):
        peers = np.delete(np.arange(future.shape[1]), i)
        num = batch.live[:, peers].sum(axis=1)
        credit[:, i] -= np.where(batch.live[:, peers], future[:, peers], 0.0).sum(
            axis=1
        ) / np.maximum(num, 1)
    return credit * batch.live


def anchor_credit(batch):
    """The reward-to-go less the mean over all live steps of the group with the same observation."""
    future = np.cumsum(batch.reward[..., ::-1], axis=2)[..., ::-1]
    credit = np.zeros(future.shape)
    for i, t in np.ndindex(*future.shape[1:]):
        same = batch.live & (batch.observation == batch.observation[:, i, t, None, None])
        mean = (same * future).sum(axis=(1, 2)) / np.maximum(same.sum(axis=(1, 2)), 1)
        credit[:, i, t] = future[:, i, t] - mean
    return credit * batch.live


def weighted_actions(_key, _world, batch):
    """Credit that reads actions and the others' states: no two trajectories look alike to it."""
    others = jnp.sum(batch.state * batch.reward) - jnp.sum(batch.state * batch.reward, axis=1)
    return jnp.where(batch.live, (1 + batch.action) * others[:, None] + batch.reward**2, 0.0)


def action_credit(batch):
    per = (batch.state * batch.reward).sum(axis=2)
    others = per.sum(axis=1, keepdims=True) - per
    return ((1 + batch.action) * others[..., None] + batch.reward**2) * batch.live


def same(moments, wanted):
    for name, actual, value in zip(moments._fields, moments, wanted, strict=True):
        scale = max(1.0, np.nanmax(np.abs(value)))
        np.testing.assert_allclose(actual, value, rtol=0, atol=EXACT * scale, err_msg=name)


@pytest.mark.parametrize(
    ("place", "num", "estimator", "formula", "views"),
    [
        (
            WIDE,
            2,
            chains.grpo(0.9),
            lambda b: grpo(b, 0.9, 1, 1e-6),
            (by_reward, by_return(0.9)),
        ),
        (
            SMALL,
            3,
            chains.grpo(1.0, ddof=0, epsilon=1e-3),
            lambda b: grpo(b, 1.0, 0, 1e-3),
            (whole, by_return()),
        ),
        (SMALL, 3, turn_leave_one_out("return"), turn_credit, (by_reward,)),
        (SMALL, 3, anchor_mean(False), anchor_credit, (by_anchor,)),
        (SMALL, 3, Rule(weighted_actions), action_credit, (whole,)),
    ],
    ids=["grpo", "grpo-ddof0", "turn", "anchor", "actions"],
)
def test_moments_equal_those_over_all_ordered_groups(place, num, estimator, formula, views):
    tuples = Tuples(*place, num)
    wanted = tuples.moments(formula(tuples))
    assert np.nanmax(wanted[2]) > 0
    assert wanted[4].max() > 0
    for sees in views:
        same(group_moments(*place, estimator, num, sees), wanted)


def test_a_group_of_one_and_a_world_that_is_shown():
    """The return-to-go alone: unbiased for Q in every cell and for the gradient.

    Both come from dynamic programming.
    """
    mdp, policy = world(7, (2, 0), states=4, successors=3, hidden=False)
    truth = precise_truth(mdp, policy)
    moments = group_moments(mdp, policy, casim.methods.REWARD_TO_GO, 1)
    met = moments.probability > 0
    np.testing.assert_allclose(moments.expectation[met], truth.q_value[met], rtol=0, atol=EXACT)
    np.testing.assert_allclose(moments.gradient, truth.gradient, rtol=0, atol=EXACT)
    scores = exact_scores(mdp, policy, moments)
    assert scores["centred_bias"] < EXACT
    assert scores["gradient_bias"] < EXACT
    np.testing.assert_allclose(scores["gradient_slope"], 1.0, rtol=EXACT)
    np.testing.assert_allclose(scores["snr"] * scores["gradient_variance"], 1.0, rtol=EXACT)


def test_probabilities_of_groups_sum_to_one():
    paths = enumerate_trajectories(*WIDE)
    np.testing.assert_allclose(paths.probability.sum(), 1.0, rtol=1e-13)
    moments = group_moments(*WIDE, Whole(1.0), 2, by_return())
    occupancy = (
        precise_truth(*WIDE).occupancy.sum(axis=1)
        * np.asarray(WIDE[0].decision)[np.asarray(WIDE[0].schedule)]
    )
    np.testing.assert_allclose(moments.probability.sum(axis=(1, 2)), occupancy, rtol=1e-12)


def test_rows_of_single_precision_are_made_to_sum_to_one():
    mdp, policy = WIDE
    single = np.broadcast_to(np.array([0.1, 0.9], np.float32), policy.shape)
    assert abs(single[0, 0].astype(np.float64).sum() - 1) > 1e-8
    np.testing.assert_allclose(
        enumerate_trajectories(mdp, single).probability.sum(), 1.0, rtol=1e-13
    )


def draws(key, _world, batch):
    return jnp.where(batch.live, jax.random.normal(key, batch.reward.shape), 0.0)


def first_only(_key, _world, batch):
    return to_steps(jnp.arange(batch.live.shape[0]) * 1.0, batch)


def undefined(_key, _world, batch):
    return jnp.where(batch.live, jnp.nan, 0.0)


@pytest.mark.parametrize(
    ("estimator", "arguments", "message"),
    [
        (Rule(draws), (2, by_return()), "must draw nothing"),
        (Rule(first_only), (2, by_return()), "treat members alike"),
        (Rule(weighted_actions), (2, by_return()), "see no more of a trajectory"),
        (Rule(undefined), (2, by_return()), "must be finite"),
        (casim.methods.REINFORCE, (0,), r"num must be in \[1, inf\]"),
        (casim.methods.REINFORCE, (4, whole, 1000), r"must be in \[1, 1000\], got"),
    ],
)
def test_what_cannot_be_enumerated_is_refused(estimator, arguments, message):
    with pytest.raises(ValueError, match=message):
        group_moments(*SMALL, estimator, *arguments)


def test_a_world_with_too_many_trajectories_is_refused():
    with pytest.raises(ValueError, match="number of trajectories"):
        enumerate_trajectories(*WIDE, limit=100)


def test_exact_scores_ask_for_gradients_of_the_table():
    moments = group_moments(*SMALL, casim.methods.REINFORCE, 1)
    with pytest.raises(ValueError, match="gradient must have shape"):
        exact_scores(*SMALL, moments._replace(gradient=moments.gradient[:1]))


NAMES = (
    "bias",
    "centred_bias",
    "variance",
    "rmse",
    "gradient_slope",
    "gradient_bias",
    "gradient_variance",
    "snr",
)


@pytest.mark.slow
def test_exact_scores_lie_in_the_intervals_of_a_study(unhooked):
    """At 4 half-widths of a 95% interval over 10 blocks.

    With t of 9 degrees of freedom the false alarm is about 1e-5 each.
    """
    task, policy = VariableTurns(num_turns=4, noise=0.5, discount=0.9), casim.Softmax(seed=3)
    estimators = (casim.methods.GRPO, chains.rloo(0.9))
    rows = casim.Study(
        "moments", (task,), estimators, (policy,), num_trajectories=3, replicates=3000, controls=()
    )
    mdp = task.build()
    table = policy.table(mdp)
    for row, estimator in zip(rows.run(), estimators, strict=True):
        exact = exact_scores(mdp, table, group_moments(mdp, table, estimator, 3, by_reward))
        for name in NAMES:
            score = row.scores[name]
            half = (score.high - score.low) / 2
            assert 0 < half < 0.5 * max(1.0, abs(exact[name])), (name, half)
            assert abs(score.value - exact[name]) <= 4 * half, (row.label, name, exact[name], score)


def test_groups_of_several_prompts_are_those_of_each_by_its_probability():
    """As processes of one prompt each, whose moments are put together by hand."""
    mdp, policy = random_mdp(4, schedule=(0, 1, 2))
    label = np.array([0, 1, 1, 0, 1])
    mdp = mdp._replace(prompt=label)
    start = np.asarray(mdp.start, np.float64)
    chance = np.array([start[label == which].sum() for which in (0, 1)])
    assert chance.min() > 0.1
    alone = []
    for which in (0, 1):
        given = np.where(label == which, start, 0.0) / chance[which]
        one = mdp._replace(start=given, prompt=0 * label)
        alone.append(group_moments(one, policy, casim.methods.GRPO, 2, by_reward))
    got = group_moments(mdp, policy, casim.methods.GRPO, 2, by_reward)
    probability = sum(q * x.probability for q, x in zip(chance, alone, strict=True))
    mean, second = np.zeros((2, *probability.shape))
    gradient, square = np.zeros((2, *got.gradient.shape))
    for q, x in zip(chance, alone, strict=True):
        cell = np.nan_to_num(x.expectation)
        mean += q * x.probability * cell
        second += q * x.probability * (cell**2 + np.nan_to_num(x.variance))
        gradient += q * x.gradient
        square += q * (x.gradient**2 + x.gradient_variance)
    met = probability > 0
    np.testing.assert_allclose(got.probability, probability, atol=EXACT)
    mean, second = mean[met] / probability[met], second[met] / probability[met]
    np.testing.assert_allclose(got.expectation[met], mean, atol=EXACT)
    np.testing.assert_allclose(got.variance[met], second - mean**2, atol=EXACT)
    np.testing.assert_allclose(got.gradient, gradient, atol=EXACT)
    np.testing.assert_allclose(got.gradient_variance, square - gradient**2, atol=EXACT)
    merged = mdp._replace(prompt=0 * label)
    mixed = group_moments(merged, policy, casim.methods.GRPO, 2, by_reward)
    assert np.abs(mixed.gradient - gradient).max() > 1e-4
