"""Methods that branch or replay: exact values by enumeration, closed forms, and what they cost."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from casim import methods
from casim.estimators import (
    AllCoalitions,
    Chain,
    Completions,
    CutVine,
    DeadEnd,
    Lowest,
    Nonzero,
    Once,
    OverLength,
    Shapley,
    ToGo,
    TreeVine,
    Unlikely,
    Vine,
    Whole,
)
from casim.estimators.base import begin
from casim.oracle import path_target
from casim.oracle.shapley import coalition_values, shapley
from casim.simulate import World
from casim.targets import FirstError, FirstLoss
from casim.tasks import Bifurcation, ReasoningChain
from casim.testing import check_estimator
from tests import reference
from tests.enumeration import (
    QUICK,
    as_groups,
    assert_mean,
    case,
    cell_mean,
    expected_gradient,
    run,
    run_keys,
    solve,
    solved,
    td_error,
)
from tests.methods.worlds import small

give = jax.jit(
    lambda recipe, key, world, batch: recipe.credit(key, world, batch),
    static_argnums=0,
    compiler_options=QUICK,
)
phi_of = jax.jit(shapley, static_argnums=3, compiler_options=QUICK)
worth_of = jax.jit(coalition_values, static_argnums=3, compiler_options=QUICK)
aim_of = jax.jit(path_target, static_argnums=0, compiler_options=QUICK)
draw = jax.jit(World.groups, static_argnums=(2, 3), compiler_options=QUICK)
KEY = jax.random.key(3)
REPEATS = 400
THRESHOLD = 0.5


@functools.cache
def odd():
    """Rewards at every step, an environment's step, early ends, two start states."""
    return case(binary=False, actions=2, prompt=False)


@functools.cache
def binary():
    """One outcome of 0 or 1 at the end of an episode."""
    return case(actions=2, prompt=False)


def exactly(recipe, one):
    """The credit of every trajectory where the values of prefixes are exact: as K grows."""
    state, steps = np.asarray(one.all.batch.state), one.all.batch.state.shape[1]
    value = one.exact.value[np.arange(steps)[None, :], state]
    log = as_groups(one.world, one.all.batch)._replace(value=jnp.asarray(value)[None])
    credit = jax.jit(lambda: recipe.credit(KEY, None, log), compiler_options=QUICK)()
    return jax.tree.map(lambda x: np.asarray(x[0], np.float64), credit._replace(cost=()))


def gradient_of(recipe, one):
    credit = exactly(recipe, one)
    return expected_gradient(one.mdp, one.policy, one.all, credit.value * credit.weight)


def off_line(gradient, wanted):
    """What of a gradient is not along the wanted one, over its length."""
    slope = np.sum(gradient * wanted) / np.sum(wanted**2)
    return np.linalg.norm(gradient - slope * wanted) / np.linalg.norm(gradient)


def assert_odds(sample, probability, false_alarm=1e-6):
    """Tests how often each entry of independent rows of 0 and 1 is 1, by binomial tails."""
    count = np.asarray(sample, np.float64).sum(axis=0)
    below = stats.binom.cdf(count, len(sample), probability)
    above = stats.binom.sf(count - 1, len(sample), probability)
    assert np.minimum(below, above).min() > false_alarm / count.size


# VinePPO.


@pytest.mark.parametrize(
    "recipe",
    [
        Vine(unit="step"),
        Vine(unit="segment"),
        Vine(unit="turn"),
        CutVine(cut="count", interval=1),
        CutVine(cut="count", interval=2),
        CutVine(cut="count", interval=9),
    ],
    ids=repr,
)
def test_with_exact_values_fixed_boundaries_give_the_exact_gradient(recipe):
    np.testing.assert_allclose(gradient_of(recipe, odd()), odd().exact.gradient, atol=1e-5)


def test_with_exact_values_a_step_gets_its_td_error():
    given = exactly(Vine(unit="step"), odd()).value
    np.testing.assert_allclose(given, td_error(odd()), atol=1e-5)


