"""How much an action changes the mean of those who share the history: a tree of the group.

In maths, B_t the trajectories of the group that share the history up to the decision at t, and
B_{t+1} those that share the action too, with V(B) the mean over B of the value that is handed in,
one's own included: c_t = V(B_{t+1}) - V(B_t).

References:
    Tran et al. 2025, arXiv:2509.18314 (TEMPO).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice
from casim.estimators.base import Part, check_taken
from casim.estimators.scales import per_trajectory
from casim.simulate import World
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class PrefixGain(Part):
    """The mean of those who also took the action less that of those who came to the same point.

    The value handed in is one number for each trajectory. Where only one trajectory came there it
    is 0.

    Attributes:
        share: what makes two points the same: the "history", all that was seen and done before; or
            the latent "state" at the same step.
        holes: what a step of the environment does: decisions after it "go_on" like those before, or
            "stop" there: they get 0, as in the public code.

    Raises:
        ValueError: a setting out of its range.
    """

    share: Literal["history", "state"] = "history"
    holes: Literal["go_on", "stop"] = "go_on"

    def __post_init__(self) -> None:
        check_choice("share", self.share, ("history", "state"))
        check_choice("holes", self.holes, ("go_on", "stop"))

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"group", "privileged"} if self.share == "state" else {"group"})

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        each, present = per_trajectory(credit.value, batch)
        came = self._came(world, batch)
        before = came & present[:, None, :, None]
        after = before & _both(batch.action, batch.live)
        left = before & ~after
        gain = _mean(each, after) - _mean(each, before)
        # Where nobody leaves, the two sums differ by rounding at most.
        splits = jnp.any(left, axis=2)
        shown = splits & self._shown(batch)
        return credit._replace(value=jnp.where(shown, gain, 0.0))

    def _shown(
        self,
        batch: Batch,
    ) -> Bool[Array, "P N T"]:
        """The decisions that can have a gain."""
        decided = batch.decided & batch.counted[..., None]
        if self.holes == "go_on":
            return decided
        hole = batch.live & ~batch.decision
        holes_so_far = jnp.cumsum(hole, axis=-1)
        return decided & (holes_so_far == 0)

    def _came(
        self,
        world: World | None,
        batch: Batch,
    ) -> Bool[Array, "P N N T"]:
        """Whether the second trajectory is where the first one is, before its action."""
        if self.share == "state":
            state = batch.state if world is None else world.privileged(batch)
            return _both(state, batch.live)
        did = _both(batch.action, batch.live)
        saw = batch.observation[:, :, None] == batch.observation[:, None]
        so_far = _before(did & saw)
        here = batch.live[:, None]
        # In a log one that ended here shares all tokens before; in a world it saw the end.
        view = saw | ~here if world is None else saw & here
        return so_far & view


def _before(
    same: Bool[Array, "P N N T"],
) -> Bool[Array, "P N N T"]:
    """Where all steps before are the same."""
    differ = jnp.cumsum(~same, axis=-1)
    ends = ((0, 0), (0, 0), (0, 0), (1, 0))
    differ_before = jnp.pad(differ[..., :-1], ends)
    return differ_before == 0


def _both(
    label: Array,
    live: Bool[Array, "P N T"],
) -> Bool[Array, "P N N T"]:
    """Where two trajectories of a group are live and have the same label, at the same step."""
    same = label[:, :, None] == label[:, None]
    both = live[:, :, None] & live[:, None]
    return same & both


def _mean(
    each: Float[Array, "P N"],
    member: Bool[Array, "P N N T"],
) -> Float[Array, "P N T"]:
    """The mean over the members of each set; 0 for none."""
    weight = member.astype(each.dtype)
    of_member = each[:, None, :, None]
    total = jnp.sum(weight * of_member, axis=2)
    number = jnp.sum(weight, axis=2)
    return total / jnp.maximum(number, 1)
