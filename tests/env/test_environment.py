"""Environment: episodes equal to those of `World.rollout`, its ends, and its law under any keys.

They are equal to the last bit.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.env import Environment
from casim.tasks import Bifurcation
from tests import reference
from tests.env.tasks import NUM, SCHEDULE, STEPS, Awkward, episodes

KEY = jax.random.key(7)
BEYOND = 2  # steps tried after the horizon


def sizes(task: Awkward) -> tuple[int, int]:
    kernels, _, shown = task.build().emission.shape
    return kernels, shown


def decode(task: Awkward, form: str, seen) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and observation back from what the agent sees."""
    kernels, shown = sizes(task)
    if form == "index":
        return np.divmod(np.asarray(seen), shown)
    seen = np.asarray(seen)
    assert seen.shape[-1] == kernels + shown
    assert set(np.unique(seen)) == {0.0, 1.0}
    assert np.all(seen.reshape(*seen.shape[:-1], -1).sum(-1) == 2)
    assert np.all(seen[..., :kernels].sum(-1) == 1)
    return seen[..., :kernels].argmax(-1), seen[..., kernels:].argmax(-1)


@functools.partial(jax.jit, static_argnums=0)
def play(env, actions):
    """Each row of actions `[N, L]` in an episode of its own, without auto-reset, under one key."""

    def episode(index, row):
        def advance(carry, action):
            seen, state = carry
            new, after, reward, terminated, info = env.step_env(KEY, state, action)
            out = (seen, state, reward, terminated, env.is_truncated(after), info["decision"])
            return (new, after), out

        last, out = jax.lax.scan(advance, env.reset_env(KEY, None, index), row)
        return last, out

    return jax.vmap(episode)(jnp.arange(actions.shape[0]), actions)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def go_on(env, params, actions, num, length):
    """`num` environments under one key with auto-reset for `length` steps.

    `actions` is `[episode, T]`.
    """

    def advance(carry, _):
        seen, state = carry
        action = actions[state.episode, state.step]
        new, after, *rest = jax.vmap(lambda s, a: env.step(KEY, s, a, params))(state, action)
        return (new, after), (seen, state, new, *rest)

    first = jax.vmap(lambda i: env.reset(KEY, params, i, num))(jnp.arange(num))
    return jax.lax.scan(advance, first, None, length)[1]


ROUGH = Awkward(rough=True)


@functools.cache
def rough_episodes():
    """Rollouts, their actions with two more after the end, and what these lead to."""
    batch = episodes(ROUGH, KEY)
    actions = np.concatenate([batch.action[:, :STEPS], np.ones((NUM, BEYOND), int)], axis=1)
    return batch, actions, jax.tree.map(np.asarray, play(Environment(ROUGH), actions))


def test_an_episode_is_the_row_of_the_rollout_with_its_address():
    """States, observations, rewards and liveness, to the last bit, and the last observation."""
    batch, _, (_, (seen, state, reward, terminated, truncated, decision)) = rough_episodes()
    kernel, shown = decode(ROUGH, "one_hot", seen)
    within = np.arange(STEPS)
    np.testing.assert_array_equal(state.latent[:, : STEPS + 1], batch.state)
    np.testing.assert_array_equal(
        state.step[:, : STEPS + 1], np.broadcast_to(np.arange(STEPS + 1), (NUM, STEPS + 1))
    )
    np.testing.assert_array_equal(shown[:, : STEPS + 1], batch.observation)
    np.testing.assert_array_equal(
        kernel, np.broadcast_to([*SCHEDULE, *SCHEDULE[-1:] * BEYOND], kernel.shape)
    )
    np.testing.assert_array_equal(reward[:, within], batch.reward[:, within])
    np.testing.assert_array_equal(terminated[:, within], ~batch.live[:, 1:])
    np.testing.assert_array_equal(truncated[:, within], batch.live[:, 1:] & (within == STEPS - 1))
    np.testing.assert_array_equal(
        decision[:, within], batch.live[:, within] & (np.array(SCHEDULE) != 1)
    )
    assert len(np.unique(batch.observation)) == sizes(ROUGH)[1]


def test_on_kernels_that_are_no_decision_any_action_is_action_0():
    _, actions, (_, first) = rough_episodes()
    other = actions.copy()
    other[:, SCHEDULE.index(1)] = 1
    assert np.any(other != actions)
    jax.tree.map(np.testing.assert_array_equal, first, play(Environment(ROUGH), other)[1])
    other[:, 0] = 1 - other[:, 0]
    assert np.any(play(Environment(ROUGH), other)[1][1].latent != first[1].latent)


