"""The nouns of casim: tuples of arrays with named axes. This module imports nothing of casim.

Axes, fixed everywhere: P prompts, N trajectories, T steps, S states, O observations, A actions,
K successors, M kernels, R replicates.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int


class Kind(enum.IntEnum):
    """The type of an action, one per kernel (`MDP.kind`)."""

    THINK = 0
    TOOL = 1
    MEMORY = 2
    MESSAGE = 3
    ANSWER = 4
    OUTPUT = 5  # written by the environment: no decision of the policy


class MDP(NamedTuple):
    """A finite-horizon, partially observed decision process: T steps scheduled over M kernels.

    A kernel is one step's dynamics; `schedule` says which kernel governs which step, so a long
    horizon costs an index vector and not a table. Rewards are in the task's own units; by
    convention a verified success pays 1. An outcome that pays at random is one next state listed
    twice.
    """

    start: Float[Array, " S"]
    """P(s_0)."""
    schedule: Int[Array, " T"]
    """Which kernel governs step t; `arange(T)` gives every step its own."""
    successor: Int[Array, "M S A K"]
    """Next state of each of the K possible successors."""
    prob: Float[Array, "M S A K"]
    """P(successor | s, a); rows sum to 1."""
    reward: Float[Array, "M S A K"]
    """Reward on that transition."""
    emission: Float[Array, "M S O"]
    """P(o | s); rows sum to 1."""
    terminal: Bool[Array, " S"]
    """Absorbing states: nothing after them counts. Truncation at T is something else."""
    decision: Bool[Array, " M"]
    """False = a token written by the environment: the policy decides nothing there."""
    kind: Int[Array, " M"]
    """Type of the action, a `Kind`."""
    segment: Int[Array, " T"]
    """Segment of each step, 0, 1, 2, ... without gaps, in order of time."""
    turn: Int[Array, " T"]
    """Turn of each step, likewise."""
    agent: Int[Array, " T"]
    """Agent that acts at each step."""
    discount: Float[Array, " M"]
    """What one step under each kernel discounts the values after it by, in [0, 1].

    So tokens inside a turn can have 1 and the last token of a turn less. Returns are G_t = r_t +
    discount[m_t] G_{t+1}; the weight of a step is the product of the discounts of the steps before.
    """
    prompt: Int[Array, " S"]
    """Label 0, 1, ... of the prompt that a start state belongs to.

    Start states of one label differ in what is hidden: a group of rollouts shares the prompt, and
    draws the state. Labels of other states say nothing.
    """


BLANK = -1
"""The observation and the action of a step that is hidden from a reader."""


class Trajectory(NamedTuple):
    """What happened in a batch of episodes: arrays `[*batch, T]`.

    Where `live` is False the episode had already terminated: action, reward and log_prob are 0
    there. Labels are stored in the narrowest signed type that can index their axis, int8 where that
    has at most 127 entries: use them as indices as they are, but widen them before arithmetic,
    `batch.state.astype(jnp.int32) * num_actions + batch.action`.
    """

    state: Int[Array, "*batch T"]
    """Latent state before the action.

    Estimators without `privileged` in their needs must not read it.
    """
    observation: Int[Array, "*batch T"]
    action: Int[Array, "*batch T"]
    """0 on the environment's tokens."""
    log_prob: Float[Array, "*batch T"]
    """Natural log of the behaviour policy's probability of the action.

    0 on the environment's tokens.
    """
    reward: Float[Array, "*batch T"]
    live: Bool[Array, "*batch T"]


