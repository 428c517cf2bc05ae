"""The baseline of each position that is best for the variance, from the scores of the policy.

In maths, with w = 1 - 2 pi(a) + sum_a' pi(a')^2 the squared norm of the score of a decision,
W_{i,t} = sum_{u <= t} w_{i,u} over the decisions of trajectory i, and c the value handed in:
B_t = sum_i c_{i,t} W_{i,t} / (sum_i W_{i,t} + 1e-8), over the decisions of the group at the same
position, one's own included; and c_{i,t} - B_t.

References:
    The code and documentation of verl (optimal_token_baseline, tir_optimal_token_baseline).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_choice
from casim.estimators.base import Part, behaviour_log_prob_of, check_taken
from casim.simulate import World
from casim.sums import label_sum
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class TokenBaseline(Part):
    """The value less the mean of the group at the same position, weighed by squared scores.

    A group of one has no baseline. In a log the probabilities are those of the log: `log_prob`,
    and `sum_pi_squared`.

    Attributes:
        position: what is the same position: the same "step", or the same number of "decisions"
            before.
        tail: whether the longest trajectory of a group, if there is one, has a baseline of 0 where
            it goes beyond the second. The place is found by counting decisions, and is cut at the
            step of that number where the position is the step, as in verl: too early after steps of
            the environment.

    Raises:
        ValueError: a setting out of its range, or a log without the squared probabilities.
    """

    position: Literal["step", "decisions"] = "step"
    tail: bool = True
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_choice("position", self.position, ("step", "decisions"))

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        counted = batch.counted[..., None]
        decided = batch.decided & counted
        place = self._place(decided)
        every_norm = score_norm(world, batch)
        norm = jnp.where(decided, every_norm, 0.0)
        energy = jnp.cumsum(norm, axis=-1)
        energy = jnp.where(decided, energy, 0.0)
        value = jnp.where(decided, credit.value, 0.0)
        weighed = energy * value
        total = _at_place(weighed, place)
        weight = _at_place(energy, place)
        baseline = total / (weight + 1e-8)
        without = self._without(decided, place)
        baseline = jnp.where(without, 0.0, baseline)
        above = jnp.where(decided, value - baseline, 0.0)
        return credit._replace(value=above)

    def _place(
        self,
        decided: Bool[Array, "P N T"],
    ) -> Int[Array, "P N T"]:
        """The position of each step."""
        if self.position == "step":
            steps = jnp.arange(decided.shape[-1])
            return jnp.broadcast_to(steps, decided.shape)
        so_far = jnp.cumsum(decided, axis=-1)
        return jnp.maximum(so_far - 1, 0)

    def _without(
        self,
        decided: Bool[Array, "P N T"],
        place: Int[Array, "P N T"],
    ) -> Bool[Array, "P N T"]:
        """Where there is no baseline."""
        length = jnp.sum(decided, axis=-1)
        is_member = length > 0
        members = jnp.sum(is_member, axis=1)
        single = members == 1
        single = single[:, None, None]
        alone = jnp.broadcast_to(single, decided.shape)
        if not self.tail:
            return alone
        longest = jnp.max(length, axis=1, keepdims=True)
        is_longest = length == longest
        number = jnp.sum(is_longest, axis=1, keepdims=True)
        only_one = number == 1
        others = jnp.where(is_longest, 0, length)
        second = jnp.max(others, axis=1, keepdims=True)
        beyond = place >= second[..., None]
        has_tail = is_longest & only_one
        has_tail = has_tail[..., None]
        return alone | (has_tail & beyond)


def _at_place(
    x: Float[Array, "P N T"],
    place: Int[Array, "P N T"],
) -> Float[Array, "P N T"]:
    """Sums over the group at the same position, given to each step."""
    steps = x.shape[-1]
    each = label_sum(x, place, steps)
    total = jnp.sum(each, axis=1, keepdims=True)
    everywhere = jnp.broadcast_to(total, x.shape)
    return jnp.take_along_axis(everywhere, place, axis=-1)


def score_norm(
    world: World | None,
    batch: Batch,
) -> Float[Array, "P N T"]:
    """1 - 2 pi(a) + sum pi^2 of each step: the squared norm of the gradient in the logits.

    Raises:
        ValueError: neither the log nor a world has the squared probabilities.
    """
    if batch.sum_pi_squared is not None:
        taken = jnp.exp(behaviour_log_prob_of(batch))
        return 1 - 2 * taken + batch.sum_pi_squared
    if world is None:
        raise ValueError("batch.sum_pi_squared must be given where there is no world, got None")
    chance = world.probability(batch)
    action = batch.action.astype(jnp.int32)
    of_action = jnp.take_along_axis(chance, action[..., None], axis=-1)
    taken = of_action[..., 0]
    squares = jnp.sum(chance**2, axis=-1)
    return 1 - 2 * taken + squares
