"""Team: redundancy, synergy, a free rider and a router, against all joint actions in float64.

Nothing of casim is in the reference: what a joint action pays is written from the task's formula,
and a coalition is worth the mean over the actions of those who are absent.
"""

from __future__ import annotations

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import path_target
from casim.simulate import World
from casim.targets import Advantage, Difference, Shapley
from casim.tasks import Team
from casim.types import Trajectory
from tests.enumeration import solve
from tests.tasks.test_team import table

solve = jax.jit(solve)
aims = jax.jit(path_target, static_argnums=0)
CHANCE = [[0.3, 0.7], [0.6, 0.4], [0.85, 0.15]]
WRONG = [[0.0, 1.0]] * 3


def pay(task: Team, actions) -> float:
    """The mean outcome of a joint action."""
    counted = [i for i in range(task.num_agents) if i != task.null_agent]
    called = counted
    if task.router:
        success = [i for i in counted if actions[i] == 0]
        called = counted if not success else [i for i in counted if i <= success[0]]
    own = [actions[i] for i in called]
    wrong = sum(a != 0 for a in own)
    together = {
        "agree": len(set(own)) == 1,
        "any": 0 in own,
        "all": wrong == 0,
    }[task.joint]
    share = 1 - wrong / len(counted)
    return (1 - task.coupling) * share + task.coupling * together


def worth(task: Team, taken, present, absent) -> float:
    """The mean outcome where those present do as taken, and the others what `absent` says."""
    total = 0.0
    for actions in itertools.product(range(2), repeat=task.num_agents):
        chance = 1.0
        for i, a in enumerate(actions):
            chance *= float(a == taken[i]) if i in present else absent[i][a]
        total += chance * pay(task, actions)
    return total


def shapley(task: Team, taken, absent) -> list[float]:
    """The mean marginal over all orders of joining."""
    players = range(task.num_agents)
    gain = [0.0] * task.num_agents
    for order in itertools.permutations(players):
        for place, i in enumerate(order):
            before, after = set(order[:place]), set(order[: place + 1])
            gain[i] += worth(task, taken, after, absent) - worth(task, taken, before, absent)
    return [g / math.factorial(task.num_agents) for g in gain]


def left_out(task: Team, taken, absent) -> list[float]:
    everyone = set(range(task.num_agents))
    every = worth(task, taken, everyone, absent)
    return [every - worth(task, taken, everyone - {i}, absent) for i in sorted(everyone)]


def played(mdp, taken) -> Trajectory:
    """One episode of a team of agents with a token each, whatever it earned."""
    state = [int(np.argmax(np.asarray(mdp.start)))]
    for t, action in enumerate(taken[:-1]):
        state.append(int(mdp.successor[mdp.schedule[t], state[-1], action, 0]))
    live = ~np.asarray(mdp.terminal)[state]
    nothing = jnp.zeros((1, len(taken)))
    return Trajectory(
        jnp.asarray(state)[None],
        jnp.zeros((1, len(taken)), int),
        jnp.where(live, jnp.asarray(taken), 0)[None],
        nothing,
        nothing,
        jnp.asarray(live)[None],
    )


SLOW = pytest.mark.slow
SETTINGS = [
    ({"joint": "any", "coupling": 1.0}, True),
    ({"joint": "all", "coupling": 1.0}, True),
    pytest.param({"joint": "agree", "coupling": 0.7}, False, marks=SLOW),
    pytest.param({"joint": "any", "coupling": 0.4, "null_agent": 1}, False, marks=SLOW),
    pytest.param({"joint": "all", "coupling": 0.6, "null_agent": 0}, False, marks=SLOW),
]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "few"), SETTINGS, ids=str)
def test_games_between_agents_are_those_of_all_joint_actions(settings, few):
    task = Team(num_agents=3, order="simultaneous", **settings)
    mdp = task.build()
    policy = jnp.asarray(table(mdp, CHANCE))
    world, truth = World.make(mdp, policy), solve(mdp, policy)
    games = [(Shapley("agent"), shapley, CHANCE), (Difference("agent", 1), left_out, WRONG)]
    if not few:
        games += [(Shapley("agent", 1), shapley, WRONG), (Difference("agent"), left_out, CHANCE)]
    for taken in ([0, 1, 0], [0, 0, 0]):
        batch = played(mdp, taken)
        for target, formula, absent in games:
            found = np.asarray(aims(target, world, truth, batch))[0]
            np.testing.assert_allclose(found, formula(task, taken, absent), atol=1e-6)
            if task.null_agent is not None:
                assert found[task.null_agent] == 0.0


