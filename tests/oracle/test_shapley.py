"""Exact Shapley values against their definition: coalitions and their values by enumeration, in float64."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import coalition_values, shapley
from casim.tasks import Bifurcation
from tests import reference
from tests.enumeration import QUICK, case, solved

PLAYERS = 3
coalition_values = jax.jit(coalition_values, static_argnums=3, compiler_options=QUICK)
exact_shapley = jax.jit(shapley, static_argnums=3, compiler_options=QUICK)


def values_by_enumeration(mdp, policy, batch, row, players):
    """v(S) of every coalition of one trajectory: its actions imposed in the segments of S where it was live."""
    segment, live = np.asarray(mdp.segment), np.asarray(batch.live)[row]
    action, start = np.asarray(batch.action)[row], np.eye(mdp.start.shape[0])[int(np.asarray(batch.state)[row, 0])]

    @functools.cache
    def value(imposed):
        paths = reference.enumerate_paths(mdp, policy, start=start, imposed=np.array(imposed))
        return float(paths.probability @ paths.returns(float(mdp.discount)) / paths.probability.sum())

    out = []
    for index in range(2**players):
        inside = (index >> segment) & 1 == 1
        out.append(value(tuple(int(x) for x in np.where(inside & live, action, -1))))
    return np.array(out)


def by_orders(value, players):
    """The mean over all orders of the marginal of each player: another definition than the weighted sum."""
    total = np.zeros(players)
    for order in itertools.permutations(range(players)):
        inside = 0
        for g in order:
            total[g] += value[inside | 1 << g] - value[inside]
            inside |= 1 << g
    return total / math.factorial(players)


@pytest.fixture(scope="module")
def given():
    """Segments of lengths 1, 2 and 1; the second holds the environment's step and a pick of the policy."""
    one = case(binary=False, actions=2, prompt=False, discount=0.875)
    mdp = one.mdp._replace(segment=jnp.asarray([0, 1, 1, 2]))
    rows = np.random.default_rng(0).choice(len(one.all.weight), 12, replace=False)
    rows = np.append(rows, np.flatnonzero(~np.asarray(one.all.batch.live).all(axis=1))[:4])
    return mdp, one.policy, jax.tree.map(lambda x: x[rows], one.all.batch)


@pytest.fixture(scope="module")
def hidden():
    mdp, policy = reference.random_mdp(6, schedule=(2, 1, 0), observations=3, successors=4)
    one = solved(mdp, policy)
    rows = np.random.default_rng(1).choice(len(one.all.weight), 9, replace=False)
    return mdp, policy, jax.tree.map(lambda x: x[rows], one.all.batch)


def test_coalition_values_and_shapley_values_equal_their_definition(given, hidden):
    for mdp, policy, batch in (given, hidden):
        wanted = np.stack([values_by_enumeration(mdp, policy, batch, i, PLAYERS) for i in range(len(batch.live))])
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
    task = Bifurcation(horizon=4, pivots=(1, 2), gap=1.0, base=0.5, recovery=1.0, num_actions=3, num_segments=4)
    mdp = task.build()
    return solved(mdp, reference.random_policy(2, mdp))


def test_with_certain_transitions_the_marginal_in_the_order_of_time_is_the_advantage(certain):
    batch = certain.all.batch
    value = np.asarray(coalition_values(certain.mdp, certain.policy, batch, 4), np.float64)
    state, action = np.asarray(batch.state), np.asarray(batch.action)
    for t in range(4):
        marginal = value[:, (2 << t) - 1] - value[:, (1 << t) - 1]
        np.testing.assert_allclose(marginal, certain.advantage[t, state[:, t], action[:, t]], atol=2e-6)


def test_with_certain_transitions_shapley_values_sum_to_the_return_less_the_value_of_the_prompt(certain):
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
