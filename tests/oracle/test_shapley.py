"""Shapley values against their definition, coalitions by enumeration, and their axioms.

The enumeration is in float64.
"""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given as draws
from hypothesis import settings
from hypothesis import strategies as st

from casim.oracle.shapley import (
    coalition_values,
    difference_rewards,
    shapley,
    shapley_values,
)
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import QUICK, case, solved

PLAYERS = 3
coalition_values = jax.jit(coalition_values, static_argnums=3, compiler_options=QUICK)
exact_shapley = jax.jit(shapley, static_argnums=3, compiler_options=QUICK)


def values_by_enumeration(mdp, policy, batch, row, players):
    """v(S) of every coalition of one trajectory.

    Its actions are imposed in the segments of S where it was live.
    """
    segment, live = np.asarray(mdp.segment), np.asarray(batch.live)[row]
    action, start = (
        np.asarray(batch.action)[row],
        np.eye(mdp.start.shape[0])[int(np.asarray(batch.state)[row, 0])],
    )

    @functools.cache
    def value(imposed):
        paths = reference.enumerate_paths(mdp, policy, start=start, imposed=np.array(imposed))
        return float(
            paths.probability @ paths.returns(reference.by_step(mdp)) / paths.probability.sum()
        )

    out = []
    for index in range(2**players):
        inside = (index >> segment) & 1 == 1
        out.append(value(tuple(int(x) for x in np.where(inside & live, action, -1))))
    return np.array(out)


def by_orders(value, players):
    """The mean over all orders of the marginal of each player.

    That is another definition than the weighted sum.
    """
    total = np.zeros(players)
    for order in itertools.permutations(range(players)):
        inside = 0
        for g in order:
            total[g] += value[inside | 1 << g] - value[inside]
            inside |= 1 << g
    return total / math.factorial(players)


@pytest.fixture(scope="module")
def given():
    """Segments of lengths 1, 2 and 1; in the second an environment's step and the policy's pick."""
    one = case(binary=False, actions=2, prompt=False, discount=0.875)
    mdp = one.mdp._replace(segment=jnp.asarray([0, 1, 1, 2]))
    rows = np.random.default_rng(0).choice(len(one.all.weight), 12, replace=False)
    rows = np.append(rows, np.flatnonzero(~np.asarray(one.all.batch.live).all(axis=1))[:4])
    return mdp, one.policy, jax.tree.map(lambda x: x[rows], one.all.batch)


def test_coalition_values_and_shapley_values_equal_their_definition(given):
    mdp, policy, batch = given
    wanted = np.stack(
        [values_by_enumeration(mdp, policy, batch, i, PLAYERS) for i in range(len(batch.live))]
    )
    np.testing.assert_allclose(coalition_values(mdp, policy, batch, PLAYERS), wanted, atol=2e-6)
    phi = np.stack([by_orders(value, PLAYERS) for value in wanted])
    np.testing.assert_allclose(exact_shapley(mdp, policy, batch, PLAYERS), phi, atol=2e-6)


def test_shapley_values_sum_to_the_grand_coalition_less_the_empty_one(given):
    mdp, policy, batch = given
    value = np.asarray(coalition_values(mdp, policy, batch, PLAYERS), np.float64)
    phi = np.asarray(exact_shapley(mdp, policy, batch, PLAYERS), np.float64)
    np.testing.assert_allclose(phi.sum(axis=1), value[:, -1] - value[:, 0], atol=2e-6)
    prompt = case(binary=False, actions=2, prompt=False, discount=0.875).exact.value[0]
    np.testing.assert_allclose(value[:, 0], prompt[np.asarray(batch.state)[:, 0]], atol=2e-6)


@pytest.fixture(scope="module")
def certain():
    """A chain with two pivots whose transitions and outcome are certain, one segment per step."""
    task = Bifurcation(
        horizon=4, pivots=(1, 2), gap=1.0, base=0.5, recovery=1.0, num_actions=3, num_segments=4
    )
    mdp = task.build()
    return solved(mdp, reference.random_policy(2, mdp))


