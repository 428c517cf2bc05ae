"""Which groups are trained on: those in which something differs, or differs most.

References:
    Yu et al. 2025, arXiv:2503.14476 (DAPO, dynamic sampling); Wang et al. 2025, arXiv:2504.20073
    (StarPO-S, the groups of largest deviation); Su et al. 2025, arXiv:2512.07478 (VSPO).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_integer, check_range
from casim.estimators.base import Estimator, Part, add_costs, check_taken, cost, count
from casim.ops import group_advantage
from casim.simulate import World
from casim.types import Batch


class _Drawn(NamedTuple):
    """What has been drawn so far."""

    batches: Array
    mixed: Array
    """Groups in which outcomes differ."""
    env_steps: Array


@final
@dataclasses.dataclass(frozen=True)
class DynamicSampling(Estimator):
    """Groups whose outcomes are all equal weigh nothing, and others are drawn in their place.

    Whole batches are drawn until there are as many mixed groups as the batch has groups, and all
    their steps are charged. The credit is that of the groups at hand: those drawn later are
    independent and alike in distribution, so the mixed ones at hand stand for them; a loss that is
    a mean over what is kept (`OverLength("mean")` after it) has the same expectation up to the
    number of groups that it averages over. The outcome is the undiscounted sum of the rewards. A
    group of one is kept. In a log nothing is drawn.

    Attributes:
        max_batches: batches in all, the one at hand included, at least 1; what is missing then
            stays missing.

    Raises:
        ValueError: a number out of its range.
    """

    max_batches: int = 10
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_integer("max_batches", self.max_batches, 1)

    def __call__(self, key, world, batch, credit, state):
        kept = mixed_groups(batch)
        of_group = kept[:, None, None]
        weight = jnp.where(of_group, credit.weight, 0.0)
        used = 0.0
        if world is not None:
            used = self._redrawn(key, world, batch, kept)
        drawn = cost(env_steps=used)
        paid = add_costs(credit.cost, drawn)
        return credit._replace(weight=weight, cost=paid), state

    def _redrawn(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        kept: Bool[Array, " P"],
    ) -> Float[Array, ""]:
        """Environment steps of the batches that were drawn after the one at hand."""
        groups, members, _ = batch.action.shape

        def wanting(
            so_far: _Drawn,
        ) -> Any:
            too_few = so_far.mixed < groups
            may_draw = so_far.batches < self.max_batches
            return too_few & may_draw

        def draw(
            so_far: _Drawn,
        ) -> _Drawn:
            own = jax.random.fold_in(key, so_far.batches)
            new = world.groups(own, groups, members)
            more = jnp.sum(mixed_groups(new))
            mixed = so_far.mixed + more
            used = count(new.live)
            env_steps = so_far.env_steps + used
            return _Drawn(so_far.batches + 1, mixed, env_steps)

        nothing = jnp.zeros((), jnp.float32)
        mixed = jnp.sum(kept)
        begin = _Drawn(jnp.asarray(1), mixed, nothing)
        end = jax.lax.while_loop(wanting, draw, begin)
        return end.env_steps


@final
@dataclasses.dataclass(frozen=True)
class TopGroups(Part):
    """Keeps the groups whose outcomes differ most; the others weigh nothing.

    In maths: of P groups, the k = max(floor(share P), 1) of largest standard deviation of the
    undiscounted return, with n - 1, 0 for a group of one. Of equals those that come first are kept.
    The others were rolled out all the same: their steps are in those of the batch.

    Attributes:
        share: of the groups that are kept, in (0, 1].

    Raises:
        ValueError: a share out of its range.
    """

    share: float = 0.25
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_range("share", self.share, 1e-12, 1.0)

    def apply(self, world, batch, credit):
        earned = jnp.where(batch.live, batch.reward, 0.0)
        outcome = jnp.sum(earned, axis=-1)
        centred = group_advantage(outcome, where=batch.counted)
        members = jnp.sum(batch.counted, axis=-1)
        free = jnp.maximum(members - 1, 1)
        squares = jnp.sum(centred**2, axis=-1)
        variance = squares / free
        share = self.share * len(variance)
        number = max(int(share), 1)
        # A stable sort: of equals the first.
        ranked = jnp.argsort(-variance, stable=True)
        best = ranked[:number]
        kept = jnp.zeros(variance.shape, bool)
        kept = kept.at[best].set(True)
        of_group = kept[:, None, None]
        weight = jnp.where(of_group, credit.weight, 0.0)
        return credit._replace(weight=weight)


@final
@dataclasses.dataclass(frozen=True)
class ByValue(Estimator):
    """Groups without any credit are replaced by more of the prompts that teach most.

    In maths, with p_g the mean outcome of group g, v_g = max(p_g (1 - p_g), floor) where some
    credit is not 0 and 0 elsewhere, and n_0 the number of groups that teach nothing: the weight of
    group g is 1{v_g > 0} + n_0 v_g / sum_h v_h, what it is on average if each of n_0 places is
    filled by a prompt drawn with probability v_g / sum_h v_h, and rolled out anew. Those rollouts
    are charged as those of the group at hand, which are alike in distribution. If no group teaches
    anything all weigh 0, and nothing is drawn. In a log nothing is drawn.

    Outcomes are the undiscounted sums of rewards, of 0 or 1.

    Attributes:
        floor: keeps prompts that are nearly solved, or nearly never, from being forgotten, in
            [0, 1].

    Raises:
        ValueError: a floor out of its range.
    """

    floor: float = 0.0
    needs: ClassVar[frozenset[str]] = frozenset({"group"})

    def __post_init__(self) -> None:
        check_range("floor", self.floor, 0.0, 1.0)

    def __call__(self, key, world, batch, credit, state):
        check_taken(credit, self)
        is_due = credit.value != 0
        trained = is_due & (credit.weight > 0)
        mixed = jnp.any(trained, axis=(1, 2))
        counted = batch.counted[..., None]
        there = batch.live & counted
        reward = jnp.where(there, batch.reward, 0.0)
        earned = jnp.sum(reward, axis=(1, 2))
        members = jnp.sum(batch.counted, axis=1)
        mean = earned / jnp.maximum(members, 1)
        spread = mean * (1 - mean)
        value = jnp.maximum(spread, self.floor)
        value = jnp.where(mixed, value, 0.0)
        total = jnp.sum(value)
        empty = jnp.sum(~mixed)
        safe = jnp.where(total > 0, total, 1.0)
        share = value / safe
        extra = empty * share
        groups = mixed + extra
        of_group = groups[:, None, None]
        weight = credit.weight * of_group
        steps = jnp.sum(there, axis=(1, 2))
        drawn = 0.0
        if world is not None:
            drawn = jnp.sum(extra * steps)
        redrawn = cost(env_steps=drawn)
        paid = add_costs(credit.cost, redrawn)
        return credit._replace(weight=weight, cost=paid), state


def mixed_groups(
    batch: Batch,
) -> Bool[Array, " P"]:
    """Groups in which not all outcomes are equal, or that have one member."""
    counted = batch.counted
    of_rows = counted[..., None]
    there = batch.live & of_rows
    earned = jnp.where(there, batch.reward, 0.0)
    outcome = jnp.sum(earned, axis=-1)
    or_least = jnp.where(counted, outcome, -jnp.inf)
    or_most = jnp.where(counted, outcome, jnp.inf)
    largest = jnp.max(or_least, axis=1)
    smallest = jnp.min(or_most, axis=1)
    members = jnp.sum(counted, axis=1)
    alone = members == 1
    return alone | (largest > smallest)
