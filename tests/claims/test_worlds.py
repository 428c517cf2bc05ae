"""The claims with worlds of their own: closed forms against every outcome, one by one."""

import itertools
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypotheses import entropy, groups, hidden, length, process
from hypotheses.found import cosine, crossing, sampled, slope
from hypotheses.paths import paths

import casim
from casim.oracle import Protocol, contrast, critics
from casim.oracle.moments import enumerate_trajectories, precise

DOCS = Path(__file__).parents[2] / "docs"


def every_episode(steps, law):
    """Right or wrong at every step, one by one: scores, mean and mean square of the return."""
    right = np.array(list(itertools.product([1, 0], repeat=steps)))
    wrong = steps - right.sum(axis=1)
    return right - 0.5, law.mean[wrong], law.square[wrong]


@pytest.mark.parametrize("world", length.WORLDS.values(), ids=list(length.WORLDS))
def test_signal_and_noise_are_sums_over_every_episode(world):
    law = world(5)
    score, mean, square = every_episode(5, law)
    expected = mean.mean()
    assert law.expected == pytest.approx(expected)
    assert law.variance == pytest.approx(square.mean() - expected**2)
    around = square - 2 * expected * mean + expected**2
    each = ((mean - expected)[:, None] * score).mean(axis=0)
    size = (around[:, None] * score**2).mean(axis=0)
    np.testing.assert_allclose(each**2 / (size - each**2), length.step_snr(law), rtol=1e-10)
    # Two logits a step, which move against each other.
    assert length.trace(law) == pytest.approx(2 * np.sum(size - each**2))
    together = score.sum(axis=1)
    shared = ((mean - expected) * together).mean()
    noise = (around * together**2).mean() - shared**2
    assert length.shared_snr(law) == pytest.approx(shared**2 / noise)
    share = length.skill_share(law)
    assert length.step_snr(law) == pytest.approx(share / (5 - share))


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_the_sum_has_the_closed_forms_of_the_protocol(steps):
    law = length.total(steps)
    noise = length.NOISE
    assert length.step_snr(law) == pytest.approx(1 / (steps * (1 + noise) - 1))
    assert length.shared_snr(law) == pytest.approx(1 / (2 + noise - 2 / steps))


def test_the_gradient_of_success_is_its_derivative():
    random = np.random.default_rng(1)
    logit = random.normal(size=(3, entropy.STEPS))
    found = entropy.exact_gradient(random, logit)
    for step in (0, 4, entropy.DECISIVE - 1, entropy.DECISIVE, entropy.STEPS - 1):
        up, down = logit.copy(), logit.copy()
        up[:, step] += 1e-5
        down[:, step] -= 1e-5
        slope_there = (entropy.success(up) - entropy.success(down)) / 2e-5
        np.testing.assert_allclose(found[:, step], slope_there, atol=1e-9)


def test_the_gradient_of_groups_is_right_on_average():
    random = np.random.default_rng(2)
    logit = np.repeat(entropy.from_random(random, 1), 20_000, axis=0)
    found = entropy.group_gradient(random, logit)
    wanted = entropy.exact_gradient(random, logit[:1])[0]
    error = found.std(axis=0) / math.sqrt(len(found))
    assert np.all(np.abs(found.mean(axis=0) - wanted) < 4.5 * error)


def test_what_is_kept_is_where_rank_is_highest():
    random = np.random.default_rng(3)
    logit = entropy.from_random(random, 4)
    kept = entropy.by_entropy(random, logit)
    assert np.all(kept.sum(axis=1) == entropy.KEPT)
    for row, chosen in zip(np.abs(logit), kept, strict=True):
        # The closer to even, the higher the entropy.
        assert row[chosen].max() <= row[~chosen].min()
    assert np.all(entropy.by_spread(random, logit)[:, : entropy.DECISIVE])
    sure = entropy.from_pretrained(random, 4)
    assert np.all(entropy.by_entropy(random, sure)[:, : entropy.DECISIVE])


