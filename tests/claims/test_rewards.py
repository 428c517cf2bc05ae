"""Log-ratios, rewards on the way and branches: closed forms against every outcome, one by one."""

import itertools
from typing import NamedTuple

import numpy as np
import pytest
from hypotheses import entropy, exploring, ratios, shaping
from hypotheses.paths import paths

import casim

STEPS = 12


@pytest.fixture(scope="module")
def logits():
    """Two policies of a short chain, and what they were at first."""
    random = np.random.default_rng(3)
    first = random.normal(size=(2, STEPS))
    moved = 0.7 * random.normal(size=first.shape)
    return first + moved, first


@pytest.fixture(scope="module")
def every():
    """Right or wrong at every step."""
    episodes = itertools.product([1, 0], repeat=STEPS)
    return np.array(list(episodes))


class Episodes(NamedTuple):
    """Every episode under one policy."""

    chance: np.ndarray
    score: np.ndarray
    success: np.ndarray
    """The mean return of each."""

    @property
    def expected(self):
        return self.chance @ self.success

    @property
    def gradient(self):
        credited = self.score * self.success[:, None]
        return self.chance @ credited


def episodes(every, logit):
    right = _right(logit)
    each = np.where(every, right, 1 - right)
    mistakes = np.sum(1 - every[:, : entropy.DECISIVE], axis=1)
    return Episodes(
        chance=np.prod(each, axis=1),
        score=every - right,
        success=(1 - entropy.HAZARD) ** mistakes,
    )


def _right(logit):
    return 1 / (1 + np.exp(-logit))


def log_ratios(every, logit, first):
    """Of each step of every episode."""
    right = _right(logit)
    was = _right(first)
    of_right = np.log(right / was)
    of_wrong = np.log((1 - right) / (1 - was))
    return np.where(every, of_right, of_wrong)


def snr_by_episodes(every, logit, first, weight):
    """As `ratios.aligned_snr` is defined, summed up over episodes and outcomes."""
    found = episodes(every, logit)
    steps = log_ratios(every, logit, first)
    summed = np.cumsum(steps, axis=1)
    extra = weight * (summed - found.chance @ summed)
    expected = found.expected
    spread = np.sqrt(expected * (1 - expected))
    size, mean = 0.0, 0.0
    # The outcome is 1 or 0.
    outcomes = {1.0: found.success, 0.0: 1 - found.success}
    for outcome, likely in outcomes.items():
        chance = found.chance * likely
        centred = (outcome - expected) / spread
        gradient = found.score * (centred + extra)
        mean = mean + chance @ gradient
        size += chance @ np.sum(gradient**2, axis=1)
    truth = found.gradient
    dot = mean @ truth
    along = dot**2 / (truth @ truth)
    snr = along / (size - along)
    return snr if dot > 0 else -snr


@pytest.mark.parametrize("weight", [0.0, 0.4, -4.0, 4.0])
def test_snr_with_log_ratios_is_a_sum_over_every_episode(logits, every, weight):
    found = ratios.aligned_snr(*logits, weight)
    for logit, first, snr in zip(*logits, found, strict=True):
        wanted = snr_by_episodes(every, logit, first, weight)
        assert snr == pytest.approx(wanted, rel=1e-9)


def test_snr_is_negative_where_log_ratios_lead_away_from_the_gradient(logits):
    """What the reference pulls at with all weight, it pulls away from the other way round."""
    for logit, first in zip(*logits, strict=True):
        one, was = logit[None], first[None]
        truth = entropy.exact_gradient(np.random.default_rng(0), one)
        led = ratios.cosines(ratios.step_term(one, was), truth)
        for weight in (100.0, -100.0):
            (snr,) = ratios.aligned_snr(one, was, weight)
            assert np.sign(snr) == np.sign(weight * led[0])


def divergence(logit, first):
    """From the first policy, step by step."""
    right = _right(logit)
    was = _right(first)
    of_right = right * np.log(right / was)
    of_wrong = (1 - right) * np.log((1 - right) / (1 - was))
    return of_right + of_wrong


def test_the_step_term_is_the_slope_of_the_divergence(logits):
    logit, first = logits
    small = 1e-6
    above = divergence(logit + small, first)
    below = divergence(logit - small, first)
    slope = (above - below) / (2 * small)
    np.testing.assert_allclose(ratios.step_term(logit, first), slope, atol=1e-8)
    assert not ratios.step_term(first, first).any()


@pytest.fixture(scope="module", params=[1.0, 0.9], ids=["deterministic", "random"])
def walked(request):
    """A tool of three turns, every trajectory of the reference, and the soft values."""
    task = casim.ToolChain(3, 1, 1, reliability=request.param, damage=1.0)
    return paths(task, casim.Uniform()), ratios.soft(task), request.param


