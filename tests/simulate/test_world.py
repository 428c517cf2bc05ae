"""World: replays to the last bit, and distributions against the enumeration of every trajectory."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.simulate import World, scan
from casim.tasks import ToolChain
from casim.types import Replay
from tests import reference
from tests.reference import assert_frequencies, intervene, mean_and_error, rollout

KEY, OTHER = jax.random.key(7), jax.random.key(8)
HORIZON = 149  # three blocks of 50 steps, the last one padded
LONG = tuple((0, 2, 1, 2, 0, 2, 2)[t % 7] for t in range(HORIZON))
ROWS, COPIES, MANY = 13, 3, 4096  # rows of the small world, and copies of each
SIGMA = 5.0  # two-sided false alarm 6e-7 per comparison; a few hundred comparisons in this file


def make(mdp, policy, **kwargs) -> World:
    return World.make(mdp, jnp.asarray(policy), **kwargs)


@pytest.fixture(scope="module")
def small():
    """4 steps, hidden state, a terminal state, a kernel without decision."""
    mdp, policy = reference.random_mdp(45)
    return make(mdp, policy), mdp, policy


@pytest.fixture(scope="module")
def seen():
    """The same with the state shown."""
    mdp, policy = reference.random_mdp(22, hidden=False)
    return make(mdp, policy), mdp, policy


@pytest.fixture(scope="module")
def long():
    return make(*reference.random_mdp(23, schedule=LONG, terminal=False))


@pytest.fixture(scope="module")
def long_batch(long):
    return rollout(long, KEY, 6)


@pytest.fixture(scope="module")
def many(small):
    return jax.tree.map(np.asarray, rollout(small[0], KEY, 100_000))


@pytest.fixture(scope="module")
def batch(many):
    return jax.tree.map(lambda x: jnp.asarray(x[:ROWS]), many)


@pytest.fixture(scope="module")
def prompted(seen):
    """Episodes of the observed world from state 1."""
    return rollout(seen[0], KEY, ROWS * COPIES, jnp.asarray(1))


def branch(world, key, batch, step, num, action=None, replay="restored"):
    """The compiled `World.branch`, always with one step and one action per row, so that few shapes are compiled."""
    rows = batch.action.shape[:1]
    step = jnp.broadcast_to(jnp.asarray(step), rows)
    action = None if action is None else jnp.broadcast_to(jnp.asarray(action), rows)
    return reference.branch(world, key, batch, step, num, action, replay)


def assert_same(one, two, where=None):
    """Equal to the last bit, everywhere or at the steps in `where`."""
    for name, x, y in zip(one._fields, one, two, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        np.testing.assert_array_equal(x if where is None else x[where], y if where is None else y[where], err_msg=name)


def copy(batch, index):
    """One copy of each row of a branched batch."""
    return jax.tree.map(lambda x: x[:, index], batch)


def gain(batch, discount, first=0) -> np.ndarray:
    reward = np.asarray(batch.reward, float)[..., first:]
    return reward @ float(discount) ** np.arange(reward.shape[-1])


def close(mean, wanted, error, trifle=1e-6):
    """Within SIGMA standard errors; the trifle covers outcomes without variance, summed in float32."""
    return abs(mean - wanted) <= SIGMA * error + trifle


# --- rollout ---------------------------------------------------------------------------------------------------------


def test_a_rollout_from_the_same_key_is_the_same_to_the_last_bit(long, long_batch):
    assert_same(rollout(long, KEY, 6), long_batch)
    assert np.any(rollout(long, OTHER, 6).state != long_batch.state)


def test_episodes_do_not_depend_on_how_many_are_run_nor_on_the_blocks_of_the_engine(long, long_batch, monkeypatch):
    monkeypatch.setattr(scan, "BLOCK", 7)
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
    """Chi-square with a false alarm of 1e-7 each: (s, o, a) with the next step's s, at 4 steps of 100,000 episodes."""
    _, mdp, policy = small
    paths = reference.enumerate_paths(mdp, policy)
    shape = (5, 7, 2, 5)
    for t in range(4):
        now = min(t + 1, 3)

        def cell(x, t=t, now=now):
            # The observation after the end means nothing, but it is drawn all the same.
            return np.ravel_multi_index((x.state[:, t], x.observation[:, t], x.action[:, t], x.state[:, now]), shape)

        count = np.bincount(cell(many), minlength=np.prod(shape))
        assert_frequencies(count, np.bincount(cell(paths), paths.probability, np.prod(shape)))
    mean, error = mean_and_error(paths, mdp.discount, 100_000)
    assert close(gain(many, mdp.discount).mean(), mean, error)