def test_its_variance_in_a_cell_is_that_of_the_formula():
    one, branches = binary(), 2
    keys = jax.random.split(KEY, REPEATS)
    credit = run_keys(Vine(branches, "step"), keys, one.world, one.all.batch)
    value, advantage = one.exact.value, one.advantage
    state, action, live = (
        np.asarray(x) for x in (one.all.batch.state, one.all.batch.action, one.all.batch.live)
    )
    time = np.broadcast_to(np.arange(state.shape[1]), state.shape)
    off = np.asarray(credit.value, np.float64) - advantage[time, state, action]
    square = np.stack([cell_mean(one.mdp, one.all, x)[0] for x in off**2])
    mass = cell_mean(one.mdp, one.all, off[0])[1]
    goes_on = np.pad(live[:, 1:], ((0, 0), (0, 1)))
    next_state = np.pad(state[:, 1:], ((0, 0), (0, 1)))
    # In the last step, and where an episode ends, nothing is estimated after it.
    after = np.where(goes_on, value[time + 1, next_state], 0.0)
    worth = np.where(goes_on, after, np.asarray(one.all.batch.reward))
    later = cell_mean(one.mdp, one.all, after * (1 - after))[0]
    mean = cell_mean(one.mdp, one.all, worth)[0]
    spread = cell_mean(one.mdp, one.all, worth**2)[0] - mean**2
    before = (value * (1 - value))[: state.shape[1], :, None]
    wanted = later / branches + before / branches + spread
    assert_mean(square[:, mass > 0], wanted[mass > 0])
    assert spread[mass > 0].max() > 0.1


@functools.cache
def chain():
    """Four steps of which two decide, cut into `segments`; nothing ends early."""
    return Bifurcation(horizon=4, pivots=(0, 2), gap=0.8, recovery=0.5, num_segments=1)


@pytest.mark.slow
def test_one_segment_gives_the_return_less_one_estimate_of_the_prompt_that_the_group_shares():
    mdp = chain().build()
    world = World.make(mdp, reference.random_policy(2, mdp))
    batch = draw(world, KEY, 2, 5)
    returns = np.asarray(batch.reward).sum(-1)
    for shared, kinds in ((True, 1), (False, 2)):
        credit = give(Vine(3, shared=shared), jax.random.key(8), world, batch)
        estimate = returns[..., None] - np.asarray(credit.value)
        np.testing.assert_allclose(estimate * 3, np.round(estimate * 3), atol=1e-5)
        np.testing.assert_array_equal(np.ptp(estimate, axis=-1), 0.0)
        assert max(len(set(row)) for row in estimate[:, :, 0]) >= kinds
        assert shared == all(len(set(row)) == 1 for row in estimate[:, :, 0])
        paid = 2 if shared else 10
        assert float(credit.cost.env_steps) == paid * 3 * 4


def test_shared_prefixes_pay_once_and_have_one_value():
    one = case(binary=False, actions=2, prompt=False, terminal=False)
    steps = one.all.batch.action.shape[1]
    prefixes = [
        {
            (*row_seen[: t + 1], *row_did[:t])
            for row_seen, row_did in zip(
                np.asarray(one.all.batch.observation).tolist(),
                np.asarray(one.all.batch.action).tolist(),
                strict=True,
            )
        }
        for t in range(steps)
    ]
    credit = run(Vine(2, "step", shared=True), KEY, one.world, one.all.batch)
    wanted = 2 * sum(len(kinds) * (steps - t) for t, kinds in enumerate(prefixes))
    assert float(credit.cost.env_steps) == wanted
    assert len(prefixes[1]) < len(prefixes[-1]) < len(one.all.weight)
    # Those that share a prefix and the next state share the change of value, less the reward.
    change = np.asarray(credit.value - one.all.batch.reward)[:, 0]
    seen, did = np.asarray(one.all.batch.observation), np.asarray(one.all.batch.action)
    for start, action, then in itertools.product(range(5), range(2), range(5)):
        alike = (seen[:, 0] == start) & (did[:, 0] == action) & (seen[:, 1] == then)
        assert len(set(change[alike].round(5))) <= 1


def test_beyond_the_last_estimate_values_are_filled_from_the_end():
    one, most = odd(), 1
    given = exactly(Vine(unit="step", max_units=most), one).value
    live, reward = np.asarray(one.all.batch.live), np.asarray(one.all.batch.reward, np.float64)
    for row in range(len(live)):
        length = int(live[row].sum())
        value = [
            one.exact.value[t, one.all.batch.state[row, t]] if t <= most else None
            for t in range(length)
        ] + [0.0]
        for t in reversed(range(length)):
            if value[t] is None:
                value[t] = reward[row, t] + value[t + 1]
        wanted = [reward[row, t] + value[t + 1] - value[t] for t in range(length)]
        np.testing.assert_allclose(given[row, :length], wanted, atol=1e-5)
        assert not given[row, most + 1 :].any()


