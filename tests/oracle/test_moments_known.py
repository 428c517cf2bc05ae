"""What is known of methods at any horizon, against enumeration and against studies."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import casim
from casim.controls import Control
from casim.methods import METHODS
from casim.oracle.moments import (
    Recursion,
    Shuffled,
    enumerate_trajectories,
    group_moments,
    judged_gain,
    precise_truth,
    recursion_moments,
)
from casim.oracle.moments.paths import count_trajectories, precise
from tests.enumeration import cell_mean, expected_gradient, trajectories
from tests.methods.worlds import NARROW, SCHEDULE, small
from tests.reference import random_mdp

EXACT = 1e-9
RECURSIVE = [m for m in METHODS if isinstance(m.recursion, Recursion)]


@pytest.mark.parametrize("method", RECURSIVE, ids=lambda m: m.name)
def test_a_recursion_gives_what_the_enumeration_gives(method):
    mdp, policy = small("hidden", 0.75, successors=NARROW)
    wanted = group_moments(mdp, policy, method, 2)
    found = method.recursion.moments(mdp, policy, 2)
    for name, x, y in zip(wanted._fields, found, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=EXACT, err_msg=name)


def written(mdp, policy):
    """The truth, all trajectories, and along them advantages `[P, T]` and scores."""
    truth = precise_truth(mdp, policy)
    every = trajectories(mdp, policy)
    state, seen, action, live = (
        np.asarray(getattr(every.batch, name))
        for name in ("state", "observation", "action", "live")
    )
    time = np.arange(state.shape[1])[None]
    advantage = truth.advantage[time, state, action] * live
    decides = live & np.asarray(mdp.decision)[np.asarray(mdp.schedule)][None]
    score = np.zeros((*state.shape, *policy.shape))
    row, step = np.indices(state.shape)
    kernel = np.broadcast_to(np.asarray(mdp.schedule)[None], state.shape)
    table = np.asarray(policy, np.float64)
    taken = np.arange(policy.shape[2]) == action[..., None]
    score[row, step, kernel, seen] = decides[..., None] * (taken - table[kernel, seen])
    return truth, every, advantage, score


def test_shuffled_advantages_have_the_moments_of_all_permutations():
    """Each advantage of a trajectory is equally often at each of its steps."""
    mdp, policy = random_mdp(4, schedule=SCHEDULE, successors=NARROW, terminal=False, discount=1.0)
    mdp = mdp._replace(decision=np.ones(3, bool))
    truth, every, advantage, _ = written(mdp, policy)
    found = Shuffled().moments(mdp, policy, 2)
    steps = np.ones_like(advantage)
    mean, mass = cell_mean(mdp, every, advantage.mean(axis=1, keepdims=True) * steps)
    square, _ = cell_mean(mdp, every, (advantage**2).mean(axis=1, keepdims=True) * steps)
    met = mass > 0
    np.testing.assert_allclose(found.expectation[met], mean[met], atol=EXACT)
    np.testing.assert_allclose(found.variance[met], (square - mean**2)[met], atol=EXACT)
    gradient = expected_gradient(mdp, policy, every, advantage.mean(axis=1, keepdims=True) * steps)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-6)
    assert np.abs(gradient - truth.gradient).max() > 0.01


def paid_at_the_end():
    """Hidden states, a step of the environment, and a reward on the last step only."""
    mdp, policy = random_mdp(4, schedule=SCHEDULE, successors=NARROW, terminal=False, discount=1.0)
    last = np.arange(3) == SCHEDULE[-1]
    return mdp._replace(reward=np.asarray(mdp.reward) * last[:, None, None, None]), policy


def test_a_judged_gain_is_a_share_of_the_td_error_and_two_errors_of_the_judge():
    mdp, policy = paid_at_the_end()
    fidelity, num = 0.8, 3
    truth, every, _, score = written(mdp, policy)
    weight, batch = every.weight, every.batch
    state = np.asarray(batch.state)
    here = np.stack([truth.value[t][state[:, t]] for t in range(3)], axis=1)
    after = np.concatenate([here[:, 1:], np.asarray(batch.reward, np.float64)[:, -1:]], axis=1)
    error = fidelity * (after - here)
    # Every episode has three steps, so labels have equal weights.
    mean = weight @ after.mean(axis=1)
    variance = weight @ ((after - mean) ** 2).mean(axis=1)
    noise = (1 - fidelity**2) * variance
    judge = casim.Judge(fidelity=fidelity).model(mdp, jax.tree.map(np.float32, truth))
    assert float(judge.spread) ** 2 == pytest.approx(variance, rel=1e-4)

    found = recursion_moments(mdp, policy, judged_gain(fidelity), num)
    expectation, mass = cell_mean(mdp, every, error)
    square, _ = cell_mean(mdp, every, error**2)
    met = mass > 0
    np.testing.assert_allclose(found.expectation[met], expectation[met], atol=1e-7)
    wanted = square - expectation**2 + 2 * noise
    np.testing.assert_allclose(found.variance[met], wanted[met], atol=1e-7)
    # The error at the end of a step is in its own credit and, less, in that of the next.
    padded = np.pad(score, [(0, 0), (1, 1), (0, 0), (0, 0), (0, 0)])
    of_noise = ((padded[:, 1:] - padded[:, :-1]) ** 2).sum(axis=1)
    exact = np.einsum("pt,pt...->p...", error, score)
    gradient = np.einsum("p,p...->...", weight, exact)
    spread = np.einsum("p,p...->...", weight, (exact - gradient) ** 2 + noise * of_noise)
    np.testing.assert_allclose(found.gradient, gradient, atol=1e-7)
    np.testing.assert_allclose(found.gradient_variance, spread / num, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: judged_gain(1.5), "fidelity must be in"),
        (lambda: recursion_moments(*small("hidden", 1.0), judged_gain(0.9)), "reward must come"),
        (lambda: recursion_moments(*small("chain", 0.9), judged_gain(0.9)), "discount of every"),
        (lambda: Shuffled().moments(*small("lengths", 1.0), 2), "every step of an episode must be"),
    ],
)
def test_what_does_not_hold_in_a_world_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("name", ["hidden", "lengths"])
def test_trajectories_are_counted_without_being_listed(name):
    known = precise(*small(name, 1.0))
    assert count_trajectories(*known) == len(enumerate_trajectories(*known).probability)


@pytest.mark.slow
def test_rows_of_a_study_carry_the_exact_scores_that_they_converge_to():
    """By recursion, by enumeration (GRPO), with a judge, and not where nothing is known."""
    gain = casim.methods.Method(
        "gain", casim.InformationGain(), "me", recursion=Recursion(judged_gain(0.9))
    )
    estimators = (casim.methods.RLOO, casim.methods.DR_GRPO, casim.methods.GRPO, gain, casim.Vine())
    study = casim.Study(
        "exact",
        (casim.Bifurcation(horizon=4, pivots=(1,), noise=0.05),),
        estimators,
        policies=(casim.Softmax(scale=0.5),),
        judges={"judge": casim.Judge(fidelity=0.9)},
        num_trajectories=3,
        replicates=4000,
        exact=True,
    )
    rows = {row.label: row for row in study.run(progress=False)}
    assert rows.pop("Vine").expected == {}
    assert set(rows) >= {Control(name).name for name in study.controls}
    compared = 0
    for label, row in rows.items():
        assert {"bias", "gradient_bias"} <= set(row.expected), label
        for name, wanted in row.expected.items():
            value, low, high, _ = row.scores[name]
            if not np.isfinite(value):
                continue
            # Twice the interval, or the rounding of single precision.
            slack = max(high - low, 1e-4 * max(abs(wanted), 1.0))
            assert abs(value - wanted) <= slack, (label, name, value, wanted)
            compared += 1
    assert compared > 60
