"""What a target is evaluated from."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.discounts import product, weights
from casim.dynamics import step_discount
from casim.ops import shift_left
from casim.oracle.along import Path, along
from casim.targets import UNITS, Unit
from casim.types import MDP, Trajectory, Truth

Steps: TypeAlias = Float[Array, " T"]
"""A number for every step."""
Table: TypeAlias = Float[Array, "M O A"]
"""A policy."""


class Given(NamedTuple):
    """A process, its policies, what is exact about them, and trajectories."""

    mdp: MDP
    policy: Table
    reference: Table | None
    truth: Truth
    batch: Trajectory
    discount: Float[Array, ""] | Steps
    """As of a `World`: one number if it is that of all kernels, which is less to compile."""
    num_segments: int
    """Static under jit, like the next two."""
    num_turns: int
    num_agents: int

    @property
    def num_steps(self) -> int:
        """T, static."""
        return self.mdp.schedule.shape[0]

    @property
    def num_actions(self) -> int:
        """A, static."""
        return self.policy.shape[-1]

    @property
    def decided(self) -> Bool[Array, "N T"]:
        """Where an episode is live and its policy decides."""
        mdp = self.mdp
        decides = mdp.decision[mdp.schedule]
        return self.batch.live & decides[None, :]

    def count(self, unit: Unit) -> int:
        """How many units of a kind there are."""
        counts = (
            self.num_steps,
            self.num_segments,
            self.num_turns,
            self.num_agents,
            1,
        )
        return counts[UNITS.index(unit)]

    def unit(self, unit: Unit) -> Int[Array, " T"]:
        """The unit of each step, numbered 0, 1, ... without gaps."""
        mdp = self.mdp
        steps = jnp.arange(self.num_steps)
        # Agents may have any numbers.
        _, agent = jnp.unique(
            mdp.agent,
            return_inverse=True,
            size=self.num_steps,
        )
        labels = (
            steps,
            mdp.segment,
            mdp.turn,
            agent,
            jnp.zeros_like(steps),
        )
        return labels[UNITS.index(unit)]

    @property
    def step_discount(self) -> Steps:
        """What each step discounts the values after it by."""
        return step_discount(self.mdp)

    @property
    def weight(self) -> Steps:
        """The weight of each step in the return."""
        return weights(self.discount, self.num_steps)

    def weight_since(self, first: Int[Array, " T"]) -> Steps:
        """The weight of each step in the return from a step `first`."""
        steps = jnp.arange(self.num_steps)
        return product(self.discount, first, steps)

    def one_step(self, value: Path) -> Path:
        """The reward of each step and the value after it, which is 0 where the episode ends."""
        batch = self.batch
        goes_on = shift_left(batch.live, False)
        later = jnp.where(goes_on, shift_left(value), 0.0)
        discount = self.step_discount[None, :]
        return batch.reward + discount * later

    @property
    def worth(self) -> tuple[Path, Path]:
        """What a prefix is worth before a step and after it.

        In maths: V_t(s_t), and r_t + discount_t V_{t+1}(s_{t+1}).
        """
        value, _, _ = along(self.truth, self.batch)
        return value, self.one_step(value)
