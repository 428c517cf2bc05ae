"""`experiments/hypotheses/exact.py` and what is built on it, against enumeration and the oracle."""

import itertools

import numpy as np
import pytest
from hypotheses import branching, critics, exact, groups, judges, levels, memory, paths
from hypotheses.worlds import Preferences, Votes

import casim
from casim.oracle import moments

POLICY = Preferences(seed=3)
HIDING = casim.ToolChain(2, 2, 1, repair=0.3, observation_noise=0.15, unverified=0.4)
"""A tool whose state is hidden in part, with tokens that decide nothing."""
SEEN = casim.ToolChain(3, 1, 1, repair=0.6)


@pytest.fixture(scope="module")
def hiding():
    return paths.paths(HIDING, POLICY)


@pytest.fixture(scope="module")
def seen():
    return paths.paths(SEEN, POLICY)


def after(found, table):
    """What a table of states says of the state after each step; 0 after the last."""
    later = np.pad(found.state[:, 1:], ((0, 0), (0, 1)))
    values = table[np.arange(1, found.world.num_steps + 1), later]
    values[:, -1] = 0.0
    return values


def here(found, table):
    return table[np.arange(found.world.num_steps), found.state]


def changes(found):
    """The TD errors of every trajectory."""
    reward = np.zeros(found.state.shape)
    reward[:, -1] = found.returns
    return reward + after(found, found.world.value) - here(found, found.world.value)


def assert_same(found, cells, credit, square=None):
    """Moments of cells are those of credit along every trajectory."""
    made = exact.gradient(found.world, cells)
    mean, _ = paths.gradient(found, credit)
    size = paths.gradient_square(found, credit**2 if square is None else square)
    np.testing.assert_allclose(made.mean, mean, atol=1e-12)
    assert made.square.sum() == pytest.approx(size, rel=1e-10)


def test_trajectories_are_all_of_them(hiding):
    world = hiding.world
    assert hiding.chance.sum() == pytest.approx(1.0)
    assert hiding.chance @ hiding.returns == pytest.approx(world.start_value)
    square = hiding.chance @ hiding.returns**2
    assert square - world.start_value**2 == pytest.approx(world.total_variance)


def test_credit_by_cells_is_credit_along_trajectories(hiding):
    world = hiding.world
    whole = hiding.returns[:, None] * np.ones(hiding.state.shape)
    own = hiding.along(world.advantage)
    assert_same(hiding, exact.advantage(world), own)
    assert_same(hiding, exact.whole(world, 0.3), whole - 0.3)
    assert_same(hiding, exact.value_baseline(world), whole - here(hiding, world.value))
    assert_same(hiding, exact.td_error(world), changes(hiding))


def test_a_group_is_all_its_trajectories():
    """N = 3, by every group of ordered trajectories."""
    found = paths.paths(Votes(3), POLICY)
    num, world = 3, found.world
    scores = np.stack([scores_of(found, i) for i in range(len(found.chance))])
    mean, square = 0.0, 0.0
    for members in itertools.product(range(len(found.chance)), repeat=num):
        row = list(members)
        chance = np.prod(found.chance[row])
        returns = found.returns[row]
        credit = (returns - returns.mean()) * num / (num - 1)
        gradient = np.einsum("n,n...->...", credit, scores[row]) / num
        mean = mean + chance * gradient
        square += chance * np.sum(gradient**2)
    np.testing.assert_allclose(mean, exact.exact_gradient(world), atol=1e-12)
    variance = square - np.sum(mean**2)
    every = exact.everywhere(world)
    assert exact.peers_variance(world, num, every) / num == pytest.approx(variance, rel=1e-10)


def scores_of(found, row):
    """The scores of one trajectory, by the logits of every step."""
    world = found.world
    out = np.zeros((world.num_steps, *world.policy.shape[1:]))
    for step in np.flatnonzero(world.decides):
        seen, taken = found.observation[row, step], found.action[row, step]
        policy = world.policy[world.kernel[step], seen]
        out[step, seen] = np.eye(len(policy))[taken] - policy
    return out


