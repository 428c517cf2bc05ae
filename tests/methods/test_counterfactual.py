"""Replays beside what happened: exact means, closed forms, NumPy, and what they cost."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import Alternatives, BesideSolo, Without
from casim.estimators.solo import Remembered
from casim.judges import Judge
from casim.oracle import path_target
from casim.simulate import World
from casim.tasks import Team
from casim.types import Batch
from tests import reference
from tests.enumeration import (
    QUICK,
    assert_mean,
    case,
    cell_mean,
    expected_gradient,
    returns_to_go,
    run,
    run_keys,
    solve,
    solved,
)
from tests.methods.every_action import judged

KEY = jax.random.key(6)
REPEATS = 400
branch = jax.jit(World.branch, static_argnames="num", compiler_options=QUICK)
aim_of = jax.jit(path_target, static_argnums=0, compiler_options=QUICK)


@functools.cache
def odd():
    """Rewards at every step, an environment's step, early ends, two start states."""
    return case(binary=False, actions=2, prompt=False, discount=0.75)


@functools.cache
def binary():
    return case(actions=2, prompt=False)


def drawn(recipe, one, world=None):
    keys = jax.random.split(KEY, REPEATS)
    return run_keys(recipe, keys, world or one.world, one.all.batch)


def along(one, table):
    """A table `[T, S]` of values at every step of every trajectory, 0 where not live."""
    state = np.asarray(one.all.batch.state)
    return table[np.arange(state.shape[1]), state] * np.asarray(one.all.batch.live)


def prefix_values(one):
    """r_t + discount V(s_{t+1}) of every live step."""
    batch = jax.tree.map(np.asarray, one.all.batch)
    goes_on = np.pad(batch.live[:, 1:], ((0, 0), (0, 1)))
    after = np.pad(along(one, one.exact.value[:-1])[:, 1:], ((0, 0), (0, 1))) * goes_on
    return (batch.reward + one.discount * after) * batch.live


# Branches with imposed actions.


@pytest.mark.slow
def test_a_branch_imposes_actions_after_its_step():
    one = odd()
    batch = one.all.batch
    rows, steps = batch.action.shape
    nothing = jnp.full((rows, steps), -1)
    free = branch(one.world, KEY, batch, 2, 3)
    same = branch(one.world, KEY, batch, 2, 3, actions=nothing)
    for x, y in zip(free, same, strict=True):
        np.testing.assert_array_equal(x, y)
    imposed = branch(one.world, KEY, batch, 2, 3, actions=nothing.at[:, 2].set(1))
    alone = branch(one.world, KEY, batch, 2, 3, action=1)
    for x, y in zip(imposed, alone, strict=True):
        np.testing.assert_array_equal(x, y)
    last = branch(one.world, KEY, batch, 2, 3, actions=nothing.at[:, 3].set(1))
    np.testing.assert_array_equal(last.action[..., :3], free.action[..., :3])
    assert (np.asarray(last.action)[..., 3] == np.asarray(last.live)[..., 3]).all()
    with pytest.raises(ValueError, match=r"actions.* must be in \[-1, 1\]"):
        one.world.branch(KEY, batch, 2, 1, actions=nothing + 9)


# C3.


@pytest.mark.slow
@pytest.mark.parametrize("leaves", [1, 2])
def test_left_out_siblings_are_worth_the_value_of_the_context(leaves):
    """Fact B2, in every trajectory: the mean credit is its return less V(s)."""
    one = odd()
    credit = drawn(Alternatives(3, "step", leaves), one)
    future = returns_to_go(one.all.batch, one.discount)
    own = future
    if leaves == 2:
        own = (future + prefix_values(one)) / 2
    assert_mean(credit.value, own - along(one, one.exact.value[:-1]))
    if leaves == 1:
        # Two siblings play from every live step to their ends.
        played = np.asarray(credit.cost.env_steps, np.float64)
        assert_mean(played, 2 * along(one, expected_steps(one)).sum(), rounding=1e-2)


def expected_steps(one):
    """The live steps that are left, from every step and state."""
    mdp = one.mdp._replace(reward=np.ones(np.shape(one.mdp.reward)), discount=np.ones(3))
    return reference.exact(mdp, one.policy).value[:-1]


