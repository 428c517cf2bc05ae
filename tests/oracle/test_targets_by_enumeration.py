"""Every target against trajectories written out, in float64: other code, no dynamic programming.

Worlds of one shape, with hidden states, unequal lengths and a step of the environment, at discount
1, below, and one of each kernel: noisy observations; observations that two states share; a return
of 0 or 1; and two prompts.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import targets
from casim.oracle import path_target
from casim.simulate import World
from casim.types import MDP, Trajectory
from tests import reference
from tests.enumeration import (
    QUICK,
    expected_gradient,
    returns_to_go,
    solve,
    trajectories,
)

UNITS = ("step", "segment", "turn", "agent", "episode")
LATENT = (0, 1, 1, 0, 1)
BINARY = (0.0, 1.0)
EIGHTHS = tuple(float(x) for x in np.arange(-64, 65) / 8)
"""Every return-to-go of the worlds, undiscounted."""
RECIPES = {
    targets.Advantage(),
    targets.HistoryAdvantage(),
    targets.HistoryGain(),
    targets.TrajectoryAdvantage(),
    targets.TdError(),
    targets.SegmentAdvantage(),
    targets.LogGain(),
    targets.LatentGain(LATENT),
    targets.EntropyGain(),
    targets.Soft(),
    targets.Regularised(),
    targets.Redistribution(),
    targets.HindsightRatio(),
    targets.Counterfactual(1),
    targets.FirstError(),
    targets.StepError(),
    targets.FirstLoss(),
    targets.Shapley(),
    targets.Difference(),
    targets.Subgoal((1, 4)),
}


class Setting(NamedTuple):
    """A world, every trajectory of it, and every target along each."""

    mdp: MDP
    policy: np.ndarray
    reference: np.ndarray
    rate: np.ndarray
    """What each step discounts by."""
    world: World
    weight: np.ndarray
    batch: Trajectory

    def at(self, recipe) -> np.ndarray:
        """The oracle's answer along each trajectory."""
        truth = solve(self.mdp, self.policy)
        return np.asarray(_evaluate(recipe, self.world, truth, self.batch), np.float64)

    @property
    def future(self) -> np.ndarray:
        return self.to_go(self.batch.reward)

    def to_go(self, reward) -> np.ndarray:
        """Rewards from each step on, discounted to it."""
        out = np.zeros(self.batch.live.shape)
        later = 0.0
        for t in reversed(range(out.shape[1])):
            later = np.asarray(reward, np.float64)[:, t] + self.rate[t] * later
            out[:, t] = later
        return np.where(self.batch.live, out, 0.0)

    @property
    def scale(self) -> np.ndarray:
        """The weight of each step in the return."""
        return np.cumprod(np.append(1.0, self.rate[:-1]))

    @property
    def decided(self) -> np.ndarray:
        return self.batch.live & np.asarray(self.mdp.decision)[np.asarray(self.mdp.schedule)]

    def mean(self, x, key) -> np.ndarray:
        """E[x_t | key(t)] over the trajectories that are live at t, along each of them."""
        out = np.zeros(self.batch.live.shape)
        for t in range(out.shape[1]):
            _, group = np.unique(key(t), axis=0, return_inverse=True)
            weight = self.weight * self.batch.live[:, t]
            total = np.bincount(group, weight)
            mean = np.bincount(group, weight * x[:, t]) / np.where(total > 0, total, 1.0)
            out[:, t] = mean[group]
        return np.where(self.batch.live, out, 0.0)

    def state(self, t) -> np.ndarray:
        return self.batch.state[:, [t]]

    def cell(self, t) -> np.ndarray:
        return np.stack([self.batch.state[:, t], self.batch.action[:, t]], axis=1)

    @property
    def prompt(self) -> np.ndarray:
        return np.asarray(self.mdp.prompt)[self.batch.state[:, :1]]

    def known(self, t) -> np.ndarray:
        """The prompt, and the history before the action."""
        seen = self.batch.observation[:, : t + 1]
        return np.concatenate([self.prompt, seen, self.batch.action[:, :t]], axis=1)

    def done(self, t) -> np.ndarray:
        """The history and the action."""
        return np.concatenate([self.known(t), self.batch.action[:, [t]]], axis=1)