@pytest.mark.parametrize("likely", [0.5, 0.8])
def test_texts_are_shared_as_in_every_group(likely):
    """N = 3, three choices in a row, each of 512 groups."""
    choices = groups.Choices("", likely, 3)
    texts = np.array(list(itertools.product([0, 1], repeat=3)))
    chance = np.prod(np.where(texts == 0, likely, 1 - likely), axis=1)
    shares = np.zeros(3)
    for row in itertools.product(range(8), repeat=3):
        members = texts[list(row)]
        weight = np.prod(chance[list(row)])
        for depth in range(3):
            same = np.all(members[:, :depth] == members[0, :depth], axis=1)
            other = members[:, depth] != members[0, depth]
            shares[depth] += weight * np.any(same & other)
    found = [groups.contrast_share(choices, depth) for depth in range(3)]
    np.testing.assert_allclose(found, shares, rtol=1e-10)


@pytest.mark.parametrize(
    ("rule", "of"), [("mean", "turn mean"), ("alone", "turn leave-one-out, 0")]
)
def test_baselines_per_turn_are_those_of_the_page_on_them(rule, of):
    """docs/group-bias.md has them from the enumeration of whole groups."""
    page = (DOCS / "group-bias.md").read_text()
    row = re.search(rf"^\| {of}[^|]*\|(.*)\|$", page, re.MULTILINE).group(1)
    told = [float(cell.split("/")[1]) for cell in row.split("|")]
    alive, wanted = groups.turn_gradient(0.3)
    found = [cosine(groups.RULES[rule](alive, num) * wanted, wanted) for num in range(2, 9)]
    np.testing.assert_allclose(found, told, atol=5.1e-5)


def test_harmless_actions_repeat_by_the_clock_alone():
    small = groups.repetition(groups.Arm(4, 1.0), 300)
    large = groups.repetition(groups.Arm(16, 2.0), 300)
    assert np.all(small[:, 0] == 1 / groups.ACTIONS)
    lines = [sampled("", groups.CLOCKS, x) for x in (small, large)]
    assert lines[0].low[-1] > 0.6
    gap = abs(lines[0].y[-1] - lines[1].y[-1])
    # Of groups of 4 and 16 the walk goes N / (N - 1) as fast.
    assert gap < 0.1


def outcomes(policy, step, action):
    """Every future of a working step, one by one: its chance, and what state follows each step."""
    hazard = process.stops(len(policy))
    futures = [(float(hazard[state, action]), [state]) for state in range(3)]
    for later in range(step + 1, len(policy)):
        grown = []
        for chance, states in futures:
            if states[-1] != 0:
                grown.append((chance, [*states, states[-1]]))
                continue
            moved = hazard @ policy[later]
            grown += [(chance * float(moved[state]), [*states, state]) for state in range(3)]
        futures = grown
    return futures


@pytest.mark.parametrize("verified", [False, True])
@pytest.mark.parametrize("form", process.FORMS)
def test_process_credit_is_the_mean_over_every_future(form, verified):
    steps = 4
    policy = np.random.default_rng(4).dirichlet(np.ones(3), size=(1, steps))
    working = np.array([0.3, 0.6, 0.2, process.SUCCESS])
    judge = process.Judge(working, np.array([0.45]), verified, broken=0.1)
    fold = sum if form == "sum" else min
    found = process.FORMS[form](policy, judge)[0]
    for step, action in itertools.product(range(steps), range(3)):
        wanted = 0.0
        for chance, states in outcomes(policy[0], step, action):
            scores = [(working[step + i], 0.45, 0.1)[s] for i, s in enumerate(states)]
            if not verified:
                wanted += chance * fold(scores)
                continue
            succeeds = process.SUCCESS if states[-1] == 0 else 0.0
            for end, share in ((1.0, succeeds), (0.0, 1 - succeeds)):
                wanted += chance * share * fold([*scores[:-1], end])
        assert found[step, action] == pytest.approx(wanted, rel=1e-10)


def test_true_credit_makes_the_gradient_of_success():
    # The truth is that of the first policy.
    policy = process.uniform(5)
    found = process.gradient(policy, process.by_truth(policy))[0]
    for step, action in itertools.product(range(5), range(3)):
        logit = np.zeros((2, 5, 3))
        logit[:, step, action] = 1e-5, -1e-5
        weight = np.exp(logit)
        up, down = process.success(weight / weight.sum(axis=2, keepdims=True))
        assert found[step, action] == pytest.approx((up - down) / 2e-5, abs=1e-9)