def test_with_certain_transitions_the_marginal_in_the_order_of_time_is_the_advantage(certain):
    batch = certain.all.batch
    value = np.asarray(coalition_values(certain.mdp, certain.policy, batch, 4), np.float64)
    state, action = np.asarray(batch.state), np.asarray(batch.action)
    for t in range(4):
        marginal = value[:, (2 << t) - 1] - value[:, (1 << t) - 1]
        np.testing.assert_allclose(
            marginal, certain.advantage[t, state[:, t], action[:, t]], atol=2e-6
        )


def test_with_certain_transitions_shapley_values_sum_to_the_return_less_the_value_of_the_prompt(
    certain,
):
    batch = certain.all.batch
    phi = np.asarray(exact_shapley(certain.mdp, certain.policy, batch, 4), np.float64)
    returns = np.asarray(batch.reward, np.float64).sum(axis=1)
    np.testing.assert_allclose(phi.sum(axis=1), returns - certain.exact.expected_return, atol=2e-6)
    taken = certain.advantage[np.arange(4), np.asarray(batch.state), np.asarray(batch.action)]
    assert np.abs(phi - taken).max() > 0.05  # the other orders differ from the order of time


def test_more_than_twelve_segments_are_refused(given):
    mdp, policy, batch = given
    with pytest.raises(ValueError, match=r"num_segments must be in \[1, 12\].*got 13"):
        shapley(mdp, jnp.asarray(policy), batch, 13)


EXACT = {"rtol": 0, "atol": 1e-10}
MEMBERS = (np.arange(16)[:, None] >> np.arange(4)[None, :]) & 1
compiled = jax.jit(lambda value, rule: rule(value), static_argnums=1, compiler_options=QUICK)


def axiom_values(value, rule=shapley_values):
    """In float64."""
    with jax.enable_x64(True):
        return np.asarray(compiled(np.asarray(value, np.float64), rule))


VALUES = st.lists(st.integers(-50, 50), min_size=16, max_size=16).map(lambda x: np.array(x, float))
AXIOMS = settings(max_examples=40, deadline=None, derandomize=True)


@AXIOMS
@draws(VALUES)
def test_efficiency_and_the_mean_over_orders(value):
    phi = axiom_values(value)
    np.testing.assert_allclose(phi.sum(), value[-1] - value[0], **EXACT)
    np.testing.assert_allclose(phi, by_orders(value, 4), **EXACT)


@AXIOMS
@draws(VALUES, st.permutations(range(4)))
def test_symmetry_players_that_are_renamed_swap_their_values(value, name):
    """And so players that a game does not tell apart get the same."""
    index = (MEMBERS * 2 ** np.array(name)).sum(1)
    np.testing.assert_allclose(axiom_values(value[index]), axiom_values(value)[name], **EXACT)
    swap = MEMBERS @ 2 ** np.array([1, 0, 2, 3])
    phi = axiom_values(value + value[swap])
    np.testing.assert_allclose(phi[0], phi[1], **EXACT)


@AXIOMS
@draws(VALUES, st.integers(0, 3))
def test_a_null_player_gets_nothing(value, player):
    null = value[np.arange(16) & ~(1 << player)]
    np.testing.assert_allclose(axiom_values(null)[player], 0.0, **EXACT)
    np.testing.assert_allclose(axiom_values(null, difference_rewards)[player], 0.0, **EXACT)


def test_redundancy_and_synergy_are_shared_by_shapley_values_and_not_by_difference_rewards():
    """OR: all may be absent but one; AND: none may."""
    size = MEMBERS[:8].sum(1)
    for value, difference in (((size > 0).astype(float), 0.0), ((size == 3).astype(float), 1.0)):
        np.testing.assert_allclose(axiom_values(value), 1 / 3, **EXACT)
        np.testing.assert_array_equal(axiom_values(value, difference_rewards), difference)
