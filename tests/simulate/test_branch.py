"""World.branch: what is kept, imposed and redrawn, and returns against the enumeration."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.types import Replay
from tests import reference
from tests.reference import assert_frequencies, mean_and_error, rollout
from tests.simulate.samples import (
    COPIES,
    HORIZON,
    KEY,
    LONG,
    MANY,
    OTHER,
    ROWS,
    SIGMA,
    assert_same,
    branch,
    close,
    copy,
    gain,
    make,
)

STEPS = [0, 1, 48, 49, 50, 51, 99, 100, 148, (0, 148, 50, 100, 3, 77), (60, 148, 51, 100, 99, 120)]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_copy_0_under_the_key_of_the_rollout_repeats_it(long, long_batch, step):
    step = np.broadcast_to(step, 6)
    same = jnp.take_along_axis(long_batch.action, step[:, None], axis=1)[:, 0]
    drawn = branch(long, KEY, long_batch, step, COPIES)
    imposed = branch(long, KEY, long_batch, step, COPIES, same)
    assert drawn.state.shape == (6, COPIES, HORIZON)
    assert_same(copy(drawn, 0), long_batch)
    assert_same(copy(imposed, 0), long_batch)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_branch_keeps_what_was_before_and_the_state_and_observation_at_the_step(
    long, long_batch, step
):
    step = np.broadcast_to(step, 6)
    out = branch(long, OTHER, long_batch, step, COPIES)
    before = np.arange(HORIZON) < step[:, None]
    here = np.arange(HORIZON) == step[:, None]
    for index in range(COPIES):
        assert_same(copy(out, index), long_batch, before)
        for name in ("state", "observation"):
            np.testing.assert_array_equal(
                getattr(copy(out, index), name)[here], getattr(long_batch, name)[here]
            )
    if step.max() < 120:  # suffixes long enough to tell the copies and the keys apart
        suffix = [np.asarray(out.state)[:, i] for i in range(COPIES)] + [
            np.asarray(long_batch.state)
        ]
        assert all(np.all(np.any(x != y, axis=1)) for i, x in enumerate(suffix) for y in suffix[:i])


def test_one_step_and_one_action_serve_all_rows(small, batch):
    world = small[0]
    once = jax.jit(lambda world, batch: world.branch(OTHER, batch, 1, COPIES, 1))(world, batch)
    assert_same(
        once, jax.tree.map(lambda x: x[:, :COPIES], branch(world, OTHER, batch, 1, MANY, 1))
    )


def test_copy_k_of_row_i_has_address_k_n_plus_i(seen, prompted):
    """From a prompt in an observed world nothing is left to restore: branches are episodes."""
    world = seen[0]
    out = branch(world, OTHER, jax.tree.map(lambda x: x[:ROWS], prompted), 0, COPIES)
    episodes = rollout(world, OTHER, ROWS * COPIES, jnp.asarray(1))
    assert_same(jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(ROWS * COPIES, -1), out), episodes)


def test_an_imposed_action_is_taken_and_has_its_own_log_prob(long, long_batch):
    step, action = np.array([0, 50, 99, 100, 148, 7]), np.array([1, 0, 1, 1, 0, 0])
    out = branch(long, OTHER, long_batch, step, COPIES, action)
    for i, (t, a) in enumerate(zip(step, action, strict=True)):
        assert np.all(out.action[i, :, t] == a)
        m, o = LONG[t], int(long_batch.observation[i, t])
        table = np.where(np.arange(2) == 0, 1.0, 0.0) if m == 1 else np.asarray(long.policy)[m, o]
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(
                out.log_prob[i, :, t], np.log(table[a]), rtol=4 * reference.EPS
            )


def test_an_action_that_the_policy_never_takes_has_log_prob_minus_infinity(small):
    world, _, policy = small
    table = policy.copy()
    table[2] = [1.0, 0.0]
    world = dataclasses.replace(world, policy=jnp.asarray(table))
    batch = jax.tree.map(lambda x: x[:ROWS], rollout(world, KEY, 100_000))
    out = branch(world, OTHER, batch, 1, MANY, 1)
    alive = np.asarray(batch.live)[:, 1]
    assert np.all(np.asarray(out.log_prob)[alive, :, 1] == -np.inf)
    assert np.all(np.asarray(out.action)[alive, :, 1] == 1)
    assert 0 < alive.sum() < ROWS
    for x in (out.log_prob, out.action, out.reward, out.live):
        assert not np.asarray(x)[~alive, :, 1:].any()


def test_two_actions_under_one_key_share_their_noise(small):
    """Where actions change nothing, both branches live through the same.

    That is, through the same states, observations and rewards.
    """
    _, mdp, policy = small
    tables = {
        name: jnp.repeat(getattr(mdp, name)[:, :, :1], 2, axis=2)
        for name in ("successor", "prob", "reward")
    }
    world = make(mdp._replace(**tables), policy)
    batch = jax.tree.map(lambda x: x[:ROWS], rollout(world, KEY, 100_000))
    one, two = (branch(world, OTHER, batch, 1, MANY, action) for action in (0, 1))
    assert np.any(one.action[..., 1] != two.action[..., 1])
    for name in ("state", "observation", "reward", "live"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))
    np.testing.assert_array_equal(one.action[..., 2:], two.action[..., 2:])
    fresh = branch(world, jax.random.key(9), batch, 1, MANY, 1)
    assert np.any(fresh.state != two.state)


@pytest.mark.parametrize("action", [None, 0, 1])
@pytest.mark.parametrize("step", [0, 1, 3])
def test_branches_have_the_expected_return_of_the_enumeration(small, batch, step, action):
    """E[G_t | s_t, o_t], and given a_t if imposed, within 5 standard errors in each row."""
    world, mdp, policy = small
    mean = gain(branch(world, OTHER, batch, step, MANY, action), mdp.discount[0], step).mean(1)
    imposed = np.full(4, -1)
    imposed[step] = -1 if action is None else action
    for i in range(ROWS):
        paths = reference.enumerate_paths(
            mdp,
            policy,
            first=step,
            start=np.arange(5) == int(batch.state[i, step]),
            first_observation=int(batch.observation[i, step]),
            imposed=imposed,
        )
        assert close(mean[i], *mean_and_error(paths, mdp.discount[0], MANY))


@pytest.mark.slow
def test_a_lost_state_does_not_depend_on_the_noise_of_the_rollout():
    """Under the key of the rollout too, a hidden coin is redrawn half of the time.

    It is shown through noise. Given either observation the belief is (3/4, 1/4) on the coin shown,
    so P(state kept | o) is 1/2 + 1/2 (10/16).
    """
    mdp, _ = reference.random_mdp(45, schedule=(0, 0))
    coin = np.arange(2)[None, :, None, None]
    mdp = mdp._replace(
        start=np.full(2, 0.5),
        successor=coin.copy(),
        prob=np.ones((1, 2, 1, 1)),
        reward=np.zeros((1, 2, 1, 1)),
        emission=np.array([[[0.75, 0.25], [0.25, 0.75]]]),
        terminal=np.zeros(2, bool),
        decision=np.ones(1, bool),
        kind=np.zeros(1, int),
        discount=mdp.discount[:1],
        prompt=np.zeros(2, int),
    )
    world = make(jax.tree.map(jnp.asarray, mdp), np.ones((1, 2, 1)), replay=Replay(noise=0.5))
    num = 40_000
    batch = rollout(world, KEY, num)
    after = branch(world, KEY, batch, 0, 1)
    kept = np.asarray(after.state[:, 0, 0] == batch.state[:, 0])
    for seen in (0, 1):
        mine = kept[np.asarray(batch.observation[:, 0]) == seen]
        wanted = 0.5 + 0.5 * 10 / 16
        assert abs(mine.mean() - wanted) < SIGMA * np.sqrt(wanted * (1 - wanted) / len(mine))


@pytest.mark.parametrize("step", [-1, HORIZON])
def test_a_branch_must_be_at_a_step(long, long_batch, step):
    with pytest.raises(ValueError, match=rf"step must be .* got {step}"):
        long.branch(KEY, long_batch, step, 1)


def test_a_refed_branch_redraws_the_state_from_its_exact_belief(small, batch):
    """Chi-square, false alarm 1e-7 each, for the state at each row's own step."""
    world, mdp, policy = small
    step = np.array([0, 1, 2, 3, 3, 2, 1, 0, 3, 2, 3, 1, 2])
    out = branch(world, OTHER, batch, step, MANY, 1, replay="refed")
    uncertain = 0
    for i, t in enumerate(step):
        state = np.asarray(out.state)[i, :, t]
        if not batch.live[i, t]:
            assert np.all(state == 2)
            continue
        wanted = reference.belief(
            mdp, policy, np.asarray(batch.observation[i]), np.asarray(batch.action[i]), t
        )
        assert wanted[int(batch.state[i, t])] > 0
        if wanted.max() < 1:
            uncertain += 1
            assert_frequencies(np.bincount(state, minlength=5), wanted)
        else:
            assert np.all(state == wanted.argmax())
    assert uncertain >= 3


