"""Bifurcation against closed forms: the gap at the pivot, nothing elsewhere.

Success is tested against a recursion over two levels.
"""

from __future__ import annotations

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import expected_return
from casim.tasks import TASKS, Bifurcation
from casim.wellformed import check_mdp
from tests.enumeration import solve
from tests.reference import EPS, random_policy

solve = jax.jit(solve)
expected_return = jax.jit(expected_return)


def success_probability(task, mdp, policy) -> float:
    """P(paid) by following P(good) alone, in float64.

    The policy reads the level and not the symbol.
    """
    symbols = mdp.start.shape[0] // 2
    good, pivots = 1.0, set(task.positions)
    for t in range(task.horizon):
        if t in pivots:
            row = policy[int(mdp.schedule[t])].astype(float)
            kept, lifted = row[0, 0], row[symbols, 0] * task.recovery
            good = good * kept + (1 - good) * lifted
            good = good + task.noise - 2 * task.noise * good
    return task.base + task.gap * (good - 0.5)


def test_the_family_is_listed():
    assert Bifurcation in TASKS


@pytest.mark.parametrize("entropy", [0.0, 0.7])
def test_one_pivot_has_advantage_gap_and_every_other_step_exactly_0(entropy):
    task = Bifurcation(
        horizon=11,
        pivots=(3,),
        gap=0.5,
        base=0.4,
        num_actions=3,
        filler_entropy=entropy,
        discount=0.9,
    )
    mdp = task.build()
    policy = random_policy(1, mdp)
    truth = solve(mdp, jnp.asarray(policy))
    advantage = np.asarray(truth.advantage)
    assert not np.delete(advantage, 3, axis=0).any()
    half = mdp.start.shape[0] // 2
    good, bad = advantage[3, :half], advantage[3, half:]
    # The outcome is paid 7 steps later; each of 7 products and the sum rounds once.
    discounted = 0.5 * 0.9**7
    np.testing.assert_allclose(good[:, 0] - good[:, 1], discounted, rtol=16 * EPS)
    np.testing.assert_allclose(good[:, 0] - good[:, 2], discounted, rtol=16 * EPS)
    assert not bad.any()  # without recovery nothing helps from the bad level
    right = policy[int(mdp.schedule[3]), :half, 0]
    np.testing.assert_allclose(good[:, 0], (1 - right) * discounted, rtol=64 * EPS)


def test_from_the_bad_level_the_right_action_is_worth_recovery_times_gap():
    task = Bifurcation(horizon=9, pivots=(2,), gap=0.8, base=0.5, recovery=0.25, noise=0.1)
    mdp = task.build()
    q = np.asarray(solve(mdp, jnp.asarray(random_policy(2, mdp))).q_value)[2]
    # What is left of a difference of levels after a flip with probability noise.
    level = 1 - 2 * 0.1
    assert q[0, 0] - q[0, 1] == pytest.approx(0.8 * level, abs=8 * EPS)
    assert q[1, 0] - q[1, 1] == pytest.approx(0.25 * 0.8 * level, abs=8 * EPS)