class Batch(NamedTuple):
    """What estimators are given: N rollouts of each of P prompts, `[P, N, T]`, with their layout.

    A rollout and the log of a trainer make the same: `World.groups` draws one, `World.attach` gives
    trajectories of a world its layout, and `Batch.from_arrays` reads a trainer's arrays. The layout
    is one per trajectory, because the turns of a log start where they like; where a world fixes it,
    it is broadcast inside the compiled program and costs nothing.

    Fields that may be absent are None. Labels are stored as in `Trajectory`.
    """

    state: Int[Array, "P N T"]
    """Latent state, 0 in logs; see `Trajectory`."""
    observation: Int[Array, "P N T"]
    action: Int[Array, "P N T"]
    log_prob: Float[Array, "P N T"] | None
    """Of the behaviour policy; None in a log that does not say."""
    reward: Float[Array, "P N T"]
    live: Bool[Array, "P N T"]
    decision: Bool[Array, "P N T"]
    """Whether the policy decides anything at the step: False is a token of the environment."""
    turn: Int[Array, "P N T"]
    segment: Int[Array, "P N T"]
    agent: Int[Array, "P N T"]
    kind: Int[Array, "P N T"]
    """Type of the action, a `Kind`."""
    discount: Float[Array, "P N T"]
    """What a step discounts the rewards after it by, in [0, 1]."""
    prompt: Int[Array, " P"]
    """The label of each group's prompt. Groups are draws: two may have one label."""
    component: Float[Array, "P N T C"] | None = None
    """The C parts of the reward."""
    truncated: Bool[Array, "P N"] | None = None
    """Episodes that were cut off before they ended."""
    scorable: Bool[Array, "P N"] | None = None
    """Episodes that have a reward; the others are to have no credit and to be no baseline."""
    absent: Bool[Array, "P N"] | None = None
    """Places in a group that no rollout fills, where groups are of unequal size."""
    row: Int[Array, "P N"] | None = None
    """Which row of the log is here."""
    policy_log_prob: Float[Array, "P N T"] | None = None
    """Of the policy that is trained; see `World.policy_log_prob`."""
    reference_log_prob: Float[Array, "P N T"] | None = None
    entropy: Float[Array, "P N T"] | None = None
    """Of the policy at the step, in nats."""
    value: Float[Array, "P N T"] | None = None
    """A critic's value of the observation."""
    reward_baseline: Float[Array, "P N"] | None = None
    """What a rollout of the greedy policy earned on the prompt."""
    sum_pi_squared: Float[Array, "P N T"] | None = None
    """The squared probabilities of all actions of the step, added up."""

    @property
    def decided(self) -> Bool[Array, "P N T"]:
        """Where the policy of a live episode decides."""
        return self.live & self.decision

    @property
    def counted(self) -> Bool[Array, "P N"]:
        """Episodes that are there and have a reward."""
        rows = self.live.shape[:-1]
        counted = jnp.ones(rows, bool)
        if self.scorable is not None:
            counted = counted & self.scorable
        if self.absent is not None:
            counted = counted & ~self.absent
        return counted

    @property
    def all_counted(self) -> bool:
        """Whether all episodes are there and have a reward because nothing says otherwise."""
        return self.scorable is None and self.absent is None

    def of_counted(
        self,
        where: Bool[Array, "P N #T"],
    ) -> Bool[Array, "P N #T"]:
        """Those of the given steps whose episodes are counted."""
        if self.all_counted:
            return where
        counted = self.counted[..., None]
        return where & counted

    @classmethod
    def of(
        cls,
        trajectory: Trajectory,
    ) -> Batch:
        """Groups of trajectories `[P, N, T]` of which nothing else is known.

        Every step decides, rewards are not discounted, and all is one turn, segment and agent.
        """
        shape = trajectory.action.shape
        nothing = jnp.zeros(shape, jnp.int32)
        return cls(
            *trajectory,
            decision=jnp.ones(shape, bool),
            turn=nothing,
            segment=nothing,
            agent=nothing,
            kind=nothing,
            discount=jnp.ones(shape, trajectory.reward.dtype),
            prompt=jnp.zeros(shape[:1], jnp.int32),
        )

    @classmethod
    def from_arrays(
        cls,
        reward: Any,
        mask: Any,
        prompt: Any,
        *,
        live: Any = None,
        turn: Any = None,
        segment: Any = None,
        agent: Any = None,
        observation: Any = None,
        action: Any = None,
        discount: Any = 1.0,
        scorable: Any = None,
        truncated: Any = None,
        component: Any = None,
        log_prob: Any = None,
        policy_log_prob: Any = None,
        reference_log_prob: Any = None,
        entropy: Any = None,
        value: Any = None,
        reward_baseline: Any = None,
        sum_pi_squared: Any = None,
    ) -> Batch:
        """A batch of a trainer's arrays, a row for each rollout, in any order. Not under `jit`.

        Rows of one prompt become one group, in the order of the labels; `row` says which is where,
        and `to_rows` puts credit back in the order of the log. Floats are in double precision if
        JAX has it on.

        Arrays are of NumPy, JAX or any other kind that NumPy reads; flags may be numbers.

        Args:
            reward: of each token, `[R, T]`.
            mask: True on the tokens of the policy; others are padding or the environment's.
            prompt: a label of each row's prompt, `[R]`.
            live: True on every token of the episode; if left out, up to the last token of the mask
                or the last that earned something, whichever is later.
            turn: of each token, 0, 1, ...; all 0 if left out, like the labels that follow.
            segment: of each token.
            agent: of each token.
            observation: a label of what was seen before each token.
            action: the token.
            discount: what each step discounts what follows by.
            scorable: rows that have a reward, `[R]`; if left out, all but those of which no
                component is a number.
            truncated: rows that were cut off, `[R]`.
            component: the parts of the reward, `[R, T, C]`.
            log_prob: of the behaviour policy.
            policy_log_prob: of the policy.
            reference_log_prob: of a reference policy.
            entropy: of the policy, in nats.
            value: of a critic.
            reward_baseline: what a rollout of the greedy policy earned on the prompt, `[R]`.
            sum_pi_squared: the squared probabilities of all tokens, added up, `[R, T]`.

        Raises:
            ValueError: no rows, or an array of another shape than the rewards.
        """
        reward = _float(reward)
        if reward.ndim != 2 or 0 in reward.shape:
            raise ValueError(f"reward must have shape [R, T], with rows, got {reward.shape}")
        mask = np.asarray(mask)
        mask = mask.astype(bool)
        if mask.shape != reward.shape:
            raise ValueError(f"mask must have shape {reward.shape}, got {mask.shape}")
        if live is None:
            paid = np.nan_to_num(reward) != 0
            met = mask | paid
            backwards = met[:, ::-1]
            later = np.cumsum(backwards, axis=1)
            live = later[:, ::-1] > 0
        discounts = np.asarray(discount, reward.dtype)
        nothing = np.zeros(reward.shape, np.int32)
        steps = {
            "state": nothing,
            "observation": nothing if observation is None else observation,
            "action": nothing if action is None else action,
            "log_prob": log_prob,
            "reward": reward,
            "live": np.asarray(live).astype(bool),
            "decision": mask,
            "turn": nothing if turn is None else turn,
            "segment": nothing if segment is None else segment,
            "agent": nothing if agent is None else agent,
            "kind": nothing,
            "discount": np.broadcast_to(discounts, reward.shape),
            "policy_log_prob": policy_log_prob,
            "reference_log_prob": reference_log_prob,
            "entropy": entropy,
            "value": value,
            "sum_pi_squared": sum_pi_squared,
        }
        rows = {
            "scorable": _flags(scorable),
            "truncated": _flags(truncated),
            "reward_baseline": reward_baseline,
        }
        fields = {**steps, "component": component, **rows, "prompt": prompt}
        for name, x in fields.items():
            of_row = name in (*rows, "prompt")
            wanted = reward.shape[:1] if of_row else reward.shape
            shape = np.shape(x)
            if x is not None and shape[: len(wanted)] != wanted:
                raise ValueError(f"{name} must have shape {wanted}, got {shape}")
        if scorable is None and component is not None:
            rows["scorable"] = _any_number(component, live)
        place, absent, labels = _grouped(np.asarray(prompt))

        def grouped(x: Any) -> Any:
            """`[P, N, ...]`, 0 where a place is not filled."""
            if x is None:
                return None
            x = np.asarray(x)
            rest = (1,) * (x.ndim - 1)
            empty = absent.reshape(absent.shape + rest)
            filled = ~empty
            zero = np.zeros((), x.dtype)
            return jnp.asarray(np.where(filled, x[place], zero))

        row = np.where(absent, -1, place)

        return cls(
            **{name: grouped(x) for name, x in steps.items()},
            component=grouped(component),
            **{name: grouped(x) for name, x in rows.items()},
            prompt=jnp.asarray(labels),
            absent=jnp.asarray(absent) if absent.any() else None,
            row=jnp.asarray(row),
        )