@pytest.mark.slow
def test_the_oracle_says_the_same():
    mdp = HIDING.build()
    table = POLICY.table(mdp)
    world = exact.solve(HIDING, POLICY)
    every = exact.everywhere(world)
    forms = {
        moments.value_baseline: exact.value_baseline(world),
        moments.td_error: exact.td_error(world),
        moments.judged_gain(0.6): judges.judged(world, 0.6),
    }
    for form, cells in forms.items():
        wanted = moments.recursion_moments(mdp, table, form, 1, tied=False)
        found = exact.gradient(world, cells)
        np.testing.assert_allclose(found.mean, wanted.gradient, atol=1e-12)
        # The labels of a judge are single precision in the oracle's world alone.
        assert found.variance == pytest.approx(wanted.gradient_variance.sum(), rel=1e-6)
    group = moments.recursion_moments(mdp, table, moments.peer_baseline(), 5, tied=False)
    assert exact.peers_variance(world, 5, every) / 5 == pytest.approx(
        group.gradient_variance.sum(), rel=1e-10
    )


def test_a_process_that_pays_early_is_refused():
    with pytest.raises(ValueError, match="must pay at its end only"):
        exact.solve(casim.InformationSeeking(), casim.Uniform())


@pytest.mark.parametrize("points", [(0, 2, 4), (0, 4), (0,)])
def test_segments_are_differences_of_values_along_trajectories(seen, points):
    """With exact values, and the variance of a single rollout at both ends."""
    world = seen.world
    ends = [*points[1:], world.num_steps]
    credit, error = np.zeros((2, *seen.state.shape))
    for first, end in zip(points, ends, strict=True):
        last = end == world.num_steps
        reached = seen.returns if last else here(seen, world.value[:-1])[:, end]
        noise = 0.0 if last else here(seen, world.spread[:-1])[:, end]
        credit[:, first:end] = (reached - here(seen, world.value)[:, first])[:, None]
        error[:, first:end] = (noise + here(seen, world.spread)[:, first])[:, None]
    made = branching.segments(world, points)
    assert_same(seen, made.credit, credit)
    noise = exact.gradient(world, made.error)
    assert noise.square.sum() == pytest.approx(paths.gradient_square(seen, error), rel=1e-10)


def test_branches_cost_what_is_left(seen):
    """The best number of rollouts, of which none is better than the cost says."""
    world = seen.world
    points = branching.calls(world)
    made = branching.segments(world, points)
    found = exact.gradient(world, made.credit)
    noise = exact.gradient(world, made.error).variance
    # Turns of two steps, rolled out from steps 0, 2 and 4 of 6.
    by_rollouts = [
        (6 + num * (6 + 4 + 2)) * (found.variance + noise / num) for num in branching.ROLLOUTS
    ]
    needed = branching.steps_by_branches(world, points, exact.everywhere(world))
    assert needed == pytest.approx(min(by_rollouts) / np.sum(exact.exact_gradient(world) ** 2))


@pytest.mark.parametrize("task", [Votes(3), casim.ToolChain(2, 1, 1)], ids=["votes", "tool"])
def test_errors_cross_where_td_and_outcomes_are_equally_good(task):
    """The mean over independent errors, entry by entry: squared errors are quadratic in each."""
    found = paths.paths(task, POLICY)
    world = found.world
    wanted = exact.exact_gradient(world)
    whole = found.returns[:, None]

    def error(credit, num):
        mean, variance = paths.gradient(found, credit)
        return np.sum((mean - wanted) ** 2) + variance / num

    def both(shift, num):
        value = world.value + shift
        value[-1] = 0.0
        reward = np.zeros(found.state.shape)
        reward[:, -1] = found.returns
        bootstrapped = reward + after(found, value) - here(found, value)
        return np.array([error(bootstrapped, num), error(whole - here(found, value), num)])

    crossings = critics.crossing_errors(world)
    for num, crossing in zip(critics.GROUPS, crossings, strict=True):
        base = both(np.zeros_like(world.value), num)
        per_square = np.zeros(2)
        for place in np.argwhere(world.occupancy > 0):
            unit = np.zeros_like(world.value)
            unit[tuple(place)] = 1.0
            per_square += (both(unit, num) + both(-unit, num)) / 2 - base
        at = base + per_square * (crossing**2 * world.total_variance)
        assert at[0] == pytest.approx(at[1], rel=1e-9)
        assert base[0] < base[1]