SETTINGS = {
    "one pivot": {},
    "no pivot": {"pivots": 0},
    "several pivots": {"pivots": 3},
    "every step a pivot": {"pivots": 13},
    "pivot last": {"pivots": (12,)},
    "pivots first and last": {"pivots": (0, 12), "recovery": 0.4},
    "noise": {"pivots": (1, 5, 6), "noise": 0.2},
    "recovery": {"pivots": (1, 5, 6), "recovery": 0.6},
    "noise and recovery": {"pivots": 5, "noise": 0.15, "recovery": 0.3},
    "coin": {"pivots": 2, "noise": 0.5, "recovery": 1.0},
    "no gap": {"pivots": 2, "gap": 0.0},
    "base at its end": {"pivots": 2, "gap": 0.5, "base": 0.25},
    "certain": {"pivots": 2, "gap": 1.0, "base": 0.5, "recovery": 1.0},
    "symbols": {"pivots": 2, "noise": 0.15, "recovery": 0.3, "filler_entropy": 0.9},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_success_probability_equals_the_recursion_over_two_levels(name):
    task = Bifurcation(
        **{"horizon": 13, "gap": 0.6, "base": 0.45, "num_actions": 3, **SETTINGS[name]}
    )
    mdp = check_mdp(task.build())
    policy = random_policy(3, mdp)
    symbols = mdp.start.shape[0] // 2
    policy[:, :symbols], policy[:, symbols:] = policy[:, :1], policy[:, symbols : symbols + 1]
    wanted = success_probability(task, mdp, policy)
    # At most 13 pivots, each rounding 4 times at values below 1.
    assert float(expected_return(mdp, jnp.asarray(policy))) == pytest.approx(
        wanted, abs=4 * 13 * EPS / 2
    )


def test_only_the_last_step_pays():
    mdp = Bifurcation(horizon=7, pivots=(2, 6), num_actions=3).build()
    reward = np.asarray(mdp.reward * (mdp.prob > 0))[np.asarray(mdp.schedule)]
    assert not reward[:-1].any()
    assert set(np.unique(reward[-1])) == {0.0, 1.0}


@pytest.mark.parametrize("num_actions", [2, 5])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_filler_symbol_has_the_entropy_asked_for(num_actions, share):
    entropy = share * math.log(num_actions)
    task = Bifurcation(horizon=5, pivots=(2,), num_actions=num_actions, filler_entropy=entropy)
    mdp = task.build()
    filler = int(mdp.schedule[0])
    for state in range(mdp.start.shape[0]):
        for action in range(num_actions):
            onward = np.bincount(
                mdp.successor[filler, state, action], mdp.prob[filler, state, action]
            )
            onward = onward[onward > 0].astype(float)
            # d entropy / d p is |ln p| < 20 at the float32 spacing of p.
            assert abs(-np.sum(onward * np.log(onward)) - entropy) < 20 * EPS


def test_the_filler_symbol_changes_no_value():
    plain, noisy = (
        Bifurcation(horizon=9, pivots=2, noise=0.1, filler_entropy=entropy)
        for entropy in (0.0, 0.6)
    )
    value = []
    for task in (plain, noisy):
        mdp = task.build()
        policy = np.full((mdp.prob.shape[0], mdp.start.shape[0], 2), 0.5, np.float32)
        value.append(np.asarray(solve(mdp, jnp.asarray(policy)).value).reshape(10, 2, -1))
    np.testing.assert_allclose(value[1], np.broadcast_to(value[0], value[1].shape), atol=8 * EPS)


@pytest.mark.parametrize(("horizon", "pivots"), [(12, 3), (13, 4), (7, 7), (10, 1), (9, 2)])
def test_even_pivots_lie_in_the_middles_of_equal_parts(horizon, pivots):
    positions = Bifurcation(horizon=horizon, pivots=pivots).positions
    assert len(positions) == pivots
    for i, position in enumerate(positions):
        middle = (i + 0.5) * horizon / pivots
        assert position <= middle < position + 1


def test_even_pivots_of_a_known_case():
    assert Bifurcation(horizon=12, pivots=3).positions == (2, 6, 10)


def test_random_pivots_are_distinct_sorted_and_drawn_by_the_seed():
    tasks = [Bifurcation(horizon=40, pivots=9, placement="random", seed=seed) for seed in range(6)]
    for task in tasks:
        positions = task.positions
        assert list(positions) == sorted(set(positions))
        assert len(positions) == 9
        assert positions[0] >= 0
        assert positions[-1] < 40
        assert task.positions == dataclasses.replace(task).positions
    assert len({task.positions for task in tasks}) == 6


def test_given_pivots_are_where_they_are_put():
    task = Bifurcation(horizon=20, pivots=(7, 2, 19))
    assert task.positions == (2, 7, 19)
    mdp = task.build()
    matters = np.asarray(mdp.successor[..., 0, 0, :] != mdp.successor[..., 0, 1, :]).any(-1)
    np.testing.assert_array_equal(np.flatnonzero(matters[np.asarray(mdp.schedule)]), [2, 7, 19])


def test_the_state_is_shown():
    mdp = Bifurcation(filler_entropy=0.3).build()
    np.testing.assert_array_equal(mdp.emission, np.broadcast_to(np.eye(4), mdp.emission.shape))


def test_the_horizon_knob_sets_the_steps_and_nothing_else():
    task = Bifurcation(horizon=10, pivots=2, gap=0.3)
    longer = task.with_horizon(50)
    assert (task.horizon, longer.horizon) == (10, 50)
    assert longer == dataclasses.replace(task, horizon=50)
    assert longer.build().schedule.shape == (50,)


@pytest.mark.parametrize(
    ("horizon", "segments", "wanted"), [(10, 4, 4), (3, 8, 3), (16, 8, 8), (5, 1, 1)]
)
def test_segments_cut_the_chain_into_nearly_equal_parts(horizon, segments, wanted):
    segment = np.asarray(Bifurcation(horizon=horizon, num_segments=segments).build().segment)
    sizes = np.bincount(segment)
    assert len(sizes) == wanted
    assert sizes.max() - sizes.min() <= 1
    assert np.all(np.diff(segment) >= 0)


def test_the_delayed_effect_world_of_agent_credit_bench():
    """Horizon 16, pivot 0, gap 0.6: success 0.8 after the right first action, else 0.2."""
    mdp = Bifurcation(horizon=16, pivots=(0,), gap=0.6).build()
    q = solve(mdp, jnp.asarray(random_policy(4, mdp))).q_value
    np.testing.assert_allclose(q[0, 0], [0.8, 0.2], atol=2 * EPS)


@pytest.mark.parametrize(
    "knob", ["pivots", "gap", "recovery", "noise", "filler_entropy", "discount", "seed"]
)
def test_every_knob_may_be_0(knob):
    task = Bifurcation(**{"horizon": 6, "pivots": 2, "recovery": 0.2, "noise": 0.1, knob: 0})
    truth = solve(check_mdp(task.build()), jnp.asarray(random_policy(5, task.build())))
    if knob in ("pivots", "gap", "discount"):
        assert np.abs(truth.advantage[:-1]).max() == 0
    if knob == "discount":
        assert float(truth.expected_return) == 0


def test_a_horizon_of_1_with_its_pivot_pays_at_once():
    mdp = Bifurcation(horizon=1, pivots=(0,), gap=0.5, base=0.6).build()
    q = solve(mdp, jnp.asarray(random_policy(6, mdp))).q_value
    np.testing.assert_allclose(q[0, 0], [0.85, 0.35], atol=2 * EPS)


@pytest.mark.parametrize("pivots", [1, 40, (999_999, 3)])
def test_a_million_steps_cost_an_index_vector_and_no_tables(pivots):
    settings = {"pivots": pivots, "noise": 0.1, "filler_entropy": 0.5}
    mdp = Bifurcation(horizon=1_000_000, **settings).build()
    small = Bifurcation(
        horizon=100, **(settings | ({"pivots": (99, 3)} if isinstance(pivots, tuple) else {}))
    ).build()
    assert mdp.schedule.shape == (1_000_000,)
    for name in ("successor", "prob", "reward", "emission"):
        assert getattr(mdp, name).shape[1:] == getattr(small, name).shape[1:]
        assert getattr(mdp, name).shape[0] <= 4
    check_mdp(mdp)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"horizon": 0}, "horizon must be in [1, inf], got 0"),
        ({"horizon": 8.0}, "horizon must be an integer in [1, inf], got 8.0"),
        ({"horizon": True}, "horizon must be an integer in [1, inf], got True"),
        ({"gap": 1.1}, "gap must be in [0.0, 1.0], got 1.1"),
        ({"gap": -0.1}, "gap must be in [0.0, 1.0], got -0.1"),
        ({"gap": math.nan}, "gap must be in [0.0, 1.0], got nan"),
        ({"gap": 0.6, "base": 0.2}, "base must be in [0.3, 0.7], got 0.2"),
        ({"gap": 0.6, "base": 0.75}, "base must be in [0.3, 0.7], got 0.75"),
        ({"noise": 1.5}, "noise must be in [0.0, 1.0], got 1.5"),
        ({"recovery": -1.0}, "recovery must be in [0.0, 1.0], got -1.0"),
        ({"discount": 1.01}, "discount must be in [0.0, 1.0], got 1.01"),
        ({"num_actions": 1}, "num_actions must be in [2, inf], got 1"),
        ({"num_segments": 0}, "num_segments must be in [1, inf], got 0"),
        ({"seed": -1}, "seed must be in [0, inf], got -1"),
        ({"filler_entropy": 0.7}, "filler_entropy must be in [0.0, 0.69314"),
        ({"filler_entropy": -0.1}, "filler_entropy must be in [0.0, 0.69314"),
        ({"placement": "odd"}, "placement must be one of ('even', 'random'), got 'odd'"),
        ({"horizon": 8, "pivots": 9}, "pivots must be in [0, 8], got 9"),
        ({"pivots": -1}, "pivots must be in [0, 32], got -1"),
        ({"pivots": 1.5}, "pivots must be an integer in [0, 32], got 1.5"),
        ({"horizon": 8, "pivots": (2, 8)}, "pivots (a position) must be in [0, 7], got 8"),
        ({"pivots": (-1,)}, "pivots (a position) must be in [0, 31], got -1"),
        ({"pivots": (2.0,)}, "pivots (a position) must be an integer in [0, 31], got 2.0"),
        ({"pivots": (4, 2, 4)}, "pivots must hold distinct values, got 4 twice"),
    ],
)
def test_a_bad_setting_is_named_with_its_range_and_value(settings, message, unhooked):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Bifurcation(**settings)
