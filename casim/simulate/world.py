"""World: an MDP and its policies, and the only door through which an estimator acts.

Two policies may be at work. What was rolled out followed the *behaviour*; what is asked about, its
values and its gradient, is the *policy*. They differ where a trainer updates on rollouts of older
weights. Without a behaviour the policy is its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, Protocol, TypeAlias, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.doors import admit, door
from casim.dynamics import force, step_discount
from casim.pytree import pytree
from casim.simulate.belief import filter_to, redraw
from casim.simulate.engine import Engine, roll
from casim.simulate.noise import LATENT, OBSERVATION, draw, key_words, pair, single, thresholds
from casim.simulate.scan import Request
from casim.simulate.tables import Script, Tables, prepare
from casim.types import MDP, Batch, Replay, Trajectory, recorded
from casim.vocabulary import JUDGE
from casim.wellformed import check_batch, check_labels, check_mdp

ADDRESSES = 2**31
"""Addresses of episodes that can be named; the noise has as many again."""


SHARES = ("prompt", "state")
"""What the episodes of a group can have in common."""
FOLLOWED = ("policy", "behaviour")
"""Who can act after a branch."""

Followed: TypeAlias = Literal["policy", "behaviour"]


@runtime_checkable
class Scorer(Protocol):
    """A simulated judge, from a recipe in `casim.judges`: a JAX pytree with these two methods."""

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T *A"]:
        """What it says of the steps, or of every action of each; NaN where it says nothing."""
        ...

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """Scores of the prompt, before any step."""
        ...


@final
@pytree
@dataclasses.dataclass(frozen=True)
class World:
    """An MDP, a policy table, optionally a behaviour, a reference and judges. A JAX pytree.

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
    """Whose values and gradient are asked about."""
    behaviour: Float[Array, "M O A"] | None = None
    """Who acts in rollouts; None is the policy."""
    reference: Float[Array, "M O A"] | None = None
    judges: Mapping[str, Scorer] = dataclasses.field(default_factory=dict)
    """By name."""
    replay_noise: Float[Array, ""] | None = None
    """Probability that a branch cannot restore what is hidden.

    None, like 0, always restores it, at less cost.
    """
    num_segments: int = dataclasses.field(default=1, metadata={"static": True})
    num_turns: int = dataclasses.field(default=1, metadata={"static": True})
    num_agents: int = dataclasses.field(default=1, metadata={"static": True})
    noisy_emission: bool = dataclasses.field(default=True, metadata={"static": True})
    branching: bool = dataclasses.field(default=True, metadata={"static": True})
    one_prompt: bool = dataclasses.field(default=False, metadata={"static": True})
    """Whether all start states are known to be one prompt."""
    one_discount: bool = dataclasses.field(default=False, metadata={"static": True})
    """Whether all kernels are known to have one discount: arithmetic with a number is faster."""
    engine: Engine | None = dataclasses.field(default=None, metadata={"static": True})
    """What rolls out; None lets `casim.simulate.choose_engine` choose.

    It changes no trajectory, only the time.
    """
    tables: Tables = dataclasses.field(init=False)
    """What rollouts read: those of whoever acts in them."""
    policy_tables: Tables | None = dataclasses.field(init=False)
    """Those of the policy, where it is not who acts."""

    def __post_init__(self) -> None:
        names = ("mdp", "policy", "behaviour", "reference")
        given = {name: getattr(self, name) for name in names}
        for name, value in admit(given).items():
            object.__setattr__(self, name, value)
        of_policy = prepare(self.mdp, self.policy)
        if self.behaviour is None:
            acting, other = of_policy, None
        else:
            acting, other = prepare(self.mdp, self.behaviour), of_policy
        object.__setattr__(self, "tables", acting)
        object.__setattr__(self, "policy_tables", other)

    @classmethod
    @door
    def make(
        cls,
        mdp: MDP,
        policy: Array,
        behaviour: Array | None = None,
        reference: Array | None = None,
        judges: Mapping[str, Scorer] | None = None,
        replay: Replay | None = None,
        engine: Engine | None = None,
    ) -> World:
        """Checks the arrays and builds the world. Not under `jit`.

        Args:
            mdp: the process; its arrays, and those of the policies, may be NumPy's, or nested
                lists.
            policy: whose values and gradient are asked about.
            behaviour: who acts in rollouts; None is the policy.
            reference: a policy to compare with, for estimators that need one.
            judges: judges by name; the one named "judge" is asked if none is named.
            replay: how well `branch` can go back to a step; None restores exactly.
            engine: what rolls out; None chooses by shape and device.

        Raises:
            ValueError: an array that is malformed, or a setting out of its range; it names field,
                range and value.
        """
        replay = Replay() if replay is None else replay
        check_range("replay.noise", replay.noise, 0.0, 1.0)
        judges = {} if judges is None else dict(judges)
        for name, scorer in judges.items():
            if not isinstance(scorer, Scorer):
                wanted = "a judge made by the `model` of its recipe"
                raise ValueError(f"judges[{name!r}] must be {wanted}, got {scorer!r}")
        check_mdp(mdp)
        surest = np.asarray(mdp.emission).max(-1)
        noisy = bool(np.any(surest < 1.0))
        segments = int(np.asarray(mdp.segment)[-1]) + 1
        turns = int(np.asarray(mdp.turn)[-1]) + 1
        agents = len(np.unique(np.asarray(mdp.agent)))
        noise = jnp.asarray(replay.noise, float) if replay.noise > 0 else None
        discount = np.asarray(mdp.discount)
        first = np.asarray(mdp.prompt)[np.argmax(mdp.start)]
        return cls(
            mdp,
            policy,
            behaviour,
            reference,
            judges,
            noise,
            num_segments=segments,
            num_turns=turns,
            num_agents=agents,
            noisy_emission=noisy,
            branching=replay.possible,
            one_prompt=bool(np.all(np.asarray(mdp.prompt)[np.asarray(mdp.start) > 0] == first)),
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
    def turn(self) -> Int[Array, " T"]:
        """Turn of each step."""
        return self.mdp.turn

    @property
    def agent(self) -> Int[Array, " T"]:
        """Agent that acts at each step."""
        return self.mdp.agent

    @property
    def num_states(self) -> int:
        """S."""
        return self.tables.sizes.states

    @property
    def num_observations(self) -> int:
        """O."""
        return self.policy.shape[1]

    @property
    def num_actions(self) -> int:
        """A."""
        return self.policy.shape[2]

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
        """Runs `num` episodes of the behaviour: a trajectory `[num, T]`.

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
            start = draw(self._start_thresholds(num), noise)
        else:
            start = jnp.full((num,), prompt, jnp.int32)
        return self._roll(words, episode, start)

    def groups(
        self,
        key: Key[Array, ""],
        num_prompts: int,
        num: int,
        share: Literal["prompt", "state"] = "prompt",
    ) -> Batch:
        """Draws P prompts, with replacement, and rolls out N episodes of each: `[P, N, T]`.

        Episode i of group p has the address p N + i, so where all start states are one prompt,
        one group is what `rollout` gives.

        Args:
            key: keys the noise.
            num_prompts: P, at least 1.
            num: N, at least 1.
            share: what the episodes of a group have in common: the "prompt", so that what is hidden
                is drawn for each, or the start "state", as where a group shares the seed of its
                environment.

        Raises:
            ValueError: a number out of its range, or an unknown `share`.
        """
        return self.attach(self.draw_groups(key, num_prompts, num, share))

    def draw_groups(
        self,
        key: Key[Array, ""],
        num_prompts: int,
        num: int,
        share: Literal["prompt", "state"] = "prompt",
    ) -> Trajectory:
        """`groups` without its layout, which the start states give it again."""
        check_integer("num_prompts", num_prompts, 1)
        check_integer("num", num, 1)
        check_choice("share", share, SHARES)
        words = key_words(key)
        episode = jnp.arange(num_prompts * num)
        first = jnp.repeat(num * jnp.arange(num_prompts), num)
        noise = single(words, first if share == "state" else episode, 0 * episode, LATENT)
        start = draw(self._start_of_prompts(words, first), noise)
        new = self._roll(words, episode, start)
        return jax.tree.map(lambda x: x.reshape(num_prompts, num, -1), new)

    def attach(
        self,
        trajectory: Trajectory,
    ) -> Batch:
        """Groups of trajectories of this world, `[P, N, T]`, with their layout.

        Raises:
            ValueError: trajectories of another shape or number of steps.
        """
        check_batch(trajectory, self.mdp)
        shape = trajectory.action.shape
        if len(shape) != 3:
            raise ValueError(f"trajectory must have shape [P, N, T], got {shape}")

        def everywhere(x: Array) -> Array:
            return jnp.broadcast_to(x, shape)

        return Batch(
            *trajectory,
            decision=everywhere(self.decision),
            turn=everywhere(self.turn),
            segment=everywhere(self.segment),
            agent=everywhere(self.agent),
            kind=everywhere(self.mdp.kind[self.schedule]),
            discount=everywhere(self.discount),
            prompt=self.mdp.prompt[trajectory.state[:, 0, 0]],
        )

    @door
    def branch(
        self,
        key: Key[Array, ""],
        batch: Trajectory | Batch,
        step: Int[Array, ""] | Int[Array, "*rows"] | int,
        num: int,
        action: Int[Array, ""] | Int[Array, "*rows"] | int | None = None,
        replay: Literal["restored", "refed"] = "restored",
        prompt: Int[Array, ""] | int | None = None,
        follow: Followed = "policy",
        actions: Int[Array, "*rows T"] | None = None,
    ) -> Trajectory:
        """Continues each trajectory of a batch `[*rows, T]`, `num` times: `[*rows, num, T]`.

        The steps before `step`, and the observation at it, are those of the batch. Of R rows in
        all, copy k of row i uses episode address k R + i. So two calls with one key share their
        noise (common random numbers), and copy 0 under the key of the rollout repeats the original
        suffix if the state is restored, the action is the same, the rollout began at address 0, and
        who acts is the same.

        By default the policy acts, also where a behaviour rolled out the batch: a branch asks what
        a step is worth, and values are the policy's, whereas a rollout is what an older policy left
        behind. `log_prob` is of whoever took the action: of the batch before `step`, of `follow`
        from there on.

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
                only the prompt of each row, and P(s_0) within it. Where the prefix is impossible
                from there, the exact state is restored.
            follow: who acts from `step` on, the "policy" or the "behaviour".
            actions: imposed at each step from `step` on; -1 leaves one to who acts.

        Raises:
            ValueError: an unknown `replay` or `follow`, a world without branching, a batch of
                another number of steps; or a step, an action, a prompt or a `num` out of its range,
                if it is known before compilation.
        """
        check_choice("replay", replay, ("restored", "refed"))
        check_choice("follow", follow, FOLLOWED)
        check_choice("branching", self.branching, (True,))
        check_batch(batch, self.mdp)
        check_integer("num", num, 0)
        *rows, steps = batch.action.shape
        check_labels("step", step, steps, [(), tuple(rows)])
        if action is not None:
            check_labels("action", action, self.tables.sizes.actions, [(), tuple(rows)])
        if actions is not None:
            shape = batch.action.shape
            check_labels("actions", actions, self.tables.sizes.actions, [shape], low=-1)
        self._check_prompt(prompt)
        old = _flat(batch)
        count = old.action.shape[0]
        words = key_words(key)
        episode = jnp.arange(num * count)

        def each_row(x: Array | int) -> Array:
            return jnp.broadcast_to(jnp.asarray(x, jnp.int32), rows).reshape(count)

        def copies(x: Array | int) -> Array:
            return jnp.tile(jnp.broadcast_to(jnp.asarray(x, jnp.int32), (count,)), num)

        step = each_row(step)

        def here(x: Array) -> Array:
            return jnp.take_along_axis(x, step[:, None], axis=1)[:, 0]

        start = copies(here(old.state))
        lost = jnp.ones(()) if replay == "refed" else self.replay_noise
        if lost is not None:
            belief = filter_to(self.mdp, old, step, self._prior(old, prompt))
            possible = here(old.live) & (jnp.sum(belief, axis=1) > 0)
            # At steps after the last there is noise that no rollout reads, also none under the same
            # key.
            chance, noise = pair(words, episode, copies(step) + steps, OBSERVATION)
            redrawn = jnp.tile(possible, num) & (chance < lost)
            start = jnp.where(redrawn, redraw(jnp.tile(belief, (num, 1)), noise), start)
        imposed = copies(-1 if action is None else each_row(action))
        each = None
        if actions is not None:
            later = jnp.asarray(actions, jnp.int32)
            each = jnp.tile(later.reshape(count, steps), (num, 1))
        script = Script(copies(step), copies(here(old.observation)), imposed, each)
        new = self._roll(words, episode, start, script, follow)
        before = (jnp.arange(steps)[None, :] < step[:, None])[None]

        def join(
            old: Array,
            now: Array,
        ) -> Array:
            joined = jnp.where(before, old[None], now.reshape(num, count, steps))
            return jnp.moveaxis(joined, 0, 1).reshape(*rows, num, steps)

        return jax.tree.map(join, old, new)

    @door
    def intervene(
        self,
        key: Key[Array, ""],
        batch: Trajectory | Batch,
        keep: Bool[Array, "*rows T"],
        num: int,
        follow: Followed = "policy",
    ) -> Trajectory:
        """Reruns each episode from its start, some actions imposed: `[*rows, num, T]`.

        Where `keep` is True the action of the batch is taken, elsewhere and after the batch's own
        end that of `follow`, the "policy" or the "behaviour", for the reason given at `branch`; the
        environment's noise is drawn afresh. Addresses as in `branch`.

        Raises:
            ValueError: a batch of another number of steps, a `keep` of another shape or that is not
                of booleans, a negative `num`, or an unknown `follow`.
        """
        check_batch(batch, self.mdp)
        check_integer("num", num, 0)
        check_choice("follow", follow, FOLLOWED)
        *rows, steps = batch.action.shape
        if keep.shape != batch.action.shape or keep.dtype != bool:
            got = f"{keep.dtype} of shape {keep.shape}"
            raise ValueError(f"keep must be booleans of shape {batch.action.shape}, got {got}")
        old = _flat(batch)
        count = old.action.shape[0]
        nothing = jnp.full((num * count,), -1)
        imposed = jnp.where(keep & batch.live, batch.action, -1).reshape(count, steps)
        script = Script(jnp.zeros_like(nothing), nothing, nothing, jnp.tile(imposed, (num, 1)))
        start = jnp.tile(old.state[:, 0].astype(jnp.int32), num)
        new = self._roll(key_words(key), jnp.arange(num * count), start, script, follow)

        def arrange(x: Array) -> Array:
            return jnp.moveaxis(x.reshape(num, count, steps), 0, 1).reshape(*rows, num, steps)

        return jax.tree.map(arrange, new)

    @door
    def probability(
        self,
        batch: Trajectory | Batch,
    ) -> Float[Array, "*batch T A"]:
        """pi(. | o_t) along each trajectory."""
        return self._along(self.policy, batch)

    @door
    def behaviour_probability(
        self,
        batch: Trajectory | Batch,
    ) -> Float[Array, "*batch T A"]:
        """The probabilities of who acts in rollouts, along each trajectory."""
        acting = self.policy if self.behaviour is None else self.behaviour
        return self._along(acting, batch)

    @door
    def reference_probability(
        self,
        batch: Trajectory | Batch,
    ) -> Float[Array, "*batch T A"]:
        """The reference policy's probabilities along each trajectory.

        Raises:
            ValueError: the world has no reference policy.
        """
        return self._along(self._reference(), batch)

    @door
    def policy_log_prob(
        self,
        batch: Trajectory | Batch,
    ) -> Float[Array, "*batch T"]:
        """The log of pi(a_t | o_t) of the action taken; `batch.log_prob` is that of who took it.

        0 on the environment's tokens and where the episode has ended, -inf for an action that the
        policy never takes. Where the policy acts, a rollout's are the same to the last bit.
        """
        return self._log_prob(self._tables("policy").log_policy, batch)

    @door
    def reference_log_prob(
        self,
        batch: Trajectory | Batch,
    ) -> Float[Array, "*batch T"]:
        """The same of the reference policy.

        Raises:
            ValueError: the world has no reference policy.
        """
        table = force(self.mdp, self._reference())
        return self._log_prob(jnp.log(table), batch)

    @door
    def judge(
        self,
        key: Key[Array, ""],
        batch: Trajectory | Batch,
        name: str = JUDGE,
    ) -> Float[Array, "..."]:
        """What a judge says of every step `[*rows, T]`, NaN where it says nothing.

        Judges of actions say something of each: `[*rows, T, A]`. Judges that are asked with one
        key share their noise.

        Raises:
            ValueError: the world has no judge of this name, or a batch of another number of steps.
        """
        check_batch(batch, self.mdp)
        said = self._scorer(name)(key, _flat(batch))
        return said.reshape(*batch.action.shape, *said.shape[2:])

    @door
    def judge_prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory | Batch,
        name: str = JUDGE,
    ) -> Float[Array, "*rows"]:
        """A judge's score of the prompt, before any step: only judges of values have one.

        Raises:
            ValueError: the world has no judge of this name, the judge does not score states, or a
                batch of another number of steps.
        """
        check_batch(batch, self.mdp)
        return self._scorer(name).prompt(key, _flat(batch)).reshape(batch.action.shape[:-1])

    def greedy(self) -> World:
        """This world under the policy that takes the likeliest action, the first of equals."""
        best = jnp.argmax(self.policy, axis=-1)
        certain = jax.nn.one_hot(best, self.policy.shape[-1], dtype=self.policy.dtype)
        return dataclasses.replace(self, policy=certain, behaviour=None)

    def privileged(
        self,
        batch: Trajectory | Batch,
    ) -> Int[Array, "*batch T"]:
        """The latent state: information of training time only."""
        return batch.state

    def _roll(
        self,
        words: Array,
        episode: Array,
        start: Array,
        script: Script | None = None,
        follow: Followed = "behaviour",
    ) -> Trajectory:
        tables = self._tables(follow)
        request = Request(tables, self.mdp.schedule, words, episode, start, script)
        return roll(self.engine, request, self.noisy_emission)

    def _tables(
        self,
        follow: Followed,
    ) -> Tables:
        """Those of who acts; one and the same where there is no behaviour."""
        if follow == "behaviour" or self.policy_tables is None:
            return self.tables
        return self.policy_tables

    def _start_of_prompts(
        self,
        words: Array,
        first: Int[Array, " R"],
    ) -> Float[Array, "R _"]:
        """The thresholds of P(s_0 | the prompt of its group), for every episode.

        Args:
            words: key the noise.
            first: the address of the first episode of the group of each episode, which draws the
                prompt, by noise after the last step, that no rollout reads.
        """
        every = self._start_thresholds(len(first))
        if self.one_prompt:
            return every
        steps = jnp.full_like(first, self.mdp.schedule.shape[0])
        some_start = draw(every, single(words, first, steps, LATENT))
        return thresholds(self._within(self.mdp.prompt[some_start]))

    def _start_thresholds(
        self,
        num: int,
    ) -> Float[Array, "num _"]:
        """Those of P(s_0), for so many episodes."""
        each = thresholds(self.mdp.start)
        return jnp.broadcast_to(each[None, :], (num, *each.shape))

    def _prior(
        self,
        batch: Trajectory,
        prompt: Array | int | None,
    ) -> Float[Array, " S"] | Float[Array, "R S"]:
        """What is known of the start state: which it is, or its prompt."""
        start = self.mdp.start
        if prompt is not None:
            return jax.nn.one_hot(prompt, start.shape[0], dtype=start.dtype)
        if self.one_prompt:
            return start
        return self._within(self.mdp.prompt[batch.state[:, 0]])

    def _within(
        self,
        prompt: Int[Array, " R"],
    ) -> Float[Array, "R S"]:
        """P(s_0 | prompt), for each label."""
        same = prompt[:, None] == self.mdp.prompt[None, :]
        possible = jnp.where(same, self.mdp.start[None, :], 0.0)
        return possible / jnp.sum(possible, axis=1, keepdims=True)

    def _check_prompt(
        self,
        prompt: Array | int | None,
    ) -> None:
        if prompt is not None:
            check_labels("prompt", prompt, self.tables.sizes.states)

    def _along(
        self,
        policy: Array,
        batch: Trajectory | Batch,
    ) -> Array:
        check_batch(batch, self.mdp)
        kernel = jnp.broadcast_to(self.mdp.schedule, batch.action.shape)
        return force(self.mdp, policy)[kernel, batch.observation]

    def _log_prob(
        self,
        table: Array,
        batch: Trajectory | Batch,
    ) -> Array:
        """What a table of log-probabilities says of the actions taken."""
        check_batch(batch, self.mdp)
        kernel = jnp.broadcast_to(self.mdp.schedule, batch.action.shape)
        return jnp.where(batch.live, table[kernel, batch.observation, batch.action], 0.0)

    def _reference(self) -> Array:
        if self.reference is None:
            raise ValueError("reference must be a policy table in this world, got None")
        return self.reference

    def _scorer(
        self,
        name: str,
    ) -> Scorer:
        if name not in self.judges:
            known = sorted(self.judges)
            raise ValueError(f"judges must hold {name!r} in this world, got {known}")
        return self.judges[name]


def _flat(batch: Trajectory | Batch) -> Trajectory:
    """What happened in a batch, all rows on one axis: `[R, T]`."""
    steps = batch.action.shape[-1]
    return jax.tree.map(lambda x: x.reshape(-1, steps), recorded(batch))