def test_rewards_have_the_frequencies_of_the_enumeration(small, many):
    """One next state listed twice is a random reward: rewards given (s, a, s') are mixed as their probabilities say."""
    _, mdp, policy = small
    paths = reference.enumerate_paths(mdp, policy)
    repeats = 0
    for t in range(COPIES):

        def cell(x, t=t):
            eighths = np.round(8 * x.reward[:, t]).astype(int) + 16
            assert np.all(eighths == 8 * x.reward[:, t] + 16)
            return np.ravel_multi_index((x.state[:, t], x.action[:, t], x.state[:, t + 1], eighths), (5, 2, 5, 33))

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
    batch = jax.tree.map(np.asarray, rollout(dataclasses.replace(world, policy=jnp.asarray(table)), KEY, 100_000))
    assert not batch.action[:, 0].any()
    assert np.all(batch.action[:, [1, 3]] == batch.live[:, [1, 3]])
    assert not batch.log_prob.any()


# --- branch ----------------------------------------------------------------------------------------------------------

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
def test_a_branch_keeps_what_was_before_and_the_state_and_observation_at_the_step(long, long_batch, step):
    step = np.broadcast_to(step, 6)
    out = branch(long, OTHER, long_batch, step, COPIES)
    before = np.arange(HORIZON) < step[:, None]
    here = np.arange(HORIZON) == step[:, None]
    for index in range(COPIES):
        assert_same(copy(out, index), long_batch, before)
        for name in ("state", "observation"):
            np.testing.assert_array_equal(getattr(copy(out, index), name)[here], getattr(long_batch, name)[here])
    if step.max() < 120:  # suffixes long enough to tell the copies and the keys apart
        suffix = [np.asarray(out.state)[:, i] for i in range(COPIES)] + [np.asarray(long_batch.state)]
        assert all(np.all(np.any(x != y, axis=1)) for i, x in enumerate(suffix) for y in suffix[:i])


def test_one_step_and_one_action_serve_all_rows(small, batch):
    world = small[0]
    once = jax.jit(lambda world, batch: world.branch(OTHER, batch, 1, COPIES, 1))(world, batch)
    assert_same(once, jax.tree.map(lambda x: x[:, :COPIES], branch(world, OTHER, batch, 1, MANY, 1)))


def test_copy_k_of_row_i_has_address_k_n_plus_i(seen, prompted):
    """From a prompt in an observed world nothing at step 0 is left to restore, so branches are episodes."""
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
            np.testing.assert_allclose(out.log_prob[i, :, t], np.log(table[a]), rtol=4 * reference.EPS)


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
    """Where actions change nothing, both branches must live through the same states, observations and rewards."""
    _, mdp, policy = small
    tables = {name: jnp.repeat(getattr(mdp, name)[:, :, :1], 2, axis=2) for name in ("successor", "prob", "reward")}
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
    mean = gain(branch(world, OTHER, batch, step, MANY, action), mdp.discount, step).mean(1)
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
        assert close(mean[i], *mean_and_error(paths, mdp.discount, MANY))