@pytest.mark.slow
def test_whitening_makes_tokens_of_a_batch_mean_0_and_deviation_1():
    mdp = chain().build()
    world = World.make(mdp, reference.random_policy(2, mdp))
    batch = draw(world, KEY, 2, 5)
    credit = give(methods.VINEPPO_WHITENED.recipe, KEY, world, batch)
    tokens = np.asarray(credit.value)[np.asarray(batch.decided)]
    np.testing.assert_allclose([tokens.mean(), tokens.std(ddof=1)], [0.0, 1.0], atol=1e-5)


# SPO, chains.


def by_loops(one, interval, threshold):
    """Credit of SPO-chain, trajectory by trajectory; no threshold is a cut by count."""
    batch = jax.tree.map(np.asarray, one.all.batch)
    decided = batch.live & np.asarray(one.mdp.decision)[np.asarray(one.mdp.schedule)]
    out = np.zeros(batch.reward.shape)
    for i, row in enumerate(batch.live):
        length = int(row.sum())
        unlikely = [
            t
            for t in range(length)
            if decided[i, t] and (threshold is None or np.exp(batch.log_prob[i, t]) < threshold)
        ]
        cuts = [*unlikely[::interval], length]
        for first, end in itertools.pairwise(cuts):
            later = one.exact.value[end, batch.state[i, end]] if end < length else 0.0
            earned = batch.reward[i, first:end].astype(float).sum()
            out[i, first:end] = earned + later - one.exact.value[first, batch.state[i, first]]
    return out


@pytest.mark.parametrize(("cut", "interval"), [("unlikely", 1), ("unlikely", 2), ("count", 2)])
def test_stretches_begin_before_every_ith_unlikely_action(cut, interval):
    given = exactly(CutVine(cut=cut, interval=interval, threshold=THRESHOLD), odd()).value
    wanted = by_loops(odd(), interval, THRESHOLD if cut == "unlikely" else None)
    np.testing.assert_allclose(given, wanted, atol=1e-5)
    before_first = (given == 0) & np.asarray(odd().all.batch.live)
    assert before_first.any() == (cut == "unlikely")


@pytest.mark.parametrize("masked", [False, True])
def test_cuts_at_unlikely_actions_are_biased_with_exact_values_masked_or_not(masked):
    source = CutVine(cut="unlikely", interval=1, threshold=THRESHOLD)
    recipe = Chain(source, Unlikely(THRESHOLD)) if masked else source
    gradient = gradient_of(recipe, odd())
    assert off_line(gradient, odd().exact.gradient) > 0.05


def test_likely_tokens_weigh_nothing():
    given = exactly(Chain(CutVine(threshold=THRESHOLD), Unlikely(THRESHOLD)), odd())
    batch = one_group(odd())
    likely = np.exp(np.asarray(batch.log_prob)) > THRESHOLD
    wanted = np.asarray(batch.decided) & ~likely
    np.testing.assert_array_equal(given.weight, wanted[0])
    assert (np.asarray(batch.decided) & likely).any()


def one_group(one):
    return as_groups(one.world, one.all.batch)


def test_one_stretch_gives_the_return_less_the_value_of_the_prompt():
    one = odd()
    given = exactly(CutVine(cut="count", interval=9), one).value
    returns = np.asarray(one.all.batch.reward, np.float64).sum(axis=1)
    start = one.exact.value[0, np.asarray(one.all.batch.state)[:, 0]]
    wanted = (returns - start)[:, None] * np.asarray(one.all.batch.live)
    np.testing.assert_allclose(given, wanted, atol=1e-5)


def test_its_estimates_have_the_exact_values_as_their_mean_and_pay_for_each_cut():
    one = case(binary=False, actions=2, prompt=False, terminal=False)
    keys = jax.random.split(KEY, REPEATS)
    recipe = CutVine(4, "unlikely", interval=1, threshold=THRESHOLD)
    credit = run_keys(recipe, keys, one.world, one.all.batch)
    assert_mean(credit.value, by_loops(one, 1, THRESHOLD))
    batch = one_group(one)
    unlikely = np.asarray(batch.decided) & (np.exp(np.asarray(batch.log_prob)) < THRESHOLD)
    left = 4 - np.arange(4)
    assert set(np.asarray(credit.cost.env_steps)) == {4 * (unlikely * left).sum()}