def test_refed_branches_have_the_return_expected_under_the_belief(small, batch):
    world, mdp, policy = small
    out = branch(world, OTHER, batch, 1, MANY, 1, replay="refed")
    mean = gain(out, mdp.discount[0], 1).mean(1)
    for i in np.flatnonzero(batch.live[:, 1]):
        observation = np.asarray(batch.observation[i])
        paths = reference.enumerate_paths(
            mdp,
            policy,
            first=1,
            start=reference.belief(mdp, policy, observation, np.asarray(batch.action[i]), 1),
            first_observation=int(observation[1]),
            imposed=np.array([-1, 1, -1, -1]),
        )
        assert close(mean[i], *mean_and_error(paths, mdp.discount[0], MANY))
        same = np.asarray(out.observation)[i, :, :2] == observation[:2]
        assert same.all()


@pytest.mark.parametrize("step", [0, 2, (3, 0, 1, 2, 3)], ids=str)
def test_refed_equals_restored_where_the_state_is_shown(seen, prompted, step):
    world = seen[0]
    batch = jax.tree.map(lambda x: x[:ROWS], prompted)
    step = np.resize(step, ROWS)
    refed = branch(world, OTHER, batch, step, COPIES, replay="refed")
    assert_same(refed, branch(world, OTHER, batch, step, COPIES))


