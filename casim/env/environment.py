"""Environment: a task step by step, with the interface of gymnax 1.0.

So an existing JAX agent can train on it. In maths, at step t with kernel m = m_t:

    o_t ~ P_m(. | s_t),    s_{t+1} ~ P_m(. | s_t, a_t),

with a_t the agent's action (0 where m is no decision). Terminated: s_{t+1} is terminal. Truncated:
t + 1 = T and s_{t+1} is not terminal. The agent sees (m_t, o_t), which is all that a policy table
[M, O, A] may depend on.

References:
    Lange 2022, gymnax (software; the interface). Pardo et al. 2018, arXiv:1712.00378 (termination
    and time limits).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Num

from casim.checks import check_choice
from casim.doors import door
from casim.env.spaces import Box, Discrete
from casim.simulate.noise import OBSERVATION, TRANSITION, draw, key_words, pair, single, thresholds
from casim.simulate.world import ADDRESSES
from casim.tasks import Task
from casim.types import MDP
from casim.wellformed import check_labels, check_mdp


class State(NamedTuple):
    """Where an episode is."""

    latent: Int[Array, ""]
    """s_t; hidden from the agent."""
    step: Int[Array, ""]
    """t in [0, T]; T after the horizon."""
    episode: Int[Array, ""]
    """Address of the episode in the noise."""
    stride: Int[Array, ""]
    """What an auto-reset adds to that address."""


@final
@dataclasses.dataclass(frozen=True)
class Environment:
    """A task as a stateless environment: pure functions of (key, state, action, params).

    Parameters are the task's MDP. `params=None` takes the task's own; any other MDP can be given,
    and MDPs of equal shapes can be stacked and mapped over. Whatever takes a state or a key runs
    under jit and vmap.

    An action, an episode or a stride that makes no sense is refused with a `ValueError`. Under jit
    and vmap numbers cannot be read, and what comes of a wrong one there is undefined; types are
    checked there too.

    Noise is a pure function of (key, episode, step, channel), and the state holds episode and step.
    So a fresh key at every step is right, and so is one and the same key everywhere: then episode
    address i repeats row i of `World.rollout` under that key, given the same actions. An auto-reset
    adds `stride` to the address, so one key never repeats an episode; N environments that share a
    key must start at 0, ..., N - 1 with stride N.

    An episode that starts in a terminal state lasts one step, which earns nothing and reports
    termination.

    Attributes:
        task: the recipe.
        observation: "one_hot", the one-hot kernel and the one-hot observation in one vector,
            float32 `[M + O]`; or "index", the number kernel * O + observation, int32.

    Raises:
        ValueError: an unknown `observation`.
    """

    task: Task
    observation: Literal["one_hot", "index"] = "one_hot"

    def __post_init__(self) -> None:
        check_choice("observation", self.observation, ("one_hot", "index"))

    @functools.cached_property
    def default_params(self) -> MDP:
        """The MDP of the task, built and checked once."""
        with jax.ensure_compile_time_eval():  # the first use may be inside jit
            return jax.tree.map(jnp.asarray, check_mdp(self.task.build()))

    @door
    def reset(
        self,
        key: Key[Array, ""],
        params: MDP | None = None,
        episode: Int[Array, ""] | int = 0,
        stride: Int[Array, ""] | int = 1,
    ) -> tuple[Num[Array, "*obs"], State]:
        """Starts an episode.

        Args:
            key: keys the noise.
            params: the MDP; None is the task's own.
            episode: address of this episode, at least 0.
            stride: what each auto-reset adds to it, at least 1.

        Returns:
            The first observation and the state.

        Raises:
            ValueError: an MDP whose arrays do not fit each other, an episode or a stride out of its
                range.
        """
        _check_address(episode, stride)
        return _reset(self, key, params, episode, stride)

    @door
    def step(
        self,
        key: Key[Array, ""],
        state: State,
        action: Int[Array, ""] | int,
        params: MDP | None = None,
    ) -> tuple[
        Num[Array, "*obs"],
        State,
        Float[Array, ""],
        Bool[Array, ""],
        Bool[Array, ""],
        dict[str, Array],
    ]:
        """One step, and a new episode where that one has ended.

        Returns:
            observation, state, reward, terminated, truncated, info. At most one of terminated and
            truncated is True; then observation and state are the first of the next episode.
            `info["final_observation"]` is the observation before that, equal to observation where
            nothing ended. `info["decision"]` says whether the action counted: False on kernels
            that are no decision, and where the episode started terminal.

        Raises:
            ValueError: an MDP whose arrays do not fit each other, or an action that there is not.
        """
        self._check_action(action, params)
        return _step(self, key, state, action, params)

    @door
    def reset_env(
        self,
        key: Key[Array, ""],
        params: MDP | None = None,
        episode: Int[Array, ""] | int = 0,
        stride: Int[Array, ""] | int = 1,
    ) -> tuple[Num[Array, "*obs"], State]:
        """`reset`, not compiled by itself."""
        _check_address(episode, stride)
        mdp = self._mdp(params)
        zero = jnp.zeros((), jnp.int32)
        episode = jnp.asarray(episode, jnp.int32)
        stride = jnp.asarray(stride, jnp.int32)
        # The two channels of one hash.
        seen, latent = pair(key_words(key), episode, zero, OBSERVATION)
        state = State(draw(thresholds(mdp.start), latent), zero, episode, stride)
        return self._observe(seen, state, mdp), state

    @door
    def step_env(
        self,
        key: Key[Array, ""],
        state: State,
        action: Int[Array, ""] | int,
        params: MDP | None = None,
    ) -> tuple[Num[Array, "*obs"], State, Float[Array, ""], Bool[Array, ""], dict[str, Array]]:
        """One step without auto-reset; `is_truncated` of the new state tells the other end.

        After the end nothing moves and nothing is earned. After the horizon there is no kernel: the
        observation there is what the last kernel would show.

        Returns:
            observation, state, reward, terminated, info with "decision" as in `step`.

        Raises:
            ValueError: as `step`.
        """
        self._check_action(action, params)
        mdp = self._mdp(params)
        kernel, over = (
            self._kernel(state, mdp),
            mdp.terminal[state.latent] | self.is_truncated(state, mdp),
        )
        row = (kernel, state.latent, jnp.where(mdp.decision[kernel], action, 0))
        words = key_words(key)
        noise = single(words, state.episode, state.step, TRANSITION)
        cuts = thresholds(mdp.prob[row])
        slot = draw(cuts, noise)
        reward = jnp.where(over, 0.0, mdp.reward[row][slot])
        after = state._replace(
            latent=jnp.where(over, state.latent, mdp.successor[row][slot]).astype(jnp.int32),
            step=jnp.minimum(state.step + 1, mdp.schedule.shape[0]),
        )
        info = {"decision": mdp.decision[kernel] & ~over}
        seen = single(words, after.episode, after.step, OBSERVATION)
        return self._observe(seen, after, mdp), after, reward, self.is_terminated(after, mdp), info

    @door
    def is_terminated(
        self,
        state: State,
        params: MDP | None = None,
    ) -> Bool[Array, ""]:
        """Whether the process itself has ended: the latent state is terminal."""
        return self._mdp(params).terminal[state.latent]

    @door
    def is_truncated(
        self,
        state: State,
        params: MDP | None = None,
    ) -> Bool[Array, ""]:
        """Whether only the horizon has ended it: t = T, and the latent state is not terminal."""
        mdp = self._mdp(params)
        return (state.step >= mdp.schedule.shape[0]) & ~mdp.terminal[state.latent]

    @door
    def is_decision(
        self,
        state: State,
        params: MDP | None = None,
    ) -> Bool[Array, ""]:
        """Whether the next action counts: the policy decides now and the episode is not over."""
        mdp = self._mdp(params)
        over = mdp.terminal[state.latent] | self.is_truncated(state, mdp)
        return mdp.decision[self._kernel(state, mdp)] & ~over

    @property
    def name(self) -> str:
        """The name of the task's family."""
        return type(self.task).__name__

    @property
    def num_actions(self) -> int:
        """A."""
        return self.default_params.prob.shape[2]

    def action_space(
        self,
        params: MDP | None = None,
    ) -> Discrete:
        """The A actions."""
        return Discrete(np.shape(self._mdp(params).prob)[-2])

    def observation_space(
        self,
        params: MDP | None = None,
    ) -> Box | Discrete:
        """All of `observations` and, if one-hot, the box around them."""
        kernels, _, shown = np.shape(self._mdp(params).emission)[-3:]
        return (
            Discrete(kernels * shown)
            if self.observation == "index"
            else Box(0.0, 1.0, (kernels + shown,))
        )

    @door
    def observations(
        self,
        params: MDP | None = None,
    ) -> Num[Array, "M O *obs"]:
        """The observation of every pair (kernel, observation).

        A network evaluated on these is a policy table, which `casim.solve` evaluates exactly.
        """
        mdp = self._mdp(params)
        kernels, _, observations = mdp.emission.shape

        def encode(kernel: Array, observation: Array) -> Array:
            return self._encode(kernel, observation, mdp)

        of_kernel = jax.vmap(encode, in_axes=(None, 0))
        of_all = jax.vmap(of_kernel, in_axes=(0, None))
        return of_all(jnp.arange(kernels), jnp.arange(observations))

    def policy_table(
        self,
        logits: Callable[[np.ndarray], Any],
        params: MDP | None = None,
    ) -> Float[Array, "M O A"]:
        """The policy table of an agent, for the oracle: the softmax of its logits everywhere.

        Not under jit. The agent is asked once, for all pairs (kernel, observation).

        Args:
            logits: the agent, from a batch of observations `[M O, *obs]` (NumPy) to logits
                `[M O, A]`, as an array of any kind.
            params: the MDP; None is the task's own.

        Raises:
            ValueError: logits of another shape, or that are not finite.
        """
        seen = np.asarray(self.observations(params))
        kernels, shown = seen.shape[:2]
        each = seen.reshape(kernels * shown, *seen.shape[2:])
        given = np.asarray(logits(each))
        wanted = (kernels * shown, self.action_space(params).n)
        if given.shape != wanted or not np.isfinite(given).all():
            got = f"shape {given.shape}: {given!r:.80}"
            raise ValueError(f"logits must be finite, of shape [M O, A] = {wanted}, got {got}")
        chance = jax.nn.softmax(jnp.asarray(given, float), axis=-1)
        return chance.reshape(kernels, shown, -1)

    def _check_action(
        self,
        action: Array | int,
        params: MDP | None,
    ) -> None:
        check_labels("action", action, self._mdp(params).prob.shape[2])

    def _mdp(
        self,
        params: MDP | None,
    ) -> MDP:
        return self.default_params if params is None else params

    def _kernel(
        self,
        state: State,
        mdp: MDP,
    ) -> Array:
        return mdp.schedule[jnp.minimum(state.step, mdp.schedule.shape[0] - 1)]

    def _observe(
        self,
        noise: Array,
        state: State,
        mdp: MDP,
    ) -> Array:
        kernel = self._kernel(state, mdp)
        return self._encode(
            kernel, draw(thresholds(mdp.emission[kernel, state.latent]), noise), mdp
        )

    def _encode(
        self,
        kernel: Array,
        observation: Array,
        mdp: MDP,
    ) -> Any:
        kernels, _, shown = mdp.emission.shape
        if self.observation == "index":
            return (kernel * shown + observation).astype(jnp.int32)
        parts = jax.nn.one_hot(kernel, kernels), jax.nn.one_hot(observation, shown)
        return jnp.concatenate(parts).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def _reset(
    env: Environment,
    key: Array,
    params: MDP | None,
    episode: Array | int,
    stride: Array | int,
) -> tuple:
    return env.reset_env(key, params, episode, stride)


@functools.partial(jax.jit, static_argnums=0)
def _step(
    env: Environment,
    key: Array,
    state: State,
    action: Array | int,
    params: MDP | None,
) -> tuple:
    """One step, and a new episode where that one has ended."""
    final, after, reward, terminated, info = env.step_env(key, state, action, params)
    truncated = env.is_truncated(after, params)
    first, fresh = env.reset_env(key, params, state.episode + state.stride, state.stride)
    ended = terminated | truncated
    observation, state = jax.tree.map(
        lambda x, y: jnp.where(ended, x, y), (first, fresh), (final, after)
    )
    return observation, state, reward, terminated, truncated, {**info, "final_observation": final}


def _check_address(
    episode: Array | int,
    stride: Array | int,
) -> None:
    check_labels("episode", episode, ADDRESSES)
    check_labels("stride", stride, ADDRESSES, low=1)
