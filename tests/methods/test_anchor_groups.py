"""Groups by what was seen: loops over one nasty log, and what is known of them exactly."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import (
    ActionValues,
    Baseline,
    BySurprisal,
    Chain,
    Fade,
    NodeGain,
    NonzeroMean,
    Part,
    ShortestPath,
    Sum,
    ToGo,
    Whole,
    coverage,
)
from casim.oracle.moments import group_moments
from casim.testing import check_estimator
from casim.types import MDP, Batch, Kind
from tests.methods import reference_groups as ref
from tests.methods import reference_trainers as trainers
from tests.methods.test_identities import assert_cells, moments
from tests.methods.test_trainers import agree, rows
from tests.methods.tree import tree

VALUES = {
    "GIGPO": ref.gigpo,
    "GIGPO_STD": functools.partial(ref.gigpo, std=True),
    "GIGPO_TRAJECTORY": functools.partial(ref.gigpo, votes="trajectory"),
    "GIGPO_TRAJECTORY_STD": functools.partial(ref.gigpo, std=True, votes="trajectory"),
    "HGPO": ref.hgpo,
    "HGPO_CENTRED": functools.partial(ref.hgpo, std=False),
    "HGPO_BASE": functools.partial(ref.hgpo, base=True),
    "GRAPH_GPO": ref.graph_gpo,
    "G2PO": ref.g2po,
    "G2PO_RELEASED": functools.partial(ref.g2po, success=10.0),
    "GRAFT": ref.graft,
    "RTMC": ref.rtmc,
    "RTMC_SCALED": functools.partial(ref.rtmc, scaled=True),
    "ECPO": lambda log: ref.episodes(log, True, "trajectory") + ref.ecpo(log),
    "GIGPO_POOLED": lambda log: (
        ref.episodes(log, False, "trajectory", "zero") + ref.ecpo(log, 0.0, False)
    ),
    "GACA": ref.gaca,
    "TURN_LOO": ref.turn_loo,
}
TIGHT = {"GRAFT": 1e-9}
"""Where values are iterated."""


@pytest.fixture(scope="module")
def log():
    log = ref.seen()
    hole = log["live"] & ~log["mask"]
    turn = np.cumsum(hole, axis=1)
    return {**log, "turn": turn}


QUICKLY = ("GIGPO",)


@pytest.mark.parametrize(
    "name", [n if n in QUICKLY else pytest.param(n, marks=pytest.mark.slow) for n in VALUES]
)
def test_values_are_the_formula(log, name):
    share = TIGHT.get(name, 1e-10)
    agree(rows(name, log), VALUES[name](log), log, share, name)


def unlike(log):
    """The log, with nothing ever seen again."""
    label = np.arange(log["mask"].size).reshape(log["mask"].shape)
    return {**log, "observation": label}


def test_gigpo_of_one_vote_a_trajectory_is_dr_grpo_where_nothing_is_seen_again(log):
    found = rows("GIGPO_TRAJECTORY", unlike(log))
    agree(found, trainers.dr_grpo_verl(log), log, 1e-12, "trajectory")
    # Rows vote in its code, so it is another number where lengths differ, and the same elsewhere.
    counted = rows("GIGPO", unlike(log))
    assert np.abs(counted - found)[log["mask"]].max() > 0.01
    equal = {key: x[:, :1] if np.ndim(x) > 1 else x for key, x in unlike(log).items()}
    np.testing.assert_allclose(rows("GIGPO", equal), rows("GIGPO_TRAJECTORY", equal), atol=1e-12)


@pytest.mark.slow
def test_a_group_of_one_row_keeps_its_return_and_one_trajectory_of_several_rows_does_not(log):
    """The code asks how many rows there are, in the one; how many trajectories, in the other."""
    alone = log["prompt"] == 5
    one = {key: x[alone] for key, x in unlike(log).items()}
    earned = one["reward"].sum()
    assert earned == pytest.approx(0.8)
    mask = one["mask"]
    np.testing.assert_allclose(rows("GIGPO", one)[mask], 0.0, atol=1e-12)
    np.testing.assert_allclose(rows("GIGPO_TRAJECTORY", one)[mask], earned, atol=1e-12)
    single = {**one, "mask": np.arange(mask.shape[1]) == 5, "observation": one["observation"]}
    single["mask"] = np.broadcast_to(single["mask"], mask.shape)
    assert rows("GIGPO", single)[0, 5] == pytest.approx(earned)


@pytest.mark.slow
def test_coverage_is_the_share_of_the_decisions_that_are_met_again(log):
    with jax.enable_x64(True):
        found = jax.jit(lambda batch: coverage(None, batch))(Batch.from_arrays(**log))
    wanted = ref.coverage(log)
    assert np.nanmin(wanted) < 1
    np.testing.assert_allclose(found, wanted, atol=1e-12)


# What a group of the same state gives, exactly.


def bandit(chance, paid) -> tuple[MDP, np.ndarray]:
    """One decision, after which all is over."""
    actions = len(paid)
    shape = (1, 1, actions, 1)
    mdp = MDP(
        start=np.ones(1),
        schedule=np.zeros(1, int),
        successor=np.zeros(shape, int),
        prob=np.ones(shape),
        reward=np.reshape(np.asarray(paid, float), shape),
        emission=np.ones((1, 1, 1)),
        terminal=np.zeros(1, bool),
        decision=np.ones(1, bool),
        kind=np.array([Kind.THINK], int),
        segment=np.zeros(1, int),
        turn=np.zeros(1, int),
        agent=np.zeros(1, int),
        discount=np.ones(1),
        prompt=np.zeros(1, int),
    )
    return mdp, np.reshape(np.asarray(chance, float), (1, 1, actions))


def binomial(number, chance):
    """The probability of every count."""
    k = np.arange(number + 1)
    ways = np.array([math.comb(number, i) for i in k])
    return ways * chance**k * (1 - chance) ** (number - k)


def slope_of_std(value, number):
    """c(V, n) of binary returns: what a success adds to its own z-score, over the others."""
    total = 0.0
    for k, weight in enumerate(binomial(number - 1, value)):
        for own in (0, 1):
            every = [own] + [1] * k + [0] * (number - 1 - k)
            if number > 1 and 0 < sum(every) < number:
                z = (own - np.mean(every)) / (np.std(every, ddof=1) + 1e-6)
                total += weight * z * (1 if own else -1)
    return total


def visits(given, num):
    """How many of the group come to each state, its own visit included: chances `[n, S]`."""
    reach = np.zeros(8)
    reach[0] = 1.0
    reach[1:4] = given.policy[0, 0]
    return np.stack([binomial(num - 1, p) for p in reach], axis=1)


def advantage(given):
    """`[T, S, A]` at the states of the first prompt, which are of one step each."""
    value = (given.policy * given.q_value).sum(axis=-1, keepdims=True)
    return given.q_value - value


def by_visits(given, num, of_number):
    """The mean over how many come there of a function of their number `[T, S, A]`."""
    each = np.array([of_number(n + 1) for n in range(num)])
    return (visits(given, num) * each.reshape(num, -1)).sum(axis=0)[None, :, None]


CENTRED = Chain(ToGo(), Baseline("anchor", votes="step"))


@pytest.mark.parametrize("binary", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_centred_group_of_n_rows_of_a_state_gives_a_share_of_the_advantage(binary):
    """(n - 1) / n A, whatever the returns are; n is 1 and how many of the others come."""
    given, num = tree(binary), 3
    share = by_visits(given, num, lambda n: (n - 1) / n)
    assert_cells(moments(CENTRED, given, num), share * advantage(given))


@pytest.mark.slow
def test_leaving_one_out_gives_the_advantage_itself():
    """Where there is another; one alone keeps its return."""
    given, num = tree(False), 3
    recipe = Chain(ToGo(), Baseline("anchor", votes="step", own=False, single="raw"))
    peers = by_visits(given, num, lambda n: float(n > 1))
    value = given.q_value - advantage(given)
    assert_cells(moments(recipe, given, num), given.q_value - peers * value)


@pytest.mark.slow
def test_the_deviation_of_binary_returns_scales_the_advantage_by_how_even_the_odds_are():
    given, num = tree(), 4
    recipe = Chain(ToGo(), Baseline("anchor", votes="step", scale=True))
    value = (given.policy * given.q_value).sum(axis=-1)
    factor = np.zeros(value.shape)
    for t, s in ((0, 0), (1, 1), (1, 2), (1, 3)):
        chance = visits(given, num)[:, s]
        each = [slope_of_std(value[t, s], n + 1) for n in range(num)]
        factor[t, s] = chance @ np.array(each)
    assert np.ptp(factor[1, 1:4]) > 1e-3
    assert_cells(moments(recipe, given, num), factor[..., None] * advantage(given))


@pytest.mark.slow
def test_the_scale_is_even_in_the_odds_and_flat_for_groups_of_two_and_three():
    recipe = Chain(ToGo(), Baseline("anchor", votes="step", scale=True))

    def slope(value, num):
        mdp, policy = bandit([value / 3, 2 * value / 3, 1 - value], [1.0, 1.0, 0.0])
        found = group_moments(mdp, policy, recipe, num).expectation[0, 0]
        factor = found / np.array([1 - value, 1 - value, -value])
        np.testing.assert_allclose(factor, slope_of_std(value, num), atol=1e-12)
        return factor[0]

    for num in (2, 3, 4, 5):
        low, even, high = (slope(value, num) for value in (0.2, 0.5, 0.8))
        assert low == pytest.approx(high, abs=1e-9)
        if num <= 3:
            assert low == pytest.approx(even, abs=1e-5)
        else:
            assert low > even + 1e-3


@pytest.mark.slow
def test_more_than_two_returns_are_not_scaled_alike():
    recipe = Chain(ToGo(), Baseline("anchor", votes="step", scale=True))
    paid, chance = np.array([0.0, 0.3, 1.0]), np.array([0.5, 0.3, 0.2])
    found = group_moments(*bandit(chance, paid), recipe, 4).expectation[0, 0]
    factor = found / (paid - chance @ paid)
    assert np.ptp(factor) > 0.05


@pytest.mark.slow
def test_gigpo_adds_both_parts_at_discount_1():
    """(N - 1) / N (Q - V(prompt)) + E[(n - 1) / n] A."""
    given, num = tree(False), 3
    recipe = Sum(Chain(Whole(), Baseline("group")), CENTRED)
    share = by_visits(given, num, lambda n: (n - 1) / n)
    wanted = (num - 1) / num * given.target + share * advantage(given)
    assert_cells(moments(recipe, given, num), wanted)


@pytest.mark.slow
def test_a_mean_over_rows_is_another_where_length_and_return_go_together(log):
    """sum L R / sum L against mean R."""
    by_row = Chain(Whole(1.0), Baseline("group", votes="step"))
    score, length = trainers.scores(log), log["mask"].sum(axis=1)
    found = rows(by_row, log)
    for members in trainers.groups(log):
        mean = (length * score)[members].sum() / length[members].sum()
        for i in members:
            at = log["mask"][i]
            np.testing.assert_allclose(found[i, at], score[i] - mean, atol=1e-12)
    some = trainers.groups(log)[2]
    assert abs(np.average(score[some], weights=length[some]) - score[some].mean()) > 0.01


# Graphs.


def test_graph_gae_is_one_td_error_for_every_trace(log):
    """Once the values are those of the graph: all that can be reached adds nothing."""
    for trace in (0.5, 0.95):
        agree(rows("GRAFT", log), ref.graft(log, trace=trace), log, 1e-9, "trace")


@pytest.mark.slow
def test_without_merging_the_values_are_monte_carlo(log):
    apart = unlike(log)
    given = [
        rows(Chain(Whole(1.0), NodeGain(fit, "gain", 1.0)), apart)
        for fit in ("bellman", "monte_carlo")
    ]
    np.testing.assert_allclose(*given, atol=1e-12)
    np.testing.assert_allclose(given[0], 0.0, atol=1e-12)  # every node has the outcome itself


@pytest.mark.slow
def test_where_nothing_is_seen_again_graphs_are_plain_baselines(log):
    apart = unlike(log)
    grpo = ref.episodes(log, True, "trajectory", "zero")
    agree(rows("GRAPH_GPO", apart), grpo, log, 1e-12, "GraphGPO")
    assert not rows("HGPO", apart).any()
    # Shrunk Dr. GRPO: n_0 / (n_0 + 1) (R - mean R).
    recipe = Chain(Whole(1.0), Fade(1.0), ActionValues(node_prior=2.0, visits="first"))
    agree(rows(recipe, apart), 2 / 3 * trainers.dr_grpo(log), log, 1e-12, "RTMC")
    # V(s) = .95^k R and V(s') = .95^(k - 1) R: the node's term is 0, the edge's is of k alone.
    edge = rows(Chain(Whole(1.0), NodeGain("monte_carlo", "gain", 0.95)), apart)
    score = trainers.scores(log)
    for i, t, _, then, left in ref.edges(apart, range(len(score))):
        after = score[i] if then is None else 0.95 ** (left - 1) * score[i]
        assert edge[i, t] == pytest.approx(after - 0.95**left * score[i], abs=1e-12)


@pytest.mark.slow
def test_hgpo_of_one_view_is_gigpo_of_steps(log):
    steps = Chain(ToGo(0.95, gaps="earn"), Baseline("anchor", votes="step", ddof=0))
    one = NonzeroMean((steps,), (2.0,))
    label = log["observation"]
    wanted = ref.among(log, ref.to_go(log), lambda i, t: label[i, t], std=False)
    agree(rows(one, log), wanted * 2 / (2 + 1e-6), log, 1e-12, "one view")


@pytest.mark.slow
def test_the_shortest_path_points_where_the_best_policy_goes():
    """A corridor: on, or back to the start; the outcome is 1 at its end."""
    walks = [[0, 1, 2], [0, 0, 1, 2], [0, 1, 0, 0], [0, 1, 0, 1, 2], [0, 0, 0]]
    ends = [1.0, 1.0, 0.0, 1.0, 0.0]
    steps = max(map(len, walks))
    label, mask = np.zeros((5, steps), int), np.zeros((5, steps), bool)
    reward = np.zeros((5, steps))
    for i, (walk, end) in enumerate(zip(walks, ends, strict=True)):
        label[i, : len(walk)], mask[i, : len(walk)] = walk, True
        reward[i, len(walk) - 1] = end
    log = {"reward": reward, "mask": mask, "prompt": np.zeros(5, int), "observation": label}
    recipe = Chain(Whole(1.0), ShortestPath(), Baseline("anchor", votes="step", scale=True))
    found = rows(recipe, log)
    for i, t in zip(*np.nonzero(mask), strict=True):
        last = t + 1 == len(walks[i])
        on = ends[i] == 1 if last else label[i, t + 1] > label[i, t]
        # At the end of the corridor nobody ever turns back.
        assert np.sign(found[i, t]) == (0 if label[i, t] == 2 else 1 if on else -1)


@pytest.mark.slow
def test_rtmc_gives_a_share_of_the_advantage_where_all_of_the_group_come():
    """(n - 1) / n A: with all there, the mean outcome is the value of the state."""
    given, num = tree(False), 3
    recipe = Chain(Whole(1.0), Fade(1.0), ActionValues(node_prior=2.0, visits="first"))
    found = moments(recipe, given, num).expectation[0, 0]
    np.testing.assert_allclose(found, 2 / 3 * advantage(given)[0, 0], atol=1e-12)


@pytest.mark.slow
def test_the_shrinkage_of_ecpo_is_another_for_every_action():
    """E[n_a / (n_a + k_0) (1 - n_a / n)] / (1 - pi_a), n_a = 1 + Binomial(n - 1, pi_a)."""
    chance, paid, num = np.array([0.5, 0.3, 0.2]), np.array([0.2, 1.0, -0.5]), 4
    recipe = Chain(ToGo(), ActionValues(action_prior=2.0))
    found = group_moments(*bandit(chance, paid), recipe, num).expectation[0, 0]
    factor = found / (paid - chance @ paid)
    own = 1 + np.arange(num)
    for pi, given in zip(chance, factor, strict=True):
        wanted = binomial(num - 1, pi) @ (own / (own + 2) * (1 - own / num)) / (1 - pi)
        assert given == pytest.approx(wanted, abs=1e-12)
    assert np.ptp(factor) > 0.05


# Blends.


class Ideal(Part):
    """A table `[T, S, A]` instead of an estimate."""

    table: Any

    def __init__(self, table):
        object.__setattr__(self, "table", jnp.asarray(table))

    def apply(self, world, batch, credit):
        time = jnp.broadcast_to(jnp.arange(batch.action.shape[-1]), batch.action.shape)
        return credit._replace(value=self.table[time, batch.observation, batch.action])


@pytest.mark.slow
def test_gaca_pushes_rare_actions_down_in_states_better_than_the_start():
    """Centred over the actions, -(l(s, a) - E l) (V(s) - V(prompt)) is added, l = 1 - pi."""
    given = tree(False)
    own = advantage(given)
    recipe = BySurprisal((Ideal(given.target), Ideal(own)), "action")
    found = moments(recipe, given, 1).expectation
    policy = given.policy
    centred = found - (policy * found).sum(axis=-1, keepdims=True)
    share = 1 - policy
    mean_share = (policy * share).sum(axis=-1, keepdims=True)
    value = (policy * given.q_value).sum(axis=-1) - given.start_value
    wanted = own - (share - mean_share) * value[..., None]
    for t, s in ((0, 0), (1, 1), (1, 2), (1, 3)):
        np.testing.assert_allclose(centred[t, s], wanted[t, s], atol=1e-6)
    assert np.abs(wanted - own)[1, 1:4].max() > 0.01


@pytest.mark.slow
def test_gaca_of_sure_actions_is_grpo(log):
    sure = {**log, "log_prob": np.zeros(log["mask"].shape)}
    agree(rows("GACA", sure), ref.episodes(log, True, "trajectory", "zero"), log, 1e-12, "GACA")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShortestPath(omega=1.0), "omega must be in"),
        (lambda: ShortestPath(scale=0.0), "scale must be in"),
        (lambda: ShortestPath(success=float("nan")), "success must be in"),
        (lambda: NodeGain("td"), "fit must be one of"),
        (lambda: NodeGain(give="value"), "give must be one of"),
        (lambda: NodeGain(discount=1.5), "discount must be in"),
        (lambda: NodeGain(sweeps=0), "sweeps must be in"),
        (lambda: ActionValues(action_prior=-1.0), "action_prior must be in"),
        (lambda: ActionValues(node_prior=-1.0), "node_prior must be in"),
        (lambda: ActionValues(visits="last"), "visits must be one of"),
        (lambda: Fade(2.0), "discount must be in"),
        (lambda: Baseline("anchor", memory=0), "memory must be in"),
        (lambda: Baseline(ended="raw"), "ended must be one of"),
        (lambda: NonzeroMean((), ()), "members must hold at least one"),
        (lambda: NonzeroMean((Whole(),), (1.0, 2.0)), "weights must be 1"),
        (lambda: NonzeroMean((Whole(),), (0.0,)), "weights must be in"),
        (lambda: BySurprisal((Whole(),)), "members must be 2"),
        (lambda: BySurprisal((Whole(), 3)), "members must hold estimators"),
        (lambda: BySurprisal((Whole(), Whole()), "turn"), "over must be one of"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["GIGPO_STATE", "GRAFT", "GACA"])
def test_the_doors_that_a_recipe_opens_are_named_in_its_needs(name):
    check_estimator(methods.named_methods()[name].recipe, num_groups=200)