# One compilation of each recipe serves all worlds.
_evaluate = jax.jit(path_target, static_argnums=0, compiler_options=QUICK)


def _setting(mdp, policy, discount) -> Setting:
    mdp = mdp._replace(
        agent=jnp.asarray([2, 0, 2, 0]),
        turn=jnp.asarray([0, 0, 0, 1]),
        discount=jnp.broadcast_to(jnp.asarray(discount, jnp.float32), mdp.discount.shape),
    )
    other = reference.random_policy(5, mdp)
    made = World.make(mdp, jnp.asarray(policy), reference=jnp.asarray(other))
    world = dataclasses.replace(made, noisy_emission=True)
    every = trajectories(mdp, policy)
    # Rows of no weight: batches of one size.
    rows = np.arange(ROWS) % len(every.weight)
    weight = np.where(np.arange(ROWS) < len(every.weight), every.weight[rows], 0.0)
    batch = jax.tree.map(lambda x: np.asarray(x)[rows], every.batch)
    rate = np.asarray(mdp.discount, np.float64)[np.asarray(mdp.schedule)]
    return Setting(mdp, policy, other, rate, world, weight, batch)


ROWS = 2208


def _process():
    mdp, policy = reference.random_mdp(
        7, schedule=(0, 1, 0, 2), states=5, actions=2, observations=3, successors=3
    )
    return mdp._replace(start=jnp.asarray([0.0, 0.25, 0.125, 0.375, 0.25])), policy


@functools.cache
def noisy(discount) -> Setting:
    return _setting(*_process(), discount)


@functools.cache
def aliased(discount) -> Setting:
    """Two states show the first observation, and two the second."""
    mdp, policy = _process()
    shows = np.broadcast_to(np.eye(3)[[0, 1, 2, 0, 1]], mdp.emission.shape)
    return _setting(mdp._replace(emission=jnp.asarray(shows, jnp.float32)), policy, discount)


@functools.cache
def binary(discount) -> Setting:
    """Success is to end early, or a lucky last step."""
    mdp, policy = _process()
    wins = np.asarray(mdp.successor) == 2
    wins[2, ..., 0] = True
    return _setting(mdp._replace(reward=jnp.asarray(wins, jnp.float32)), policy, discount)


@functools.cache
def prompted(discount) -> Setting:
    """Two prompts, each with start states of its own that differ in what is hidden."""
    mdp, policy = _process()
    return _setting(mdp._replace(prompt=jnp.asarray([1, 0, 0, 1, 0])), policy, discount)


worlds = pytest.mark.parametrize("world", [noisy, binary])
prompts = pytest.mark.parametrize("world", [noisy, binary, prompted])


def _slow(*values):
    """Cases that need a program of their own."""
    return [pytest.param(*x, marks=pytest.mark.slow) for x in values]


discounts = pytest.mark.parametrize(
    "discount", [(0.5, 1.0, 0.75), *_slow((1.0,), (0.875,))], ids=str
)


def close(found, wanted, atol=1e-5):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=atol)


@worlds
@discounts
def test_the_worlds_are_of_unequal_lengths_with_forced_steps(world, discount):
    given = world(discount)
    assert len(set(given.batch.live.sum(axis=1))) > 2
    assert (given.batch.live & ~given.decided).any()
    assert max(given.batch.live.sum(axis=1)) == len(given.mdp.schedule)


@worlds
@discounts
def test_advantage(world, discount):
    given = world(discount)
    wanted = given.mean(given.future, given.cell) - given.mean(given.future, given.state)
    close(given.at(targets.Advantage()), wanted)


