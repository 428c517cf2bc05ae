"""Intervention: imitate up to the first mistake, and a better action there.

In maths, for a trajectory that failed, with t* the step that a judge accuses and a~ the action that
a judge holds to be best there: credit 1 / pi(a~ | o_t*) for the action a~ at t*, 1 / pi(a_t | o_t)
for the action taken at each decision t < t*, and 0 for everything else. As sum_a c_a grad pi_a =
grad log pi for c = 1 / pi on one action, the gradient is that of imitation,

    grad log pi(a~ | o_t*) + sum_{t < t*} grad log pi(a_t | o_t),

each step with the weight that the world's discount gives it. An intervention is kept if at least
one of `num_checks` continuations after it succeeds. A step whose action is not possible under the
policy gets 0: nothing is trained there.

References:
    Yang et al. 2026, arXiv:2601.14209 (InT) [second-hand].
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_integer, check_range
from casim.estimators.base import Source, cost, count, required, time_of
from casim.simulate import World
from casim.targets import FirstError, Target
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class Intervention(Source):
    """Credit of all actions whose gradient is that of imitating a corrected prefix.

    It is no estimate of the advantage: what it trains is another policy's action. Credit of a
    trajectory is divided by nothing, so long prefixes weigh more.

    Attributes:
        accuser: the name of the judge that marks the first mistake of a trajectory.
        adviser: the name of the judge that marks the best actions; the first of several is taken.
        num_checks: continuations after the intervention, at least 0; at 0 all are kept.
        success: a rollout succeeds if all its rewards add up to more than this.

    Raises:
        ValueError: a setting out of its range.
    """

    accuser: str = "first_mistake"
    adviser: str = "best"
    num_checks: int = 32
    success: float = 0.5
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = FirstError()

    def __post_init__(self) -> None:
        check_integer("num_checks", self.num_checks, 0)
        check_range("success", self.success, -math.inf, math.inf)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Branches are only for the checks."""
        return frozenset({"judge", "reset"} if self.num_checks else {"judge"})

    @property
    def judges(self) -> frozenset[str]:
        return frozenset({self.accuser, self.adviser})

    def give(self, key, world, batch):
        world = required(world, self)
        to_accuser, to_adviser, to_check = jax.random.split(key, 3)
        said = world.judge(to_accuser, batch, self.accuser)
        # No number is above 0 where it says nothing.
        mark = batch.live & (said > 0)
        earned = jnp.sum(batch.reward, axis=-1)
        failed = batch.counted & (earned <= self.success)
        accused = failed & jnp.any(mark, axis=-1)
        wrong = jnp.argmax(mark, axis=-1)
        advice = world.judge(to_adviser, batch, self.adviser)
        place = wrong[..., None, None]
        at_wrong = jnp.take_along_axis(advice, place, axis=2)
        at_wrong = jnp.nan_to_num(at_wrong[:, :, 0])
        better = jnp.argmax(at_wrong, axis=-1)
        kept, played = self._checked(
            to_check,
            world,
            batch,
            wrong,
            better,
            accused,
        )
        value = _imitation(world, batch, wrong, better, kept)
        # Every failure is read by the accuser, and every accused step by the adviser.
        calls = count(failed) + count(accused)
        return value, cost(env_steps=played, judge_calls=calls)

    def _checked(
        self,
        key: Array,
        world: World,
        batch: Batch,
        wrong: Int[Array, "P N"],
        better: Int[Array, "P N"],
        accused: Bool[Array, "P N"],
    ) -> tuple[Bool[Array, "P N"], Array | float]:
        """Which interventions are kept, and the steps that were played to know it."""
        if not self.num_checks:
            return accused, 0.0
        tails = world.branch(key, batch, wrong, self.num_checks, action=better)
        total = jnp.sum(tails.reward, axis=-1)
        hopeful = jnp.any(total > self.success, axis=-1)
        ahead = time_of(batch) >= wrong[..., None]
        fresh = tails.live & ahead[:, :, None]
        fresh = fresh & accused[..., None, None]
        return accused & hopeful, count(fresh)


def _imitation(
    world: World,
    batch: Batch,
    wrong: Int[Array, "P N"],
    better: Int[Array, "P N"],
    kept: Bool[Array, "P N"],
) -> Float[Array, "P N T A"]:
    """1 / pi on the actions to imitate, 0 on the others."""
    chance = world.probability(batch)
    time = time_of(batch)
    until = wrong[..., None]
    here = time == until
    wanted = jnp.where(here, better[..., None], batch.action)
    imitated = batch.decided & (time <= until)
    imitated = imitated & kept[..., None]
    actions = chance.shape[-1]
    chosen = jax.nn.one_hot(wanted, actions, dtype=bool)
    possible = chance > 0
    shown = chosen & imitated[..., None] & possible
    safe = jnp.where(shown, chance, 1.0)
    return jnp.where(shown, 1 / safe, 0.0)
