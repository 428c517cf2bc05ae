"""The nouns of casim: tuples of arrays with named axes. This module imports nothing of casim.

Axes, fixed everywhere: N trajectories, T steps, S states, O observations, A actions, K successors,
M kernels, R replicates.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple

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

    value: Float[Array, "N T"]
    """Credit in units of reward (or of the estimator's own target).

    0 where the episode is not live.
    """
    cost: Cost


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
        return self.value[:-1, :, None] + self.advantage
