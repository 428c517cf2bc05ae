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
    decisive = every[:, : entropy.DECISIVE]
    wrong = 1 - decisive
    mistakes = wrong.sum(axis=1)
    kept = 1 - entropy.HAZARD
    return Episodes(
        chance=each.prod(axis=1),
        score=every - right,
        success=kept**mistakes,
    )


def _right(logit):
    return 1 / (1 + np.exp(-logit))


def log_ratios(logit, first):
    """Of a right action and of a wrong one, at each step."""
    right = _right(logit)
    was = _right(first)
    wrong = 1 - right
    was_wrong = 1 - was
    of_right = np.log(right / was)
    of_wrong = np.log(wrong / was_wrong)
    return of_right, of_wrong


def snr_by_episodes(
    every,
    logit,
    first,
    weight,
):
    """As `ratios.aligned_snr` is defined, summed up over episodes and outcomes."""
    found = episodes(every, logit)
    of_right, of_wrong = log_ratios(logit, first)
    steps = np.where(every, of_right, of_wrong)
    summed = np.cumsum(steps, axis=1)
    usual = found.chance @ summed
    extra = weight * (summed - usual)
    expected = found.expected
    variance = expected * (1 - expected)
    spread = np.sqrt(variance)
    size, mean = 0.0, 0.0
    # The outcome is 1 or 0.
    success = found.success
    outcomes = {1.0: success, 0.0: 1 - success}
    for outcome, likely in outcomes.items():
        chance = found.chance * likely
        centred = (outcome - expected) / spread
        gradient = found.score * (centred + extra)
        squares = np.sum(gradient**2, axis=1)
        mean = mean + chance @ gradient
        size += chance @ squares
    truth = found.gradient
    dot = mean @ truth
    length = truth @ truth
    along = dot**2 / length
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
        one = logit[None]
        was = first[None]
        unused = np.random.default_rng(0)
        truth = entropy.exact_gradient(unused, one)
        led = ratios.step_term(one, was)
        (cosine,) = ratios.cosines(led, truth)
        for weight in (100.0, -100.0):
            (snr,) = ratios.aligned_snr(one, was, weight)
            wanted = weight * cosine
            assert np.sign(snr) == np.sign(wanted)


def divergence(logit, first):
    """From the first policy, step by step."""
    right = _right(logit)
    of_right, of_wrong = log_ratios(logit, first)
    gained = right * of_right
    lost = (1 - right) * of_wrong
    return gained + lost


def test_the_step_term_is_the_slope_of_the_divergence(logits):
    logit, first = logits
    small = 1e-6
    above = divergence(logit + small, first)
    below = divergence(logit - small, first)
    slope = (above - below) / (2 * small)
    term = ratios.step_term(logit, first)
    at_first = ratios.step_term(first, first)
    np.testing.assert_allclose(term, slope, atol=1e-8)
    assert not at_first.any()


@pytest.fixture(
    scope="module",
    params=[1.0, 0.9],
    ids=["deterministic", "random"],
)
def walked(request):
    """A tool of three turns, every trajectory of the reference, and the soft values."""
    reliability = request.param
    task = casim.ToolChain(
        num_turns=3,
        tokens_per_turn=1,
        output_tokens=1,
        reliability=reliability,
        damage=1.0,
    )
    found = paths(task, casim.Uniform())
    return found, ratios.soft(task), reliability


def test_summed_log_ratios_miss_the_return_by_luck(walked):
    found, soft, _ = walked
    state = found.state
    action = found.action
    time = np.arange(found.world.num_steps)
    chosen = soft.policy[time, state, action]
    ratio = chosen / soft.reference
    logs = np.log(ratio)
    summed = ratios.TEMPERATURE * logs.sum(axis=1)
    begin = state[:, 0]
    first = soft.value[0, begin]
    error = found.returns - first - summed
    # Of the best policy, whose trajectories are those of the reference by other chances.
    chance = found.chance * ratio.prod(axis=1)
    assert chance.sum() == pytest.approx(1.0)
    wanted = ratios.missed(soft)
    largest = np.abs(error).max()
    typical = np.sqrt(chance @ error**2)
    success = chance @ found.returns
    assert wanted.largest == pytest.approx(largest, abs=1e-12)
    assert wanted.typical == pytest.approx(typical, abs=1e-12)
    assert wanted.success == pytest.approx(success)
    assert chance @ error == pytest.approx(0.0, abs=1e-12)


