"""A casim task as a Gymnasium environment, one episode at a time; needs the extra `gymnasium`.

References:
    Towers et al. 2024, arXiv:2407.17032 (the interface).
"""

from __future__ import annotations

import functools
from typing import Any, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from casim.env.environment import Environment, State
from casim.env.spaces import Discrete
from casim.tasks import Task

try:
    import gymnasium
except ImportError as error:
    raise ImportError("casim.env.gym_wrapper needs gymnasium: pip install 'casim[gymnasium]'") from error


@final
class GymnasiumEnvironment(gymnasium.Env):
    """A task behind `reset` and `step` of Gymnasium.

    Episode i since the last `reset(seed=...)` repeats row i of `World.rollout(environment.key, ...)`, given the same
    actions. `info["decision"]`, after a step, says whether its action counted.

    Args:
        task: the recipe.
        observation: "one_hot" or "index", as in `casim.env.Environment`.

    Raises:
        ValueError: an unknown `observation`.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own name and type)

    def __init__(self, task: Task, observation: Literal["one_hot", "index"] = "one_hot") -> None:
        self._environment = Environment(task, observation)
        self._key: Key[Array, ""] | None = None
        self._state: State | None = None
        self._episode = -1
        space = self._environment.observation_space()
        self.action_space = gymnasium.spaces.Discrete(self._environment.num_actions)
        if isinstance(space, Discrete):
            self.observation_space = gymnasium.spaces.Discrete(space.n)
        else:
            self.observation_space = gymnasium.spaces.Box(space.low, space.high, space.shape, np.float32)

    @property
    def key(self) -> Key[Array, ""]:
        """Keys the noise since the last seed.

        Raises:
            gymnasium.error.ResetNeeded: nothing has been reset yet.
        """
        if self._key is None:
            raise gymnasium.error.ResetNeeded("call reset before key")
        return self._key

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode; `options` are not used.

        Args:
            seed: starts over from a key of its own; None goes on to the next episode of the present key.
            options: ignored.

        Returns:
            The first observation, and an empty dict.
        """
        super().reset(seed=seed, options=options)
        if seed is not None or self._key is None:
            words = self.np_random.integers(2**32, size=2, dtype=np.uint32)
            self._key, self._episode = jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32"), -1
        self._episode += 1
        observation, self._state = self._environment.reset(self._key, None, self._episode)
        return _as_numpy(observation), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; after the end nothing moves and nothing is earned.

        Raises:
            gymnasium.error.ResetNeeded: nothing has been reset yet.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        observation, self._state, reward, terminated, truncated, info = _step(
            self._environment, self.key, self._state, int(action)
        )
        info = {name: bool(value) for name, value in info.items()}
        return _as_numpy(observation), float(reward), bool(terminated), bool(truncated), info


@functools.partial(jax.jit, static_argnums=0)  # compiled once for all environments of one task
def _step(environment: Environment, key: Key[Array, ""], state: State, action: Int[Array, ""] | int) -> tuple:
    observation, state, reward, terminated, info = environment.step_env(key, state, action)
    return observation, state, reward, terminated, environment.is_truncated(state), info


def _as_numpy(observation: Array) -> Any:
    return int(observation) if observation.ndim == 0 else np.array(observation)