# SPO, trees.


@functools.cache
def three():
    """A group of three trajectories, of which one ends early."""
    one = odd()
    full = np.asarray(one.all.batch.live).all(axis=1)
    rows = [*np.flatnonzero(full)[[3, -4]], np.flatnonzero(~full)[0]]
    return one, jax.tree.map(lambda x: x[np.array(rows)], one.all.batch)


@pytest.mark.slow
def test_less_all_children_is_a_share_of_less_the_others():
    one, batch = three()
    recipe = TreeVine((2, 4), length=1)
    every = run(recipe, KEY, one.world, batch).value
    others = run(TreeVine((2, 4), length=1, baseline="others"), KEY, one.world, batch).value
    number = np.array([3, 2, 4, 4])  # children of the prompt, and of each node below
    np.testing.assert_allclose(every, (1 - 1 / number) * np.asarray(others), atol=1e-5)
    assert np.abs(others).max(axis=0).min() > 0.1


def test_two_children_over_their_deviation_are_plus_and_minus_1():
    one, batch = three()
    given = run(TreeVine((2, 2), length=1, baseline="scaled"), KEY, one.world, batch).value
    below = np.abs(np.asarray(given)[:, 1:])
    assert ((below < 1e-5) | (np.abs(below - 1) < 1e-5)).all()
    assert below.max() > 0.5


def test_an_edge_is_on_average_its_own_rollouts_and_the_others_less_the_mean_of_siblings():
    one, batch = three()
    children, keys = 3, jax.random.split(KEY, REPEATS)
    recipe = TreeVine((children,), length=2, baseline="others")
    given = run_keys(recipe, keys, one.world, batch)
    live, reward = np.asarray(batch.live), np.asarray(batch.reward, np.float64)
    node = np.where(live[:, 2], one.exact.value[2, np.asarray(batch.state)[:, 2]], 0.0)
    rest = reward[:, 2:].sum(axis=1)
    # The node's own continuation is one of its children.
    worth = reward[:, :2].sum(axis=1) + (rest + (children - 1) * node) / children
    siblings = (worth.sum() - worth) / 2
    wanted = np.stack([worth - siblings] * 2 + [rest - node] * 2, axis=1) * live
    assert_mean(given.value, wanted)


@pytest.mark.slow
def test_a_group_of_six_grows_a_tree_of_258_edges():
    mdp = Bifurcation(horizon=6, pivots=2).build()
    world = World.make(mdp, reference.random_policy(2, mdp))
    batch = draw(world, KEY, 1, 6)
    cost = give(methods.SPO_TREE.recipe, KEY, world, batch).cost
    own = 6 * 3
    assert float(cost.env_steps) == (258 - own) * 2  # two steps to an edge


@pytest.mark.slow
def test_edges_of_0_are_dropped_and_the_mean_is_over_what_is_left():
    mdp = Bifurcation(horizon=6, pivots=2).build()
    world = World.make(mdp, reference.random_policy(2, mdp))
    batch = draw(world, KEY, 2, 4)
    recipe = Chain(TreeVine((3, 2)), Nonzero(), OverLength("mean"))
    credit = give(recipe, KEY, world, batch)
    kept = np.asarray(credit.value) != 0
    np.testing.assert_array_equal(np.asarray(credit.weight) > 0, kept)
    weight = np.asarray(credit.weight)[kept]
    np.testing.assert_allclose(weight, 8 / kept.sum(), rtol=1e-5)
    assert 0 < kept.sum() < kept.size


# SCAR.


@functools.cache
def certain():
    """Certain transitions, one segment to a step, two segments to a turn."""
    task = Bifurcation(
        horizon=4, pivots=(1, 2), gap=1.0, base=0.5, recovery=1.0, num_segments=4, num_actions=3
    )
    mdp = task.build()
    mdp = mdp._replace(turn=jnp.asarray([0, 0, 1, 1]))
    return solved(mdp, reference.random_policy(2, mdp))


@functools.cache
def sure():
    """Certain transitions, a segment to a step, odd rewards at the end."""
    return solved(*small("chain", 1.0))


@functools.cache
def exact_shapley():
    one = sure()
    phi = phi_of(one.mdp, one.policy, one.all.batch, len(one.mdp.segment))
    return np.asarray(phi, np.float64)