@pytest.mark.slow
def test_the_baseline_of_a_critic_is_unbiased_whatever_it_says():
    """LOO(q) leaves i out: a bias of .5 shifts every action of a state alike."""
    one = odd()
    world = judged(one, judge=Judge("value", bias=0.5))
    credit = drawn(Alternatives(3, "step", signal="assisted"), one, world)
    wanted = returns_to_go(one.all.batch, one.discount) - along(one, one.exact.value[:-1])
    live = np.asarray(one.all.batch.live)
    assert_mean(credit.value, np.where(live, wanted - 0.5, 0.0))
    asked = 3 * live.sum()
    np.testing.assert_array_equal(np.asarray(credit.cost.judge_calls), asked)
    half = drawn(Alternatives(3, "step", signal="assisted", alpha=0.5), one, world)
    assert_mean(half.value, np.where(live, wanted - 0.25, 0.0))


@pytest.mark.slow
def test_values_alone_compare_what_the_critic_says():
    one = odd()
    credit = drawn(Alternatives(3, "step", signal="value"), one, judged(one, judge=Judge("value")))
    assert_mean(credit.value, prefix_values(one) - along(one, one.exact.value[:-1]))


def shrunk(value, num, epsilon=1e-6):
    """c(V, n) of the sheet: what the deviation of n siblings makes of A, for outcomes 0 and 1."""

    def f(own, right):
        total = right + own
        if total in (0, num):
            return 0.0
        share = total / num
        deviation = math.sqrt(num * share * (1 - share) / (num - 1)) * num / (num - 1)
        return (own - share) * num / (num - 1) / (deviation + epsilon)

    return sum(
        math.comb(num - 1, k) * value**k * (1 - value) ** (num - 1 - k) * (f(1, k) - f(0, k))
        for k in range(num)
    )


@pytest.mark.slow
def test_divided_by_the_deviation_the_mean_is_a_times_a_number_of_the_state():
    """Fact B3, for outcomes of 0 and 1."""
    one = binary()
    credit = drawn(Alternatives(4, "step", scale=True), one)
    mean = np.stack([cell_mean(one.mdp, one.all, x)[0] for x in np.asarray(credit.value)])
    mass = cell_mean(one.mdp, one.all, np.asarray(credit.value)[0])[1]
    factor = np.vectorize(lambda v: shrunk(v, 4))(one.exact.value[:-1])
    wanted = factor[..., None] * one.advantage
    assert_mean(mean[:, mass > 0], wanted[mass > 0])
    assert np.ptp(factor[mass.sum(-1) > 0]) > 0.05


@pytest.mark.slow
def test_a_sibling_alone_gets_nothing_and_a_mean_of_all_shrinks():
    one = odd()
    alone = run(Alternatives(1, "step"), KEY, one.world, one.all.batch)
    assert not np.asarray(alone.value).any()
    assert float(alone.cost.env_steps) == 0.0
    others, every = (
        run(Alternatives(3, "step", own=own), KEY, one.world, one.all.batch).value
        for own in (False, True)
    )
    np.testing.assert_allclose(every, 2 / 3 * others, atol=1e-5)


@pytest.mark.slow
def test_a_turn_gets_what_its_steps_share():
    """All steps of a turn have the credit of its first, and the return is from there."""
    one = odd()
    turn = np.array([0, 0, 1, 1])
    credit = drawn(Alternatives(3, "turn"), one)
    first = np.array([0, 0, 2, 2])
    future = returns_to_go(one.all.batch, one.discount)[:, first]
    value = along(one, one.exact.value[:-1])[:, first]
    live = np.asarray(one.all.batch.live)
    np.testing.assert_array_equal(np.asarray(one.mdp.turn), turn)
    assert_mean(credit.value, (future - value) * live)


# Without a unit.


@pytest.mark.slow
def test_a_step_beside_its_default_action_gets_its_counterfactual():
    one = odd()
    credit = drawn(Without("step", null=1), one)
    null = along(one, one.exact.q_value[..., 1])
    decided = np.asarray(one.mdp.decision)[np.asarray(one.mdp.schedule)]
    wanted = returns_to_go(one.all.batch, one.discount) - null
    assert_mean(np.asarray(credit.value)[:, :, decided], wanted[:, decided])


