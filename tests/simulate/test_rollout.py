"""World.rollout: replays to the last bit, and frequencies against all trajectories, enumerated."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from casim.simulate import scan
from tests import reference
from tests.reference import assert_frequencies, mean_and_error, rollout
from tests.simulate.samples import (
    COPIES,
    KEY,
    OTHER,
    ROWS,
    assert_same,
    close,
    gain,
)


def test_a_rollout_from_the_same_key_is_the_same_to_the_last_bit(long, long_batch):
    assert_same(rollout(long, KEY, 6), long_batch)
    assert np.any(rollout(long, OTHER, 6).state != long_batch.state)


def test_episodes_do_not_depend_on_how_many_are_run_nor_on_the_chunks_of_the_engine(
    long, long_batch, monkeypatch
):
    monkeypatch.setattr(scan, "CHUNK", 7)
    more = jax.jit(lambda world: world.rollout(KEY, 43))(long)
    assert_same(jax.tree.map(lambda x: x[:6], more), long_batch)


def test_promising_a_one_hot_emission_changes_no_trajectory(seen, prompted):
    world = seen[0]
    assert not world.noisy_emission
    noisy = dataclasses.replace(world, noisy_emission=True)
    assert_same(rollout(noisy, KEY, ROWS * COPIES, jnp.asarray(1)), prompted)


def test_a_prompt_is_the_start_state(seen, prompted):
    assert np.all(np.asarray(prompted.state)[:, 0] == 1)
    assert np.any(prompted.state[:, 1] != prompted.state[0, 1])


def test_trajectories_have_the_frequencies_of_the_enumeration(small, many):
    """Chi-square with a false alarm of 1e-7 each: (s, o, a) with the next step's s.

    They are counted at 4 steps of 100,000 episodes.
    """
    _, mdp, policy = small
    paths = reference.enumerate_paths(mdp, policy)
    shape = (5, 7, 2, 5)
    for t in range(4):
        now = min(t + 1, 3)

        def cell(x, t=t, now=now):
            # The observation after the end means nothing, but it is drawn all the same.
            return np.ravel_multi_index(
                (x.state[:, t], x.observation[:, t], x.action[:, t], x.state[:, now]), shape
            )

        count = np.bincount(cell(many), minlength=np.prod(shape))
        assert_frequencies(count, np.bincount(cell(paths), paths.probability, np.prod(shape)))
    mean, error = mean_and_error(paths, mdp.discount[0], 100_000)
    assert close(gain(many, mdp.discount[0]).mean(), mean, error)


def test_rewards_have_the_frequencies_of_the_enumeration(small, many):
    """One next state listed twice is a random reward.

    Rewards given (s, a, s') are mixed as their probabilities say.
    """
    _, mdp, policy = small
    paths = reference.enumerate_paths(mdp, policy)
    repeats = 0
    for t in range(COPIES):

        def cell(x, t=t):
            eighths = np.round(8 * x.reward[:, t]).astype(int) + 16
            assert np.all(eighths == 8 * x.reward[:, t] + 16)
            return np.ravel_multi_index(
                (x.state[:, t], x.action[:, t], x.state[:, t + 1], eighths), (5, 2, 5, 33)
            )

        wanted = np.bincount(cell(paths), paths.probability, 1650)
        repeats += np.any((wanted.reshape(-1, 33) > 0).sum(1) > 1)
        assert_frequencies(np.bincount(cell(many), minlength=1650), wanted)
    assert repeats


def test_nothing_counts_after_termination(many):
    batch = many
    dead = batch.state == 2
    np.testing.assert_array_equal(batch.live, ~dead)
    assert np.all(dead[:, 1:] >= dead[:, :-1])
    assert 0.1 < dead[:, -1].mean() < 0.9
    assert dead[:, 0].any()
    for x in (batch.reward, batch.log_prob, batch.action):
        assert not x[dead].any()
        assert x[~dead].any()


def test_the_environment_s_tokens_play_action_0_with_log_prob_0(small, many):
    world, mdp, _ = small
    batch = many
    written = ~np.asarray(mdp.decision)[np.asarray(mdp.schedule)]
    np.testing.assert_array_equal(written, [False, False, True, False])
    np.testing.assert_array_equal(world.decision, ~written)
    assert not batch.action[:, written].any()
    assert not batch.log_prob[:, written].any()
    assert batch.reward[:, written].any()
    assert all(batch.action[:, t].any() for t in np.flatnonzero(~written))


def test_log_prob_is_the_log_of_the_policy_at_the_action(small, many):
    world, mdp, policy = small
    batch = many
    row = policy[np.asarray(mdp.schedule)[None], batch.observation]
    taken = np.take_along_axis(row, batch.action[..., None], -1)[..., 0]
    decided = np.asarray(world.decision)[None] & batch.live
    wanted = np.where(decided, np.log(taken.astype(float)), 0.0)
    np.testing.assert_allclose(batch.log_prob, wanted, rtol=4 * reference.EPS)


def test_actions_of_probability_0_are_never_taken(small):
    world, _, policy = small
    table = policy.copy()
    table[0, :, 1], table[0, :, 0] = 0.0, 1.0
    table[2, :, 0], table[2, :, 1] = 0.0, 1.0
    batch = jax.tree.map(
        np.asarray, rollout(dataclasses.replace(world, policy=jnp.asarray(table)), KEY, 100_000)
    )
    assert not batch.action[:, 0].any()
    assert np.all(batch.action[:, [1, 3]] == batch.live[:, [1, 3]])
    assert not batch.log_prob.any()
