"""World: an MDP with a behaviour policy, and the only door through which an estimator acts."""

from __future__ import annotations

import dataclasses
from typing import Literal, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import (
    check_batch,
    check_choice,
    check_integer,
    check_labels,
    check_mdp,
    check_range,
)
from casim.doors import admit, door
from casim.dynamics import force, step_discount
from casim.pytree import pytree
from casim.simulate.belief import filter_to, redraw
from casim.simulate.engine import Engine, roll
from casim.simulate.noise import LATENT, OBSERVATION, draw, key_words, pair, single, thresholds
from casim.simulate.scan import Request
from casim.simulate.tables import Script, Tables, prepare
from casim.types import MDP, Replay, Trajectory

ADDRESSES = 2**31
"""Addresses of episodes that can be named; the noise has as many again."""


@runtime_checkable
class Scorer(Protocol):
    """A simulated judge, from a recipe in `casim.judges`: a JAX pytree with these two methods."""

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

    Make one with `World.make`, which checks the arrays. Every number drawn here is addressed by
    (key, episode, step, channel): the same key gives the same noise to `rollout` and `branch`,
    whatever `num`.

    Numbers that make no sense (a prompt, a step or an action that there is not) are refused with a
    `ValueError` that names field, range and value. Under `jit` or `vmap` a number that is traced
    cannot be read, and is used as it is: what comes of a wrong one there is undefined. Shapes and
    types are checked there too.
    """

    mdp: MDP
    policy: Float[Array, "M O A"]
    reference: Float[Array, "M O A"] | None = None
    scorer: Scorer | None = None
    replay_noise: Float[Array, ""] | None = None
    """Probability that a branch cannot restore what is hidden.

    None, like 0, always restores it, at less cost.
    """
    num_segments: int = dataclasses.field(default=1, metadata={"static": True})
    num_turns: int = dataclasses.field(default=1, metadata={"static": True})
    num_agents: int = dataclasses.field(default=1, metadata={"static": True})
    noisy_emission: bool = dataclasses.field(default=True, metadata={"static": True})
    branching: bool = dataclasses.field(default=True, metadata={"static": True})
    one_discount: bool = dataclasses.field(default=False, metadata={"static": True})
    """Whether all kernels are known to have one discount: arithmetic with a number is faster."""
    engine: Engine | None = dataclasses.field(default=None, metadata={"static": True})
    """What rolls out; None lets `casim.simulate.choose_engine` choose.

    It changes no trajectory, only the time.
    """
    tables: Tables = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        given = {name: getattr(self, name) for name in ("mdp", "policy", "reference")}
        for name, value in admit(given).items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "tables", prepare(self.mdp, self.policy))

    @classmethod
    @door
    def make(
        cls,
        mdp: MDP,
        policy: Array,
        reference: Array | None = None,
        scorer: Scorer | None = None,
        replay: Replay | None = None,
        engine: Engine | None = None,
    ) -> World:
        """Checks the arrays and builds the world. Not under `jit`.

        Args:
            mdp: the process; its arrays, and those of the policies, may be NumPy's, or nested
                lists.
            policy: the behaviour.
            reference: a second policy, for estimators that need one.
            scorer: a judge.
            replay: how well `branch` can go back to a step; None restores exactly.
            engine: what rolls out; None chooses by shape and device.

        Raises:
            ValueError: an array that is malformed, or a setting out of its range; it names field,
                range and value.
        """
        replay = Replay() if replay is None else replay
        check_range("replay.noise", replay.noise, 0.0, 1.0)
        if scorer is not None and not isinstance(scorer, Scorer):
            raise ValueError(f"scorer must be a judge made by Judge.model, got {scorer!r}")
        check_mdp(mdp)
        noisy = bool(np.any(np.asarray(mdp.emission).max(-1) < 1.0))
        segments, turns = (int(np.asarray(x)[-1]) + 1 for x in (mdp.segment, mdp.turn))
        agents = len(np.unique(np.asarray(mdp.agent)))
        noise = jnp.asarray(replay.noise, float) if replay.noise > 0 else None
        discount = np.asarray(mdp.discount)
        return cls(
            mdp,
            policy,
            reference,
            scorer,
            noise,
            num_segments=segments,
            num_turns=turns,
            num_agents=agents,
            noisy_emission=noisy,
            branching=replay.possible,
            one_discount=bool(np.all(discount == discount[0])),
            engine=engine,
        )

    @property
    def discount(self) -> Float[Array, ""] | Float[Array, " T"]:
        """What each step discounts the values after it by; one number if all kernels share it."""
        if self.one_discount:
            return self.mdp.discount[0]
        return step_discount(self.mdp)

    @property
    def schedule(self) -> Int[Array, " T"]:
        """Which kernel governs each step: the row of the policy table that acts there."""
        return self.mdp.schedule

    @property
    def segment(self) -> Int[Array, " T"]:
        """Segment of each step."""
        return self.mdp.segment

    @property
    def decision(self) -> Bool[Array, " T"]:
        """Whether the policy decides anything at each step."""
        return self.mdp.decision[self.mdp.schedule]

    def rollout(
        self,
        key: Key[Array, ""],
        num: int,
        prompt: Int[Array, ""] | int | None = None,
        first: Int[Array, ""] | int = 0,
    ) -> Trajectory:
        """Runs `num` episodes: a trajectory `[num, T]`.

        Args:
            key: keys the noise; row i is the episode of address first + i.
            num: number of episodes, at least 0.
            prompt: the start state of all of them, in [0, S - 1]; None draws each from P(s_0).
            first: the first address, at least 0, to run episodes in several calls.

        Raises:
            ValueError: a number out of its range, if it is known before compilation.
        """
        check_integer("num", num, 0)
        check_labels("first", first, ADDRESSES)
        self._check_prompt(prompt)
        words, episode = key_words(key), first + jnp.arange(num)
        if prompt is None:
            noise = single(words, episode, jnp.zeros_like(episode), LATENT)
            start = draw(
                jnp.broadcast_to(
                    thresholds(self.mdp.start)[None, :], (num, self.mdp.start.shape[0] - 1)
                ),
                noise,
            )
        else:
            start = jnp.full((num,), prompt, jnp.int32)
        return self._roll(words, episode, start)

    @door
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

        The steps before `step`, and the observation at it, are those of the batch. Copy k of row i
        uses episode address k N + i. So two calls with one key share their noise (common random
        numbers), and copy 0 under the key of the rollout repeats the original suffix if the state
        is restored, the action is the same and the rollout began at address 0.

        Args:
            key: keys the noise of the suffix.
            batch: trajectories of this world.
            step: where to branch, in [0, T - 1], one step for all rows or one per row.
            num: copies of each row, at least 0.
            action: the action imposed at `step`, in [0, A - 1], one for all rows or one per row;
                None draws it. An action that the policy never takes has log_prob -inf.
            replay: "restored" continues from the exact state; "refed" redraws the state from its
                belief given the observed prefix, which is what feeding a text prefix again does. In
                a world with replay noise, "restored" redraws it too, with that probability for each
                copy.
            prompt: for "refed", the start state that the prefix is known to begin in; None knows
                P(s_0) only. Where the prefix is impossible from there, the exact state is restored.

        Raises:
            ValueError: an unknown `replay`, a world without branching, a batch of another number of
                steps; or a step, an action, a prompt or a `num` out of its range, if it is known
                before compilation.
        """
        check_choice("replay", replay, ("restored", "refed"))
        check_choice("branching", self.branching, (True,))
        check_batch(batch, self.mdp)
        check_integer("num", num, 0)
        rows, steps = batch.action.shape
        check_labels("step", step, steps, [(), (rows,)])
        if action is not None:
            check_labels("action", action, self.tables.sizes.actions, [(), (rows,)])
        self._check_prompt(prompt)
        step = jnp.broadcast_to(jnp.asarray(step, jnp.int32), (rows,))
        words, episode = key_words(key), jnp.arange(num * rows)

        def copies(x: Array | int) -> Array:
            return jnp.tile(jnp.broadcast_to(jnp.asarray(x, jnp.int32), (rows,)), num)

        def here(x: Array) -> Array:
            return jnp.take_along_axis(x, step[:, None], axis=1)[:, 0]

        start = copies(here(batch.state))
        lost = jnp.ones(()) if replay == "refed" else self.replay_noise
        if lost is not None:
            states = self.mdp.start.shape[0]
            prior = (
                self.mdp.start
                if prompt is None
                else jax.nn.one_hot(prompt, states, dtype=self.mdp.start.dtype)
            )
            belief = filter_to(self.mdp, batch, step, prior)
            possible = here(batch.live) & (jnp.sum(belief, axis=1) > 0)
            # At steps after the last there is noise that no rollout reads, also none under the same
            # key.
            chance, noise = pair(words, episode, copies(step) + steps, OBSERVATION)
            redrawn = jnp.tile(possible, num) & (chance < lost)
            start = jnp.where(redrawn, redraw(jnp.tile(belief, (num, 1)), noise), start)
        script = Script(
            copies(step), copies(here(batch.observation)), copies(-1 if action is None else action)
        )
        new = self._roll(words, episode, start, script)
        before = (jnp.arange(steps)[None, :] < step[:, None])[None]
        return jax.tree.map(
            lambda old, now: jnp.moveaxis(
                jnp.where(before, old[None], now.reshape(num, rows, steps)), 0, 1
            ),
            batch,
            new,
        )

    @door
    def intervene(
        self, key: Key[Array, ""], batch: Trajectory, keep: Bool[Array, "N T"], num: int
    ) -> Trajectory:
        """Reruns each episode from its start state with some of its actions imposed: `[N, num, T]`.

        Where `keep` is True the action of the batch is taken, elsewhere and after the batch's own
        end the policy's; the environment's noise is drawn afresh. Addresses as in `branch`.

        Raises:
            ValueError: a batch of another number of steps, a `keep` of another shape or that is not
                of booleans, or a negative `num`.
        """
        check_batch(batch, self.mdp)
        check_integer("num", num, 0)
        rows, steps = batch.action.shape
        if keep.shape != (rows, steps) or keep.dtype != bool:
            got = f"{keep.dtype} of shape {keep.shape}"
            raise ValueError(f"keep must be booleans [N, T] = {(rows, steps)}, got {got}")
        nothing = jnp.full((num * rows,), -1)
        imposed = jnp.tile(jnp.where(keep & batch.live, batch.action, -1), (num, 1))
        script = Script(jnp.zeros_like(nothing), nothing, nothing, imposed)
        start = jnp.tile(batch.state[:, 0].astype(jnp.int32), num)
        new = self._roll(key_words(key), jnp.arange(num * rows), start, script)
        return jax.tree.map(lambda x: jnp.moveaxis(x.reshape(num, rows, steps), 0, 1), new)

    @door
    def probability(self, batch: Trajectory) -> Float[Array, "*batch T A"]:
        """pi(. | o_t) along each trajectory."""
        return self._along(self.policy, batch)

    @door
    def reference_probability(self, batch: Trajectory) -> Float[Array, "*batch T A"]:
        """The reference policy's probabilities along each trajectory.

        Raises:
            ValueError: the world has no reference policy.
        """
        if self.reference is None:
            raise ValueError("reference must be a policy table in this world, got None")
        return self._along(self.reference, batch)

    @door
    def judge(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, "N T"]:
        """The judge's score of every step; NaN where it gave none.

        Raises:
            ValueError: the world has no judge, or a batch of another number of steps.
        """
        check_batch(batch, self.mdp)
        return self._scorer()(key, batch)

    @door
    def judge_prompt(self, key: Key[Array, ""], batch: Trajectory) -> Float[Array, " N"]:
        """The judge's score of the prompt, before any step: only judges of values have one.

        Raises:
            ValueError: the world has no judge, its judge scores steps and not states, or a batch of
                another number of steps.
        """
        check_batch(batch, self.mdp)
        return self._scorer().prompt(key, batch)

    def privileged(self, batch: Trajectory) -> Int[Array, "*batch T"]:
        """The latent state: information of training time only."""
        return batch.state

    def _roll(
        self, words: Array, episode: Array, start: Array, script: Script | None = None
    ) -> Trajectory:
        request = Request(self.tables, self.mdp.schedule, words, episode, start, script)
        return roll(self.engine, request, self.noisy_emission)

    def _check_prompt(self, prompt: Array | int | None) -> None:
        if prompt is not None:
            check_labels("prompt", prompt, self.tables.sizes.states)

    def _along(self, policy: Array, batch: Trajectory) -> Array:
        check_batch(batch, self.mdp)
        schedule = self.mdp.schedule.reshape((1,) * (batch.action.ndim - 1) + (-1,))
        return force(self.mdp, policy)[
            jnp.broadcast_to(schedule, batch.action.shape), batch.observation
        ]

    def _scorer(self) -> Scorer:
        if self.scorer is None:
            raise ValueError("judge must be set in this world, got None")
        return self.scorer
