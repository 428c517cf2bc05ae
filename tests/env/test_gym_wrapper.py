"""The Gymnasium wrapper: Gymnasium's own checker, and the episodes of World.rollout."""

import re
import subprocess
import sys

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import casim
from casim.env.gym_wrapper import GymnasiumEnvironment, register
from casim.env.picture import COLUMN, LEFT, ROW, TOP
from tests.env.tasks import SCHEDULE, STEPS, Awkward, episodes


@pytest.mark.parametrize("form", ["one_hot", "index"])
def test_gymnasium_s_own_checker_passes_without_a_warning(form):
    """Registered, because without a spec the checker skips determinism and closing.

    Warnings are errors here.
    """
    name = f"casim/Awkward-{form}-v0"
    gymnasium.register(
        name, entry_point=GymnasiumEnvironment, kwargs={"task": Awkward(), "observation": form}
    )
    try:
        check_env(gymnasium.make(name).unwrapped)
        assert gymnasium.make(name).metadata["render_modes"] == ["ansi", "rgb_array"]
    finally:
        del gymnasium.registry[name]


@pytest.mark.parametrize("form", ["one_hot", "index"])
def test_an_episode_is_the_row_of_the_rollout_with_its_number(form):
    env = GymnasiumEnvironment(Awkward(), form)
    seen, info = env.reset(seed=11)
    batch = episodes(Awkward(), env.key)
    kernels = [*SCHEDULE, SCHEDULE[-1]]
    ends = set()

    def check(seen, i, t):
        kernel, shown = (
            divmod(seen, 7) if form == "index" else (seen[:3].argmax(), seen[3:].argmax())
        )
        assert (kernel, shown) == (kernels[t], batch.observation[i, t])

    def decided(i, t):
        return bool(t < STEPS and batch.live[i, t] and SCHEDULE[t] != 1)

    for i in range(12):
        assert info == {"decision": decided(i, 0), "next_decision": decided(i, 0)}
        for t in range(STEPS):
            check(seen, i, t)
            seen, reward, terminated, truncated, info = env.step(batch.action[i, t])
            assert reward == batch.reward[i, t]
            assert info == {"decision": decided(i, t), "next_decision": decided(i, t + 1)}
            assert terminated == (not batch.live[i, t + 1])
            assert truncated == (t + 1 == STEPS and not terminated)
            if terminated or truncated:
                check(seen, i, t + 1)
                ends.add((terminated, truncated))
                break
        seen, info = env.reset()
    assert ends == {(True, False), (False, True)}


def test_a_seed_starts_over_and_another_one_differs():
    env = GymnasiumEnvironment(Awkward())

    def keys(seed):
        env.reset(seed=seed)
        first = jax.random.key_data(env.key)
        env.reset()
        np.testing.assert_array_equal(jax.random.key_data(env.key), first)
        return first.tolist()

    assert keys(1) == keys(1) != keys(2)
    assert keys(2**80) != keys(2**80 + 1)


def test_before_the_first_reset_there_is_nothing_to_step():
    env = GymnasiumEnvironment(Awkward())
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset before step"):
        env.step(0)
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset before key"):
        _ = env.key
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset before render"):
        GymnasiumEnvironment(Awkward(), render_mode="ansi").render()


