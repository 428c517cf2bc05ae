"""Process rewards of both forms against loops, with scores that are given."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import ProcessReward
from casim.estimators.sources import judges as process_reward
from casim.policies import Uniform
from casim.scores import group_gradient
from casim.simulate import World
from casim.tasks import VariableTurns
from casim.testing import enumerate_trajectories
from tests import reference
from tests.enumeration import FixedScores, case, expected_gradient, run
from tests.enumeration import credit as credit_of

KEY = jax.random.key(0)


def setting(rows, seed=0, missing=0.3):
    """A batch and a world whose judge gives random scores, some of them missing."""
    given = case(binary=False, actions=2, prompt=False, discount=0.875)
    batch = reference.rollout(given.world, jax.random.key(17), 7)
    batch = jax.tree.map(lambda x: x[:rows], batch)
    rng = np.random.default_rng(seed)
    score = rng.normal(size=(rows, 4))
    score[rng.uniform(size=score.shape) < missing] = np.nan
    score = np.where(np.asarray(batch.live), score, np.nan)
    judge = FixedScores(jnp.asarray(score, jnp.float32), jnp.zeros(rows))
    return score, batch, World.make(given.mdp, jnp.asarray(given.policy), judges={"judge": judge})


def by_loops(settings, score, batch, decision):
    scored = np.isfinite(score) & np.asarray(batch.live) & decision
    weighted = []
    for p, where in zip(score, scored, strict=True):
        row = {int(t): p[t] for t in np.flatnonzero(where)}
        if settings.form == "min" and row:
            total = sum(np.exp(-p / settings.temperature) for p in row.values())
            row = {t: np.exp(-p / settings.temperature) / total * p for t, p in row.items()}
        weighted.append(row)
    means = [sum(row.values()) / max(len(row), 1) for row in weighted]
    live = np.asarray(batch.live)
    future = np.zeros(score.shape)
    for i, row in enumerate(weighted):
        others = means[:i] + means[i + 1 :]
        baseline = np.mean(others) if settings.baseline == "per_step" and others else 0.0
        for t in np.flatnonzero(live[i]):
            future[i, t] = sum(p - baseline for u, p in row.items() if u >= t)
    if settings.baseline != "constant" or len(score) == 1:
        return future
    decided = live & decision
    total = (future * decided).sum(axis=1)
    others = (total.sum() - total) / (len(score) - 1) / score.shape[1]
    return future - decided * others[:, None]


@pytest.mark.parametrize("form", ["sum", "min"])
@pytest.mark.parametrize("baseline", ["per_step", "constant", "none"])
def test_both_forms_equal_loops(form, baseline):
    score, batch, world = setting(5)
    assert np.isnan(score[np.asarray(batch.live)]).any()
    assert not np.asarray(batch.live).all()
    settings = ProcessReward(form, temperature=0.4, baseline=baseline)
    credit = run(settings, KEY, world, batch)
    decision = np.asarray(world.decision)
    assert not decision.all()
    np.testing.assert_allclose(credit.value, by_loops(settings, score, batch, decision), atol=1e-5)
    assert float(credit.cost.judge_calls) == np.isfinite(score).sum()
    assert float(credit.cost.env_steps) == float(credit.cost.critic_updates) == 0.0


def test_a_group_of_one_has_no_baseline():
    _, batch, world = setting(1)
    both = [
        run(ProcessReward("sum", baseline=name), KEY, world, batch).value
        for name in ("per_step", "none")
    ]
    np.testing.assert_array_equal(*both)


def test_the_soft_minimum_tends_to_the_minimum():
    score, batch, world = setting(7, missing=0.0)
    where = np.asarray(batch.live) & np.asarray(world.decision)
    smallest = np.array(
        [row[seen].min() if seen.any() else 0.0 for row, seen in zip(score, where, strict=True)]
    )
    gaps = []
    for temperature in (1.0, 0.1, 0.01, 1e-4):
        value = run(ProcessReward("min", temperature, baseline="none"), KEY, world, batch).value
        gaps.append(np.abs(np.asarray(value)[:, 0] - smallest).max())
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 1e-5
    assert gaps[0] > 0.1


def test_without_any_score_nothing_is_credited():
    _, batch, world = setting(5, missing=1.1)
    for form in ("sum", "min"):
        assert not np.asarray(run(ProcessReward(form), KEY, world, batch).value).any()


def test_it_is_biased_even_with_a_perfect_judge():
    """The sum of the values to come is not the advantage.

    Nor is it so after centring on the action.
    """
    given = case()
    batch = given.all.batch
    value = np.zeros(batch.state.shape)
    state, live = np.asarray(batch.state), np.asarray(batch.live)
    for i, t in zip(*np.nonzero(live), strict=True):
        after = given.exact.value[t + 1, state[i, t + 1]] if t < 3 and live[i, t + 1] else 0.0
        value[i, t] = float(batch.reward[i, t]) + after
    judge = FixedScores(
        jnp.asarray(np.where(live, value, np.nan), jnp.float32), jnp.zeros(len(value))
    )
    world = World.make(given.mdp, jnp.asarray(given.policy), judges={"judge": judge})
    for form in ("sum", "min"):
        credit = run(ProcessReward(form, baseline="none"), KEY, world, batch).value
        gradient = expected_gradient(given.mdp, given.policy, given.all, credit)
        cosine = np.vdot(gradient, given.exact.gradient) / np.linalg.norm(gradient)
        assert cosine < 0.99 * np.linalg.norm(given.exact.gradient)


def test_the_constant_baseline_is_neutral_where_lengths_differ_and_the_one_per_step_is_not():
    """Every step of episodes of 1 to 5 turns scores 0.5: all groups of two are enumerated.

    Each counts with its probability.
    """
    mdp = VariableTurns().build()
    policy = Uniform().table(mdp)
    world = World.make(mdp, policy)
    weight, paths = enumerate_trajectories(mdp, np.asarray(policy))
    members = np.array(list(itertools.product(range(len(weight)), repeat=2)))
    groups = jax.tree.map(lambda x: jnp.asarray(x)[members], paths)
    groups = groups._replace(reward=groups.reward.astype(jnp.float32))
    chance = weight[members].prod(axis=1)

    def expected(baseline):
        def group(batch):
            judge = FixedScores(jnp.where(batch.live, 0.5, jnp.nan), jnp.zeros(2))
            judged = dataclasses.replace(world, judges={"judge": judge})
            credit = credit_of(ProcessReward("sum", baseline=baseline), KEY, judged, batch)
            return group_gradient(mdp, policy, batch, credit.value)

        gradient = np.asarray(jax.jit(jax.vmap(group))(groups), np.float64)
        return np.tensordot(chance, gradient, axes=1)

    assert chance.sum() == pytest.approx(1.0, abs=1e-6)
    without, constant, per_step = (expected(name) for name in ("none", "constant", "per_step"))
    # At turn t, met with probability 2^-t, going on instead of stopping is worth half of the turns
    # to come.
    to_come = np.array([1.875, 1.75, 1.5, 1.0, 0.0])
    share = 0.5 ** np.arange(5) * 0.25 * 0.5 * to_come
    # That is 0.372.
    assert np.linalg.norm(without) == pytest.approx(np.sqrt(2 * np.sum(share**2)), rel=1e-5)
    np.testing.assert_allclose(constant, without, atol=1e-6)
    assert not per_step.any()


@pytest.mark.parametrize("num", [3, 6, 7])
def test_equal_scores_less_their_mean_per_step_are_exactly_0(num):
    """Whatever the value is and however many steps were scored: 7 times 0.9 over 7 is not 0.9."""
    scored = jnp.tril(jnp.ones((num, 9), bool), 2)
    run = jax.jit(
        lambda value: jnp.where(
            scored, value - process_reward.per_step(value[None], scored[None])[0, :, None], 0.0
        )
    )
    for value in (0.9, 0.9**7, 2.3, 1000.1):
        assert not np.asarray(run(jnp.where(scored, jnp.float32(value), 0.0))).any()
