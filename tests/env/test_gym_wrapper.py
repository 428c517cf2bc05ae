"""The Gymnasium wrapper: Gymnasium's own checker, and the episodes of World.rollout."""

import subprocess
import sys

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from casim.env.gym_wrapper import GymnasiumEnvironment
from tests.env.tasks import SCHEDULE, STEPS, Awkward, episodes


@pytest.mark.parametrize("form", ["one_hot", "index"])
def test_gymnasium_s_own_checker_passes_without_a_warning(form):
    """Registered, because without a spec the checker skips determinism and closing; warnings are errors here."""
    name = f"casim/Awkward-{form}-v0"
    gymnasium.register(name, entry_point=GymnasiumEnvironment, kwargs={"task": Awkward(), "observation": form})
    try:
        check_env(gymnasium.make(name).unwrapped)
    finally:
        del gymnasium.registry[name]


@pytest.mark.parametrize("form", ["one_hot", "index"])
def test_an_episode_is_the_row_of_the_rollout_with_its_number(form):
    env = GymnasiumEnvironment(Awkward(), form)
    seen, info = env.reset(seed=11)
    assert info == {}
    batch = episodes(Awkward(), env.key)
    kernels = [*SCHEDULE, SCHEDULE[-1]]
    ends = set()

    def check(seen, i, t):
        kernel, shown = divmod(seen, 7) if form == "index" else (seen[:3].argmax(), seen[3:].argmax())
        assert (kernel, shown) == (kernels[t], batch.observation[i, t])

    for i in range(12):
        for t in range(STEPS):
            check(seen, i, t)
            seen, reward, terminated, truncated, info = env.step(batch.action[i, t])
            assert reward == batch.reward[i, t]
            assert info == {"decision": bool(batch.live[i, t] and SCHEDULE[t] != 1)}
            assert terminated == (not batch.live[i, t + 1])
            assert truncated == (t + 1 == STEPS and not terminated)
            if terminated or truncated:
                check(seen, i, t + 1)
                ends.add((terminated, truncated))
                break
        seen, _ = env.reset()
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


def test_without_gymnasium_the_message_says_what_to_install():
    code = "import sys; sys.modules['gymnasium'] = None; import casim.env; import casim.env.gym_wrapper"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "casim.env.gym_wrapper needs gymnasium: pip install 'casim[gymnasium]'" in done.stderr
    assert done.stderr.count("line 1, in <module>") == 1
