"""ToolChain against one turn written for single events, a recursion, and its docstring."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import expected_return, optimal
from casim.simulate import World
from casim.simulate.belief import transition_matrix
from casim.tasks import TASKS, Observed, ToolChain
from casim.types import Kind
from casim.wellformed import check_mdp
from tests import reference
from tests.enumeration import solve
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
    "num_actions": 3,
}
DIAGNOSTICS = {
    "non_closure": 0.2,
    "observation_noise": 0.15,
    "heterogeneity": 0.6,
    "unverified": 0.5,
    "coupling": 0.3,
}


def per_turn(total: float, turns: int) -> float:
    return 1 - (1 - total) ** (1 / turns)


def doing(task: ToolChain) -> list[bool]:
    """Which calls do something: so many, dealt out by what is left over from turn to turn."""
    number, left, found = max(1, round(task.density * task.num_turns)), 0, []
    for _ in range(task.num_turns):
        left += number
        found.append(left >= task.num_turns)
        left -= task.num_turns * found[-1]
    return found


def turn_law(task: ToolChain, turn: int, state: tuple, action: int) -> dict:
    """The distribution of (z, y, g, c, x) after a turn, by events in the order of the docstring."""
    z, _, g, _, x = state
    does, number = doing(task)[turn], sum(doing(task))
    coupling = task.coupling if does else 0.0
    weight = 1 - task.heterogeneity * (turn % 4) / 4
    matches = action == (z if x == 0 else 1 - z)
    works = task.reliability if matches else 1 - task.reliability
    out: dict = {}
    for worked in (True, False):
        broken = g == 1
        p_worked = works if worked else 1 - works
        if broken:
            changes = per_turn(task.repair, number) if worked and does else 0.0
        else:
            changes = 0.0 if worked or not does else per_turn(task.damage, number) * weight
        for changed, set_mode, switched, stale, wrong, misjudged in np.ndindex(2, 2, 2, 2, 2, 2):
            p = p_worked * (changes if changed else 1 - changes)
            p *= coupling if set_mode else 1 - coupling
            p *= task.switch if switched else 1 - task.switch
            p *= task.non_closure if stale else 1 - task.non_closure
            p *= task.observation_noise if wrong else 1 - task.observation_noise
            p *= task.unverified / 2 if misjudged else 1 - task.unverified / 2
            mode = (min(action, 1) if set_mode else z) ^ switched
            task_after = g ^ changed
            after = (mode, mode ^ wrong, task_after, task_after ^ misjudged, x ^ stale)
            out[after] = out.get(after, 0.0) + p
    return {after: p for after, p in out.items() if p > 0}


def success_probability(task: ToolChain, policy) -> float:
    """P(intact at the end) of `policy(y, c) -> probabilities`, turn by turn in float64."""
    weight: dict = {}
    for z, y in np.ndindex(2, 2):
        told = 1 - task.observation_noise if y == z else task.observation_noise
        weight[z, y, 0, 0, 0] = 0.5 * told
    for turn in range(task.num_turns):
        onward: dict = {}
        for state, p in weight.items():
            for action, q in enumerate(policy(state[1], state[3])):
                for after, r in turn_law(task, turn, state, action).items() if p * q > 0 else ():
                    onward[after] = onward.get(after, 0.0) + p * q * r
        weight = onward
    return sum(p for state, p in weight.items() if state[2] == 0)


def table_of(mdp, policy) -> jnp.ndarray:
    """The policy table [M, O, A] of `policy(y, c)`.

    In a single turn only the verdict that all is well is seen.
    """
    shown = [policy(y, c) for y in (0, 1) for c in range(mdp.emission.shape[2] // 2)]
    return jnp.broadcast_to(
        jnp.asarray(shown, jnp.float32), (mdp.prob.shape[0], len(shown), mdp.prob.shape[2])
    )


def reading(follow: float, actions: int = 3):
    """Calls what the last output told with probability `follow`, else the other mode.

    The probability is less if the task looks broken.
    """

    def policy(y: int, c: int) -> np.ndarray:
        p = follow * (0.7 if c else 1.0)
        return np.array([p if a == y else 1 - p if a == 1 - y else 0.0 for a in range(actions)])

    return policy


def test_the_family_is_listed():
    assert ToolChain in TASKS


VARIANTS = {
    "all off": {},
    "one turn": {"num_turns": 1} | DIAGNOSTICS,
    "one token": {"tokens_per_turn": 1, "output_tokens": 1} | DIAGNOSTICS,
    "all alike": {"reliability": 0.5} | DIAGNOSTICS,
    "all": DIAGNOSTICS,
    "no repair": {"repair": 0.0} | DIAGNOSTICS,
    "few calls matter": {"density": 0.4} | DIAGNOSTICS,
    "one call matters": {"density": 0.01},
} | {f"{knob} alone": {knob: value} for knob, value in DIAGNOSTICS.items()}


@pytest.mark.parametrize("name", VARIANTS)
def test_success_probability_equals_the_account_by_single_events(name):
    task = ToolChain(**(SETTINGS | VARIANTS[name]))
    mdp = check_mdp(task.build())
    for follow in (0.3, 1.0):
        policy = reading(follow)
        success = float(expected_return(mdp, table_of(mdp, policy)))
        # 5 turns of at most 7 backups, whose sums of up to 16 products below 1 round by 8 eps.
        assert success == pytest.approx(success_probability(task, policy), abs=5 * 7 * 8 * EPS)


def plain(task: ToolChain) -> dict[str, np.ndarray]:
    """The task without any diagnostic, array by array.

    States are (z, y, g, c), with y telling z and c telling g.
    """
    turn = (
        ["think"] * (task.tokens_per_turn - 1)
        + ["call"]
        + ["idle"] * (task.output_tokens - 1)
        + ["output"]
    )
    names = ["think", "call", "idle", "output", "final"]
    code = [names.index(name) for name in turn * task.num_turns]
    code[-1] = names.index("final")
    used = sorted(set(code))
    # After the output y = z and c = g; between call and output g may have changed and c not.
    states = [(z, z, g, c) for z in (0, 1) for g in (0, 1) for c in (0, 1)]
    index = {state: i for i, state in enumerate(states)}
    h, m = per_turn(task.damage, task.num_turns), per_turn(task.repair, task.num_turns)
    prob = np.zeros((len(used), len(states), task.num_actions, len(states)))
    pays = np.zeros((len(used), len(states)))
    for kernel, number in enumerate(used):
        for (z, y, g, c), i in index.items():
            for action in range(task.num_actions):
                works = task.reliability if action == z else 1 - task.reliability
                if names[number] == "call":
                    broken = 1 - works * m if g else (1 - works) * h
                    prob[kernel, i, action, index[z, y, 0, c]] += 1 - broken
                    prob[kernel, i, action, index[z, y, 1, c]] += broken
                elif names[number] in ("output", "final"):
                    prob[kernel, i, action, index[z, z, g, g]] += 1 - task.switch
                    prob[kernel, i, action, index[1 - z, 1 - z, g, g]] += task.switch
                    pays[kernel, i] = names[number] == "final" and g == 0
                else:
                    prob[kernel, i, action, i] = 1.0
    return {"schedule": np.array([used.index(c) for c in code]), "prob": prob, "pays": pays}


def test_with_all_diagnostics_off_it_is_the_plain_task_to_the_bit():
    task = ToolChain(**SETTINGS)
    mdp, wanted = task.build(), plain(task)
    np.testing.assert_array_equal(mdp.schedule, wanted["schedule"])
    assert mdp.start.shape == (8,)
    matrix = np.asarray(transition_matrix(mdp))
    met = np.asarray(solve(mdp, table_of(mdp, reading(0.5))).occupancy) > 0
    for step, kernel in enumerate(wanted["schedule"]):
        where = met[step]
        np.testing.assert_array_equal(
            matrix[kernel][where], wanted["prob"].astype(np.float32)[kernel][where]
        )
        paid = np.asarray((mdp.reward * mdp.prob).sum(-1))[kernel][where]
        np.testing.assert_allclose(
            paid, np.repeat(wanted["pays"][kernel][where][:, None], 3, 1), atol=2 * EPS
        )
    np.testing.assert_array_equal(np.asarray(mdp.start)[[0, 4]], 0.5)


@pytest.mark.parametrize("knob", [*DIAGNOSTICS, "replay_noise"])
def test_a_diagnostic_at_0_is_bit_identical_to_leaving_it_out(knob):
    """With the others on: the same arrays and trajectories as a recipe that never mentions it."""
    others = SETTINGS | {name: value for name, value in DIAGNOSTICS.items() if name != knob}
    one, two = ToolChain(**others).build(), ToolChain(**others, **{knob: 0}).build()
    for name, x, y in zip(one._fields, one, two, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)
    states = {"non_closure": 16, "observation_noise": 32, "unverified": 32}.get(knob, 32)
    assert one.start.shape == (states,)
    assert set(np.asarray(one.agent)) == ({0} if knob == "coupling" else {0, 1})
    kinds = (
        {Kind.TOOL}
        if knob == "heterogeneity"
        else {Kind.TOOL, Kind.MEMORY, Kind.MESSAGE, Kind.ANSWER}
    )
    assert {Kind(k) for k in np.asarray(one.kind)} == kinds | {Kind.THINK, Kind.OUTPUT}


@pytest.mark.slow
def test_text_determines_the_future_only_without_t_and_o():
    """When off, latent states that show the same have the same values at every decision.

    When T or O is on they do not.
    """

    def spread(**knobs) -> float:
        task = ToolChain(**(SETTINGS | {"output_tokens": 1}), **knobs)
        mdp = task.build()
        truth = solve(mdp, table_of(mdp, reading(0.8)))
        shown = np.asarray(mdp.emission)[0].argmax(-1)
        widest = 0.0
        for step in np.flatnonzero(np.asarray(mdp.decision)[np.asarray(mdp.schedule)]):
            for o in range(4):
                q = np.asarray(truth.q_value)[
                    step, (shown == o) & (np.asarray(truth.occupancy)[step] > 0)
                ]
                widest = max(widest, float(np.ptp(q, axis=0).max(initial=0.0)) if len(q) else 0.0)
        return widest

    assert spread() <= 4 * EPS
    for knob in ("non_closure", "observation_noise", "unverified"):
        assert spread(**{knob: DIAGNOSTICS[knob]}) > 0.02


def test_heterogeneous_calls_have_their_own_value_scale():
    task = ToolChain(num_turns=4, tokens_per_turn=1, repair=0.0, heterogeneity=1.0, reliability=1.0)
    mdp = task.build()
    # z = 0, told so, intact, at the calls.
    q = np.asarray(solve(mdp, table_of(mdp, reading(1.0, 2))).q_value)[::2, 0]
    # Playing perfectly afterwards, a call that fails costs the chance that it breaks the task.
    scale = np.array([1.0, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(q[:, 0] - q[:, 1], per_turn(0.95, 4) * scale, rtol=1e-5)


def test_under_coupling_a_call_moves_the_mode_that_the_other_agent_meets():
    task = ToolChain(num_turns=2, tokens_per_turn=1, switch=0.0, coupling=1.0)
    mdp = task.build()
    np.testing.assert_array_equal(mdp.agent, [0, 0, 1, 1])
    batch = reference.rollout(
        World.make(mdp, table_of(mdp, reading(0.5, 2))), jax.random.key(0), 200
    )
    shown = np.asarray(batch.observation)[:, 2] // 2
    np.testing.assert_array_equal(shown, np.asarray(batch.action)[:, 0])


@pytest.mark.slow
def test_with_replay_noise_1_a_restored_branch_is_a_refed_one():
    task = ToolChain(
        num_turns=3, tokens_per_turn=1, non_closure=0.3, observation_noise=0.2, replay_noise=1.0
    )
    mdp, key = task.build(), jax.random.key(3)
    policy = table_of(mdp, reading(0.6, 2))
    noisy, exact = World.make(mdp, policy, replay=task.replay), World.make(mdp, policy)
    batch = reference.rollout(exact, jax.random.key(2), 40)
    one = reference.branch(noisy, key, batch, 3, 2, replay="restored")
    two = reference.branch(exact, key, batch, 3, 2, replay="refed")
    for x, y in zip(one, two, strict=True):
        np.testing.assert_array_equal(x, y)
    kept = reference.branch(exact, key, batch, 3, 2, replay="restored")
    assert np.any(np.asarray(one.state) != np.asarray(kept.state))


@pytest.mark.slow
def test_replay_noise_redraws_the_hidden_state_as_often_as_set():
    task = ToolChain(num_turns=2, tokens_per_turn=1, observation_noise=0.5, replay_noise=0.3)
    mdp = task.build()
    world = World.make(mdp, table_of(mdp, reading(0.5, 2)), replay=task.replay)
    batch = reference.rollout(world, jax.random.key(1), 4000)
    out = reference.branch(world, jax.random.key(2), batch, 2, 2)
    mode = lambda state: np.asarray(state) // (np.asarray(state).max() // 2 + 1)  # noqa: E731
    moved = np.mean(mode(out.state)[:, :, 2] != mode(batch.state)[:, None, 2])
    # With uninformative outputs a redrawn mode differs half of the time; 8,000 copies,
    # 5 standard errors.
    assert abs(moved - 0.15) < 5 * np.sqrt(0.15 * 0.85 / 8000)


def test_without_branching_a_world_refuses_to_branch():
    task = ToolChain(num_turns=2, tokens_per_turn=1, branching=False)
    mdp = task.build()
    world = World.make(mdp, table_of(mdp, reading(0.5, 2)), replay=task.replay)
    batch = reference.rollout(world, jax.random.key(1), 2)
    with pytest.raises(ValueError, match=r"branching must be one of \(True,\), got False"):
        world.branch(jax.random.key(0), batch, 1, 1)


@pytest.mark.parametrize("num_turns", [1, 2, 7, 60])
@pytest.mark.parametrize("damage", [0.0, 0.6, 0.95, 1.0])
def test_failing_every_call_breaks_the_task_with_probability_damage_whatever_the_turns(
    num_turns, damage
):
    """Action 2 never matches, and with reliability 1 a call that does not match always fails."""
    task = ToolChain(
        num_turns=num_turns, tokens_per_turn=1, damage=damage, reliability=1.0, num_actions=3
    )
    mdp = task.build()
    fail = jnp.broadcast_to(jnp.eye(3)[2], (mdp.prob.shape[0], mdp.emission.shape[2], 3))
    assert float(expected_return(mdp, fail)) == pytest.approx(1 - damage, abs=num_turns * 2 * EPS)


def test_calls_that_always_match_a_perfect_tool_never_fail():
    mdp = ToolChain(num_turns=3, reliability=1.0, damage=1.0).build()
    assert float(optimal(mdp).value[0] @ mdp.start) == 1.0


@pytest.mark.parametrize("turns", [1, 4, 9])
def test_the_optimum_with_all_off_obeys_the_recursion_of_the_docstring(turns):
    task = ToolChain(num_turns=turns, tokens_per_turn=1, reliability=0.85, damage=0.9, repair=0.4)
    h, m = per_turn(0.9, turns), per_turn(0.4, turns)
    intact = 1.0
    for _ in range(turns):
        intact = intact * (1 - 0.15 * h) + (1 - intact) * 0.85 * m
    mdp = task.build()
    assert float(optimal(mdp).value[0] @ mdp.start) == pytest.approx(intact, abs=turns * 4 * EPS)


def test_only_the_call_matters():
    task = ToolChain(**SETTINGS, **DIAGNOSTICS, discount=0.9)
    mdp = task.build()
    truth = solve(mdp, jnp.asarray(random_policy(1, mdp)))
    spread = np.asarray(truth.q_value.max(-1) - truth.q_value.min(-1)).max(-1)
    call = np.isin(np.asarray(mdp.kind), [Kind.TOOL, Kind.MEMORY, Kind.MESSAGE, Kind.ANSWER])[
        np.asarray(mdp.schedule)
    ]
    np.testing.assert_array_equal(np.flatnonzero(call), np.arange(5) * 5 + 1)
    assert np.all(spread[call] > 0.001)
    assert not spread[~call].any()


@pytest.mark.parametrize(("density", "turns"), [(0.6, [1, 3, 4]), (0.4, [2, 4]), (0.01, [4])])
def test_only_so_many_calls_matter_and_all_look_alike(density, turns):
    task = ToolChain(**SETTINGS, **DIAGNOSTICS, density=density)
    mdp, full = task.build(), ToolChain(**SETTINGS, **DIAGNOSTICS).build()
    truth = solve(mdp, jnp.asarray(random_policy(1, mdp)))
    spread = np.asarray(truth.q_value.max(-1) - truth.q_value.min(-1)).max(-1)
    np.testing.assert_array_equal(np.flatnonzero(spread), np.array(turns) * 5 + 1)
    assert task.num_deciding == len(turns)
    for field in ("kind", "decision"):
        along = [np.asarray(getattr(x, field))[np.asarray(x.schedule)] for x in (mdp, full)]
        np.testing.assert_array_equal(*along)
    for field in ("turn", "segment", "agent"):
        np.testing.assert_array_equal(getattr(mdp, field), getattr(full, field))


def test_turns_segments_kinds_and_decisions_follow_the_turns():
    task = ToolChain(**(SETTINGS | {"num_turns": 2}))
    mdp = task.build()
    decided = np.array([1, 1, 0, 0, 0] * 2, bool)
    np.testing.assert_array_equal(mdp.turn, [0] * 5 + [1] * 5)
    np.testing.assert_array_equal(mdp.segment, [0, 0, 1, 1, 1, 2, 2, 3, 3, 3])
    np.testing.assert_array_equal(mdp.decision[mdp.schedule], decided)
    kind = [Kind.THINK, Kind.TOOL, Kind.OUTPUT, Kind.OUTPUT, Kind.OUTPUT]
    np.testing.assert_array_equal(mdp.kind[mdp.schedule], kind * 2)


def test_the_observed_twin_has_the_same_latent_law():
    task = ToolChain(**SETTINGS, **DIAGNOSTICS, replay_noise=0.4, discount=0.9)
    twin = task.observed()
    assert twin == Observed(task)
    assert twin.observed() == twin
    assert twin.replay == task.replay
    hidden, shown = task.build(), check_mdp(twin.build())
    for name, one, two in zip(hidden._fields, hidden, shown, strict=True):
        if name != "emission":
            np.testing.assert_array_equal(one, two, err_msg=name)
    # A policy that reads only what was told does the same in both.
    policy = random_policy(4, hidden)
    told = np.asarray(hidden.emission).argmax(-1)
    lifted = np.take_along_axis(policy, told[:, :, None], axis=1)
    one, two = solve(hidden, jnp.asarray(policy)), solve(shown, jnp.asarray(lifted))
    for name in ("value", "q_value", "occupancy", "past_reward", "expected_return"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


def test_the_horizon_knob_sets_the_turns():
    task = ToolChain(num_turns=3, tokens_per_turn=4, output_tokens=2)
    assert (task.horizon, task.with_horizon(9).horizon) == (3, 9)
    assert task.observed().with_horizon(7) == task.with_horizon(7).observed()
    assert task.build().schedule.shape == (18,)
    assert task.with_horizon(9).build().schedule.shape == (54,)


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
        ({"observation_noise": 0.6}, "observation_noise must be in [0.0, 0.5], got 0.6"),
        ({"non_closure": 0.6}, "non_closure must be in [0.0, 0.5], got 0.6"),
        ({"replay_noise": 1.1}, "replay_noise must be in [0.0, 1.0], got 1.1"),
        ({"heterogeneity": -1.0}, "heterogeneity must be in [0.0, 1.0], got -1.0"),
        ({"unverified": 2.0}, "unverified must be in [0.0, 1.0], got 2.0"),
        ({"coupling": float("inf")}, "coupling must be in [0.0, 1.0], got inf"),
        ({"density": 0.0}, "density must be in [1e-09, 1.0], got 0.0"),
        ({"discount": -1.0}, "discount must be in [0.0, 1.0], got -1.0"),
    ],
)
def test_a_bad_setting_is_named_with_its_range_and_value(settings, message, unhooked):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        ToolChain(**settings)
