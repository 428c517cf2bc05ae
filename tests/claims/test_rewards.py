"""Log-ratios, rewards on the way and branches: closed forms against every outcome, one by one."""

import itertools

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
    return first + 0.7 * random.normal(size=first.shape), first


@pytest.fixture(scope="module")
def every():
    """Right or wrong at every step."""
    return np.array(list(itertools.product([1, 0], repeat=STEPS)))


def episodes(every, logit):
    """Chances of every episode, scores, and mean returns, under one policy."""
    right = 1 / (1 + np.exp(-logit))
    chance = np.prod(np.where(every, right, 1 - right), axis=1)
    mistakes = np.sum(1 - every[:, : entropy.DECISIVE], axis=1)
    return chance, every - right, (1 - entropy.HAZARD) ** mistakes


@pytest.mark.parametrize("weight", [0.0, 0.4])
def test_snr_with_log_ratios_is_a_sum_over_every_episode(logits, every, weight):
    found = ratios.aligned_snr(*logits, weight)
    for logit, first, snr in zip(*logits, found, strict=True):
        chance, score, success = episodes(every, logit)
        right, was = (1 / (1 + np.exp(-x)) for x in (logit, first))
        steps = np.where(every, np.log(right / was), np.log((1 - right) / (1 - was)))
        summed = np.cumsum(steps, axis=1)
        extra = weight * (summed - chance @ summed)
        expected = chance @ success
        truth = chance @ (score * success[:, None])
        size, mean = 0.0, 0.0
        # The outcome is 1 or 0.
        for outcome, likely in ((1.0, success), (0.0, 1 - success)):
            centred = (outcome - expected) / np.sqrt(expected * (1 - expected))
            gradient = score * (centred + extra)
            mean = mean + (chance * likely) @ gradient
            size += (chance * likely) @ np.sum(gradient**2, axis=1)
        along = (mean @ truth) ** 2 / (truth @ truth)
        assert snr == pytest.approx(along / (size - along), rel=1e-9)


def test_the_step_term_is_the_slope_of_the_divergence(logits):
    def divergence(logit, first):
        right, was = (1 / (1 + np.exp(-x)) for x in (logit, first))
        return right * np.log(right / was) + (1 - right) * np.log((1 - right) / (1 - was))

    logit, first = logits
    small = 1e-6
    slope = divergence(logit + small, first) - divergence(logit - small, first)
    np.testing.assert_allclose(ratios.step_term(logit, first), slope / (2 * small), atol=1e-8)
    assert not ratios.step_term(first, first).any()


@pytest.fixture(scope="module", params=[1.0, 0.9], ids=["deterministic", "random"])
def walked(request):
    """A tool of three turns, every trajectory of the reference, and the soft values."""
    task = casim.ToolChain(3, 1, 1, reliability=request.param, damage=1.0)
    return paths(task, casim.Uniform()), ratios.soft(task), request.param


def test_summed_log_ratios_miss_the_return_by_luck(walked):
    found, soft, _ = walked
    time = np.arange(found.world.num_steps)
    ratio = soft.policy[time, found.state, found.action] / soft.reference
    summed = ratios.TEMPERATURE * np.log(ratio).sum(axis=1)
    error = found.returns - soft.value[0, found.state[:, 0]] - summed
    # Of the best policy, whose trajectories are those of the reference by other chances.
    chance = found.chance * np.prod(ratio, axis=1)
    assert chance.sum() == pytest.approx(1.0)
    wanted = ratios.missed(soft)
    assert wanted.largest == pytest.approx(np.abs(error).max(), abs=1e-12)
    assert wanted.typical == pytest.approx(np.sqrt(chance @ error**2), abs=1e-12)
    assert wanted.success == pytest.approx(chance @ found.returns)
    assert chance @ error == pytest.approx(0.0, abs=1e-12)


def test_the_soft_value_is_the_free_energy_where_nothing_is_luck(walked):
    found, soft, reliability = walked
    energy = np.log(found.chance @ np.exp(found.returns / ratios.TEMPERATURE))
    start = found.world.occupancy[0] @ soft.value[0]
    # Luck counts as choice in the mean of the exponential, which is more, then.
    gap = ratios.TEMPERATURE * energy - start
    assert gap == pytest.approx(0.0, abs=1e-12) if reliability == 1 else gap > 0.01


def test_the_best_policy_is_the_best_of_all():
    """Each of them, one by one, on rewards without any order."""
    work = shaping.Work(parts=1, steps=3)
    reward = np.random.default_rng(5).normal(size=(3, 2, 2))
    found = []
    for actions in itertools.product([shaping.ON, shaping.BACK], repeat=6):
        policy = np.reshape(actions, (3, 2))
        here, value = np.array([1.0, 0.0]), 0.0
        for step in range(3):
            moves = work.moves[policy[step], [0, 1]]
            value += np.sum(here[:, None] * moves * reward[step])
            here = here @ moves
        found.append((value, here @ work.done))
    most = max(value for value, _ in found)
    least = min(success for value, success in found if value > most - 1e-9)
    best = shaping.best(work, reward)
    assert best.value == pytest.approx(most)
    assert best.success == pytest.approx(least)


def test_a_redistributed_return_adds_up_to_the_return():
    work = shaping.Work(parts=2, steps=4)
    value = shaping.wrong_values(work)
    reward = shaping.differences(work, value)
    for states in itertools.product(range(3), repeat=5):
        summed = sum(reward[t, states[t], states[t + 1]] for t in range(4))
        assert summed == pytest.approx(work.done[states[-1]] - value[0, states[0]])


def test_the_least_bonus_is_where_success_is_lost():
    work = shaping.Work()
    kept = shaping.best(work, shaping.outcome(work)).success
    bonus = shaping.least_bonus(work, shaping.free)
    assert shaping.best(work, shaping.free(work, bonus - 1e-6)).success == pytest.approx(kept)
    assert shaping.best(work, shaping.free(work, bonus + 1e-6)).success < kept - 1e-6


def test_uncertainty_is_the_mean_square_over_every_episode(logits, every):
    logit, _ = logits
    for one, found in zip(logit, exploring.uncertainty(logit), strict=True):
        chance, score, success = episodes(every, one)
        expected = chance @ success
        around = success * (1 - expected) ** 2 + (1 - success) * expected**2
        np.testing.assert_allclose(found, (chance * around) @ score**2, rtol=1e-10)


def test_branches_give_the_gradient_with_the_noise_that_is_said(logits):
    runs = 20_000
    logit = np.repeat(logits[0][:1], runs, axis=0)
    weight = exploring.by_entropy(logit)
    random = np.random.default_rng(0)
    found = exploring.estimate(random, logit, weight)
    truth = entropy.exact_gradient(random, logit[:1])[0]
    noise = exploring.square(logit[:1], weight[:1])[0] / exploring.BRANCHES
    spread = found.std(axis=0) / np.sqrt(runs)
    assert np.all(np.abs(found.mean(axis=0) - truth) < 5 * spread)
    missed = np.sum((found - truth) ** 2, axis=1)
    assert missed.mean() == pytest.approx(noise, rel=0.03)
    # Shares in proportion to the root of what is uncertain are the best.
    shares = exploring.by_uncertainty, exploring.by_entropy, exploring.anywhere
    least, *others = (exploring.square(logits[0], share(logits[0])) for share in shares)
    assert all(np.all(least < 1.02 * other) for other in others)


@pytest.mark.parametrize("share", [arm.weight for arm in exploring.ARMS.values()])
def test_shares_of_branches_add_up(logits, share):
    np.testing.assert_allclose(share(logits[0]).sum(axis=1), 1.0)