@pytest.mark.slow
def test_the_advantage_is_the_marginal_in_the_order_of_time():
    task = Team(num_agents=3, order="simultaneous", coupling=0.7)
    mdp = task.build()
    policy = jnp.asarray(table(mdp, CHANCE))
    world, truth = World.make(mdp, policy), solve(mdp, policy)
    taken = [0, 1, 0]
    found = aims(Advantage(), world, truth, played(mdp, taken))
    for t in range(3):
        through, before = set(range(t + 1)), set(range(t))
        gain = worth(task, taken, through, CHANCE) - worth(task, taken, before, CHANCE)
        np.testing.assert_allclose(found[0, t], gain, atol=1e-6)


@pytest.mark.slow
def test_a_null_agent_is_worth_exactly_nothing_and_the_others_share_the_rest():
    task = Team(num_agents=4, null_agent=2, joint="any", order="simultaneous")
    mdp = task.build()
    policy = jnp.asarray(table(mdp, [*CHANCE, [0.2, 0.8]]))
    world, truth = World.make(mdp, policy), solve(mdp, policy)
    found = np.asarray(aims(Shapley("agent"), world, truth, played(mdp, [0, 1, 0, 0])))[0]
    assert found[2] == 0.0
    whole = pay(task, [0, 1, 0, 0]) - float(truth.expected_return)
    np.testing.assert_allclose(found.sum(), whole, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("num", [3, 12])
def test_redundancy_and_synergy_have_closed_forms(num):
    """Where all are right, with chance p each: what they share, and what is lost without one."""
    p = 0.75
    for joint, share, lost in (
        ("any", (1 - p) ** num / num, 0.0),
        ("all", (1 - p**num) / num, 1 - p),
    ):
        task = Team(num_agents=num, joint=joint, coupling=1.0, order="simultaneous")
        mdp = task.build()
        policy = jnp.asarray(table(mdp, [[p, 1 - p]] * num))
        world, truth = World.make(mdp, policy), solve(mdp, policy)
        batch = played(mdp, [0] * num)
        found = aims(Shapley("agent"), world, truth, batch)
        np.testing.assert_allclose(found[0], share, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(
            aims(Difference("agent"), world, truth, batch)[0], lost, atol=1e-6
        )
        # Against an action that is wrong, as where a text is masked.
        masked = aims(Shapley("agent", 1), world, truth, batch)
        np.testing.assert_allclose(masked[0], 1 / num, rtol=1e-5)
        masked = aims(Difference("agent", 1), world, truth, batch)
        np.testing.assert_allclose(masked[0], float(joint == "all"), atol=1e-6)


def test_a_router_calls_an_agent_only_after_failure():
    task = Team(num_agents=3, joint="any", coupling=0.4, router=True)
    mdp = task.build()
    truth = solve(mdp, jnp.asarray(table(mdp, CHANCE)))
    live = np.asarray(truth.occupancy).sum(axis=1)
    failed = np.cumprod([1.0, *(row[1] for row in CHANCE)])
    np.testing.assert_allclose(live, failed[:-1], atol=1e-6)
    chance = dict(zip(itertools.product(range(2), repeat=3), _products(CHANCE), strict=True))
    mean = sum(p * pay(task, actions) for actions, p in chance.items())
    np.testing.assert_allclose(float(truth.expected_return), mean, atol=1e-6)
    # What the team earns where agent k was called: less and less.
    means = []
    for k in range(3):
        called = {x: p for x, p in chance.items() if 0 not in x[:k]}
        means.append(sum(p * pay(task, x) for x, p in called.items()) / sum(called.values()))
    value = np.asarray(truth.value)[:3] * np.asarray(truth.occupancy)
    np.testing.assert_allclose(value.sum(axis=1) / live, means, atol=1e-6)
    assert means == sorted(means, reverse=True)


def _products(chance) -> list[float]:
    return [math.prod(x) for x in itertools.product(*chance)]


@pytest.mark.parametrize(
    ("settings", "states"),
    [({}, 36), ({"joint": "any"}, 25), ({"joint": "any", "router": True}, 3)],
)
def test_twelve_agents_are_counted_and_not_listed(settings, states):
    assert Team(num_agents=12, **settings).build().start.shape == (states,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"joint": "most"}, "joint must be one of ('agree', 'any', 'all'), got 'most'"),
        ({"router": True}, "joint of a team with a router must be one of ('any',), got 'agree'"),
        (
            {"router": True, "joint": "any", "order": "simultaneous"},
            "order of a team with a router must be one of ('sequential',), got 'simultaneous'",
        ),
    ],
)
def test_a_bad_setting_is_named(settings, message, unhooked):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Team(**settings)