@prompts
@discounts
def test_history_advantage(world, discount):
    given = world(discount)
    wanted = given.mean(given.future, given.done) - given.mean(given.future, given.known)
    close(given.at(targets.HistoryAdvantage()), wanted)


@discounts
def test_the_mean_advantage_given_the_history_is_that_of_the_history_but_for_a_baseline(discount):
    """Where the policy reacts to noise in the observation, V(h) knows it and V(s) does not."""
    given = noisy(discount)
    known = given.at(targets.HistoryAdvantage())
    latent = given.at(targets.Advantage())
    offset = given.mean(latent, given.done) - known
    close(offset, given.mean(offset, given.known))
    assert np.abs(offset).max() > 0.01
    assert np.abs(latent - known).max() > 0.01


@discounts
def test_the_mean_advantage_given_the_history_is_that_of_the_history(discount):
    """A state always shows the same observation: E[A(s, a) | h] = A(h, a)."""
    given = aliased(discount)
    known = given.at(targets.HistoryAdvantage())
    latent = given.at(targets.Advantage())
    close(given.mean(latent, given.done), known)
    assert np.abs(latent - known).max() > 0.01


@prompts
@discounts
def test_history_gain(world, discount):
    given = world(discount)
    value = given.mean(given.future, given.known)
    later = np.concatenate([value[:, 1:], 0 * value[:, :1]], axis=1)
    wanted = np.where(given.batch.live, given.batch.reward + given.rate * later - value, 0.0)
    gain = given.at(targets.HistoryGain())
    close(gain, wanted)
    close(given.mean(gain, given.done), given.at(targets.HistoryAdvantage()))


@worlds
@discounts
def test_latent_gain(world, discount):
    given = world(discount)
    label = np.array(LATENT)[given.batch.state]
    goes_on = np.concatenate([given.batch.live[:, 1:], np.zeros_like(given.batch.live[:, :1])], 1)
    belief = given.mean(label, given.known)
    truth = np.where(label == 1, belief, 1 - belief)
    surprise = [
        np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0) for p in (belief, 1 - belief)
    ]
    entropy = -sum(surprise)

    def change(x):
        return np.where(goes_on, np.roll(x, -1, axis=1) - x, 0.0)

    safe = np.log(np.where(given.batch.live, truth, 1.0))
    wanted = {"probability": change(truth), "log": change(safe), "entropy": -change(entropy)}
    for form, value in wanted.items():
        close(given.at(targets.LatentGain(LATENT, form)), value)


@prompts
@discounts
def test_trajectory_advantage(world, discount):
    given = world(discount)
    returns = np.asarray(given.batch.reward, np.float64) @ given.scale
    whole = np.broadcast_to(returns[:, None], given.batch.live.shape)
    expected = np.zeros(len(returns))
    for label in (0, 1):
        here = given.prompt[:, 0] == label
        mass = given.weight[here].sum()
        expected[here] = given.weight[here] @ returns[here] / max(mass, 1e-9)
    wanted = given.mean(whole - expected[:, None], given.cell)
    close(given.mean(given.at(targets.TrajectoryAdvantage()), given.cell), wanted)


@worlds
@discounts
@pytest.mark.parametrize("unit", UNITS)
def test_segment_advantage(world, discount, unit):
    """Rewards of the unit, and values where it is entered and left, one step at a time."""
    given = world(discount)
    value = given.mean(given.future, given.state)
    labels = _labels(given, unit)
    wanted = np.zeros(given.batch.live.shape)
    for row, live in enumerate(given.batch.live):
        for label in set(labels):
            steps = [t for t in np.flatnonzero(labels == label) if live[t]]
            first = np.flatnonzero(labels == label)[0]
            total = 0.0
            for t in steps:
                goes_on = t + 1 < len(live) and live[t + 1]
                after = given.rate[t] * value[row, t + 1] if goes_on else 0.0
                total += np.prod(given.rate[first:t]) * (
                    given.batch.reward[row, t] + after - value[row, t]
                )
            wanted[row, steps] = total
    close(given.at(targets.SegmentAdvantage(unit)), wanted)