@pytest.mark.slow
def test_without_gymnasium_the_message_says_what_to_install():
    code = (
        "import sys; sys.modules['gymnasium'] = None; "
        "import casim.env; import casim.env.gym_wrapper"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "casim.env.gym_wrapper needs gymnasium: pip install 'casim[gymnasium]'" in done.stderr
    assert done.stderr.count("line 1, in <module>") == 1


def test_an_action_may_be_any_kind_of_integer_and_no_other():
    env = GymnasiumEnvironment(Awkward())
    env.reset(seed=4)
    wanted = env.step(1)[:4]
    for action in (np.int64(1), np.array(1), np.uint8(1), jnp.asarray(1)):
        env.reset(seed=4)
        jax.tree.map(np.testing.assert_array_equal, env.step(action)[:4], wanted)
    for action, message in (
        (7, "action must be in [0, 1], got 7"),
        (-1, "action must be in [0, 1], got -1"),
        (0.9, "action must be an integer in [0, 1], got array(0.9)"),
        (True, "action must be an integer in [0, 1], got array(True)"),
        (np.array([1]), "action must have shape (), got array([1]) of shape (1,)"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            env.step(action)


def test_every_family_is_registered_once():
    before = dict(gymnasium.registry)
    register()
    assert gymnasium.registry == before
    assert {f"casim/{task.__name__}-v0" for task in casim.TASKS} <= set(before)


def test_gymnasium_makes_a_task_of_the_settings_it_is_given(unhooked):
    """The id says how to import what registers it; a list, as in a file, stands for a tuple."""
    name = "casim.env.gym_wrapper:casim/Bifurcation-v0"
    made = gymnasium.make(
        name, horizon=5, pivots=[1, 3], num_actions=3, observation="index", render_mode="ansi"
    )
    env = made.unwrapped
    assert env.environment.task == casim.Bifurcation(horizon=5, pivots=(1, 3), num_actions=3)
    assert env.observation_space == gymnasium.spaces.Discrete(6)
    assert env.render_mode == "ansi"
    again = gymnasium.make(
        gymnasium.envs.registration.EnvSpec.from_json(made.spec.to_json())
    ).unwrapped
    assert again.environment == env.environment
    with pytest.raises(TypeError, match="horizn"):
        gymnasium.make(name, horizn=5)
    with pytest.raises(ValueError, match=re.escape("gap must be in [0.0, 1.0], got 2.0")):
        gymnasium.make(name, gap=2.0)
    with pytest.raises(
        ValueError,
        match=re.escape("render_mode must be one of (None, 'ansi', 'rgb_array'), got 'human'"),
    ):
        GymnasiumEnvironment(Awkward(), render_mode="human")


@pytest.mark.slow
@pytest.mark.parametrize("family", casim.TASKS, ids=lambda task: task.__name__)
def test_gymnasium_makes_every_family(family):
    env = gymnasium.make(f"casim/{family.__name__}-v0", render_mode="rgb_array")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render().dtype == np.uint8
    assert env.unwrapped.environment.task == family()


def played(mode):
    """The third episode of a seed, and its row of a rollout.

    The episode is what is shown before each step and at the end.
    """
    env = GymnasiumEnvironment(Awkward(), "index", render_mode=mode)
    env.reset(seed=4)
    env.reset()
    env.reset()
    batch = jax.tree.map(lambda x: x[2], episodes(Awkward(), env.key))
    frames, over = [env.render()], False
    for action in batch.action[:STEPS]:
        _, _, terminated, truncated, _ = env.step(action)
        frames.append(env.render())
        over = terminated or truncated
        if over:
            break
    assert over
    env.step(0)  # after the end nothing moves
    last = env.render()
    return [*frames, last], batch


def test_text_says_where_the_episode_is_and_what_the_last_action_brought():
    frames, batch = played("ansi")
    assert len(frames) == STEPS + 2  # it runs to the horizon
    assert frames[-1] == frames[-2]
    kinds, gain = ["think", "output", "answer"], 0.0
    for t, frame in enumerate(frames[:-1]):
        kernel = SCHEDULE[min(t, STEPS - 1)]
        who = (
            "truncated"
            if t == STEPS
            else "the environment writes"
            if kernel == 1
            else "the agent decides"
        )
        lines = [
            f"Awkward, episode 2, step {t} of 4: {who}",
            f"kernel {kernel} ({kinds[kernel]}), observation {batch.observation[t]}",
            "no action yet",
        ]
        if t > 0:
            gain += (29 / 32) ** (t - 1) * float(batch.reward[t - 1])
            counted = " (no decision)" if SCHEDULE[t - 1] == 1 else ""
            earned = f"reward {batch.reward[t - 1]:.4g}, return so far {gain:.4g}"
            lines[2] = f"last action {batch.action[t - 1]}{counted}, {earned}"
        assert frame == "\n".join(lines)
    assert np.any(batch.reward[:STEPS])


def test_a_picture_shows_the_steps_so_far_and_frames_the_next():
    frames, batch = played("rgb_array")
    assert len({frame.shape for frame in frames}) == 1
    assert frames[0].dtype == np.uint8

    def colour(frame, step, row):
        """Inside the upper left corner of a cell, where no text is."""
        return tuple(frame[TOP + row * ROW + 5, LEFT + step * COLUMN + 5].tolist())

    white, grey = (255, 255, 255), (217, 217, 217)
    end = frames[-2]
    np.testing.assert_array_equal(frames[-1], end)
    for t in range(STEPS):
        assert (colour(end, t, 2) == grey) == (SCHEDULE[t] == 1)
        reward, (red, green, _) = batch.reward[t], colour(end, t, 3)
        assert np.sign(green - red) == np.sign(reward)
        assert colour(frames[t], t + 1, 0) == white  # what is to come is not shown
        edge = frames[t][TOP + ROW // 2, LEFT + t * COLUMN]
        # The frame, and no frame at the end.
        assert edge.max() < 60 < end[TOP + ROW // 2, LEFT + t * COLUMN].max()
    assert len({colour(end, t, 0) for t in range(STEPS)}) == len(set(SCHEDULE))


def test_without_a_render_mode_nothing_is_shown():
    env = GymnasiumEnvironment(Awkward())
    env.reset(seed=0)
    with pytest.warns(UserWarning, match="render needs a render_mode"):
        assert env.render() is None