@pytest.mark.parametrize(
    ("part", "exact"), [(None, False), (ToGo(), False), (Whole(), True)], ids=repr
)
def test_shapley_values_have_the_exact_gradient_only_as_a_whole(part, exact):
    one = sure()
    credit = begin(one_group(one))._replace(value=jnp.asarray(exact_shapley())[None])
    if part is not None:
        credit = part.apply(one.world, one_group(one), credit)
    gradient = expected_gradient(one.mdp, one.policy, one.all, credit.value[0])
    if exact:
        np.testing.assert_allclose(gradient, one.exact.gradient, atol=1e-5)
    else:
        assert off_line(gradient, one.exact.gradient) > 0.05


def test_they_sum_to_the_return_less_the_value_of_the_prompt():
    one = sure()
    returns = np.asarray(one.all.batch.reward, np.float64).sum(axis=1)
    start = one.exact.value[0, np.asarray(one.all.batch.state)[:, 0]]
    np.testing.assert_allclose(exact_shapley().sum(axis=1), returns - start, atol=1e-5)


@functools.cache
def some_rows():
    one = case(binary=False, actions=2, prompt=False, discount=0.875)
    mdp = one.mdp._replace(segment=jnp.asarray([0, 0, 1, 2]), turn=jnp.asarray([0, 0, 1, 1]))
    rows = np.random.default_rng(0).choice(len(one.all.weight), 9, replace=False)
    batch = jax.tree.map(lambda x: x[rows], one.all.batch)
    return mdp, one.policy, World.make(mdp, jnp.asarray(one.policy)), batch


@pytest.mark.slow
def test_all_coalitions_are_unbiased_and_cost_a_rerun_each():
    mdp, policy, world, batch = some_rows()
    keys = jax.random.split(KEY, REPEATS)
    given = run_keys(AllCoalitions(2), keys, world, batch)
    phi = np.asarray(phi_of(mdp, policy, batch, 3))[:, [0, 0, 1, 2]]
    assert_mean(given.value, phi * np.asarray(batch.live))
    cost = run(AllCoalitions(2), KEY, *endless()).cost
    assert float(cost.env_steps) == 2 * 2**2 * endless()[1].action.size


@functools.cache
def endless():
    one = case(binary=False, actions=2, prompt=False, terminal=False)
    return one.world, one.all.batch


@pytest.mark.slow
def test_owen_values_are_the_mean_over_orders_that_keep_turns_together():
    one = sure()
    assert list(one.mdp.turn) == [0, 0, 1]
    value = np.asarray(worth_of(one.mdp, one.policy, one.all.batch, 3), np.float64)
    orders = [(0, 1, 2), (1, 0, 2), (2, 0, 1), (2, 1, 0)]
    phi = np.zeros((len(value), 3))
    for order in orders:
        inside = 0
        for player in order:
            phi[:, player] += value[:, inside | 1 << player] - value[:, inside]
            inside |= 1 << player
    keys = jax.random.split(KEY, REPEATS)
    given = run_keys(Shapley(4, unions=True), keys, one.world, one.all.batch).value
    assert_mean(given, phi / len(orders))
    with pytest.raises(AssertionError, match="largest excess"):
        assert_mean(given, exact_shapley())


def test_rewards_of_scar_sum_to_the_shapley_values_and_the_return_in_their_shares():
    one = certain()
    given = np.asarray(run(methods.SCAR_REWARD.recipe, KEY, one.world, one.all.batch).value)
    returns = np.asarray(one.all.batch.reward).sum(axis=1)
    # Every one of 4 orders sums to R - v(none), and v(none) is 0 or 1: half of their mean, and R/2.
    none = 4 * (returns - given[:, 0]) / 0.5
    np.testing.assert_allclose(none, np.round(none), atol=1e-4)
    assert none.min() >= 0
    assert none.max() <= 4
    # The rewards of the steps before are gone from what is left.
    assert (np.abs(np.diff(given, axis=1)).max(axis=0) > 0.1).sum() == 2  # of two pivots


