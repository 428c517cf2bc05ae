"""A casim task as a Gymnasium environment, one episode at a time; needs the extra `gymnasium`.

Importing this module registers every family of `casim.TASKS`, so that
`gymnasium.make("casim/Bifurcation-v0", gap=0.8)` works. The longer id
`"casim.env.gym_wrapper:casim/Bifurcation-v0"` imports it by itself. Gymnasium reads no entry points
of other packages since its version 1.0.

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

from casim.checks import check_choice
from casim.env.environment import Environment, State
from casim.env.picture import (
    WINDOW,
    Moment,
    Scene,
    as_picture,
    as_text,
)
from casim.env.spaces import Discrete
from casim.tasks import TASKS, Task
from casim.types import Kind
from casim.wellformed import check_labels

try:
    import gymnasium
except ImportError as error:
    message = "casim.env.gym_wrapper needs gymnasium: pip install 'casim[gymnasium]'"
    raise ImportError(message) from error

Form = Literal["one_hot", "index"]
RenderMode = Literal["ansi", "rgb_array"]
METADATA = {"render_modes": ["ansi", "rgb_array"], "render_fps": 2}


@final
class GymnasiumEnvironment(gymnasium.Env):
    """A task behind `reset` and `step` of Gymnasium.

    Episode i since the last `reset(seed=...)` repeats row i of
    `World.rollout(environment.key, ...)`, given the same actions.

    The info of `reset` and of `step` has two entries. "decision" says whether an action counts:
    after `step` the one just taken, after `reset` the first one. "next_decision" says it of the
    action to come; it is False after the end.

    Args:
        task: the recipe.
        observation: "one_hot" or "index", as in `casim.env.Environment`.
        render_mode: what `render` returns: "ansi", a few lines of text; "rgb_array", a picture of
            the last steps, `[height, width, 3]` of uint8; None, nothing.

    Raises:
        ValueError: an unknown `observation` or `render_mode`.
    """

    metadata = METADATA

    def __init__(
        self,
        task: Task,
        observation: Form = "one_hot",
        render_mode: RenderMode | None = None,
    ) -> None:
        check_choice("render_mode", render_mode, (None, *METADATA["render_modes"]))
        self.render_mode = render_mode
        self._environment = Environment(task, observation)
        self._mdp = jax.tree.map(np.asarray, self._environment.default_params)
        discount = self._mdp.discount[self._mdp.schedule]
        self._weight = np.append(1.0, np.cumprod(discount[:-1], dtype=np.float64))
        self._key: Key[Array, ""] | None = None
        self._state: State | None = None
        self._scene: Scene | None = None
        self._episode = -1
        self.action_space = gymnasium.spaces.Discrete(self._environment.num_actions)
        self.observation_space = _space(self._environment)

    @property
    def environment(self) -> Environment:
        """The same task in JAX; its MDP is `environment.default_params`."""
        return self._environment

    @property
    def key(self) -> Key[Array, ""]:
        """Keys the noise since the last seed.

        Raises:
            gymnasium.error.ResetNeeded: nothing has been reset yet.
        """
        if self._key is None:
            raise gymnasium.error.ResetNeeded("call reset before key")
        return self._key

    def reset(
        self,
        *,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Starts the next episode; `options` are not used.

        Args:
            seed: starts over from a key of its own; None goes on to the next episode of the present
                key.
            options: ignored.

        Returns:
            The first observation, and the info.
        """
        super().reset(seed=seed, options=options)
        if seed is not None or self._key is None:
            words = self.np_random.integers(2**32, size=2, dtype=np.uint32)
            self._key = jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")
            self._episode = -1
        self._episode += 1
        shown, self._state, decision = _reset(self._environment, self._key, self._episode)
        observation, decision = _as_numpy(shown), bool(decision)
        self._scene = Scene(
            task=self._environment.name,
            episode=self._episode,
            horizon=len(self._mdp.schedule),
            gain=0.0,
            past=(),
            now=self._moment(0, observation, decision),
            ended="",
        )
        return observation, {"decision": decision, "next_decision": decision}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; after the end nothing moves and nothing is earned.

        Args:
            action: an integer in [0, A - 1], of Python, NumPy, or any other array without axes.

        Raises:
            gymnasium.error.ResetNeeded: nothing has been reset yet.
            ValueError: an action that there is not.
        """
        if self._state is None or self._scene is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        action = np.asarray(action)
        check_labels("action", action, self._environment.num_actions)
        arrays = _step(self._environment, self.key, self._state, int(action))
        shown, self._state, reward, terminated, truncated, info = arrays
        observation, reward = _as_numpy(shown), float(reward)
        terminated, truncated = bool(terminated), bool(truncated)
        info = {name: bool(value) for name, value in info.items()}

        if not self._scene.ended:
            played = int(action) if info["decision"] else 0
            taken = self._scene.now._replace(action=played, reward=reward)
            now = self._moment(taken.step + 1, observation, info["next_decision"])
            ended = "terminated" if terminated else "truncated" if truncated else ""
            self._scene = self._later(self._scene, taken, now, ended)
        return observation, reward, terminated, truncated, info

    def render(self) -> Any:
        """The episode so far, by `render_mode`.

        Raises:
            gymnasium.error.ResetNeeded: nothing has been reset yet.
        """
        if self.render_mode is None:
            modes = ", ".join(METADATA["render_modes"])
            gymnasium.logger.warn(f"render needs a render_mode, set at the making: {modes}")
            return None
        if self._scene is None:
            raise gymnasium.error.ResetNeeded("call reset before render")
        if self.render_mode == "ansi":
            return as_text(self._scene)
        return as_picture(self._scene)

    def _moment(self, step: int, observation: Any, decision: bool) -> Moment:
        """The step to come."""
        last = len(self._mdp.schedule) - 1
        kernel = int(self._mdp.schedule[min(step, last)])
        return Moment(
            step=step,
            kernel=kernel,
            kind=Kind(int(self._mdp.kind[kernel])),
            decision=decision,
            observation=self._label(observation),
        )

    def _label(self, observation: Any) -> int:
        """The observation without the kernel, which the agent sees beside it."""
        kernels, _, shown = self._mdp.emission.shape
        if np.ndim(observation) == 0:
            return observation % shown
        return int(np.argmax(observation[kernels:]))

    def _later(self, scene: Scene, taken: Moment, now: Moment, ended: str) -> Scene:
        """The scene after a step."""
        scale = self._weight[taken.step]
        gain = scene.gain + scale * (taken.reward or 0.0)
        past = (*scene.past, taken)[-WINDOW:]
        return scene._replace(gain=gain, past=past, now=now, ended=ended)


def make(
    family: str,
    observation: Form = "one_hot",
    render_mode: RenderMode | None = None,
    **settings: Any,
) -> GymnasiumEnvironment:
    """What `gymnasium.make("casim/FAMILY-v0", ...)` calls.

    Args:
        family: the name of a task of `casim.TASKS`, which Gymnasium passes.
        observation: as in `GymnasiumEnvironment`.
        render_mode: as in `GymnasiumEnvironment`.
        settings: fields of the task; a list, as in a file, stands for a tuple.

    Raises:
        ValueError: an unknown family, or a setting that the task refuses.
    """
    families = {task.__name__: task for task in TASKS}
    check_choice("family", family, tuple(families))
    for name, value in settings.items():
        if isinstance(value, list):
            settings[name] = tuple(value)
    task = families[family](**settings)
    return GymnasiumEnvironment(task, observation, render_mode)


# Gymnasium asks what makes an environment which render modes there are.
make.metadata = METADATA  # pyright: ignore[reportFunctionMemberAccess]


def register() -> None:
    """Registers every family of `casim.TASKS` with Gymnasium, as `casim/NAME-v0`, once."""
    for task in TASKS:
        family = task.__name__
        name = f"casim/{family}-v0"
        if name not in gymnasium.registry:
            maker = f"{__name__}:make"
            gymnasium.register(name, entry_point=maker, kwargs={"family": family})


def _space(environment: Environment) -> gymnasium.Space:
    """What the agent sees, as Gymnasium has it."""
    space = environment.observation_space()
    if isinstance(space, Discrete):
        return gymnasium.spaces.Discrete(space.n)
    return gymnasium.spaces.Box(space.low, space.high, space.shape, np.float32)


# These two are compiled once for all environments of one task.


@functools.partial(jax.jit, static_argnums=0)
def _reset(
    environment: Environment,
    key: Key[Array, ""],
    episode: Int[Array, ""] | int,
) -> tuple:
    observation, state = environment.reset_env(key, None, episode)
    return observation, state, environment.is_decision(state)


@functools.partial(jax.jit, static_argnums=0)
def _step(
    environment: Environment,
    key: Key[Array, ""],
    state: State,
    action: Int[Array, ""] | int,
) -> tuple:
    observation, state, reward, terminated, info = environment.step_env(key, state, action)
    truncated = environment.is_truncated(state)
    info = {**info, "next_decision": environment.is_decision(state)}
    return observation, state, reward, terminated, truncated, info


def _as_numpy(observation: Array) -> Any:
    return int(observation) if observation.ndim == 0 else np.array(observation)


register()