@pytest.mark.slow
def test_a_turn_beside_its_default_actions_is_restored_and_played_on():
    """E[G | the default action in all of it], by enumeration from the restored state."""
    one = odd()
    credit = drawn(Without("turn", null=1), one)
    live = np.asarray(one.all.batch.live)
    future = returns_to_go(one.all.batch, one.discount)
    decided = np.asarray(one.mdp.decision)[np.asarray(one.mdp.schedule)]
    wanted = np.zeros(live.shape)
    for first, end in ((0, 2), (2, 4)):
        imposed = np.full(4, -1)
        imposed[first:end] = np.where(decided[first:end], 1, -1)
        for state in range(5):
            start = np.eye(5)[state]
            paths = reference.enumerate_paths(
                one.mdp, one.policy, first=first, start=start, imposed=imposed
            )
            solo = paths.probability @ paths.returns(one.discount)
            here = np.asarray(one.all.batch.state)[:, first] == state
            gain = (future[:, first] - solo)[:, None] * live[:, first:end]
            wanted[:, first:end] = np.where(here[:, None], gain, wanted[:, first:end])
    assert_mean(credit.value, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("null", [None, 0])
def test_a_difference_reward_is_that_of_the_game(null):
    one = odd()
    recipe = Without("turn", null=null, rest="kept")
    credit = drawn(recipe, one)
    wanted = aim_of(recipe.target, one.world, truth_of(one), one.all.batch)
    assert_mean(credit.value, np.asarray(wanted))


def truth_of(one):
    return solve(one.mdp, one.policy)


@functools.cache
def team(**settings):
    mdp = Team(num_agents=3, coupling=1.0, **settings).build()
    return solved(mdp, reference.random_policy(4, mdp))


@pytest.mark.slow
@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
def test_a_difference_reward_has_the_exact_gradient_where_nobody_sees_it(order):
    one = team(order=order)
    target = Without("turn", null=0, rest="kept").target
    value = np.asarray(aim_of(target, one.world, truth_of(one), one.all.batch))
    found = expected_gradient(one.mdp, one.policy, one.all, value)
    error = np.abs(found - one.exact.gradient).max()
    assert (error < 1e-6) == (order == "simultaneous")
    assert error < 1e-6 or error > 1e-3


@pytest.mark.slow
def test_of_two_that_are_each_enough_neither_is_missed():
    """Redundancy: all right, and nobody's absence changes anything; synergy: each is the whole."""
    for joint, share in (("any", 0.0), ("all", 1.0)):
        one = team(joint=joint)
        right = ~np.asarray(one.all.batch.action).any(-1)
        target = Without("turn", null=1, rest="kept").target
        value = np.asarray(aim_of(target, one.world, truth_of(one), one.all.batch))
        np.testing.assert_allclose(value[right], share, atol=1e-6)


# CCPO.


@pytest.mark.slow
def test_a_message_that_is_ignored_makes_no_difference():
    """E[Delta] = 0 of an agent that does not matter, whatever it said; exact replays on average."""
    one = team(null_agent=0, order="simultaneous")
    credit = drawn(Without("turn", null=0), one)
    value = np.asarray(credit.value, np.float64)[..., 0]
    said = np.asarray(one.all.batch.action)[:, 0]
    for action in range(2):
        share = one.all.weight * (said == action)
        assert_mean(value @ share / share.sum(), np.array(0.0))


class History:
    """The statistics of the code, in NumPy: read before they are renewed."""

    def __init__(self, decay=0.99, warm=10):
        self.decay, self.warm = decay, warm
        self.mean = self.variance = None
        self.seen = 0

    @property
    def known(self):
        return self.mean is not None and self.seen >= self.warm

    @property
    def deviation(self):
        return math.sqrt(self.variance) if self.variance > 1e-6 else 1.0

    def score(self, x):
        return (x - self.mean) / (self.deviation + 1e-6) if self.known else x

    def renew(self, x):
        keep = self.decay if self.mean is not None else 0.0
        self.mean = keep * (self.mean or 0.0) + (1 - keep) * x.mean()
        self.variance = keep * (self.variance or 0.0) + (1 - keep) * x.var()
        self.seen += x.size


@pytest.mark.slow
def test_the_gated_roles_are_the_formula_from_batch_to_batch():
    rng = np.random.default_rng(3)
    recipe = BesideSolo(slope=1.5, gate=0.7)
    histories = [History() for _ in range(3)]
    live = np.ones((2, 3, 1), bool)
    with jax.enable_x64(True):
        batch = Batch.from_arrays(np.zeros((6, 1)), live.reshape(6, 1), np.repeat([0, 1], 3))
        state = tuple(Remembered.nothing() for _ in range(3))
        for size in (1.0, 0.3, 2.0, 0.0):
            joint, alone = size * rng.normal(size=(2, 2, 3))
            first, others, state = recipe._gated(
                batch, jnp.asarray(joint), jnp.asarray(alone), state
            )
            gain, together, apart = histories
            delta = joint - alone
            squashed = np.tanh(1.5 * gain.score(delta)) if gain.known else delta
            lean = gain.mean / (gain.deviation + 1e-6) if gain.known else 0.0
            share = 1 / (1 + math.exp(-0.7 * lean))
            mixed = share * together.score(joint) + (1 - share) * apart.score(alone)
            np.testing.assert_allclose(first, squashed, rtol=1e-9, atol=1e-12)
            np.testing.assert_allclose(others, mixed, rtol=1e-9, atol=1e-12)
            for history, x in zip(histories, (delta, joint, alone), strict=True):
                history.renew(x)


@pytest.mark.slow
def test_a_study_shows_what_the_code_hands_on_before_it_knows_anything():
    """A fresh start: the raw difference on the first turn, half of both runs on the others."""
    one = team()
    credit = run(BesideSolo(), KEY, one.world, one.all.batch)
    joint, alone, played = jax.jit(
        lambda: Without("turn").branched(
            KEY, one.world, one.world.attach(one_group(one)), one.mdp.turn == 0, 1.0
        )
    )()
    value = np.asarray(credit.value)
    np.testing.assert_allclose(value[:, 0], (joint - alone)[0], atol=1e-6)
    np.testing.assert_allclose(value[:, 1:], ((joint + alone) / 2)[0][:, None] + 0 * value[:, 1:])
    assert float(credit.cost.env_steps) == float(played) == value.size


def one_group(one):
    return jax.tree.map(lambda x: x[None], one.all.batch)


@pytest.mark.slow
def test_the_second_version_pays_for_help_and_takes_for_hurt():
    one = team()
    _, alone, _ = jax.jit(
        lambda: Without("turn").branched(
            KEY, one.world, one.world.attach(one_group(one)), one.mdp.turn == 0, 1.0
        )
    )()
    right = np.where(np.asarray(one.all.batch.reward).sum(-1) > 0, 1.0, -1.0)
    lonely = np.where(np.asarray(alone)[0] > 0, 1.0, -1.0)
    baseline = lonely.mean()
    bonus = 1.0 * ((right > 0) & (baseline < 0)) - 1.0 * ((right < 0) & (baseline > 0))
    assert bonus.any()
    helped = run(BesideSolo("helped"), KEY, one.world, one.all.batch).value
    np.testing.assert_allclose(helped[:, 0], right + 0.2 * bonus, atol=1e-6)
    np.testing.assert_allclose(helped[:, 2], right, atol=1e-6)
    margin = run(BesideSolo("margin"), KEY, one.world, one.all.batch).value
    np.testing.assert_allclose(margin[:, 0], right + 0.1 * (right - baseline), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Alternatives(0), "num must be in"),
        (lambda: Alternatives(unit="word"), "unit must be one of"),
        (lambda: Alternatives(leaves=0), "leaves must be in"),
        (lambda: Alternatives(signal="sum"), "signal must be one of"),
        (lambda: Alternatives(alpha=1.5), "alpha must be in"),
        (lambda: Alternatives(epsilon=-1.0), "epsilon must be in"),
        (lambda: Alternatives(discount=2.0), "discount must be in"),
        (lambda: Without("word"), "unit must be one of"),
        (lambda: Without(rest="sleeps"), "rest must be one of"),
        (lambda: Without(null=None), "null must be an action where the rest plays"),
        (lambda: Without(null=-1), "null must be in"),
        (lambda: Without(num_replays=0), "num_replays must be in"),
        (lambda: Without(discount=2.0), "discount must be in"),
        (lambda: BesideSolo("v3"), "form must be one of"),
        (lambda: BesideSolo(unit="word"), "unit must be one of"),
        (lambda: BesideSolo(null=-1), "null must be in"),
        (lambda: BesideSolo(slope=0.0), "slope must be in"),
        (lambda: BesideSolo(gate=float("inf")), "gate must be in"),
        (lambda: BesideSolo(bonus=float("nan")), "bonus must be in"),
        (lambda: BesideSolo(decay=1.5), "decay must be in"),
        (lambda: BesideSolo(warm=0), "warm must be in"),
    ],
)
def test_bad_settings_raise(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_survey_s_numbers_are_here_once():
    numbers = [method.number for method in methods.METHODS if method.number in (23, 24, 25)]
    assert sorted(numbers) == [23, 24, 25]