supports = pytest.mark.parametrize(
    ("world", "support"), [(binary, BINARY), *_slow((noisy, EIGHTHS))]
)


@supports
@discounts
def test_entropy_gain(world, support, discount):
    given = world(discount)
    togo = returns_to_go(given.batch, 1.0)
    entropy = 0.0
    for z in support:
        chance = given.mean(np.isclose(togo, z), given.state)
        entropy = entropy - chance * np.log(np.where(chance > 0, chance, 1.0))
    later = np.concatenate([entropy[:, 1:], 0 * entropy[:, :1]], axis=1)
    found = given.at(targets.EntropyGain(support))
    close(found, np.where(given.batch.live, entropy - later, 0.0))
    close(found.sum(axis=1), entropy[:, 0])


@supports
@discounts
def test_hindsight_ratio(world, support, discount):
    given = world(discount)
    togo = returns_to_go(given.batch, 1.0)
    for outcome in (None, *support) if support == BINARY else (None,):
        ratio = _ratio(given, togo, support, outcome)
        possible = np.isfinite(ratio)
        found = given.at(targets.HindsightRatio(outcome, support))
        np.testing.assert_array_equal(np.isfinite(found), possible)
        close(found[possible], ratio[possible], 1e-4)


def _ratio(given, togo, support, outcome):
    """P(z | s, a) / P(z | s) by counting; 0 where not live."""
    ratio = np.full(togo.shape, np.nan)
    for z in support:
        happens = np.isclose(togo, z)
        before, after = (given.mean(happens, key) for key in (given.state, given.cell))
        here = (happens if outcome is None else outcome == z) & (before > 0)
        ratio = np.where(here, after / np.where(before > 0, before, 1.0), ratio)
    return np.where(given.batch.live, ratio, 0.0)


def test_the_hindsight_ratio_of_success_is_q_over_v():
    given = binary(1.0)
    value, q_value = (given.mean(given.future, key) for key in (given.state, given.cell))
    there = given.batch.live & (value > 0) & (value < 1)
    ratio = given.at(targets.HindsightRatio(1.0))
    close(ratio[there], q_value[there] / value[there])
    lost = given.at(targets.HindsightRatio(0.0))
    close(lost[there], (1 - q_value[there]) / (1 - value[there]))
    close(ratio[there & ~given.decided], 1.0)
    advantage = given.at(targets.Advantage())
    close(ratio[there] - 1, advantage[there] / value[there])


@discounts
def test_rewards_off_the_support_leave_no_value(discount):
    given = noisy(discount)
    for recipe in (targets.EntropyGain(), targets.HindsightRatio()):
        assert np.isnan(given.at(recipe)[:, 0]).any()


@worlds
@discounts
def test_soft(world, discount):
    """By recursion on single states, with its reference averaged over what is observed."""
    given = world(discount)
    mdp = reference.as_float64(given.mdp)
    other = np.asarray(given.reference, np.float64)
    steps = len(mdp.schedule)

    @functools.cache
    def q_value(t, s, a):
        m = mdp.schedule[t]
        later = [value(t + 1, z) for z in mdp.successor[m, s, a]]
        return mdp.prob[m, s, a] @ (mdp.reward[m, s, a] + given.rate[t] * np.array(later))

    @functools.cache
    def value(t, s):
        if t == steps or mdp.terminal[s]:
            return 0.0
        m = mdp.schedule[t]
        if not mdp.decision[m]:
            return q_value(t, s, 0)
        chance = mdp.emission[m, s] @ other[m]
        return 0.5 * np.log(sum(p * np.exp(q_value(t, s, a) / 0.5) for a, p in enumerate(chance)))

    wanted = np.zeros(given.batch.live.shape)
    for i, t in zip(*np.nonzero(given.batch.live), strict=True):
        s, a = given.batch.state[i, t], given.batch.action[i, t]
        wanted[i, t] = q_value(t, s, a) - value(t, s)
    close(given.at(targets.Soft(0.5)), wanted)


