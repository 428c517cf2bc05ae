"""World: an MDP with a behaviour policy, and the only door through which an estimator acts."""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice, check_mdp, check_policy, check_range
from casim.dynamics import force
from casim.pytree import pytree
from casim.simulate.belief import filter_to, redraw
from casim.simulate.noise import LATENT, OBSERVATION, draw, key_words, pair, single, thresholds
from casim.simulate.scan import Script, Tables, prepare, roll
from casim.types import MDP, Replay, Trajectory


@runtime_checkable
class Scorer(Protocol):
    """A simulated judge, made from a recipe in `casim.judges`: a JAX pytree with these two methods."""

    def __call__(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T"]:
        """Scores of the steps; NaN where a step was not scored."""
        ...

    def prompt(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, " N"]:
        """Scores of the prompt, before any step."""
        ...


@final
@pytree
@dataclasses.dataclass(frozen=True)
class World:
    """An MDP, a policy table, optionally a reference policy and a judge. A JAX pytree.

    Make one with `World.make`, which checks the arrays. Every number drawn here is addressed by (key,
    episode, step, channel): the same key gives the same noise to `rollout` and `branch`, whatever `num`.
    """

    mdp: MDP
    policy: Float[Array, "M O A"]
    reference: Float[Array, "M O A"] | None = None
    scorer: Scorer | None = None
    replay_noise: Float[Array, ""] | None = None
    """Probability that a branch cannot restore what is hidden; None, like 0, always restores it, at less cost."""
    num_segments: int = dataclasses.field(default=1, metadata={"static": True})
    noisy_emission: bool = dataclasses.field(default=True, metadata={"static": True})
    branching: bool = dataclasses.field(default=True, metadata={"static": True})
    tables: Tables = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tables", prepare(self.mdp, self.policy))

    @classmethod
    def make(
        cls,
        mdp: MDP,
        policy: Array,
        reference: Array | None = None,
        scorer: Scorer | None = None,
        replay: Replay | None = None,
    ) -> World:
        """Checks the arrays (`ValueError` naming field, range and value) and builds the world.

        Args:
            mdp: the process.
            policy: the behaviour.
            reference: a second policy, for estimators that need one.
            scorer: a judge.
            replay: how well `branch` can go back to a step; None restores exactly.
        """
        replay = Replay() if replay is None else replay
        check_range("replay.noise", replay.noise, 0.0, 1.0)
        check_mdp(mdp)
        check_policy(np.asarray(policy), mdp)
        if reference is not None:
            check_policy(np.asarray(reference), mdp)
        noisy = bool(np.any(np.asarray(mdp.emission).max(-1) < 1.0))
        segments = int(np.asarray(mdp.segment)[-1]) + 1
        mdp, policy, reference = jax.tree.map(jnp.asarray, (mdp, policy, reference))
        noise = jnp.asarray(replay.noise, float) if replay.noise > 0 else None
        return cls(mdp, policy, reference, scorer, noise, segments, noisy, replay.possible)

    @property
    def discount(self) -> Float[Array, ""]:
        """Discount factor per step."""
        return self.mdp.discount

    @property
    def segment(self) -> Int[Array, " T"]:
        """Segment of each step."""
        return self.mdp.segment

    @property
    def decision(self) -> Bool[Array, " T"]:
        """Whether the policy decides anything at each step."""
        return self.mdp.decision[self.mdp.schedule]

    def rollout(self, key: Key[Array, ""], num: int, prompt: Int[Array, ""] | int | None = None) -> Trajectory:
        """Runs `num` episodes: a trajectory `[num, T]`.

        Args:
            key: keys the noise; episode i uses address i.
            num: number of episodes.
            prompt: the start state of all of them; None draws each from P(s_0).
        """
        words, episode = key_words(key), jnp.arange(num)
        if prompt is None:
            noise = single(words, episode, jnp.zeros_like(episode), LATENT)
            start = draw(
                jnp.broadcast_to(thresholds(self.mdp.start)[None, :], (num, self.mdp.start.shape[0] - 1)), noise
            )
        else:
            start = jnp.full((num,), prompt, jnp.int32)
        return roll(self.tables, self.mdp.schedule, words, episode, start, self.noisy_emission)

    def branch(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
        step: Int[Array, ""] | Int[Array, " N"] | int,
        num: int,
        action: Int[Array, ""] | Int[Array, " N"] | int | None = None,
        replay: Literal["restored", "refed"] = "restored",
        prompt: Int[Array, ""] | int | None = None,
    ) -> Trajectory:
        """Continues each trajectory of a batch `[N, T]` from a step, `num` times: `[N, num, T]`.

        The steps before `step`, and the observation at it, are those of the batch. Copy k of row i uses
        episode address k N + i. So two calls with one key share their noise (common random numbers), and
        copy 0 under the key of the rollout repeats the original suffix if the action is the same.

        Args:
            key: keys the noise of the suffix.
            batch: trajectories of this world.
            step: where to branch, one step for all rows or one per row.
            num: copies of each row.
            action: the action imposed at `step`, one for all rows or one per row; None draws it. An
                action that the policy never takes has log_prob -inf.
            replay: "restored" continues from the exact state; "refed" redraws the state from its belief
                given the observed prefix, which is what feeding a text prefix again does. In a world with
                replay noise, "restored" redraws it too, with that probability for each copy.
            prompt: for "refed", the start state that the prefix is known to begin in; None knows P(s_0) only.
                Where the prefix is impossible from there, the exact state is restored.

        Raises:
            ValueError: an unknown `replay`, or a world without branching.
        """
        check_choice("replay", replay, ("restored", "refed"))
        check_choice("branching", self.branching, (True,))
        rows, steps = batch.action.shape
        step = jnp.broadcast_to(jnp.asarray(step, jnp.int32), (rows,))
        time = jnp.arange(steps)[None, :]
        before, here = time < step[:, None], time == step[:, None]
        forced = batch.action
        if action is not None:
            forced = jnp.where(here, jnp.broadcast_to(jnp.asarray(action, jnp.int32), (rows,))[:, None], forced)
        belief = None
        lost = jnp.ones(()) if replay == "refed" else self.replay_noise
        if lost is not None:
            states = self.mdp.start.shape[0]
            prior = self.mdp.start if prompt is None else jax.nn.one_hot(prompt, states, dtype=self.mdp.start.dtype)
            belief = filter_to(self.mdp, batch, step, prior)
            running = jnp.take_along_axis(batch.live, step[:, None], axis=1)
            redrawn = here & running & (jnp.sum(belief, axis=1, keepdims=True) > 0)

        def copy(words: Array, episode: Array) -> Trajectory:
            state = batch.state
            if belief is not None and lost is not None:
                # The observation at the branch is given, so its channel is free to say whether the state is lost.
                chance, noise = pair(words, episode, step, OBSERVATION)
                hidden = redraw(belief, noise)[:, None]
                state = jnp.where(redrawn & (chance < lost)[:, None], hidden, state)
            fixed = before | here if action is not None else before
            script = Script(state, batch.observation, forced, before | here, before | here, fixed)
            start = state[:, 0]
            new = roll(
                self.tables, self.mdp.schedule, words, episode, start, self.noisy_emission, script, jnp.min(step)
            )
            return jax.tree.map(lambda old, now: jnp.where(before, old, now), batch, new)

        episode = jnp.arange(num)[:, None] * rows + jnp.arange(rows)[None, :]
        out = jax.vmap(copy, in_axes=(None, 0))(key_words(key), episode)
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), out)

    def intervene(self, key: Key[Array, ""], batch: Trajectory, keep: Bool[Array, "N T"], num: int) -> Trajectory:
        """Reruns each episode from its start state with some of its actions imposed: `[N, num, T]`.

        Where `keep` is True the action of the batch is taken, elsewhere the policy's; the environment's
        noise is drawn afresh. Addresses as in `branch`.
        """
        rows, steps = batch.action.shape
        first = jnp.broadcast_to((jnp.arange(steps) == 0)[None, :], (rows, steps))
        nowhere = jnp.zeros_like(first)
        script = Script(batch.state, batch.observation, batch.action, first, nowhere, keep & batch.live)

        def copy(words: Array, episode: Array) -> Trajectory:
            return roll(self.tables, self.mdp.schedule, words, episode, batch.state[:, 0], self.noisy_emission, script)

        episode = jnp.arange(num)[:, None] * rows + jnp.arange(rows)[None, :]
        out = jax.vmap(copy, in_axes=(None, 0))(key_words(key), episode)
        return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), out)

    def probability(self, batch: Trajectory) -> Float[Array, "*batch T A"]:
        """pi(. | o_t) along each trajectory."""
        return self._along(self.policy, batch)

    def reference_probability(self, batch: Trajectory) -> Float[Array, "*batch T A"]:
        """The reference policy's probabilities along each trajectory.

        Raises:
            ValueError: the world has no reference policy.
        """
        if self.reference is None:
            raise ValueError("reference must be a policy table in this world, got None")
        return self._along(self.reference, batch)

    def judge(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T"]:
        """The judge's score of every step; NaN where it gave none.

        Raises:
            ValueError: the world has no judge.
        """
        return self._scorer()(key, batch)

    def judge_prompt(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, " N"]:
        """The judge's score of the prompt, before any step: only judges of values have one.

        Raises:
            ValueError: the world has no judge, or its judge scores steps and not states.
        """
        return self._scorer().prompt(key, batch)

    def privileged(self, batch: Trajectory) -> Int[Array, "*batch T"]:
        """The latent state: information of training time only."""
        return batch.state

    def _along(self, policy: Array, batch: Trajectory) -> Array:
        schedule = self.mdp.schedule.reshape((1,) * (batch.action.ndim - 1) + (-1,))
        return force(self.mdp, policy)[jnp.broadcast_to(schedule, batch.action.shape), batch.observation]

    def _scorer(self) -> Scorer:
        if self.scorer is None:
            raise ValueError("judge must be set in this world, got None")
        return self.scorer