def test_the_soft_value_is_the_free_energy_where_nothing_is_luck(walked):
    found, soft, reliability = walked
    heat = ratios.TEMPERATURE
    weight = np.exp(found.returns / heat)
    energy = np.log(found.chance @ weight)
    start = found.world.occupancy[0]
    value = start @ soft.value[0]
    gap = heat * energy - value
    if reliability == 1:
        assert gap == pytest.approx(0.0, abs=1e-12)
    else:
        # Luck counts as choice in the mean of the exponential, which is more, then.
        assert gap > 0.01


def followed(work, reward, policy):
    """Value and success of a policy, a table of actions by step and state."""
    here = np.array([1.0, 0.0])
    value = 0.0
    for actions, paid in zip(policy, reward, strict=True):
        moves = work.moves[actions, [0, 1]]
        each = here[:, None] * moves
        value += np.sum(each * paid)
        here = here @ moves
    success = here @ work.done
    return shaping.Best(value, success)


def test_the_best_policy_is_the_best_of_all():
    """Each of them, one by one, on rewards without any order."""
    work = shaping.Work(parts=1, steps=3)
    random = np.random.default_rng(5)
    reward = random.normal(size=(3, 2, 2))
    actions = (shaping.ON, shaping.BACK)
    found = []
    for chosen in itertools.product(actions, repeat=6):
        policy = np.reshape(chosen, (3, 2))
        found.append(followed(work, reward, policy))
    table = np.array(found)
    values = table[:, 0]
    successes = table[:, 1]
    most = values.max()
    is_best = values > most - 1e-9
    least = successes[is_best].min()
    best = shaping.best(work, reward)
    assert best.value == pytest.approx(most)
    assert best.success == pytest.approx(least)


def test_a_redistributed_return_adds_up_to_the_return():
    work = shaping.Work(parts=2, steps=4)
    value = shaping.wrong_values(work)
    reward = shaping.differences(work, value)
    time = np.arange(4)
    for states in itertools.product(range(3), repeat=5):
        before = states[:-1]
        after = states[1:]
        given = reward[time, before, after]
        returned = work.done[states[-1]]
        first = value[0, states[0]]
        assert given.sum() == pytest.approx(returned - first)


def test_the_least_bonus_is_where_success_is_lost():
    work = shaping.Work()

    def success(bonus):
        reward = shaping.free(work, bonus)
        return shaping.best(work, reward).success

    outcome = shaping.outcome(work)
    kept = shaping.best(work, outcome).success
    bonus = shaping.least_bonus(work, shaping.free)
    before = success(bonus - 1e-6)
    after = success(bonus + 1e-6)
    assert before == pytest.approx(kept)
    assert after < kept - 1e-6


def test_uncertainty_is_the_mean_square_over_every_episode(logits, every):
    logit, _ = logits
    uncertain = exploring.uncertainty(logit)
    for one, found in zip(logit, uncertain, strict=True):
        each = episodes(every, one)
        success = each.success
        expected = each.expected
        gained = success * (1 - expected) ** 2
        missed = (1 - success) * expected**2
        around = gained + missed
        chance = each.chance * around
        wanted = chance @ each.score**2
        np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_branches_give_the_gradient_with_the_noise_that_is_said(logits):
    runs = 20_000
    one = logits[0][:1]
    logit = np.repeat(one, runs, axis=0)
    weight = exploring.by_entropy(logit)
    random = np.random.default_rng(0)
    found = exploring.estimate(random, logit, weight)
    truth = entropy.exact_gradient(random, one)
    error = found - truth
    bias = error.mean(axis=0)
    spread = error.std(axis=0)
    furthest = np.abs(bias / spread).max()
    assert furthest < 5 / np.sqrt(runs)
    (square,) = exploring.square(one, weight[:1])
    missed = np.sum(error**2, axis=1)
    noise = square / exploring.BRANCHES
    assert missed.mean() == pytest.approx(noise, rel=0.03)


def test_shares_by_what_is_uncertain_are_the_best(logits):
    """In proportion to its root, but for those that go anywhere."""
    logit, _ = logits
    best = exploring.by_uncertainty(logit)
    least = exploring.square(logit, best)
    for share in (exploring.by_entropy, exploring.anywhere):
        weight = share(logit)
        other = exploring.square(logit, weight)
        assert np.all(least < 1.02 * other)


@pytest.mark.parametrize("name", exploring.ARMS)
def test_shares_of_branches_add_up(logits, name):
    logit, _ = logits
    arm = exploring.ARMS[name]
    weight = arm.weight(logit)
    summed = weight.sum(axis=1)
    np.testing.assert_allclose(summed, 1.0)