def _float(x: Any) -> np.ndarray:
    """Floats as they are, and whole numbers or flags as floats of JAX's precision."""
    x = np.asarray(x)
    if np.issubdtype(x.dtype, np.floating):
        return x
    return x.astype(jnp.result_type(float))


def _any_number(
    component: Any,
    live: Any,
) -> np.ndarray | None:
    """Rows of which any component is a number while they live; None if all are."""
    unknown = np.isnan(np.asarray(component, float))
    there = np.asarray(live).astype(bool)
    missing = unknown & there[..., None]
    sometimes = np.any(missing, axis=1)
    nothing = np.all(sometimes, axis=-1)
    if not np.any(nothing):
        return None
    return np.logical_not(nothing)


def _flags(x: Any) -> np.ndarray | None:
    if x is None:
        return None
    return np.asarray(x).astype(bool)


def _grouped(prompt: Int[np.ndarray, " R"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which row stands in each place `[P, N]`, which places are empty, and the labels `[P]`."""
    labels, group = np.unique(prompt, return_inverse=True)
    size = np.bincount(group)
    order = np.argsort(group, kind="stable")
    first = np.cumsum(size) - size
    within = np.arange(size.max())
    place_in_group = within[None, :]
    absent = place_in_group >= size[:, None]
    other = np.where(absent, 0, place_in_group)
    place = first[:, None] + other
    if not np.issubdtype(labels.dtype, np.integer):
        labels = np.arange(len(labels))
    return order[place], absent, labels


def to_rows(
    x: Any,
    batch: Batch,
) -> np.ndarray:
    """What a batch of logged arrays was given, in the order of the log: `[R, ...]`."""
    row = np.asarray(batch.row)
    filled = row >= 0
    x = np.asarray(x)
    number = int(row.max()) + 1
    shape = (number, *x.shape[2:])
    out = np.zeros(shape, x.dtype)
    out[row[filled]] = x[filled]
    return out


def recorded(batch: Batch | Trajectory) -> Trajectory:
    """What happened in a batch, without its layout.

    A log that does not say how likely its actions were has 0 as their logarithms.
    """
    if batch.log_prob is None:
        nothing = jnp.zeros_like(batch.reward)
        batch = batch._replace(log_prob=nothing)
    names = Trajectory._fields
    fields = [getattr(batch, name) for name in names]
    return Trajectory(*fields)


class Replay(NamedTuple):
    """How well a step of an episode can be gone back to."""

    noise: float = 0.0
    """Probability that what is hidden is redrawn from the belief instead of restored, in [0, 1]."""
    possible: bool = True
    """Whether going back is possible at all."""


class Cost(NamedTuple):
    """What one call of an estimator used, beyond the batch it was given (scalars, float)."""

    env_steps: Float[Array, ""]
    """Environment steps simulated, counted where the episode was live."""
    judge_calls: Float[Array, ""]
    """Scores asked from the judge."""
    critic_updates: Float[Array, ""]
    """Sample updates of a learned model: one per (live step, sweep)."""


class Credit(NamedTuple):
    """What an estimator gives to each step of a batch, and what that cost."""

    value: Float[Array, "P N T"] | Float[Array, "P N T A"]
    """What a step is worth, in units of reward or of the target; 0 where not live.

    With a last axis of actions every action of the step is credited, taken or not.
    """
    weight: Float[Array, "P N T"]
    """How much of it the loss takes: masks, ratios, one over the length.

    0 where nothing is decided.
    """
    cost: Cost
    whole: Float[Array, "P N"] | None = None
    """The value of every live step where that is known to be one number, between parts of a chain:
    sums over time need not be made of what is the same at all times."""


class Truth(NamedTuple):
    """Exact values of a policy in an MDP, from `casim.oracle.solve`."""

    value: Float[Array, "T+1 S"]
    """V_t(s), discounted to step t; the last row, after the horizon, is 0."""
    advantage: Float[Array, "T S A"]
    """A_t(s, a) = Q_t(s, a) - V_t(s), computed without subtracting large numbers."""
    occupancy: Float[Array, "T S"]
    """P(s_t = s and the episode is live)."""
    past_reward: Float[Array, "T S"]
    """E[sum_{k<t} w_k r_k | s_t = s], w the weights of steps; 0 where s cannot be reached."""
    state_policy: Float[Array, "M S A"]
    """pi(a | s) of the latent state: the policy averaged over the emission."""
    gradient: Float[Array, "M O A"]
    """Gradient of `expected_return` with respect to the logits of the policy table."""
    expected_return: Float[Array, ""]
    """E[sum_t w_t r_t], w_t the product of the discounts of the steps before t."""

    @property
    def q_value(self) -> Float[Any, "T S A"]:
        """Q_t(s, a) = V_t(s) + A_t(s, a)."""
        value = self.value[:-1, :, None]
        return value + self.advantage
