"""What a target is evaluated from."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Array, Float

from casim.oracle.along import along
from casim.types import MDP, Trajectory, Truth


class Given(NamedTuple):
    """A process, its policies, what is exact about them, and trajectories."""

    mdp: MDP
    policy: Float[Array, "M O A"]
    reference: Float[Array, "M O A"] | None
    truth: Truth
    batch: Trajectory
    num_segments: int
    """Static under jit."""

    @property
    def worth(self) -> tuple[Float[Array, "N T"], Float[Array, "N T"]]:
        """What a prefix is worth before a step and after it.

        In maths: V_t(s_t), and r_t + discount V_{t+1}(s_{t+1}).
        """
        value, _, later = along(self.truth, self.batch)
        return value, self.batch.reward + self.mdp.discount * later
