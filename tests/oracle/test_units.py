"""`casim.oracle.units` against values and paths written out, in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import oracle
from casim.oracle import units
from tests import reference
from tests.enumeration import QUICK, trajectories

SCHEDULE = (0, 2, 1, 2, 0)
EXACT = {"rtol": 0, "atol": 1e-10}
LABELS = {
    "token": [0, 1, 2, 3, 4],
    "segment": [0, 0, 1, 2, 2],
    "turn": [0, 0, 1, 1, 1],
    "agent": [1, 0, 0, 2, 1],
    "episode": [0, 0, 0, 0, 0],
}
everything = jax.jit(
    lambda mdp, policy, batch, counts: (
        (truth := oracle.solve(mdp, policy)),
        units.granularities(mdp, truth, batch, counts),
        units.variance_parts(mdp, truth),
    ),
    static_argnums=3,
    compiler_options=QUICK,
)


@pytest.fixture(scope="module")
def given():
    """A process of which state 2 ends the episode, all its paths, and their exact truth.

    Agent 1 acts first and last.
    """
    mdp, policy = reference.random_mdp(
        4, schedule=SCHEDULE, observations=3, successors=3, discount=reference.BY_KERNEL
    )
    mdp = reference.as_float64(mdp)
    mdp = mdp._replace(**{name: np.array(LABELS[name]) for name in ("segment", "turn", "agent")})
    every = trajectories(mdp, policy)
    batch = jax.tree.map(np.asarray, every.batch)
    batch = batch._replace(reward=batch.reward.astype(float))
    policy = np.asarray(policy, np.float64)
    assert (policy.sum(-1) == 1).all()
    with jax.enable_x64(True):
        out = everything(mdp, policy, batch, units.sizes(mdp))
    _, parts, variance = jax.tree.map(np.asarray, out)
    return mdp, reference.exact(mdp, policy), every.weight, batch, parts, variance


def test_sizes_count_every_kind_of_unit(given):
    assert units.sizes(given[0]) == (3, 2, 3)


@pytest.mark.parametrize("name", LABELS)
def test_skill_luck_and_gain_equal_their_definitions(given, name):
    mdp, exact, _, batch, parts, _ = given
    label, got, discount = np.array(LABELS[name]), getattr(parts, name), reference.by_step(mdp)
    for g in range(label.max() + 1):
        steps = np.flatnonzero(label == g)
        assert got.first[g] == steps[0]
        skill, luck, gain = np.zeros((3, len(batch.live)))
        for i, t in ((i, t) for i in range(len(skill)) for t in steps if batch.live[i, t]):
            s, a, scale = batch.state[i, t], batch.action[i, t], np.prod(discount[steps[0] : t])
            onward = t < 4 and batch.live[i, t + 1]
            after = batch.reward[i, t] + (
                discount[t] * exact.value[t + 1, batch.state[i, t + 1]] if onward else 0.0
            )
            skill[i] += scale * (exact.q_value[t, s, a] - exact.value[t, s])
            luck[i] += scale * (after - exact.q_value[t, s, a])
            gain[i] += scale * (after - exact.value[t, s])
        np.testing.assert_allclose(got.skill[:, g], skill, **EXACT)
        np.testing.assert_allclose(got.luck[:, g], luck, **EXACT)
        np.testing.assert_allclose(got.gain[:, g], gain, **EXACT)
        assert np.abs(luck).max() > 0.1
        assert (np.abs(skill).max() > 0.1) == (list(steps) != [2])  # step 2 is the environment's


@pytest.mark.parametrize("name", LABELS)
def test_skill_and_luck_of_a_unit_are_the_value_difference_across_it(given, name):
    got = getattr(given[4], name)
    np.testing.assert_allclose(got.skill + got.luck, got.gain, **EXACT)


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        ("token", "segment"),
        pytest.param("token", "turn", marks=pytest.mark.slow),
        pytest.param("segment", "turn", marks=pytest.mark.slow),
        pytest.param("token", "agent", marks=pytest.mark.slow),
        ("turn", "episode"),
        pytest.param("agent", "episode", marks=pytest.mark.slow),
    ],
)
def test_coarse_units_are_the_discounted_sums_of_their_parts(given, fine, coarse):
    mdp, _, _, _, parts, _ = given
    discount = reference.by_step(mdp)
    inner, outer = getattr(parts, fine), getattr(parts, coarse)
    parent = np.array(LABELS[coarse])[inner.first]
    with jax.enable_x64(True):
        for field in ("skill", "luck", "gain"):
            arrays = (
                jnp.asarray(x)
                for x in (getattr(inner, field), inner.first, parent, outer.first, discount)
            )
            total = units.merge(*arrays)
            np.testing.assert_allclose(total, getattr(outer, field), **EXACT)


def test_the_gain_of_the_episode_is_its_return_less_the_value_of_its_prompt(given):
    mdp, exact, _, batch, parts, _ = given
    returns = batch.reward @ reference.discounting(mdp)
    live = batch.live[:, 0]
    wanted = np.where(live, returns - exact.value[0, batch.state[:, 0]], 0.0)
    np.testing.assert_allclose(parts.episode.gain[:, 0], wanted, **EXACT)


def test_skill_and_luck_have_mean_0_whatever_the_past_and_are_uncorrelated(given):
    _, _, weight, batch, parts, _ = given
    for t in range(1, 5):
        for x, known in (
            (parts.token.skill, batch.state[:, : t + 1]),
            (parts.token.luck, batch.state[:, : t + 1]),
        ):
            past = np.concatenate(
                [known, batch.action[:, :t], batch.action[:, t : t + 1] * (x is parts.token.luck)],
                1,
            )
            _, cell = np.unique(past, axis=0, return_inverse=True)
            np.testing.assert_allclose(np.bincount(cell.ravel(), weight * x[:, t]), 0.0, **EXACT)
    each = np.concatenate([parts.token.skill, parts.token.luck], axis=1)
    np.testing.assert_allclose(weight @ each, 0.0, **EXACT)
    covariance = (weight[:, None] * each).T @ each
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0.0, **EXACT)


def test_the_parts_of_the_variance_add_up_to_that_of_the_return(given):
    mdp, exact, weight, batch, parts, variance = given
    scale = reference.discounting(mdp)
    returns = batch.reward @ scale
    wanted = weight @ (returns - exact.expected_return) ** 2
    np.testing.assert_allclose(
        variance.prompt + variance.skill.sum() + variance.luck.sum(), wanted, **EXACT
    )
    np.testing.assert_allclose(variance.skill, weight @ (scale * parts.token.skill) ** 2, **EXACT)
    np.testing.assert_allclose(variance.luck, weight @ (scale * parts.token.luck) ** 2, **EXACT)
    assert variance.prompt > 0.01
    assert variance.skill[2] == 0.0  # the environment's step
    assert variance.luck[2] > 0.01