def test_a_long_refed_branch_keeps_the_prefix_as_it_was(long, long_batch):
    step = np.array([56, 148, 51, 100, 99, 120])  # the first row's state is uncertain, 0.45 to 0.55
    out = branch(long, OTHER, long_batch, step, COPIES, replay="refed")
    before = np.arange(HORIZON) < step[:, None]
    for index in range(COPIES):
        assert_same(copy(out, index), long_batch, before)
    at = np.take_along_axis(np.asarray(out.state), step[:, None, None], axis=2)[..., 0]
    assert np.any(at != np.take_along_axis(np.asarray(long_batch.state), step[:, None], axis=1))


def test_an_unknown_replay_raises(small, batch, unhooked):
    with pytest.raises(
        ValueError, match=r"replay must be one of \('restored', 'refed'\), got 'again'"
    ):
        small[0].branch(KEY, batch, 1, 1, replay="again")


def test_a_refed_branch_that_is_told_the_prompt_starts_from_it(tool):
    """State 1 (a broken task) has no mass under P(s_0); once told, the belief is the prompt."""
    batch = rollout(tool, KEY, 4, prompt=1)
    out = branch(tool, OTHER, batch, 0, 50, replay="refed", prompt=1)
    assert np.all(np.asarray(out.state)[:, :, 0] == 1)


@pytest.mark.slow
def test_a_refed_branch_that_is_not_told_draws_the_hidden_mode(tool):
    batch = rollout(tool, KEY, 4, prompt=0)  # mode 0, told 0, intact; mode 1 may also have told 0
    state = np.asarray(branch(tool, OTHER, batch, 0, 4000, replay="refed").state)[:, :, 0]
    assert set(np.unique(state)) == {0, 6}
    # P(mode 1 | told 0) = 0.3; 16,000 draws, a 5-standard-error band.
    assert abs(np.mean(state == 6) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / state.size)


def test_a_prefix_that_is_impossible_from_the_prompt_is_restored(tool):
    batch = rollout(tool, KEY, 4, prompt=0)
    # A start that shows something else.
    out = branch(tool, OTHER, batch, 0, 50, replay="refed", prompt=9)
    assert np.all(np.asarray(out.state)[:, :, 0] == 0)