def test_labels_cost_what_their_rollouts_take():
    for turns, rollouts in ((1, 1), (5, 3)):
        trajectory = turns
        rolled = sum(rollouts * (turns - turn) for turn in range(turns))
        assert critics.label_cost(turns, rollouts) == (trajectory + rolled) / (rollouts * turns)


def test_shuffled_changes_are_the_mean_over_the_steps(seen):
    """With a perfect judge; what errors add does not depend on the order."""
    mixed = changes(seen)
    credit = np.broadcast_to(mixed.mean(axis=1, keepdims=True), mixed.shape)
    square = np.broadcast_to((mixed**2).mean(axis=1, keepdims=True), mixed.shape)
    made = exact.gradient(seen.world, judges.shuffled(seen.world, 1.0))
    mean, _ = paths.gradient(seen, credit)
    np.testing.assert_allclose(made.mean, mean, atol=1e-12)
    np.testing.assert_allclose(made.mean, exact.exact_gradient(seen.world) / 6, atol=1e-12)
    assert made.square.sum() == pytest.approx(paths.gradient_square(seen, square), rel=1e-10)


def test_errors_of_a_judge_have_the_variance_of_its_labels(seen):
    reward = np.zeros(seen.state.shape)
    reward[:, -1] = seen.returns
    label = reward + after(seen, seen.world.value)
    mean = seen.chance @ label.mean(axis=1)
    square = seen.chance @ (label**2).mean(axis=1)
    assert judges.label_variance(seen.world) == pytest.approx(square - mean**2, rel=1e-10)
    assert judges.error(seen.world, 0.6) == pytest.approx(2 * 0.64 * (square - mean**2), rel=1e-10)


def test_at_the_break_even_a_judge_is_worth_the_outcome(seen):
    world = seen.world
    fidelity = judges.break_even(world)
    assert 0 < fidelity < 1
    cells = judges.judged(world, fidelity)
    judged = judges.score(world, cells)
    assert judged.snr == pytest.approx(judges.outcome_snr(world), rel=1e-10)
    assert judged.cosine == pytest.approx(1.0)
    # The same words with the other sign lead away as far.
    contrary = judges.score(world, cells._replace(mean=-cells.mean))
    assert contrary.snr == -judged.snr


def test_gains_in_logarithm_add_up_along_trajectories(seen):
    shape = judges.logarithm(0.01)
    value = shape(seen.world.value)
    # The steps before the last.
    total = seen.chance @ (here(seen, value)[:, -1] - here(seen, value)[:, 0])
    assert judges.gain(seen.world, shape).total == pytest.approx(total, rel=1e-10)
    assert abs(judges.gain(seen.world, np.array).total) < 1e-12


def test_states_are_shared_as_in_every_group():
    """N = 3: whether another is in the same state and does something else."""
    found = paths.paths(Votes(3), POLICY)
    shares = np.zeros(3)
    for row in itertools.product(range(len(found.chance)), repeat=3):
        members = list(row)
        same = found.state[members] == found.state[members[0]]
        other = found.action[members] != found.action[members[0]]
        shares += np.prod(found.chance[members]) * np.any(same & other, axis=0)
    np.testing.assert_allclose(groups.state_share(found.world, 3), shares, rtol=1e-10)