def test_after_the_end_nothing_moves_and_nothing_is_earned():
    _, _, ((_, last), (_, state, reward, terminated, truncated, decision)) = rough_episodes()
    assert np.all(last.step == STEPS)
    np.testing.assert_array_equal(last.latent, state.latent[:, STEPS])
    assert not reward[:, STEPS:].any()
    assert not decision[:, STEPS:].any()
    for end in (terminated, truncated):
        np.testing.assert_array_equal(
            end[:, STEPS:], np.repeat(end[:, STEPS - 1 : STEPS], BEYOND, axis=1)
        )
    assert np.any(truncated[:, STEPS - 1])


@pytest.fixture(scope="module")
def chain():
    """3 environments of one key, 200 steps: 3 x 200 records, each of which names its episode.

    The environment is that of another task, whose parameters are replaced.
    """
    task, num, length = Awkward(), 3, 200
    env = Environment(Bifurcation(horizon=9), "index")
    out = go_on(env, task.build(), jnp.asarray(episodes(task, KEY).action[:, :STEPS]), num, length)
    return episodes(task, KEY), jax.tree.map(np.asarray, out), num


def test_environments_that_share_a_key_play_every_row_of_the_rollout_once(chain):
    batch, (seen, state, _, reward, terminated, truncated, info), num = chain
    e, t = state.episode, state.step
    np.testing.assert_array_equal(state.latent, batch.state[e, t])
    np.testing.assert_array_equal(seen % 7, batch.observation[e, t])
    np.testing.assert_array_equal(seen // 7, np.array(SCHEDULE)[t])
    np.testing.assert_array_equal(reward, batch.reward[e, t])
    np.testing.assert_array_equal(info["decision"], batch.live[e, t] & (np.array(SCHEDULE)[t] != 1))
    np.testing.assert_array_equal(terminated, ~batch.live[e, t + 1])
    np.testing.assert_array_equal(truncated, batch.live[e, t + 1] & (t == STEPS - 1))
    assert len(set(zip(e.ravel(), t.ravel(), strict=True))) == e.size
    np.testing.assert_array_equal(e % num, np.broadcast_to(np.arange(num), e.shape))
    np.testing.assert_array_equal(np.diff(e, axis=0), num * (terminated | truncated)[:-1])
    assert np.all((e < NUM - 1) & (state.stride == num))


def test_after_the_end_the_observation_is_the_next_episode_s_and_the_info_keeps_the_last(chain):
    batch, (seen, state, new, _, terminated, truncated, info), _ = chain
    ended = terminated | truncated
    np.testing.assert_array_equal(new[:-1], seen[1:])
    np.testing.assert_array_equal(state.step[1:], np.where(ended, 0, state.step + 1)[:-1])
    np.testing.assert_array_equal(
        info["final_observation"] % 7, batch.observation[state.episode, state.step + 1]
    )
    kernel = np.array([*SCHEDULE, SCHEDULE[-1]])[state.step + 1]
    np.testing.assert_array_equal(info["final_observation"] // 7, kernel)
    np.testing.assert_array_equal(info["final_observation"][~ended], new[~ended])
    assert np.any(info["final_observation"][ended] != new[ended])


def test_termination_and_truncation_never_coincide(chain):
    """Also where the horizon is reached in a terminal state: that is termination."""
    _, (_, state, _, _, terminated, truncated, _), _ = chain
    last = state.step == STEPS - 1
    assert not np.any(terminated & truncated)
    assert np.all(last <= (terminated | truncated))
    assert np.any(terminated & last)
    assert np.any(terminated & ~last)
    assert np.any(truncated)
    assert not np.any(truncated & ~last)


def test_an_episode_that_starts_terminal_lasts_one_step_and_earns_nothing(chain):
    _, (_, state, _, reward, terminated, truncated, info), _ = chain
    born_over = (state.latent == 2) & (state.step == 0)
    assert born_over.sum() > 5
    assert np.all(terminated[born_over])
    assert not np.any(truncated[born_over] | info["decision"][born_over])
    assert not reward[born_over].any()
    # Nobody else is ever asked to act in a terminal state.
    assert np.all((state.latent == 2) <= born_over)


@functools.partial(jax.jit, static_argnums=(0, 2, 3))
def wander(env, policy, num, length):
    """A fresh key for every step and environment, actions drawn from the table.

    Returns sums of finished episodes.
    """

    def advance(carry, key):
        seen, state, gain, scale = carry
        act, move = jax.random.split(key)
        action = jax.random.categorical(act, jnp.log(policy.reshape(-1, policy.shape[-1])[seen]))
        seen, state, reward, terminated, truncated, _ = jax.vmap(env.step)(
            jax.random.split(move, num), state, action
        )
        gain, ended = gain + scale * reward, terminated | truncated
        carry = (
            seen,
            state,
            jnp.where(ended, 0.0, gain),
            jnp.where(ended, 1.0, scale * env.default_params.discount[0]),
        )
        return carry, (ended, gain)

    seen, state = jax.vmap(env.reset)(jax.random.split(KEY, num))
    first = (seen, state, jnp.zeros(num), jnp.ones(num))
    return jax.lax.scan(advance, first, jax.random.split(jax.random.key(8), length))[1]


def test_with_fresh_keys_returns_have_the_law_of_the_enumeration():
    """Chi-square of the first 8 returns of each environment.

    A fixed number favours no short episode.
    """
    task, num, first = Awkward(), 2000, 8
    mdp, policy = task.build(), task.policy()
    out = wander(Environment(task, "index"), jnp.asarray(policy), num, first * STEPS)
    ended, gain = jax.tree.map(np.asarray, out)
    counted = ended & (np.cumsum(ended, axis=0) <= first)
    assert counted.sum() == num * first
    paths = reference.enumerate_paths(mdp, policy)
    value, which = np.unique(paths.returns(float(mdp.discount[0])), return_inverse=True)
    place = np.searchsorted(value, gain[counted])
    # Sums of short binary fractions: exact in float32.
    np.testing.assert_array_equal(value[place], gain[counted])
    reference.assert_frequencies(
        np.bincount(place, minlength=len(value)), np.bincount(which, paths.probability, len(value))
    )


@pytest.mark.slow
def test_params_of_equal_shape_can_be_stacked():
    env, one, other = Environment(Awkward()), Awkward().build(), Awkward(seed=46).build()
    num = 50

    @jax.jit
    @jax.vmap
    def start_and_step(key, action, params):
        seen, state = env.reset(key, params)
        return seen, env.step(key, state, action, params)

    def run(*mdps):
        """Parameters in turn."""
        params = jax.tree.map(lambda *x: np.stack(x * (num // len(mdps))), *mdps)
        return params, start_and_step(jax.random.split(KEY, num), jnp.arange(num) // 3 % 2, params)

    (params, mixed), (_, alone), (_, other_alone) = run(one, other), run(one), run(other)
    for i, pure in enumerate((alone, other_alone)):
        jax.tree.map(lambda x, y, i=i: np.testing.assert_array_equal(x[i::2], y[i::2]), mixed, pure)
    assert np.any(alone[1][2] != other_alone[1][2])
    assert env.action_space(params) == env.action_space()
    assert env.observation_space(params) == env.observation_space()


def test_the_default_params_can_be_built_inside_jit():
    env = Environment(Bifurcation(horizon=5, pivots=2, discount=0.9))
    jax.jit(lambda: env.default_params.start)()
    jax.tree.map(np.testing.assert_array_equal, env.default_params, env.task.build())


@pytest.mark.parametrize("form", ["one_hot", "index"])
def test_the_spaces_hold_what_is_seen_and_all_that_can_be_seen(form, chain):
    task = ROUGH if form == "one_hot" else Awkward()
    env = Environment(task, form)
    space, grid = env.observation_space(), env.observations()
    some = rough_episodes()[2][1][0] if form == "one_hot" else chain[1][0]
    for shown in (some.reshape(-1, *space.shape), grid.reshape(-1, *space.shape)):
        assert shown.dtype == space.dtype
        assert np.all(jax.vmap(space.contains)(shown))
    kernels, observations = sizes(task)
    kernel, shown = decode(task, form, grid)
    np.testing.assert_array_equal(
        kernel, np.broadcast_to(np.arange(kernels)[:, None], (kernels, observations))
    )
    np.testing.assert_array_equal(
        shown, np.broadcast_to(np.arange(observations), (kernels, observations))
    )
    assert env.action_space().n == env.num_actions == 2


def test_an_environment_is_a_recipe(unhooked):
    env = Environment(Bifurcation(horizon=5), "index")
    assert (
        env == Environment(Bifurcation(horizon=5), "index") != Environment(Bifurcation(horizon=5))
    )
    assert hash(env) == hash(Environment(Bifurcation(horizon=5), "index"))
    assert env.name == "Bifurcation"
    with pytest.raises(
        ValueError, match=r"observation must be one of \('one_hot', 'index'\), got 'pixels'"
    ):
        Environment(Bifurcation(horizon=5), "pixels")


def test_what_makes_no_sense_is_refused(unhooked):
    env = Environment(Awkward(), "index")
    _, state = env.reset(KEY)
    for call, message in (
        (lambda: env.step(KEY, state, 7), "action must be in [0, 1], got 7"),
        (lambda: env.step(KEY, state, -1), "action must be in [0, 1], got -1"),
        (lambda: env.step_env(KEY, state, np.int64(2)), "action must be in [0, 1], got 2"),
        (lambda: env.step(KEY, state, jnp.asarray(2)), "action must be in [0, 1], got 2"),
        (lambda: env.step(KEY, state, 0.9), "action must be an integer in [0, 1], got 0.9"),
        (
            lambda: env.step(KEY, state, np.array([1])),
            "action must have shape (), got Array([1], dtype=int32) of shape (1,)",
        ),
        (lambda: env.reset(KEY, stride=0), "stride must be in [1, 2147483647], got 0"),
        (
            lambda: env.reset(KEY, stride=1.5),
            "stride must be an integer in [1, 2147483647], got 1.5",
        ),
        (lambda: env.reset_env(KEY, episode=-1), "episode must be in [0, 2147483647], got -1"),
        (
            lambda: env.reset(KEY, env.default_params._replace(decision=np.ones(2, bool))),
            "decision must have shape (3,), got (2,)",
        ),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            call()
    with pytest.raises(ValueError, match=r"action must be an integer in \[0, 1\]"):
        jax.eval_shape(lambda action: env.step(KEY, state, action), 0.9)


def test_params_may_be_numpy_arrays_or_lists():
    env = Environment(Awkward())

    def play(params):
        first = env.reset(KEY, params)
        return first, env.step(KEY, first[1], np.array(1), params)

    wanted = play(env.default_params)
    for make in (np.asarray, lambda x: np.asarray(x).tolist()):
        params = jax.tree.map(make, env.default_params)
        jax.tree.map(np.testing.assert_array_equal, play(params), wanted)
        assert jax.eval_shape(lambda params=params: env.observations(params)).shape == (3, 7, 10)
        assert env.observation_space(params) == env.observation_space()
        assert env.action_space(params) == env.action_space()


def test_is_decision_says_of_the_next_step_what_info_says_after_it():
    _, actions, (_, (_, state, _, _, _, decision)) = rough_episodes()
    env = Environment(ROUGH)
    np.testing.assert_array_equal(jax.jit(jax.vmap(jax.vmap(env.is_decision)))(state), decision)
    assert {False, True} == set(decision[:, : actions.shape[1]].ravel().tolist())


def test_a_policy_table_is_the_softmax_of_logits_at_every_observation():
    env = Environment(Awkward())
    weights = np.random.default_rng(5).normal(size=(10, 2))
    shapes = []

    def logits(seen):
        shapes.append((type(seen), seen.shape))
        return (seen @ weights).tolist()

    table = env.policy_table(logits)
    assert shapes == [(np.ndarray, (21, 10))]
    wanted = np.exp(weights[:3, None] + weights[None, 3:])  # a kernel's row and an observation's
    np.testing.assert_allclose(table, wanted / wanted.sum(-1, keepdims=True), rtol=1e-5)
    for bad in (
        lambda seen: seen,
        lambda seen: np.full((21, 2), np.inf),
        lambda seen: np.zeros(21),
    ):
        with pytest.raises(
            ValueError, match=r"logits must be finite, of shape \[M O, A\] = \(21, 2\), got shape"
        ):
            env.policy_table(bad)


class Tensor:
    """Of torch's tensors what the docs use of them: NumPy gets at the numbers by force alone."""

    def __init__(self, values):
        self.values = values

    def numpy(self, *, force):
        assert force
        return self.values


def test_the_line_of_the_docs_turns_a_network_of_torch_into_a_policy_table():
    page = (Path(__file__).parents[2] / "docs" / "environment.md").read_text()
    line = re.search(r"^table = .*torch.*$", page, re.MULTILINE).group()
    weights = np.random.default_rng(6).normal(size=(10, 2))
    names = {
        "env": Environment(Awkward()),
        "torch": SimpleNamespace(as_tensor=Tensor),
        "net": lambda tensor: Tensor(tensor.values @ weights),
    }
    exec(line, names)
    np.testing.assert_array_equal(
        names["table"], names["env"].policy_table(lambda seen: seen @ weights)
    )