def _log_ratio(given, policy):
    kernel = np.asarray(given.mdp.schedule)[None, :]
    index = kernel, given.batch.observation, given.batch.action
    plays, other = (np.asarray(x, np.float64)[index] for x in (policy, given.reference))
    return np.where(given.decided, np.log(plays / other), 0.0)


@worlds
@discounts
def test_regularised(world, discount):
    given = world(discount)
    paid = given.batch.reward - 0.5 * _log_ratio(given, given.policy)
    future = given.to_go(paid)

    def act(t):
        return np.concatenate([given.cell(t), given.batch.observation[:, [t]]], axis=1)

    wanted = given.mean(future, act) - given.mean(future, given.state)
    close(given.at(targets.Regularised(0.5)), wanted)


@pytest.mark.parametrize("discount", [0.875])
def test_regularised_is_the_gradient_of_the_return_less_the_divergence(discount):
    """By differences of the objective, written out, in random directions of the logits."""
    given = noisy(discount)
    value = given.at(targets.Regularised(0.5))
    every = trajectories(given.mdp, given.policy)
    gradient = expected_gradient(given.mdp, given.policy, every, value)
    rng = np.random.default_rng(2)

    def objective(logits):
        policy = np.exp(logits)
        policy = policy / policy.sum(-1, keepdims=True)
        paths = reference.enumerate_paths(given.mdp, policy)
        paid = paths.reward - 0.5 * _log_ratio(given, policy)
        return paths.probability @ (paid @ given.scale)

    logits = np.log(np.asarray(given.policy, np.float64))
    for _ in range(3):
        way = rng.normal(size=logits.shape)
        slope = (objective(logits + 1e-4 * way) - objective(logits - 1e-4 * way)) / 2e-4
        assert np.sum(gradient * way) == pytest.approx(slope, abs=1e-5)
        assert abs(slope) > 0.01


@worlds
@discounts
def test_redistribution(world, discount):
    given = world(discount)
    scaled = np.asarray(given.batch.reward, np.float64) * given.scale
    earned = np.cumsum(scaled, axis=1) - scaled
    total = scaled.sum(axis=1)
    expected = earned + given.scale * given.mean(given.future, given.cell)
    wanted = np.zeros(given.batch.live.shape)
    for row, live in enumerate(given.batch.live):
        told = expected[row, live]
        wanted[row, live] = np.diff(told, prepend=0.0)
        if len(told):
            wanted[row, len(told) - 1] += total[row] - told[-1]
    found = given.at(targets.Redistribution())
    close(found, wanted)
    close(found.sum(axis=1), total)


@worlds
@discounts
@pytest.mark.parametrize("unit", ["step", "segment", *_slow(("turn",), ("episode",))])
def test_counterfactual(world, discount, unit):
    given = world(discount)
    labels, found = _labels(given, unit), given.at(targets.Counterfactual(1, unit))
    decides = np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    for row in _some_rows(given):
        live = given.batch.live[row]
        for label in set(labels):
            inside = labels == label
            first = int(np.flatnonzero(inside)[0])
            if not live[first]:
                continue
            state = given.batch.state[row, first]
            taken = np.where(inside & live, given.batch.action[row], -1)
            default = np.where(inside, np.where(decides, 1, 0), -1)
            more = _worth(given, first, state, taken) - _worth(given, first, state, default)
            close(found[row, inside & live], more)


def _worth(given, first, state, imposed) -> float:
    """The expected return from a step and a state with some actions imposed."""
    key = (id(given.mdp), first, int(state), tuple(imposed))
    if key not in _KNOWN:
        start = np.eye(len(given.mdp.start))[state]
        paths = reference.enumerate_paths(
            given.mdp, given.policy, first=first, start=start, imposed=imposed
        )
        returns = paths.reward @ (given.scale[first:] / given.scale[first])
        _KNOWN[key] = paths.probability @ returns / paths.probability.sum()
    return _KNOWN[key]