@pytest.mark.parametrize("delay", [1, 3])
def test_a_trace_fades_once_for_each_step_or_turn(delay):
    task = casim.MemoryChain(delay=delay, write_turn=1)
    left = {name: memory.credit_at_write(task, arm) for name, arm in memory.ARMS.items()}
    # From the last token of a turn to the last of the one of use.
    assert left["step"] == pytest.approx(memory.FADE ** (3 * delay), rel=1e-9)
    assert left["turn"] == pytest.approx(memory.FADE**delay, rel=1e-9)
    assert left["state"] == pytest.approx(1.0)
    assert left["none"] == pytest.approx(1.0)


def test_what_is_seen_is_worth_its_mean_return():
    task = casim.MemoryChain(delay=1, write_turn=0)
    world = memory.reader(task)
    value = memory.seen_value(world)
    for step, m in enumerate(world.kernel):
        weight = world.occupancy[step][:, None] * world.emission[m]
        for column in weight.T:
            if column.sum() > 0:
                mean = column @ world.value[step] / column.sum()
                told = column > 0
                np.testing.assert_allclose(value[step][told], mean)


@pytest.fixture(scope="module")
def voted():
    """Nine votes, in units of three."""
    found = paths.paths(Votes(9), POLICY)
    return found, levels.units(9, 3)


def unit_credit(found, cut, table):
    """table_end(s_end) - table_first(s_first) along every trajectory; the return at the end."""
    credit = np.zeros(found.state.shape)
    for first, end in cut:
        later = found.returns if end == found.world.num_steps else table[end, found.state[:, end]]
        credit[:, first:end] = (later - table[first, found.state[:, first]])[:, None]
    return credit


def test_units_are_credited_as_along_trajectories(voted):
    found, cut = voted
    cells, _ = levels.credited(found.world, cut)
    assert_same(found, cells, unit_credit(found, cut, found.world.value))


def test_errors_of_a_critic_are_added_up_one_by_one(voted):
    """B and Z, by a critic that errs in one state at one time, for each of them."""
    found, cut = voted
    wanted = levels.moments(found.world, cut)
    right = np.zeros_like(found.world.value)
    known = unit_credit(found, cut, right)
    reach, errors = 0.0, 0.0
    for first, _ in cut:
        for state in range(right.shape[1]):
            wrong = right.copy()
            wrong[first, state] = 1.0
            error = unit_credit(found, cut, wrong) - known
            mean, _ = paths.gradient(found, error)
            reach += np.sum(mean**2)
            errors += paths.gradient_square(found, error**2)
    assert reach == pytest.approx(wanted.reach)
    assert errors == pytest.approx(wanted.errors)
    whole, _ = paths.gradient(found, unit_credit(found, cut, found.world.value))
    size = paths.gradient_square(found, unit_credit(found, cut, found.world.value) ** 2)
    assert wanted.noise == pytest.approx(size - np.sum(whole**2))


def test_units_of_a_step_are_td_and_a_single_one_is_the_outcome(voted):
    world = voted[0].world
    token, whole = (levels.moments(world, levels.units(9, length)) for length in (1, 9))
    assert token.noise == pytest.approx(exact.gradient(world, exact.td_error(world)).variance)
    assert token.reach == pytest.approx(critics.error_reach(world))
    centred = exact.gradient(world, exact.whole(world, world.start_value))
    assert whole.noise == pytest.approx(centred.variance)
    assert whole.reach == 0
    with pytest.raises(ValueError, match="length must divide 9 steps, got 2"):
        levels.units(9, 2)


def test_the_best_changes_where_the_tolerance_is_the_error():
    votes = critics.FAMILIES[1]
    length = critics.change(votes, 0, 0.55)
    around = [critics.crossing_errors(exact.solve(Votes(n), critics.POLICY))[0] for n in (11, 15)]
    assert 11 < length < 15
    assert around[0] < 0.55 < around[1]