@pytest.mark.parametrize("explore", [0.0, 0.1, 1.0])
def test_logs_differ_by_their_failures_alone(explore):
    laws = [hidden.log_law(world, explore) for world in (1, -1)]
    failures = [sum(chance for (_, won), chance in law.items() if won == 0) for law in laws]
    # The behaviour must toss its coin, and it must fall on the action that fails for this cause.
    np.testing.assert_allclose(failures, explore / 4, atol=1e-7)
    assert hidden.distance(explore) == pytest.approx(explore / 2, abs=1e-7)


def test_a_sign_is_told_as_often_as_a_bayesian_tells_it():
    """All sequences of three logs, each taken for the world that makes it more often."""
    laws = [hidden.log_law(world, 0.4) for world in (1, -1)]
    kinds = sorted(laws[0].keys() | laws[1].keys())
    right = 0.0
    for logs in itertools.product(kinds, repeat=3):
        chances = [math.prod(law[log] for log in logs) for law in laws]
        right += max(chances) / 2
    assert hidden.accuracy(0.4, 3) == pytest.approx(right, rel=1e-6)
    assert hidden.accuracy(0.0, 300) == pytest.approx(0.5)
    assert hidden.enough(hidden.by_pairs) == 4


def test_asking_is_worth_what_follows_from_the_answer():
    task = casim.InformationSeeking(horizon=2, cost=0.2)
    mdp = task.build()
    policy = np.full((len(mdp.prob), mdp.emission.shape[2], 2), 0.5)
    # Observations are: nothing told, and each of the facts.
    policy[-1, 1:] = np.eye(2)
    found = enumerate_trajectories(*precise(mdp, policy))
    returns = found.trajectory.reward.sum(axis=1)
    asks = found.trajectory.action[:, 0] == 0
    means = [np.average(returns[x], weights=found.probability[x]) for x in (asks, ~asks)]
    assert hidden.asking(task) == pytest.approx(means[0] - means[1], abs=1e-6)
    assert hidden.told(task) == pytest.approx(-0.2, abs=1e-6)


def test_whoever_knows_all_keeps_the_gradient_and_its_noise_is_larger():
    found = hidden.privileged(0.2)
    assert found["history"] == (pytest.approx(1.0), 1.0)
    assert found["state"].cosine == pytest.approx(1.0)
    assert found["state"].noise > 1
    # Where nothing is hidden the whole state is the history.
    assert hidden.privileged(0.0)["state"].noise == pytest.approx(1.0)


@pytest.mark.slow
def test_refed_branches_are_those_of_the_oracle():
    task = casim.ToolChain(2, 1, 1, non_closure=0.2, observation_noise=0.1)
    mdp = task.build()
    table = np.asarray(hidden.POLICY.table(mdp), np.float32)
    found = paths(task, hidden.POLICY)
    batch = enumerate_trajectories(mdp, table).trajectory
    batch = batch._replace(**{x: np.asarray(getattr(batch, x), np.int32) for x in ("state",)})
    steps = np.arange(found.world.num_steps)
    made = contrast(mdp, Protocol(table, table, 1.0), batch, steps, len(steps))
    calls = found.world.decides
    refed = found.given(found.acted, found.along(found.world.advantage))
    np.testing.assert_allclose(np.asarray(made.value)[:, calls], refed[:, calls], atol=2e-6)
    within = found.given(found.acted, found.along(found.world.return_variance))
    among = hidden._among(found, found.along(found.world.q_value))
    np.testing.assert_allclose(
        np.asarray(made.taken_variance)[:, calls], (within + among)[:, calls], atol=2e-6
    )
    known = critics(mdp, table, batch, np.arange(len(mdp.start)), len(mdp.start))
    own = np.take_along_axis(np.asarray(known.history.advantage), batch.action[..., None], 2)[
        ..., 0
    ]
    np.testing.assert_allclose(own[:, calls], refed[:, calls], atol=2e-6)


def test_a_power_law_has_its_exponent_and_lines_cross_where_they_do():
    x = [1.0, 3.0, 10.0]
    assert slope(x, [2 * value**-1.5 for value in x]) == pytest.approx(-1.5)
    assert crossing([0, 2, 4], [3.0, 1.0, -1.0]) == pytest.approx(3.0)
    assert math.isnan(crossing([0, 1], [1.0, 2.0]))