_KNOWN: dict[tuple, float] = {}
"""What was asked before: worlds are kept, so their identity is a key."""


def _some_rows(given) -> list[int]:
    """A few trajectories of every length."""
    length = given.batch.live.sum(axis=1)
    rng = np.random.default_rng(4)
    rows = [rng.choice(np.flatnonzero(length == n), 2) for n in set(length) - {0}]
    return sorted({int(row) for some in rows for row in some})


def _labels(given, unit) -> np.ndarray:
    steps = np.arange(len(given.mdp.schedule))
    if unit in ("step", "episode"):
        return steps if unit == "step" else 0 * steps
    return np.asarray(getattr(given.mdp, unit))


@worlds
@discounts
@pytest.mark.parametrize(
    ("unit", "null"),
    [("step", None), ("turn", 1), *_slow(*((unit, None) for unit in UNITS[1:]))],
)
def test_shapley(world, discount, unit, null):
    """The mean of what a unit adds, over all orders in which the units can join."""
    given = world(discount)
    labels, found = _labels(given, unit), given.at(targets.Shapley(unit, null))
    players = sorted(set(labels))
    orders = list(itertools.permutations(players))
    for row in _some_rows(given):
        for player in players:
            marginal = 0.0
            for order in orders:
                before = set(order[: order.index(player)])
                with_it = _coalition(given, row, labels, before | {player}, null)
                marginal += with_it - _coalition(given, row, labels, before, null)
            here = (labels == player) & given.batch.live[row]
            close(found[row, here], marginal / len(orders))


@worlds
@discounts
@pytest.mark.parametrize(
    ("unit", "null"),
    [("agent", 1), *_slow(*((unit, None) for unit in UNITS))],
)
def test_difference(world, discount, unit, null):
    given = world(discount)
    labels, found = _labels(given, unit), given.at(targets.Difference(unit, null))
    players = set(labels)
    for row in _some_rows(given):
        whole = _coalition(given, row, labels, players, null)
        for player in players:
            lost = whole - _coalition(given, row, labels, players - {player}, null)
            close(found[row, (labels == player) & given.batch.live[row]], lost)


def _coalition(given, row, labels, present, null) -> float:
    """The expected return if these units play as in a trajectory, from its first state."""
    decides = np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    plays = np.isin(labels, list(present)) & given.batch.live[row]
    absent = -1 if null is None else np.where(decides, null, 0)
    imposed = np.where(plays, given.batch.action[row], absent)
    return _worth(given, 0, given.batch.state[row, 0], imposed)


@worlds
@discounts
def test_first_error(world, discount):
    given = world(discount)
    mdp = reference.as_float64(given.mdp)
    best = np.concatenate([reference.optimal_value(given.mdp), np.zeros((1, len(mdp.start)))])
    wanted = np.zeros(given.batch.live.shape)
    for row in range(len(wanted)):
        for t in np.flatnonzero(given.decided[row]):
            m, s, a = mdp.schedule[t], given.batch.state[row, t], given.batch.action[row, t]
            later = best[t + 1, mdp.successor[m, s, a]]
            q_value = mdp.prob[m, s, a] @ (mdp.reward[m, s, a] + given.rate[t] * later)
            if best[t, s] - q_value > 0.1:
                wanted[row, t] = 1.0
                break
    np.testing.assert_array_equal(given.at(targets.FirstError(0.1)), wanted)
    assert 0 < wanted.any(axis=1).mean() < 1


@worlds
@discounts
def test_step_error(world, discount):
    given = world(discount)
    advantage = given.mean(given.future, given.cell) - given.mean(given.future, given.state)
    wanted = given.decided & (advantage < -0.1)
    np.testing.assert_array_equal(given.at(targets.StepError(0.1)), wanted)
    assert wanted.any()


