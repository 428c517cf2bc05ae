"""Groups of outcomes in {0, 1}, and values that rollouts estimate, against enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from casim import methods
from casim.oracle.moments import (
    Normalised,
    OutcomeGroup,
    StepBranches,
    by_return,
    group_moments,
    precise_truth,
)
from casim.oracle.moments.outcomes import binomial
from tests.enumeration import cell_mean, trajectories
from tests.methods.worlds import NARROW, SCHEDULE, small
from tests.reference import random_mdp

EXACT = 1e-9
GROUPS = [m for m in methods.METHODS if isinstance(m.recursion, OutcomeGroup)]


def won_or_lost(hidden=True):
    """Early ends that win, lose or are none, a step of the environment, and a last step that pays.

    The last kernel pays where the reward was large, the others where an episode ends there.
    """
    mdp, policy = random_mdp(
        7, schedule=SCHEDULE, successors=NARROW, discount=1.0, hidden=hidden, observations=5
    )
    large = np.asarray(mdp.reward) > np.median(mdp.reward)
    ends = np.asarray(mdp.terminal)[np.asarray(mdp.successor)]
    last = np.arange(3)[:, None, None, None] == SCHEDULE[-1]
    return mdp._replace(reward=np.where(large & (ends | last), 1.0, 0.0)), policy


def check(method, num):
    mdp, policy = won_or_lost()
    wanted = group_moments(mdp, policy, method, num, sees=by_return())
    found = method.recursion.moments(mdp, policy, num)
    for name, x, y in zip(wanted._fields, found, wanted, strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=EXACT, err_msg=name)
    assert np.abs(found.gradient).max() > 1e-3 or num == 1


def test_a_normalised_group_has_the_moments_of_all_groups_that_can_be_drawn():
    check(methods.GRPO, 3)


@pytest.mark.slow
@pytest.mark.parametrize("num", [1, 4])
@pytest.mark.parametrize("method", GROUPS, ids=lambda m: m.name)
def test_what_a_method_makes_of_outcomes_is_what_the_enumeration_gives(method, num):
    check(method, num)


def test_credit_of_a_group_sums_to_nothing_and_equal_outcomes_get_none():
    rule = Normalised()
    for num, wins in ((2, 1), (5, 2), (8, 7)):
        total = wins * rule(1, wins, num) + (num - wins) * rule(0, wins, num)
        assert total == pytest.approx(0.0, abs=1e-12)
    assert rule(1, 4, 4) == rule(0, 0, 4) == 0.0
    assert binomial(2, 0.25) == [0.5625, 0.375, 0.0625]
    assert binomial(0, 0.25) == [1.0]


def test_branches_at_every_step_have_the_moments_of_all_their_outcomes():
    """Each value along a trajectory is the mean of two fresh outcomes: all of them are listed."""
    mdp, policy = won_or_lost(hidden=False)
    rollouts, num = 2, 3
    truth = precise_truth(mdp, policy)
    every = trajectories(mdp, policy)
    state, action, seen, live = (
        np.asarray(getattr(every.batch, name))
        for name in ("state", "action", "observation", "live")
    )
    reward = np.asarray(every.batch.reward, np.float64)
    decides = live & np.asarray(mdp.decision)[np.asarray(SCHEDULE)]
    table = np.asarray(policy, np.float64)
    times = np.arange(3)
    value = np.where(live, truth.value[times, state], 0.0)
    size = np.prod(table.shape)
    weight, credit, gradient = [], [], []
    for row, chance in enumerate(every.weight):
        for wins in itertools.product(range(rollouts + 1), repeat=3):
            likely = [binomial(rollouts, v)[w] for v, w in zip(value[row], wins, strict=True)]
            said = np.array([*wins, 0]) / rollouts
            own = reward[row] + said[1:] - said[:-1]
            score = np.zeros(table.shape)
            for t in np.flatnonzero(decides[row]):
                kernel, shown = SCHEDULE[t], seen[row, t]
                taken = np.arange(table.shape[2]) == action[row, t]
                score[kernel, shown] += own[t] * (taken - table[kernel, shown])
            weight.append(chance * np.prod(likely))
            credit.append(own)
            gradient.append(score.reshape(size))
    weight, credit, gradient = map(np.array, (weight, credit, gradient))
    assert weight.sum() == pytest.approx(1.0, abs=1e-12)

    found = StepBranches(rollouts).moments(mdp, policy, num)
    each = credit.reshape(len(state), -1, 3)
    by_row = weight.reshape(len(state), -1)
    whole = by_row.sum(axis=1, keepdims=True)
    share = (by_row / np.where(whole > 0, whole, 1.0))[..., None]
    mean, mass = cell_mean(mdp, every, (share * each).sum(axis=1))
    square, _ = cell_mean(mdp, every, (share * each**2).sum(axis=1))
    met = mass > 0
    np.testing.assert_allclose(found.expectation[met], mean[met], atol=EXACT)
    np.testing.assert_allclose(found.variance[met], (square - mean**2)[met], atol=EXACT)
    expected = weight @ gradient
    spread = weight @ (gradient - expected) ** 2 / num
    np.testing.assert_allclose(found.gradient.reshape(size), expected, atol=EXACT)
    np.testing.assert_allclose(found.gradient_variance.reshape(size), spread, atol=EXACT)
    assert np.abs(expected).max() > 1e-3


def discounted():
    mdp, policy = won_or_lost()
    return mdp._replace(discount=np.full(3, 0.75, np.float32)), policy


def of_two_prompts():
    mdp, policy = won_or_lost()
    return mdp._replace(prompt=np.arange(len(mdp.start)) % 2), policy


@pytest.mark.parametrize(
    ("known", "given", "message"),
    [
        (OutcomeGroup(Normalised()), small("hidden", 1.0), "rewards of an episode must add up"),
        (OutcomeGroup(Normalised()), discounted(), "discount of every kernel"),
        (OutcomeGroup(Normalised()), of_two_prompts(), "prompt must have one label"),
        (StepBranches(2), small("chain", 1.0), "rewards of an episode must add up"),
        (StepBranches(2), won_or_lost(), "emission must show one observation"),
    ],
)
def test_what_does_not_hold_in_a_world_is_refused(known, given, message, unhooked):
    with pytest.raises(ValueError, match=message):
        known.moments(*given, 2)
