"""Batches of two prompts for what compares them, against all ordered batches."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from casim.estimators import Chain, TopEntropy
from casim.estimators.base import begin
from casim.methods import DR_GRPO, REINFORCE_PP
from casim.oracle.moments import by_anchor, by_reward, exact_scores, group_moments
from casim.simulate import World
from casim.types import Trajectory
from tests.quick import QUICK
from tests.reference import discounting, enumerate_paths, random_mdp

P, N = 2, 2
ENTROPY = Chain(DR_GRPO.recipe, TopEntropy(0.3))


def tiny():
    """Two prompts, of two and one start states, whose actions lead to one state each."""
    mdp, policy = random_mdp(21, schedule=(2, 0), states=3, observations=2, terminal=False)
    sure = np.zeros(mdp.prob.shape)
    sure[..., 0] = 1.0
    shown = np.zeros(mdp.emission.shape)
    shown[:, [0, 1, 2], [0, 1, 1]] = 1.0
    policy = np.asarray(policy, np.float64)
    policy = policy / policy.sum(axis=-1, keepdims=True)
    mdp = mdp._replace(
        start=np.array([0.25, 0.25, 0.5]),
        prompt=np.array([0, 0, 1]),
        prob=sure,
        emission=shown,
    )
    return mdp, policy


def ordered(mdp, policy):
    """All ordered batches `[B, P, N]` of trajectories, and their probabilities."""
    paths = enumerate_paths(mdp, policy)
    prompt = np.asarray(mdp.prompt)[paths.state[:, 0]]
    chance = np.bincount(prompt, weights=paths.probability)
    groups, weight = [], []
    for group in itertools.product(range(len(prompt)), repeat=N):
        row = list(group)
        if len({*prompt[row]}) == 1:
            label = prompt[row[0]]
            groups.append(row)
            weight.append(chance[label] * np.prod(paths.probability[row] / chance[label]))
    pairs = list(itertools.product(range(len(groups)), repeat=P))
    share = np.array([np.prod([weight[g] for g in pair]) for pair in pairs])
    return paths, np.array(groups)[np.array(pairs)], share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "sees"),
    [(REINFORCE_PP.recipe, by_reward), (ENTROPY, by_anchor)],
    ids=["whitening", "mask"],
)
def test_moments_equal_those_over_all_ordered_batches(estimator, sees):
    mdp, policy = tiny()
    paths, batches, share = ordered(mdp, policy)
    np.testing.assert_allclose(share.sum(), 1.0, rtol=1e-12)
    with jax.enable_x64(True):
        world = World.make(*jax.tree.map(jax.numpy.asarray, (mdp, policy)))
        fields = (paths.state, paths.observation, paths.action, paths.reward, paths.live)
        state, observation, action, reward, live = (x[batches] for x in fields)
        drawn = Trajectory(
            state=state,
            observation=observation,
            action=action,
            log_prob=np.zeros(reward.shape),
            reward=reward,
            live=live,
        )

        def one(batch):
            given = estimator.credit(jax.random.key(0), world, world.attach(batch))
            return given.value, given.value * given.weight

        program = jax.jit(jax.vmap(one), compiler_options=QUICK)
        value, product = (np.asarray(x) for x in program(drawn))
    step = np.asarray(mdp.schedule)
    taken = np.arange(policy.shape[2]) == action[..., None]
    score = np.zeros((len(batches), *policy.shape))
    mass, total = np.zeros((2, len(step), len(mdp.start), policy.shape[2]))
    for p, n, t in np.ndindex(P, N, len(step)):
        seen = observation[:, p, n, t]
        z = discounting(mdp)[t] * (taken[:, p, n, t] - policy[step[t], seen])
        row = np.arange(len(batches))
        score[row, step[t], seen] += product[:, p, n, t, None] * z / (P * N)
        cell = (t, state[:, p, n, t], action[:, p, n, t])
        np.add.at(mass, cell, share / (P * N))
        np.add.at(total, cell, share * value[:, p, n, t] / (P * N))
    flat = score.reshape(len(batches), -1)
    mean = share @ flat
    got = group_moments(mdp, policy, estimator, N, sees, num_prompts=P)
    np.testing.assert_allclose(got.probability, mass, atol=1e-12)
    np.testing.assert_allclose(
        got.expectation[mass > 0], (total / np.where(mass > 0, mass, 1.0))[mass > 0], atol=1e-10
    )
    np.testing.assert_allclose(got.gradient.ravel(), mean, atol=1e-10)
    np.testing.assert_allclose(
        got.gradient_variance.ravel(), share @ (flat - mean) ** 2, atol=1e-10
    )
    alone = group_moments(mdp, policy, estimator, N, sees)
    assert np.abs(got.gradient - alone.gradient).max() > 1e-3


def test_what_compares_no_prompts_has_the_same_mean_and_half_the_variance():
    mdp, policy = tiny()
    one = group_moments(mdp, policy, DR_GRPO.recipe, N, by_reward)
    two = group_moments(mdp, policy, DR_GRPO.recipe, N, by_reward, num_prompts=P)
    np.testing.assert_allclose(two.expectation, one.expectation, atol=1e-12)
    np.testing.assert_allclose(two.gradient, one.gradient, atol=1e-12)
    np.testing.assert_allclose(two.gradient_variance, one.gradient_variance / P, atol=1e-12)


def test_whitening_over_the_batch_is_biased_however_many_prompts():
    """Prompts of different difficulty have one mean and one deviation: the direction is lost."""
    mdp, policy = tiny()
    for prompts in (1, 2):
        moments = group_moments(mdp, policy, REINFORCE_PP.recipe, N, by_reward, num_prompts=prompts)
        assert exact_scores(mdp, policy, moments)["gradient_cosine"] < 0.999


@pytest.mark.parametrize(
    ("prompts", "limit", "message"),
    [(0, 3_000_000, r"num_prompts must be .*got 0"), (2, 1000, r"must be in \[1, 1000\], got")],
)
def test_what_cannot_be_enumerated_is_refused(prompts, limit, message):
    with pytest.raises(ValueError, match=message):
        group_moments(*tiny(), REINFORCE_PP.recipe, N, limit=limit, num_prompts=prompts)


class FirstGroup:
    """Treats the first group of a batch apart."""

    def credit(self, key, world, batch):
        credit = begin(batch)
        return credit._replace(value=credit.value.at[0].multiply(2.0))


def test_what_treats_groups_unlike_is_refused():
    with pytest.raises(ValueError, match="treat members alike"):
        group_moments(*tiny(), FirstGroup(), N, num_prompts=P)