@worlds
@discounts
def test_first_loss(world, discount):
    given = world(discount)
    value = given.mean(given.future, given.state)
    later = np.concatenate([value[:, 1:], 0 * value[:, :1]], axis=1)
    expected = np.cumsum(np.asarray(given.batch.reward, np.float64), axis=1) + later
    lost = given.batch.live & (expected <= 1e-12)
    wanted = lost & (np.cumsum(lost, axis=1) == 1)
    np.testing.assert_array_equal(given.at(targets.FirstLoss()), wanted)
    assert wanted.any()


@worlds
@discounts
def test_subgoal(world, discount):
    """Rewards of arrival added by hand, one transition at a time."""
    given = world(discount)
    for recipe in (targets.Subgoal((1, 4), 0.7), targets.Subgoal((3,), -1.5, alone=True)):
        reward = np.array(given.mdp.reward, np.float64) * (not recipe.alone)
        for index, state in np.ndenumerate(np.asarray(given.mdp.successor)):
            reward[index] += recipe.weight * (state in recipe.goals)
        paths = reference.enumerate_paths(given.mdp._replace(reward=reward), given.policy)
        future = given.to_go(paths.reward)
        wanted = given.mean(future, given.cell) - given.mean(future, given.state)
        close(given.at(recipe), wanted)


def test_what_a_world_does_not_have_leaves_no_value():
    given = noisy(1.0)
    truth = solve(given.mdp, given.policy)
    alone = dataclasses.replace(given.world, reference=None)
    for recipe in (
        targets.Soft(),
        targets.Regularised(),
        targets.Subgoal(),
        targets.Subgoal((5,)),
        targets.Counterfactual(2),
        targets.Shapley(null=2),
        targets.Difference(null=2),
        targets.LatentGain((0, 1)),
    ):
        assert path_target(recipe, alone, truth, given.batch) is None


def test_every_target_has_a_value_somewhere():
    """`LogGain` is tested with the values in `test_targets`."""
    assert {type(recipe) for recipe in RECIPES} == set(targets.TARGETS)
    given = binary(1.0)
    made = jax.eval_shape(
        lambda truth: [path_target(recipe, given.world, truth, given.batch) for recipe in RECIPES],
        solve(given.mdp, given.policy),
    )
    assert {x.shape for x in made} == {given.batch.live.shape}


BAD = {
    "unit must be one of": lambda: targets.SegmentAdvantage("token"),
    "floor must be in": lambda: targets.LogGain(0.0),
    "support must be ascending": lambda: targets.EntropyGain((1.0, 0.0)),
    "number of classes must be": lambda: targets.LatentGain(()),
    r"classes must be in \[0": lambda: targets.LatentGain((0, -1)),
    "form must be one of": lambda: targets.LatentGain((0, 1), "bits"),
    r"temperature must be in \[1e-30": lambda: targets.Soft(0.0),
    r"temperature must be in \[0.0": lambda: targets.Regularised(-1.0),
    "outcome must be one of": lambda: targets.HindsightRatio(0.5),
    r"null must be in \[0": lambda: targets.Counterfactual(-1),
    r"unit must be one of \('step', 'segment', 'turn', 'episode'\)": (
        lambda: targets.Counterfactual(0, "agent")
    ),
    "margin must be in": lambda: targets.FirstError(-0.1),
    "margin must be": lambda: targets.StepError(float("nan")),
    r"floor must be in \[0.0, inf": lambda: targets.FirstLoss(-1.0),
    "null must be": lambda: targets.Shapley(null=-2),
    "null must be an": lambda: targets.Difference(null=1.5),
    "goals must hold distinct": lambda: targets.Subgoal((1, 1)),
    "weight must be in": lambda: targets.Subgoal((1,), float("inf")),
}


@pytest.mark.parametrize("message", BAD)
def test_settings_out_of_range_raise(message, unhooked):
    with pytest.raises(ValueError, match=message):
        BAD[message]()