def test_a_lost_state_does_not_depend_on_the_noise_of_the_rollout():
    """Under the key of the rollout too: a hidden coin, shown through noise, is redrawn half of the time.

    Given either observation the belief is (3/4, 1/4) on the coin shown, so P(state kept | o) is 1/2 + 1/2 (10/16).
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
        wanted = reference.belief(mdp, policy, np.asarray(batch.observation[i]), np.asarray(batch.action[i]), t)
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
    mean = gain(out, mdp.discount, 1).mean(1)
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
        assert close(mean[i], *mean_and_error(paths, mdp.discount, MANY))
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
    with pytest.raises(ValueError, match=r"replay must be one of \('restored', 'refed'\), got 'again'"):
        small[0].branch(KEY, batch, 1, 1, replay="again")


# --- intervene -------------------------------------------------------------------------------------------------------

MASKS = {"none": [0, 0, 0, 0], "all": [1, 1, 1, 1], "first and last": [1, 0, 0, 1], "second": [0, 1, 0, 0]}


@pytest.mark.parametrize("mask", MASKS)
def test_interventions_have_the_expected_return_of_the_enumeration(small, batch, mask):
    """Given s_0 and the kept actions, within 5 standard errors in each row."""
    world, mdp, policy = small
    keep = np.broadcast_to(np.array(MASKS[mask], bool), (ROWS, 4))
    out = intervene(world, OTHER, batch, jnp.asarray(keep), MANY)
    mean = gain(out, mdp.discount).mean(1)
    for i in range(ROWS):
        kept = keep[i] & np.asarray(batch.live[i])
        paths = reference.enumerate_paths(
            mdp,
            policy,
            start=np.arange(5) == int(batch.state[i, 0]),
            imposed=np.where(kept, np.asarray(batch.action[i]), -1),
        )
        assert close(mean[i], *mean_and_error(paths, mdp.discount, MANY))
        taken = np.asarray(out.action)[i] == np.asarray(batch.action[i])
        assert np.all(taken | ~kept | ~np.asarray(out.live)[i])


def test_an_intervention_that_keeps_nothing_under_the_same_key_is_the_rollout(small, batch):
    again = intervene(small[0], KEY, batch, jnp.zeros((ROWS, 4), bool), MANY)
    assert again.state.shape == (ROWS, MANY, 4)
    assert_same(copy(again, 0), batch)
    assert np.any(again.state[:, 1] != batch.state)


# --- the rest of the door --------------------------------------------------------------------------------------------


def test_probability_is_the_policy_as_it_acts(small, batch):
    world, mdp, policy = small
    other = policy[:, ::-1].copy()
    world = dataclasses.replace(world, reference=jnp.asarray(other))
    for table, out in ((policy, world.probability(batch)), (other, world.reference_probability(batch))):
        wanted = table[np.asarray(mdp.schedule)[None], np.asarray(batch.observation)]
        wanted[:, 2] = [1.0, 0.0]
        np.testing.assert_array_equal(out, wanted)
    branched = jax.tree.map(lambda x: jnp.stack([x] * COPIES, axis=1), batch)
    assert world.probability(branched).shape == (ROWS, COPIES, 4, 2)


def test_privileged_is_the_latent_state(small, batch):
    np.testing.assert_array_equal(small[0].privileged(batch), batch.state)


def test_the_units_and_the_discount_are_those_of_the_mdp(small):
    world, mdp, _ = small
    np.testing.assert_array_equal(world.segment, mdp.segment)
    assert float(world.discount) == 29 / 32


def test_without_a_reference_policy_its_probabilities_raise(small, batch):
    with pytest.raises(ValueError, match="reference must be a policy table in this world, got None"):
        small[0].reference_probability(batch)


def test_without_a_judge_judging_raises(small, batch):
    for judge in (small[0].judge, small[0].judge_prompt):
        with pytest.raises(ValueError, match="judge must be set in this world, got None"):
            judge(KEY, batch)


def test_a_world_is_a_pytree_for_jit_and_vmap(small, batch, unhooked):
    """Three policies at once, each branching at steps and to actions of its own, equal one after the other."""
    world = small[0]
    assert len(jax.tree.leaves(world)) == len(world.mdp) + 1 + len(world.tables)
    tables = jnp.stack([world.policy, world.policy[:, ::-1], world.policy[..., ::-1]])
    worlds = jax.vmap(lambda table: dataclasses.replace(world, policy=table))(tables)
    keys = jax.random.split(KEY, 3)
    step = jnp.asarray(np.arange(3)[:, None] + np.arange(ROWS) % 2)
    split = jax.jit(jax.vmap(lambda w, k, t, a: w.branch(k, batch, t, COPIES, a)))
    out = split(worlds, keys, step, step[:, ::-1] % 2)
    for i in range(3):
        one = dataclasses.replace(world, policy=tables[i])
        wanted = branch(one, keys[i], batch, step[i], MANY, step[i, ::-1] % 2)
        assert_same(jax.tree.map(lambda x, i=i: x[i], out), jax.tree.map(lambda x: x[:, :COPIES], wanted))


@pytest.fixture(scope="module")
def tool():
    """A world whose prompt text (the first output) leaves two hidden modes possible."""
    mdp = ToolChain(num_turns=2, tokens_per_turn=2, observation_noise=0.3).build()
    return World.make(mdp, jnp.full((mdp.prob.shape[0], 4, 2), 0.5))


def test_a_refed_branch_that_is_told_the_prompt_starts_from_it(tool):
    """State 1 (a broken task) has no mass under P(s_0); told the prompt, the belief is the prompt itself."""
    batch = tool.rollout(KEY, 4, prompt=1)
    out = tool.branch(OTHER, batch, 0, 50, replay="refed", prompt=1)
    assert np.all(np.asarray(out.state)[:, :, 0] == 1)


def test_a_refed_branch_that_is_not_told_draws_the_hidden_mode(tool):
    batch = tool.rollout(KEY, 4, prompt=0)  # mode 0, told 0, intact; mode 1 may also have told 0
    state = np.asarray(tool.branch(OTHER, batch, 0, 4000, replay="refed").state)[:, :, 0]
    assert set(np.unique(state)) == {0, 6}
    # P(mode 1 | told 0) = 0.3; 16,000 draws, a 5-standard-error band.
    assert abs(np.mean(state == 6) - 0.3) < 5 * np.sqrt(0.3 * 0.7 / state.size)


def test_a_prefix_that_is_impossible_from_the_prompt_is_restored(tool):
    batch = tool.rollout(KEY, 4, prompt=0)
    out = tool.branch(OTHER, batch, 0, 50, replay="refed", prompt=9)  # a start that shows something else
    assert np.all(np.asarray(out.state)[:, :, 0] == 0)


def test_replacing_the_policy_of_a_world_changes_what_it_draws(tool):
    never = jnp.zeros_like(tool.policy).at[..., 0].set(1.0)
    assert not np.any(dataclasses.replace(tool, policy=never).rollout(KEY, 20).action)
    assert np.any(tool.rollout(KEY, 20).action)
