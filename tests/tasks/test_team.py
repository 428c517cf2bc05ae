"""Team: Shapley values in closed form, pure coordination, messages, and a null agent.

The closed form is for no coupling, the coordination for full coupling.
"""

from __future__ import annotations

import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import expected_return, optimal
from casim.tasks import Team
from tests import reference
from tests.enumeration import solve
from tests.reference import EPS

solve = jax.jit(solve)


def table(mdp, chance: list[list[float]]) -> np.ndarray:
    """A policy that ignores messages: the action probabilities of each agent.

    The last token of a turn acts.
    """
    policy = np.full(
        (mdp.prob.shape[0], mdp.emission.shape[2], mdp.prob.shape[2]),
        1 / mdp.prob.shape[2],
        np.float32,
    )
    for agent, row in enumerate(chance):
        policy[int(mdp.schedule[np.flatnonzero(np.asarray(mdp.agent) == agent)[-1]])] = row
    return policy


def shapley(mdp, policy, taken: list[int]) -> np.ndarray:
    """Exact Shapley values of agents, by enumeration.

    In maths: v(S) = E[R | actions of S as taken, the others drawn].
    """
    agent = np.asarray(mdp.agent)
    num = len(taken)
    worth = {}
    for present in itertools.product((False, True), repeat=num):
        imposed = np.array([taken[i] if present[i] else -1 for i in agent])
        paths = reference.enumerate_paths(mdp, policy, imposed=imposed)
        worth[present] = float(paths.probability @ paths.returns(1.0)) / paths.probability.sum()
    phi = np.zeros(num)
    for i in range(num):
        for present in worth:
            if not present[i]:
                size = sum(present)
                share = math.factorial(size) * math.factorial(num - size - 1) / math.factorial(num)
                joined = tuple(x or j == i for j, x in enumerate(present))
                phi[i] += share * (worth[joined] - worth[present])
    return phi


CHANCE = [[0.3, 0.7], [0.6, 0.4], [0.9, 0.1]]


def test_without_coupling_shapley_values_are_in_closed_form():
    mdp = Team(coupling=0.0, num_agents=3, null_agent=1).build()
    policy = table(mdp, CHANCE)
    for taken in ([0, 0, 1], [1, 1, 0]):
        wanted = [((a == 0) - p[0]) / 2 for a, p in zip(taken, CHANCE, strict=True)]
        wanted[1] = 0.0
        np.testing.assert_allclose(shapley(mdp, policy, taken), wanted, atol=1e-6)


def test_without_coupling_the_advantage_of_an_agent_is_its_shapley_value():
    mdp = Team(coupling=0.0, num_agents=3, tokens_per_agent=2).build()
    truth = solve(mdp, jnp.asarray(table(mdp, CHANCE)))
    for agent, step in enumerate((1, 3, 5)):
        met = np.asarray(truth.occupancy)[step] > 0
        advantage = np.asarray(truth.advantage)[step][met]
        np.testing.assert_allclose(advantage[:, 0], (1 - CHANCE[agent][0]) / 3, atol=8 * EPS)


def test_pure_coordination_pays_agreement_and_divides_it_by_synergy():
    """At coupling 1 leave-one-out pays every agent of an agreeing team the whole.

    Shapley values share it.
    """
    mdp = Team(coupling=1.0, num_agents=3, order="simultaneous").build()
    half = table(mdp, [[0.5, 0.5]] * 3)
    # Two coin flips must agree with the first.
    assert float(expected_return(mdp, jnp.asarray(half))) == pytest.approx(0.25)
    phi = shapley(mdp, half, [1, 1, 1])
    np.testing.assert_allclose(phi, 0.75 / 3, atol=1e-6)


def test_the_expected_return_mixes_both_parts():
    mdp = Team(coupling=0.4, num_agents=3).build()
    policy = table(mdp, CHANCE)
    right = np.mean([p[0] for p in CHANCE])
    agree = np.prod([p[0] for p in CHANCE]) + np.prod([p[1] for p in CHANCE])
    assert float(expected_return(mdp, jnp.asarray(policy))) == pytest.approx(
        0.6 * right + 0.4 * agree, abs=1e-6
    )
    assert float(np.asarray(optimal(mdp).value[0]) @ np.asarray(mdp.start)) == pytest.approx(1.0)


def test_the_null_agent_is_worth_nothing_whatever_the_coupling():
    mdp = Team(coupling=0.7, num_agents=3, null_agent=1, message_noise=0.1).build()
    truth = solve(mdp, jnp.asarray(reference.random_policy(1, mdp)))
    assert not np.asarray(truth.advantage)[1].any()
    assert np.abs(np.asarray(truth.advantage)[[0, 2]]).max() > 0.05


def test_messages_carry_the_action_of_the_agent_before_with_the_set_noise():
    mdp = Team(num_agents=2, num_actions=3, message_noise=0.3).build()
    truth = solve(mdp, jnp.asarray(table(mdp, [[1, 0, 0], [1 / 3] * 3])))
    seen = np.asarray(truth.occupancy)[1] @ np.asarray(mdp.emission)[int(mdp.schedule[1])]
    # Silence, then actions 0, 1, 2.
    np.testing.assert_allclose(seen, [0, 0.7, 0.15, 0.15], atol=4 * EPS)


def test_an_agent_that_reads_its_message_coordinates_and_one_that_cannot_does_not():
    follow = Team(coupling=1.0, num_agents=2).build()
    policy = table(follow, [[0.5, 0.5], [0.5, 0.5]])
    policy[int(follow.schedule[1]), 1:] = np.eye(2)
    assert float(expected_return(follow, jnp.asarray(policy))) == 1.0
    deaf = Team(coupling=1.0, num_agents=2, order="simultaneous").build()
    assert deaf.emission.shape[2] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_agents": 1}, "num_agents must be in [2, inf], got 1"),
        ({"coupling": 1.5}, "coupling must be in [0.0, 1.0], got 1.5"),
        ({"order": "random"}, "order must be one of ('sequential', 'simultaneous'), got 'random'"),
        ({"null_agent": 3}, "null_agent must be in [0, 2], got 3"),
    ],
)
def test_a_bad_setting_is_named(settings, message, unhooked):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Team(**settings)
