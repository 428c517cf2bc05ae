"""ToolChain against a recursion over the task's two conditions, and against what its docstring promises."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.checks import check_mdp
from casim.oracle import expected_return, optimal, solve
from casim.simulate.belief import transition_matrix
from casim.tasks import TASKS, Observed, ToolChain
from casim.types import Kind
from tests.reference import EPS, random_policy

solve = jax.jit(solve)
expected_return = jax.jit(expected_return)
optimal = jax.jit(optimal)
SETTINGS = {
    "num_turns": 5,
    "tokens_per_turn": 2,
    "output_tokens": 3,
    "reliability": 0.8,
    "damage": 0.7,
    "repair": 0.25,
    "switch": 0.35,
    "observation_noise": 0.2,
    "num_actions": 3,
}


def following(mdp, follow: float) -> np.ndarray:
    """The policy that calls what the last output told with probability `follow`, and the other mode otherwise."""
    policy = np.zeros((mdp.prob.shape[0], 2, mdp.prob.shape[2]), np.float32)
    policy[:, :, :2] = np.where(np.eye(2), follow, 1 - follow)
    return policy


def success_probability(task: ToolChain, follow: float) -> float:
    """P(intact at the end): a call matches independently of the past, as the output is wrong with a fixed chance."""
    matches = follow * (1 - task.observation_noise) + (1 - follow) * task.observation_noise
    works = matches * task.reliability + (1 - matches) * (1 - task.reliability)
    hazard = 1 - (1 - task.damage) ** (1 / task.num_turns)
    intact = 1.0
    for _ in range(task.num_turns):
        intact = intact * (1 - (1 - works) * hazard) + (1 - intact) * works * task.repair
    return intact


def return_of(task, policy=None) -> float:
    mdp = check_mdp(task.build())
    return float(expected_return(mdp, jnp.asarray(following(mdp, 0.5) if policy is None else policy(mdp))))


def test_the_family_is_listed():
    assert ToolChain in TASKS


VARIANTS = {
    "as set": {},
    "one turn": {"num_turns": 1},
    "one token": {"tokens_per_turn": 1, "output_tokens": 1},
    "long turns": {"tokens_per_turn": 4},
    "two actions": {"num_actions": 2},
    "all alike": {"reliability": 0.5},
    "certain": {"reliability": 1.0, "damage": 1.0, "repair": 1.0, "switch": 1.0, "observation_noise": 1.0},
} | {f"{knob} 0": {knob: 0} for knob in ("reliability", "damage", "repair", "switch", "observation_noise")}


@pytest.mark.parametrize("name", VARIANTS)
def test_success_probability_equals_the_recursion_over_two_conditions(name):
    task = ToolChain(**(SETTINGS | VARIANTS[name]))
    mdp = check_mdp(task.build())
    for follow in (0.0, 0.3, 1.0):
        success = float(expected_return(mdp, jnp.asarray(following(mdp, follow))))
        # 5 turns of at most 7 backups, whose sums of 6 products below 1 round by 3 eps.
        assert success == pytest.approx(success_probability(task, follow), abs=5 * 7 * 3 * EPS)


@pytest.mark.parametrize("num_turns", [1, 2, 7, 60])
@pytest.mark.parametrize("damage", [0.0, 0.6, 0.95, 1.0])
def test_failing_every_call_breaks_the_task_with_probability_damage_whatever_the_turns(num_turns, damage):
    """Action 2 never matches, and with reliability 1 a call that does not match always fails."""
    task = ToolChain(num_turns=num_turns, tokens_per_turn=1, damage=damage, reliability=1.0, num_actions=3)

    def fail(mdp):
        return np.broadcast_to(np.eye(3, dtype=np.float32)[2], (mdp.prob.shape[0], 2, 3))

    assert return_of(task, fail) == pytest.approx(1 - damage, abs=num_turns * 2 * EPS)


def test_calls_that_always_match_a_perfect_tool_never_fail():
    task = ToolChain(num_turns=3, reliability=1.0, observation_noise=0.0, damage=1.0)
    assert return_of(task, lambda mdp: following(mdp, 1.0)) == 1.0


def test_nothing_can_break_without_damage():
    assert return_of(ToolChain(**(SETTINGS | {"damage": 0.0}))) == 1.0


def test_only_the_call_matters():
    task = ToolChain(**SETTINGS, discount=0.9)
    mdp = task.build()
    truth = solve(mdp, jnp.asarray(random_policy(1, mdp)))
    spread = np.asarray(truth.q_value.max(-1) - truth.q_value.min(-1)).max(-1)
    call = np.asarray(mdp.kind)[np.asarray(mdp.schedule)] == Kind.TOOL
    np.testing.assert_array_equal(np.flatnonzero(call), np.arange(5) * 5 + 1)
    assert np.all(spread[call] > 0.001)
    assert not spread[~call].any()


def test_the_call_that_matches_the_mode_is_worth_more_and_the_others_are_alike():
    mdp = ToolChain(**SETTINGS).build()
    q = np.asarray(solve(mdp, jnp.asarray(random_policy(2, mdp))).q_value)[1].reshape(2, 2, 2, 3)  # z, y, g, a
    for mode in (0, 1):
        wrong = [a for a in range(3) if a != mode]
        assert np.all(q[mode, :, :, mode] > q[mode, :, :, wrong[0]])
        np.testing.assert_array_equal(q[mode, :, :, wrong[0]], q[mode, :, :, wrong[1]])


def test_only_what_the_tool_said_is_shown():
    mdp = ToolChain(**SETTINGS).build()
    shown = np.asarray(mdp.emission)
    told = np.arange(8).reshape(2, 2, 2) * 0 + np.arange(2)[None, :, None]
    np.testing.assert_array_equal(shown, np.broadcast_to(np.eye(2)[told.ravel()], shown.shape))


def test_the_output_tells_the_mode_wrongly_with_the_set_noise_and_the_mode_switches_as_set():
    task = ToolChain(**SETTINGS)
    mdp = task.build()
    occupancy = np.asarray(solve(mdp, jnp.asarray(random_policy(3, mdp))).occupancy, float).reshape(-1, 2, 2, 2)
    told_wrong = occupancy.sum(-1)[:, 0, 1] + occupancy.sum(-1)[:, 1, 0]
    np.testing.assert_allclose(told_wrong, 0.2, atol=64 * EPS)
    np.testing.assert_allclose(occupancy.sum((2, 3)), 0.5, atol=64 * EPS)
    output = int(mdp.schedule[4])
    matrix = np.asarray(transition_matrix(mdp), float)[output].reshape(2, 2, 2, 3, 2, 2, 2)
    switched = matrix.sum((5, 6))[0, ..., 1]
    np.testing.assert_allclose(switched, 0.35, atol=2 * EPS)


def test_turns_segments_kinds_and_decisions_follow_the_turns():
    task = ToolChain(**(SETTINGS | {"num_turns": 2}))
    mdp = task.build()
    decided = np.array([1, 1, 0, 0, 0] * 2, bool)
    np.testing.assert_array_equal(mdp.turn, [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(mdp.segment, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3])
    np.testing.assert_array_equal(mdp.decision[mdp.schedule], decided)
    kind = [Kind.THINK, Kind.TOOL, Kind.OUTPUT, Kind.OUTPUT, Kind.OUTPUT]
    np.testing.assert_array_equal(mdp.kind[mdp.schedule], kind * 2)


def test_only_the_last_step_pays_and_only_intact():
    mdp = ToolChain(**SETTINGS).build()
    reward = np.asarray(mdp.reward * (mdp.prob > 0))[np.asarray(mdp.schedule)]
    assert not reward[:-1].any()
    last, prob = reward[-1], np.asarray(mdp.prob)[int(mdp.schedule[-1])]
    np.testing.assert_array_equal(last[1::2], 0)
    np.testing.assert_array_equal(last[::2], prob[::2] > 0)


def test_the_observed_twin_has_the_same_latent_law():
    task = ToolChain(**SETTINGS, discount=0.9)
    twin = task.observed()
    assert twin == Observed(task)
    assert twin.observed() == twin
    hidden, shown = task.build(), check_mdp(twin.build())
    for name, one, two in zip(hidden._fields, hidden, shown, strict=True):
        if name != "emission":
            np.testing.assert_array_equal(one, two, err_msg=name)
    np.testing.assert_array_equal(shown.emission, np.broadcast_to(np.eye(8), (4 + 1, 8, 8)))
    # A policy that reads only what was told does the same in both.
    policy = random_policy(4, hidden)
    told = (np.arange(8) // 2) % 2
    one, two = solve(hidden, jnp.asarray(policy)), solve(shown, jnp.asarray(policy[:, told]))
    for name in ("value", "q_value", "occupancy", "past_reward", "expected_return"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_the_observed_twin_keeps_the_horizon_knob():
    twin = ToolChain(num_turns=3).observed()
    assert twin.horizon == 3
    assert twin.with_horizon(7) == ToolChain(num_turns=7).observed()


def test_seeing_the_state_is_worth_something():
    task = ToolChain(**SETTINGS)
    mdp = task.build()
    bound = float(optimal(mdp).value[0] @ mdp.start)
    perfect = dataclasses.replace(task, observation_noise=0.0)
    assert bound == pytest.approx(success_probability(perfect, 1.0), abs=5 * 7 * 3 * EPS)
    assert success_probability(task, 1.0) < bound - 0.01


def test_the_horizon_knob_sets_the_turns():
    task = ToolChain(num_turns=3, tokens_per_turn=4, output_tokens=2)
    assert (task.horizon, task.with_horizon(9).horizon) == (3, 9)
    assert task.build().schedule.shape == (18,)
    assert task.with_horizon(9).build().schedule.shape == (54,)


def test_with_discount_0_only_the_first_step_counts():
    assert return_of(ToolChain(**SETTINGS, discount=0.0)) == 0.0


def test_a_million_steps_cost_an_index_vector_and_no_tables():
    task = ToolChain(num_turns=200_000, tokens_per_turn=4, output_tokens=1)
    mdp, small = check_mdp(task.build()), task.with_horizon(3).build()
    assert mdp.schedule.shape == (1_000_000,)
    for name in ("successor", "prob", "reward", "emission"):
        assert getattr(mdp, name).shape == getattr(small, name).shape


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_turns": 0}, "num_turns must be in [1, inf], got 0"),
        ({"num_turns": 2.0}, "num_turns must be an integer in [1, inf], got 2.0"),
        ({"tokens_per_turn": 0}, "tokens_per_turn must be in [1, inf], got 0"),
        ({"output_tokens": 0}, "output_tokens must be in [1, inf], got 0"),
        ({"num_actions": 1}, "num_actions must be in [2, inf], got 1"),
        ({"num_actions": "3"}, "num_actions must be an integer in [2, inf], got '3'"),
        ({"reliability": 1.2}, "reliability must be in [0.0, 1.0], got 1.2"),
        ({"damage": -0.1}, "damage must be in [0.0, 1.0], got -0.1"),
        ({"repair": 2.0}, "repair must be in [0.0, 1.0], got 2.0"),
        ({"switch": float("nan")}, "switch must be in [0.0, 1.0], got nan"),
        ({"observation_noise": 1.5}, "observation_noise must be in [0.0, 1.0], got 1.5"),
        ({"discount": -1.0}, "discount must be in [0.0, 1.0], got -1.0"),
    ],
)
def test_a_bad_setting_is_named_with_its_range_and_value(settings, message, unhooked):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        ToolChain(**settings)
