"""`casim.oracle.games` and `shapley`: worth of coalitions in float64, axioms, closed forms.

The worth of a coalition is written out.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given as draws
from hypothesis import settings
from hypothesis import strategies as st

from casim.dynamics import untie
from casim.oracle import games
from casim.oracle.games import Game
from casim.oracle.shapley import sampled_shapley, shapley_by_counts
from casim.oracle.shapley import shapley_values as values
from casim.simulate import World
from casim.tasks import Team
from casim.types import Trajectory
from tests import reference
from tests.enumeration import QUICK
from tests.oracle.test_shapley import by_orders

SCHEDULE = (0, 2, 1, 2)
STEPS, ROWS = 4, 8
EXACT = {"rtol": 0, "atol": 1e-10}


def compiled(function, *static):
    fast = jax.jit(function, static_argnames=static, compiler_options=QUICK)
    return lambda *args, **named: jax.tree.map(np.asarray, fast(*args, **named))


taken_game = compiled(games.taken_game, "num_runs")
team_game = compiled(games.team_game, "num_runs")
nature_game = compiled(games.nature_game)
worth = compiled(games.worth)
all_coalitions = compiled(games.all_coalitions, "num_players")
by_counts = compiled(shapley_by_counts, "num_players")
sampled = compiled(sampled_shapley, "num_players", "num_orders")
shapley_values = compiled(values)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def played():
    """A process with hidden state, its policy, another, and rollouts with their noise.

    Some rollouts end early.
    """
    mdp, policy = reference.random_mdp(
        8, schedule=SCHEDULE, observations=3, successors=4, discount=reference.BY_KERNEL
    )
    key = jax.random.key(6)
    batch = jax.tree.map(
        np.asarray, reference.rollout(World.make(mdp, jnp.asarray(policy)), key, 100)
    )
    noise = jax.tree.map(np.asarray, games.recorded_noise(key, jnp.arange(100), STEPS))
    early = np.flatnonzero(batch.live[:, 0] & ~batch.live[:, 3])[:3]
    rows = np.append(np.flatnonzero(batch.live.all(1))[: ROWS - 3], early)
    batch, noise = jax.tree.map(lambda x: x[rows], (batch, noise))
    batch = batch._replace(log_prob=batch.log_prob.astype(float), reward=batch.reward.astype(float))
    other = reference.random_policy(9, mdp).astype(float)
    other /= other.sum(-1, keepdims=True)
    return reference.as_float64(mdp), np.asarray(policy, np.float64), other, batch, noise


def rerun(mdp, free, batch, row, acts, first=0, state=None, noise=None, recorded=None, seen=True):
    """E[return from step `first`] by writing out every rerun of one episode.

    Args:
        free: the table of the actions that are not imposed.
        acts: at which steps the action is that of the episode.
        noise: uniforms of the transitions at the steps `recorded` (all if None), and of
            observations if `seen`.
    """

    def value(t, s):
        if t == len(mdp.schedule) or mdp.terminal[s]:
            return 0.0
        m, width = mdp.schedule[t], mdp.prob.shape[-1]
        see = mdp.emission[m, s]
        if noise is not None and seen:
            see = np.eye(len(see))[np.sum(noise.observation[row, t] >= np.cumsum(see)[:-1])]
        act = see @ free[m] if mdp.decision[m] else np.arange(free.shape[-1]) == 0
        if acts[t] and batch.live[row, t]:
            act = np.arange(free.shape[-1]) == batch.action[row, t]
        total = 0.0
        for a in np.flatnonzero(act):
            move = mdp.prob[m, s, a]
            if noise is not None and (recorded is None or recorded[t]):
                move = np.eye(width)[np.sum(noise.transition[row, t] >= np.cumsum(move)[:-1])]
            for k in np.flatnonzero(move):
                after = mdp.reward[m, s, a, k] + mdp.discount[m] * value(
                    t + 1, mdp.successor[m, s, a, k]
                )
                total += act[a] * move[k] * after
        return total

    return value(first, batch.state[row, 0] if state is None else state)


def members(num):
    return (np.arange(2**num)[:, None] >> np.arange(num)) & 1 == 1


def prefixes(num):
    """The coalitions of the first 0, 1, ..., num players, for every row."""
    return np.broadcast_to(
        np.arange(num)[None, :] < np.arange(num + 1)[:, None], (ROWS, num + 1, num)
    )


PLAYERS = {"steps": [0, 1, 2, 3], "segments": [0, 1, 1, 2], "agents": [2, 0, 1, 0]}


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAYERS)
@pytest.mark.parametrize("observed", [False, True])
def test_worth_of_every_coalition_equals_reruns_written_out(played, name, observed):
    mdp, _, other, batch, noise = played
    player, num = np.array(PLAYERS[name]), 1 + max(PLAYERS[name])
    noise = noise if observed else None
    got = all_coalitions(taken_game(mdp, other, batch, player, noise=noise), num_players=num)
    wanted = [
        [rerun(mdp, other, batch, i, s[player], noise=noise) for s in members(num)]
        for i in range(ROWS)
    ]
    np.testing.assert_allclose(got, wanted, **EXACT)
    assert np.ptp(got, axis=1).max() > 0.5


def test_the_recorded_noise_draws_the_observations_and_transitions_of_the_rollout(played):
    mdp, _, _, batch, noise = played
    for i, t in zip(*np.nonzero(batch.live), strict=True):
        m, s, a = mdp.schedule[t], batch.state[i, t], batch.action[i, t]
        seen = np.sum(noise.observation[i, t] >= np.cumsum(mdp.emission[m, s])[:-1])
        slot = np.sum(noise.transition[i, t] >= np.cumsum(mdp.prob[m, s, a])[:-1])
        assert seen == batch.observation[i, t]
        assert mdp.reward[m, s, a, slot] == batch.reward[i, t]
        assert t + 1 == STEPS or mdp.successor[m, s, a, slot] == batch.state[i, t + 1]


def test_on_the_observed_noise_all_players_together_get_the_return(played):
    mdp, _, other, batch, noise = played
    game = taken_game(mdp, other, batch, np.arange(STEPS), noise=noise)
    got = worth(game, np.ones((ROWS, 1, STEPS), bool))[:, 0]
    np.testing.assert_allclose(got, batch.reward @ reference.discounting(mdp), **EXACT)


@pytest.mark.slow
def test_fewer_runs_than_steps_give_the_same_game(played):
    mdp, _, other, batch, _ = played
    player = np.array(PLAYERS["segments"])
    short = taken_game(mdp, other, batch, player, num_runs=3)
    np.testing.assert_array_equal(short.owner, [0, 1, 2])
    whole = taken_game(mdp, other, batch, player)
    np.testing.assert_array_equal(whole.owner, [0, 1, 2, -1])
    for game in (short, whole):
        assert game.present_gain.shape[1] == len(game.owner)
    values = [all_coalitions(game, num_players=3) for game in (short, whole)]
    np.testing.assert_allclose(*values, **EXACT)


@pytest.mark.slow
def test_steps_folded_in_blocks_give_the_same_game(monkeypatch):
    """Seven steps in two blocks of four, the last one filled up.

    Runs begin inside a block and at its edge.
    """
    mdp, policy = reference.random_mdp(
        9, schedule=(0, 2, 1, 2, 0, 1, 1), discount=reference.BY_KERNEL
    )
    key, player = jax.random.key(3), np.array([0, 0, 1, 1, 2, 2, 0])
    batch = reference.rollout(World.make(mdp, jnp.asarray(policy)), key, 3)
    noise = games.recorded_noise(key, jnp.arange(3), len(player))
    policy, player = jnp.asarray(policy), jnp.asarray(player)
    other = jnp.roll(policy, 1, axis=-1)

    def both():
        def fresh():  # a function of its own each time, or JAX would remember what it traced
            taken = games.taken_game(mdp, other, batch, player, num_runs=4, noise=noise)
            return taken, games.team_game(mdp, policy, other, player, num_runs=4)

        return jax.tree.map(np.asarray, jax.jit(fresh, compiler_options=QUICK)())

    whole, roots = both(), []
    monkeypatch.setattr(games, "LONG", 3)
    monkeypatch.setattr(math, "isqrt", lambda n: roots.append(n) or 2)
    blocked = both()
    for one, two in zip(blocked, whole, strict=True):
        for x, y in zip(one, two, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=1e-13)
    assert roots == [7, 7]
    assert np.ptp(whole[0].present_move) > 0.5


def test_a_team_against_a_null_policy_equals_its_paths_written_out(played):
    mdp, policy, null, _, _ = played
    player = np.array(PLAYERS["agents"])
    got = all_coalitions(team_game(mdp, policy, null, player), num_players=3)[0]
    schedule = np.asarray(mdp.schedule)
    for present, value in zip(members(3), got, strict=True):
        table = np.where(present[player][:, None, None], policy[schedule], null[schedule])
        paths = reference.enumerate_paths(untie(mdp), table)
        np.testing.assert_allclose(
            value, paths.probability @ paths.returns(reference.by_step(mdp)), **EXACT
        )


def test_in_the_order_of_time_a_step_gets_its_advantage_on_average_over_its_reruns(played):
    mdp, policy, _, batch, _ = played
    exact = reference.exact(mdp, policy)
    game = taken_game(mdp, policy, batch, np.arange(STEPS))
    marginal = np.diff(worth(game, prefixes(STEPS)), axis=1)
    for i, t in zip(*np.nonzero(batch.live), strict=True):
        imposed = np.where(np.arange(STEPS) < t, batch.action[i], -1)
        start = np.eye(len(mdp.start))[batch.state[i, 0]]
        paths = reference.enumerate_paths(mdp, policy, start=start, imposed=imposed)
        reached = paths.live[:, t] * paths.probability
        state, action = paths.state[:, t], batch.action[i, t]
        advantage = exact.q_value[t, state, action] - exact.value[t, state]
        wanted = reference.discounting(mdp)[t] * (reached @ advantage)
        np.testing.assert_allclose(marginal[i, t], wanted, **EXACT)


def test_on_the_observed_noise_the_order_of_time_gives_the_advantage_in_the_process_that_it_makes(
    played,
):
    mdp, policy, _, batch, noise = played
    game = taken_game(mdp, policy, batch, np.arange(STEPS), noise=noise)
    marginal = np.diff(worth(game, prefixes(STEPS)), axis=1)
    for i, t in zip(*np.nonzero(batch.live), strict=True):
        state, nobody = batch.state[i, t], np.zeros(STEPS, bool)
        acted, free = (
            rerun(mdp, policy, batch, i, acts, t, state, noise)
            for acts in (np.arange(STEPS) == t, nobody)
        )
        np.testing.assert_allclose(
            marginal[i, t], reference.discounting(mdp)[t] * (acted - free), **EXACT
        )


def test_with_nature_as_a_player_actions_get_their_advantage_and_draws_their_luck(played):
    mdp, policy, _, batch, noise = played
    exact = reference.exact(mdp, policy)
    game = nature_game(mdp, policy, batch, noise)
    order = np.stack([np.arange(STEPS), STEPS + np.arange(STEPS)], axis=1).ravel()
    place = np.argsort(order)
    size = np.arange(2 * STEPS + 1)
    present = np.broadcast_to(place[None, :] < size[:, None], (ROWS, len(size), 2 * STEPS))
    marginal = np.diff(worth(game, present), axis=1)
    for i, t in zip(*np.nonzero(batch.live), strict=True):
        s, a = batch.state[i, t], batch.action[i, t]
        onward = t + 1 < STEPS and batch.live[i, t + 1]
        after = (
            mdp.discount[mdp.schedule[t]] * exact.value[t + 1, batch.state[i, t + 1]]
            if onward
            else 0.0
        )
        q, scale = exact.q_value[t, s, a], reference.discounting(mdp)[t]
        np.testing.assert_allclose(marginal[i, 2 * t], scale * (q - exact.value[t, s]), **EXACT)
        np.testing.assert_allclose(
            marginal[i, 2 * t + 1], scale * (batch.reward[i, t] + after - q), **EXACT
        )


def test_worth_with_nature_as_a_player_equals_reruns_written_out(played):
    mdp, policy, _, batch, noise = played
    present = np.random.default_rng(0).random((ROWS, 5, 2 * STEPS)) < 0.5
    got = worth(nature_game(mdp, policy, batch, noise), present)
    for i, c in np.ndindex(ROWS, 5):
        acts, recorded = present[i, c].reshape(2, STEPS)
        wanted = rerun(mdp, policy, batch, i, acts, noise=noise, recorded=recorded, seen=False)
        np.testing.assert_allclose(got[i, c], wanted, **EXACT)


@pytest.mark.parametrize("observed", [False, True])
def test_shapley_values_by_counts_equal_the_mean_over_orders(played, observed):
    mdp, _, other, batch, noise = played
    game = taken_game(
        mdp, other, batch, np.array([1, 2, 2, 0]), num_runs=3, noise=noise if observed else None
    )
    wanted = np.stack([by_orders(value, 3) for value in all_coalitions(game, num_players=3)])
    np.testing.assert_allclose(by_counts(game, num_players=3), wanted, **EXACT)


def test_by_counts_a_player_with_two_runs_is_refused_as_nan(played):
    mdp, _, other, batch, _ = played
    game = taken_game(mdp, other, batch, np.array(PLAYERS["agents"]))
    assert np.isnan(by_counts(game, num_players=3)).all()


def random_game(seed, rows=2, runs=16, states=3):
    """Random stochastic maps with rewards; every run has a player of its own, in no order."""
    rng = np.random.default_rng(seed)
    moves = rng.dirichlet(np.ones(states), (2, rows, runs, states)) * 0.95
    gains = rng.normal(size=(2, rows, runs, states))
    start = rng.dirichlet(np.ones(states), rows)
    return Game(start, gains[0], moves[0], gains[1], moves[1], rng.permutation(runs))


@pytest.mark.slow
def test_sixteen_players_by_enumeration_and_by_counts_agree():
    game = random_game(1)
    value = all_coalitions(game, num_players=16)
    phi = shapley_values(value)
    np.testing.assert_allclose(phi, by_counts(game, num_players=16), **EXACT)
    np.testing.assert_allclose(phi.sum(1), value[:, -1] - value[:, 0], **EXACT)
    assert np.abs(phi).min() > 1e-4
    orders = sampled(jax.random.key(0), game, num_players=16, num_orders=400)
    np.testing.assert_allclose(orders.value.sum(1), value[:, -1] - value[:, 0], **EXACT)
    z = (orders.value - phi) / orders.error
    assert np.abs(z).max() < 5
    assert 0.6 < z.std() < 1.5  # the error is neither too large nor too small: 32 values


def test_a_hundred_players_by_counts_in_closed_form():
    """Two states; player i moves to the good one with chance x_i if present, else y_i.

    The game is additive, so its values are the marginals.
    """
    rng = np.random.default_rng(2)
    x, y, pay = rng.random((3, 100))
    chance = np.stack([x, y])[:, None, :]
    move = np.broadcast_to(np.stack([1 - chance, chance], axis=-1)[..., None, :], (2, 1, 100, 2, 2))
    gain = np.zeros((2, 1, 100, 2))
    gain[:, :, 1:, 1] = pay[:-1]  # the next player's run pays what this one reached
    game = Game(np.array([[1.0, 0.0]]), gain[0], move[0], gain[1], move[1], np.arange(100))
    wanted = (x - y) * np.append(pay[:-1], 0.0)
    np.testing.assert_allclose(by_counts(game, num_players=100)[0], wanted, **EXACT)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, derandomize=True)
@draws(st.integers(0, 10**6), st.integers(0, 15))
def test_the_axioms_hold_by_counts(seed, null):
    game = random_game(seed)
    run = int(np.flatnonzero(game.owner == null)[0])
    for present, absent in (
        (game.present_gain, game.absent_gain),
        (game.present_move, game.absent_move),
    ):
        present[:, run] = absent[:, run]
    phi = by_counts(game, num_players=16)
    np.testing.assert_allclose(phi[:, null], 0.0, **EXACT)
    ends = worth(game, np.broadcast_to(np.array([[False], [True]]), (2, 2, 16)))
    np.testing.assert_allclose(phi.sum(1), ends[:, 1] - ends[:, 0], **EXACT)


def test_agents_of_a_team_alike_get_the_same_and_a_null_agent_nothing():
    mdp = reference.as_float64(
        Team(num_agents=4, coupling=0.6, order="simultaneous", null_agent=1).build()
    )
    policy = np.full((mdp.prob.shape[0], mdp.emission.shape[2], 2), 0.5)
    policy[int(mdp.schedule[3])] = [0.2, 0.8]
    actions = np.array([[0, 1, 0, 0], [1, 0, 0, 1]], np.int32)
    empty, blank = np.zeros((2, 4)), np.zeros((2, 4), np.int32)
    batch = Trajectory(blank, blank, actions, empty, empty, np.ones((2, 4), bool))
    phi = by_counts(taken_game(mdp, policy, batch, np.asarray(mdp.agent)), num_players=4)
    np.testing.assert_allclose(phi[:, 1], 0.0, **EXACT)
    np.testing.assert_allclose(phi[0, 0], phi[0, 2], **EXACT)
    assert abs(phi[0, 0] - phi[0, 3]) > 0.01
    assert abs(phi[1, 0] - phi[1, 2]) > 0.01


@pytest.mark.parametrize("num", [0, 17])
def test_the_number_of_enumerated_players_is_checked(num):
    with pytest.raises(ValueError, match=r"num_players must be in \[1, 16\]"):
        games.all_coalitions(random_game(0), num)


def test_one_order_has_no_error():
    with pytest.raises(ValueError, match=r"num_orders must be in \[2, inf\], got 1"):
        sampled_shapley(jax.random.key(0), random_game(0), 16, 1)
