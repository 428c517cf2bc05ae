"""What a target is evaluated from."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.oracle.along import along
from casim.targets import UNITS, Unit
from casim.types import MDP, Trajectory, Truth


class Given(NamedTuple):
    """A process, its policies, what is exact about them, and trajectories."""

    mdp: MDP
    policy: Float[Array, "M O A"]
    reference: Float[Array, "M O A"] | None
    truth: Truth
    batch: Trajectory
    num_segments: int
    """Static under jit, like the next two."""
    num_turns: int
    num_agents: int

    @property
    def num_actions(self) -> int:
        """A, static."""
        return self.policy.shape[-1]

    @property
    def decided(self) -> Bool[Array, "N T"]:
        """Where an episode is live and its policy decides."""
        return self.batch.live & self.mdp.decision[self.mdp.schedule][None, :]

    def count(self, unit: Unit) -> int:
        """How many units of a kind there are."""
        steps = self.mdp.schedule.shape[0]
        counts = (steps, self.num_segments, self.num_turns, self.num_agents, 1)
        return counts[UNITS.index(unit)]

    def unit(self, unit: Unit) -> Int[Array, " T"]:
        """The unit of each step, numbered 0, 1, ... without gaps."""
        mdp, steps = self.mdp, jnp.arange(self.mdp.schedule.shape[0])
        # Agents may have any numbers.
        agent = jnp.unique(mdp.agent, return_inverse=True, size=len(steps))[1]
        return (steps, mdp.segment, mdp.turn, agent, jnp.zeros_like(steps))[UNITS.index(unit)]

    @property
    def step_discount(self) -> Float[Array, " T"]:
        """What each step discounts the values after it by."""
        return jnp.broadcast_to(self.mdp.discount, self.mdp.schedule.shape)

    @property
    def weight(self) -> Float[Array, " T"]:
        """The weight of each step in the return: discount^t."""
        return self.mdp.discount ** jnp.arange(self.mdp.schedule.shape[0])

    def weight_since(self, first: Int[Array, " T"]) -> Float[Array, " T"]:
        """The weight of each step t in the return from a step `first`: discount^(t - first)."""
        return self.mdp.discount ** (jnp.arange(first.shape[0]) - first)

    @property
    def worth(self) -> tuple[Float[Array, "N T"], Float[Array, "N T"]]:
        """What a prefix is worth before a step and after it.

        In maths: V_t(s_t), and r_t + discount V_{t+1}(s_{t+1}).
        """
        value, _, later = along(self.truth, self.batch)
        return value, self.batch.reward + self.step_discount[None, :] * later
