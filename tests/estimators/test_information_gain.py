"""Information gain with an exact judge and with scores that are given."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import InformationGain
from casim.judges import Judge
from casim.oracle import path_target
from casim.simulate import World
from casim.study import Study
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import (
    QUICK,
    FixedScores,
    assert_cells,
    case,
    cell_mean,
    credit,
    expected_gradient,
    run,
    solve,
    td_error,
)

KEY = jax.random.key(0)


def judged(given):
    """The world with an exact judge."""
    truth = solve(given.mdp, given.policy)
    return World.make(
        given.mdp, jnp.asarray(given.policy), judges={"judge": Judge().model(given.mdp, truth)}
    )


@pytest.fixture(scope="module")
def given():
    """Rewards at every step, two prompts, discount 1."""
    return case(binary=False, actions=2, prompt=False)


@pytest.fixture(scope="module")
def gain(given):
    return run(InformationGain(), KEY, judged(given), given.all.batch)


def test_the_probability_form_with_an_exact_judge_is_the_td_error(given, gain):
    np.testing.assert_allclose(gain.value, td_error(given), atol=1e-5)


def test_its_mean_in_a_cell_is_the_advantage_and_its_gradient_is_exact(given, gain):
    assert_cells(given.all, given.mdp, gain.value, given.advantage)
    gradient = expected_gradient(given.mdp, given.policy, given.all, gain.value)
    np.testing.assert_allclose(gradient, given.exact.gradient, atol=1e-5)


def test_it_telescopes_to_the_return_less_the_value_of_the_prompt(given, gain):
    batch = given.all.batch
    wanted = (
        np.asarray(batch.reward).sum(axis=1) - given.exact.value[0, np.asarray(batch.state)[:, 0]]
    )
    np.testing.assert_allclose(np.asarray(gain.value).sum(axis=1), wanted, atol=1e-5)


def test_it_asks_for_every_live_step_and_every_prompt(given, gain):
    live = np.asarray(given.all.batch.live)
    assert float(gain.cost.judge_calls) == live.sum() + len(live)
    assert float(gain.cost.env_steps) == float(gain.cost.critic_updates) == 0.0


def test_the_log_form_has_a_mean_below_zero_under_the_policy_and_is_biased():
    given = case()
    credit = run(InformationGain("log", floor=1e-3), KEY, judged(given), given.all.batch).value
    mean, mass = cell_mean(given.mdp, given.all, credit)
    state_mean = np.nansum(mean * mass, axis=-1)[mass.sum(-1) > 0]
    assert len(state_mean) > 5
    assert (state_mean < 1e-6).all()
    assert state_mean.min() < -0.01
    gradient = expected_gradient(given.mdp, given.policy, given.all, credit)
    cosine = np.vdot(gradient, given.exact.gradient) / np.linalg.norm(gradient)
    assert cosine < 0.999 * np.linalg.norm(given.exact.gradient)


@pytest.mark.parametrize("floor", [1e-2, 1e-4])
def test_the_log_form_with_a_perfect_judge_is_its_target_at_its_own_floor(floor):
    given = case()
    world, truth = judged(given), solve(given.mdp, given.policy)
    estimator = InformationGain("log", floor)
    credit = np.asarray(run(estimator, KEY, world, given.all.batch).value)
    target = jax.jit(path_target, static_argnums=0, compiler_options=QUICK)
    wanted = target(estimator.target, world, truth, given.all.batch)
    np.testing.assert_allclose(credit, wanted, atol=2e-5)
    assert credit.min() < np.log(floor) + 1  # a lost episode falls to the floor


@pytest.mark.slow
def test_a_study_scores_it_against_its_own_floor():
    task = Bifurcation(8, (3,), gap=1.0)
    estimators = (InformationGain("log"), InformationGain("log", floor=1e-4))
    study = Study("floor", (task,), estimators, replicates=20, controls=())
    for row in study.run():
        assert abs(row.scores["target_bias"].value) < 1e-6


@pytest.mark.parametrize("form", ["probability", "log"])
def test_a_step_without_a_score_gets_0_and_the_next_one_bridges_it(given, form):
    batch = reference.rollout(given.world, jax.random.key(17), 7)
    rng = np.random.default_rng(2)
    live, reward = np.asarray(batch.live), np.asarray(batch.reward, np.float64)
    score = np.where(
        live & (rng.uniform(size=(7, 4)) < 0.6), rng.uniform(0.05, 0.95, (7, 4)), np.nan
    )
    start = rng.uniform(0.2, 0.8, 7)
    judge = FixedScores(jnp.asarray(score, jnp.float32), jnp.asarray(start, jnp.float32))
    world = World.make(given.mdp, jnp.asarray(given.policy), judges={"judge": judge})
    credit = run(InformationGain(form, floor=0.1), KEY, world, batch)

    def potential(p):
        return p if form == "probability" else np.log(max(p, 0.1))

    wanted = np.zeros(score.shape)
    for i in range(7):
        before = start[i]
        for t in range(4):
            if np.isfinite(score[i, t]):
                wanted[i, t] = potential(score[i, t]) - potential(before)
                before = score[i, t]
            before -= reward[i, t]  # what is earned is banked, scored or not
    np.testing.assert_allclose(credit.value, wanted, atol=1e-5)
    assert (np.isnan(score) & live).any()
    assert float(credit.cost.judge_calls) == np.isfinite(score).sum() + 7


def test_it_needs_a_judge_of_values():
    given = case()
    truth = solve(given.mdp, given.policy)
    model = Judge("advantage").model(given.mdp, truth)
    world = World.make(given.mdp, jnp.asarray(given.policy), judges={"judge": model})
    with pytest.raises(ValueError, match="signal must be 'value' to score a prompt"):
        credit(InformationGain(), KEY, world, given.all.batch)
    with pytest.raises(ValueError, match="judges must hold 'judge' in this world"):
        credit(InformationGain(), KEY, given.world, given.all.batch)