def test_a_value_is_earned_once_and_the_lowest_stands_for_all():
    batch = one_group(odd())
    live, segment = np.asarray(batch.live[0]), np.asarray(batch.segment[0])
    value = np.random.default_rng(0).integers(-9, 9, live.shape) * live
    credit = begin(batch)._replace(value=jnp.asarray(value, jnp.float32)[None])
    once = np.asarray(Once().apply(None, batch, credit).value[0])
    lowest = np.asarray(Lowest().apply(None, batch, credit).value[0])
    nonzero = np.asarray(Nonzero().apply(None, batch, credit).weight[0])
    for row in range(len(live)):
        length = int(live[row].sum())
        ends = [
            t for t in range(length) if t + 1 == length or segment[row, t] != segment[row, t + 1]
        ]
        wanted = np.where(np.isin(np.arange(live.shape[1]), ends), value[row], 0)
        np.testing.assert_array_equal(once[row], wanted)
        np.testing.assert_array_equal(lowest[row, :length], value[row, :length].min())
    np.testing.assert_array_equal(nonzero > 0, (value != 0) & np.asarray(batch.decided[0]))
    assert not lowest[~live].any()


# Math-Shepherd and OmegaPRM.


def value_after(one):
    """V(s_{t+1}), or the outcome where the episode has ended."""
    batch = jax.tree.map(np.asarray, one.all.batch)
    steps = np.arange(batch.state.shape[1])
    goes_on = np.pad(batch.live[:, 1:], ((0, 0), (0, 1)))
    next_state = np.pad(batch.state[:, 1:], ((0, 0), (0, 1)))
    return np.where(goes_on, one.exact.value[steps + 1, next_state], batch.reward)


@pytest.mark.parametrize("label", ["soft", "hard"])
def test_a_soft_label_has_mean_v_and_a_hard_one_saturates(label):
    one, number = binary(), 3
    keys = jax.random.split(KEY, REPEATS)
    given = run_keys(Completions(number, label, "step"), keys, one.world, one.all.batch).value
    after, live = value_after(one), np.asarray(one.all.batch.live)
    wanted = after if label == "soft" else 1 - (1 - after) ** number
    if label == "soft":
        assert_mean(given, np.where(live, wanted, 0.0))
    else:
        assert_odds(given, np.where(live, wanted, 0.0))
    assert np.abs(wanted - after)[live].max() > (0.2 if label == "hard" else -1)


def test_labels_cost_n_completions_of_every_unit_but_the_last():
    world, batch = endless()
    rows, steps = batch.action.shape
    cost = run(Completions(3, unit="step"), KEY, world, batch).cost
    assert float(cost.env_steps) == 3 * rows * sum(range(1, steps))


def search_odds(after, number):
    """P(each unit is marked) of a failed trajectory, from the values after its units."""
    odds = np.zeros(len(after))

    def search(low, high, chance):
        if low == high:
            odds[low] += chance
            return
        middle = (low + high) // 2
        hopeless = (1 - after[middle]) ** number
        search(low, middle, chance * hopeless)
        search(middle + 1, high, chance * (1 - hopeless))

    search(0, len(after) - 1, 1.0)
    return odds


def test_a_search_marks_every_step_with_the_odds_of_its_probes():
    one, number = binary(), 2
    keys = jax.random.split(KEY, REPEATS)
    given = run_keys(DeadEnd(number), keys, one.world, one.all.batch).value
    after, live = value_after(one), np.asarray(one.all.batch.live)
    failed = np.asarray(one.all.batch.reward).sum(axis=1) == 0
    wanted = np.zeros(live.shape)
    for row in np.flatnonzero(failed):
        length = int(live[row].sum())
        wanted[row, :length] = search_odds(after[row, :length], number)
    assert_odds(given, wanted)
    assert (np.asarray(given).sum(axis=-1) == failed).all()


@pytest.mark.slow
def test_a_hopeful_state_is_missed_with_the_chance_that_all_completions_fail():
    """Two units: the first is called wrong if the state after it, of value V, looks hopeless."""
    task = Bifurcation(horizon=2, pivots=(1,), gap=0.4, base=0.4, num_segments=2)
    mdp = task.build()
    policy = reference.random_policy(2, mdp)
    one = solved(mdp, policy)
    failed = np.asarray(one.all.batch.reward).sum(axis=1) == 0
    value = one.exact.value[1, np.asarray(one.all.batch.state)[:, 1]]
    for number in (1, 3):
        keys = jax.random.split(KEY, REPEATS)
        given = run_keys(DeadEnd(number, "segment"), keys, one.world, one.all.batch).value
        assert_odds(np.asarray(given)[..., 0], failed * (1 - value) ** number)
    assert 0.1 < value.min() < 0.9