def test_summed_log_ratios_miss_the_return_by_luck(walked):
    found, soft, _ = walked
    time = np.arange(found.world.num_steps)
    chosen = soft.policy[time, found.state, found.action]
    ratio = chosen / soft.reference
    summed = ratios.TEMPERATURE * np.log(ratio).sum(axis=1)
    first = soft.value[0, found.state[:, 0]]
    error = found.returns - first - summed
    # Of the best policy, whose trajectories are those of the reference by other chances.
    chance = found.chance * np.prod(ratio, axis=1)
    assert chance.sum() == pytest.approx(1.0)
    wanted = ratios.missed(soft)
    largest = np.abs(error).max()
    typical = np.sqrt(chance @ error**2)
    assert wanted.largest == pytest.approx(largest, abs=1e-12)
    assert wanted.typical == pytest.approx(typical, abs=1e-12)
    assert wanted.success == pytest.approx(chance @ found.returns)
    assert chance @ error == pytest.approx(0.0, abs=1e-12)


def test_the_soft_value_is_the_free_energy_where_nothing_is_luck(walked):
    found, soft, reliability = walked
    weight = np.exp(found.returns / ratios.TEMPERATURE)
    energy = np.log(found.chance @ weight)
    start = found.world.occupancy[0] @ soft.value[0]
    gap = ratios.TEMPERATURE * energy - start
    if reliability == 1:
        assert gap == pytest.approx(0.0, abs=1e-12)
    else:
        # Luck counts as choice in the mean of the exponential, which is more, then.
        assert gap > 0.01


def followed(work, reward, policy):
    """Value and success of a policy, a table of actions by step and state."""
    here, value = np.array([1.0, 0.0]), 0.0
    for step, actions in enumerate(policy):
        moves = work.moves[actions, [0, 1]]
        each = here[:, None] * moves
        value += np.sum(each * reward[step])
        here = here @ moves
    return value, here @ work.done


def test_the_best_policy_is_the_best_of_all():
    """Each of them, one by one, on rewards without any order."""
    work = shaping.Work(parts=1, steps=3)
    reward = np.random.default_rng(5).normal(size=(3, 2, 2))
    policies = itertools.product([shaping.ON, shaping.BACK], repeat=6)
    found = [followed(work, reward, np.reshape(policy, (3, 2))) for policy in policies]
    most = max(value for value, _ in found)
    least = min(success for value, success in found if value > most - 1e-9)
    best = shaping.best(work, reward)
    assert best.value == pytest.approx(most)
    assert best.success == pytest.approx(least)


def test_a_redistributed_return_adds_up_to_the_return():
    work = shaping.Work(parts=2, steps=4)
    value = shaping.wrong_values(work)
    reward = shaping.differences(work, value)
    time = np.arange(4)
    for states in itertools.product(range(3), repeat=5):
        given = reward[time, states[:-1], states[1:]]
        wanted = work.done[states[-1]] - value[0, states[0]]
        assert given.sum() == pytest.approx(wanted)


def test_the_least_bonus_is_where_success_is_lost():
    work = shaping.Work()

    def success(bonus):
        reward = shaping.free(work, bonus)
        return shaping.best(work, reward).success

    kept = shaping.best(work, shaping.outcome(work)).success
    bonus = shaping.least_bonus(work, shaping.free)
    assert success(bonus - 1e-6) == pytest.approx(kept)
    assert success(bonus + 1e-6) < kept - 1e-6


def test_uncertainty_is_the_mean_square_over_every_episode(logits, every):
    logit, _ = logits
    for one, found in zip(logit, exploring.uncertainty(logit), strict=True):
        each = episodes(every, one)
        gained = each.success * (1 - each.expected) ** 2
        missed = (1 - each.success) * each.expected**2
        chance = each.chance * (gained + missed)
        wanted = chance @ each.score**2
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_branches_give_the_gradient_with_the_noise_that_is_said(logits):
    runs = 20_000
    one = logits[0][:1]
    logit = np.repeat(one, runs, axis=0)
    weight = exploring.by_entropy(logit)
    random = np.random.default_rng(0)
    found = exploring.estimate(random, logit, weight)
    truth = entropy.exact_gradient(random, one)[0]
    spread = found.std(axis=0) / np.sqrt(runs)
    bias = found.mean(axis=0) - truth
    assert np.all(np.abs(bias) < 5 * spread)
    (square,) = exploring.square(one, weight[:1])
    missed = np.sum((found - truth) ** 2, axis=1)
    noise = square / exploring.BRANCHES
    assert missed.mean() == pytest.approx(noise, rel=0.03)


def test_shares_by_what_is_uncertain_are_the_best(logits):
    """In proportion to its root, but for those that go anywhere."""
    logit, _ = logits
    least = exploring.square(logit, exploring.by_uncertainty(logit))
    for share in (exploring.by_entropy, exploring.anywhere):
        other = exploring.square(logit, share(logit))
        assert np.all(least < 1.02 * other)


@pytest.mark.parametrize("share", [arm.weight for arm in exploring.ARMS.values()])
def test_shares_of_branches_add_up(logits, share):
    logit, _ = logits
    summed = share(logit).sum(axis=1)
    np.testing.assert_allclose(summed, 1.0)