def test_the_search_costs_a_logarithm_of_probes():
    mdp = Bifurcation(horizon=16, pivots=3, gap=0.0, base=0.0).build()
    world = World.make(mdp, reference.random_policy(2, mdp))
    batch = draw(world, KEY, 1, 3)  # none ever succeeds: the first step is marked
    credit = give(DeadEnd(5), KEY, world, batch)
    np.testing.assert_array_equal(np.asarray(credit.value).sum(axis=-1), 1)
    assert np.asarray(credit.value)[..., 0].all()
    middles = (7, 3, 1, 0)
    assert float(credit.cost.env_steps) == 3 * 5 * sum(15 - middle for middle in middles)
    linear = 3 * 5 * sum(range(1, 16))  # of completions of every step
    assert float(credit.cost.env_steps) < 0.5 * linear


@functools.cache
def agreement(correction, target):
    """How often OmegaPRM marks the step that the target does, among rollouts that failed."""
    task = ReasoningChain(
        num_steps=4,
        tokens_per_step=2,
        fork_share=0.5,
        difficulty=(1.0,),
        correction=correction,
        finish=1.0,
        luck=0.0,
        may_stop=False,
    )
    mdp = task.build()
    policy = jnp.full((*mdp.emission.shape[::2], mdp.prob.shape[2]), 1 / mdp.prob.shape[2])
    world, truth = World.make(mdp, policy), solve(mdp, policy)
    rows = reference.rollout(world, KEY, 100)
    failed = np.asarray(rows.reward).sum(axis=1) == 0
    marked = run(DeadEnd(64), KEY, world, rows).value
    wanted = aim_of(target, world, truth, rows)
    same = (np.asarray(marked) == np.asarray(wanted)).all(axis=1)
    assert failed.sum() > 30
    return same[failed].mean()


@pytest.mark.slow
def test_where_errors_are_corrected_the_search_does_not_find_the_first_one():
    assert agreement(0.0, FirstError()) > 0.95
    assert agreement(0.6, FirstError()) < 0.5
    # It still finds where hope was lost, which is another step.
    assert agreement(0.6, FirstLoss()) > 0.95


# What all of them have in common.

SOURCES = [
    Vine(2, "step", shared=True),
    Vine(2, max_units=1),
    CutVine(2, interval=2),
    CutVine(2, "count", 2),
    TreeVine((2, 3)),
    TreeVine((2,), baseline="others"),
    Completions(2),
    DeadEnd(2),
    Shapley(2, unions=True),
    AllCoalitions(),
    Chain(Completions(2), Lowest()),
    Chain(TreeVine((2,)), Nonzero()),
    Chain(CutVine(2), Unlikely(0.5)),
    Chain(Shapley(2), Once()),
]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SOURCES, ids=repr)
def test_each_passes_the_contract(recipe):
    check_estimator(recipe, num_groups=1000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Vine(max_units=-1), "max_units must be in"),
        (lambda: Vine(unit="agent"), "unit must be one of"),
        (lambda: CutVine(0), "num_branches must be"),
        (lambda: CutVine(cut="word"), "cut must be one of"),
        (lambda: CutVine(interval=0), "interval must be"),
        (lambda: CutVine(threshold=0.0), "threshold must be in"),
        (lambda: TreeVine((1,)), "branching must be"),
        (lambda: TreeVine(length=0), "length must be"),
        (lambda: TreeVine(baseline="none"), "baseline must be one of"),
        (lambda: Completions(0), "num must be"),
        (lambda: Completions(label="firm"), "label must be one of"),
        (lambda: Completions(unit="agent"), "unit must be one of"),
        (lambda: Completions(success=math.nan), "success must be in"),
        (lambda: DeadEnd(0), "num must be"),
        (lambda: DeadEnd(unit="agent"), "unit must be one of"),
        (lambda: DeadEnd(success=math.inf), "success must be in"),
        (lambda: AllCoalitions(0), "num_reruns must be"),
        (lambda: Unlikely(0.0), "threshold must be in"),
        (lambda: Once("agent"), "unit must be one of"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


def test_worlds_of_many_segments_are_refused_by_all_coalitions(unhooked):
    mdp = Bifurcation(horizon=13, num_segments=13).build()
    world = World.make(mdp, reference.random_policy(2, mdp))
    with pytest.raises(ValueError, match=r"number of segments must be in \[1, 12\], got 13"):
        jax.eval_shape(lambda: AllCoalitions().credit(KEY, world, world.groups(KEY, 1, 2)))
