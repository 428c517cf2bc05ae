"""Contributions: how much likelier each action made each later reward, taken or not.

In maths, with u_k a feature of step k, d(t, k) the product of the discounts of the steps t to
k - 1, and n_t(o, a, u) the sum of d(t, k) over the later steps k > t with u_k = u of the rollouts
that did a at o,

    h_t(a | o, u) = (n_t(o, a, u) + prior pi(a | o)) / (sum_b n_t(o, b, u) + prior),
    C_t(a) = sum_{k>t} d(t, k) (h_t(a | o_t, u_k) / pi(a | o_t) - 1) r_k.

As the rollouts grow, h / pi - 1 goes to p(u | o, a) / p(u | o) - 1, and the mean of C_t(a) to the
advantage of a less what the step itself earns, if u says all of the reward that the action could:
E[r_k | o_t, a, u_k = u] is the same for all a and k. The features, from fine to coarse:

- "state": what is seen at step k, and the kernel that governs it (hindsight on states, HCA+). It
  must be the state. Where later states give the action away it degenerates to the plain return.
- "reward": the reward itself, which always says all.
- "prediction": classes of the mean reward of what is seen and done, as counted on the rollouts: the
  noise of rewards is no part of the feature.

No pair of steps is written out: both sums are carried back in time, O(T (rows + O A) U).

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 (hindsight on states); Meulemans et al. 2023,
    arXiv:2306.16803 (contribution coefficients, rewards and learned features).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import (
    Source,
    check_discount,
    check_recipes,
    cost,
    count,
    discount_of,
    required,
    rows_of,
)
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.posteriors import fitted_ratio
from casim.ops import nearest_of
from casim.simulate import World
from casim.sums import kernel_sums
from casim.types import Batch, Trajectory

FEATURES = ("state", "reward", "prediction")
"""What of a later step hindsight may know."""

Advance = Callable[[Any, Any], tuple[Any, Float[Array, "X A U"]]]
"""From what is carried back from the next step, and the step: what is carried on, coefficients."""


class Later(NamedTuple):
    """What trajectories hold of each step, for the sums over later ones."""

    cell: Int[Array, "R T"]
    """Which row of the coefficients is asked: what is seen, or the state."""
    outcome: Int[Array, "R T"]
    """The feature."""
    reward: Float[Array, "R T"]
    """0 where not live."""


class Seen(NamedTuple):
    """What the rollouts that are counted hold of each step."""

    cell: Int[Array, "R T"]
    """What is seen and done, o A + a."""
    outcome: Int[Array, "R T"]
    live: Bool[Array, "R T"]


def later_credit(
    advance: Advance,
    begin: Any,
    steps: Any,
    rows: Later,
    discount: Float[Array, " T"],
    size: int,
) -> Float[Array, "R T A"]:
    """sum_{k>t} d(t, k) w_t(x_t, a, u_k) r_k for every action, by one scan back in time.

    Args:
        advance: gives w_t, coefficients `[X, A, U]`.
        begin: what it carries before the last step.
        steps: what it reads at each step, arrays with a first axis T.
        rows: the trajectories.
        discount: of each step.
        size: U.
    """

    def step(
        carry: tuple[Any, Array],
        now: Any,
    ) -> tuple[tuple[Any, Array], Array]:
        inner, total = carry
        own, (cell, outcome, reward), factor = now
        inner, coefficient = advance(inner, own)
        later = factor * total
        credit = jnp.einsum(
            "rau,ru->ra",
            coefficient[cell],
            later,
            precision="highest",
        )
        here = jax.nn.one_hot(outcome, size, dtype=reward.dtype)
        earned = reward[:, None] * here
        return (inner, earned + later), credit

    nothing = jnp.zeros((rows.reward.shape[0], size), rows.reward.dtype)
    given = (steps, by_time(rows), discount)
    _, credit = jax.lax.scan(step, (begin, nothing), given, reverse=True)
    return jnp.moveaxis(credit, 0, 1)


def by_time(rows: Any) -> Any:
    """Arrays `[R, T]` as `[T, R]`."""
    return jax.tree.map(jnp.transpose, tuple(rows))


def counted_credit(
    seen: Seen,
    weight: Float[Array, " R"],
    rows: Later,
    acting: Float[Array, "T O A"],
    discount: Float[Array, " T"],
    prior: float,
    size: int,
    centred: bool = True,
) -> Float[Array, "N T A"]:
    """The credit of later rewards, with coefficients counted on weighted rollouts.

    Args:
        seen: the rollouts that are counted.
        weight: of each; 1 for those that were drawn.
        rows: the trajectories that are credited.
        acting: pi(a | o) of each step.
        discount: of each step.
        prior: pseudo-counts of the policy, positive.
        size: U, the number of classes of the feature.
        centred: h / pi - 1, or h / pi.
    """
    observations, actions = acting.shape[1:]

    def advance(
        carry: Array,
        now: Any,
    ) -> tuple[Array, Array]:
        step, policy, factor = now
        carry, number = tally(carry, (step, factor), weight, observations * actions)
        number = number.reshape(observations, actions, size)
        ratio = likelier(number, policy, prior)
        coefficient = ratio - 1.0 if centred else ratio
        return carry, coefficient

    nothing = jnp.zeros((weight.shape[0], size), weight.dtype)
    steps = (by_time(seen), acting, discount)
    return later_credit(advance, nothing, steps, rows, discount, size)


def tally(
    carry: Float[Array, "R U"],
    now: tuple[tuple[Array, Array, Array], Float[Array, ""]],
    weight: Float[Array, " R"],
    cells: int,
) -> tuple[Float[Array, "R U"], Float[Array, "C U"]]:
    """What each rollout still meets, with this step; and how often each cell met it after it.

    Args:
        carry: what each rollout meets after this step.
        now: the step as `Seen` has it, and its discount.
        weight: of each rollout.
        cells: C.
    """
    (cell, outcome, live), factor = now
    onward = factor * carry
    later = jnp.where(live[:, None], onward, 0.0)
    size = carry.shape[1]
    number = jnp.zeros((cells, size), weight.dtype)
    number = number.at[cell].add(later)
    counts = jnp.where(live, weight, 0.0)
    here = jax.nn.one_hot(outcome, size, dtype=weight.dtype)
    return counts[:, None] * here + later, number


def all_counts(
    seen: Seen,
    weight: Float[Array, " R"],
    discount: Float[Array, " T"],
    cells: int,
    size: int,
) -> Float[Array, "T C U"]:
    """n_t of every step: how often each cell met each outcome after it."""

    def step(
        carry: Array,
        now: Any,
    ) -> tuple[Array, Array]:
        return tally(carry, now, weight, cells)

    nothing = jnp.zeros((weight.shape[0], size), weight.dtype)
    steps = (by_time(seen), discount)
    return jax.lax.scan(step, nothing, steps, reverse=True)[1]


def likelier(
    number: Float[Array, "O A U"],
    policy: Float[Array, "O A"],
    prior: float,
) -> Float[Array, "O A U"]:
    """h(a | o, u) / pi(a | o) from counts; 1 for an action that the policy never takes."""
    total = jnp.sum(number, axis=1, keepdims=True)
    chance = policy[..., None]
    possible = chance > 0
    safe = jnp.where(possible, chance, 1.0)
    # n / pi - sum n: where nothing was counted the ratio is exactly 1.
    excess = jnp.where(possible, number / safe - total, 0.0)
    return 1.0 + excess / (total + prior)


@final
@dataclasses.dataclass(frozen=True)
class Contribution(Source):
    """Credit of all actions for the rewards after the step, by counts on fresh rollouts.

    What the step itself earns is not in it, unless `immediate`: COCOA leaves that to the action
    taken, `Sum(OnTaken(), Contribution())`. Consistent in the number of rollouts, biased with
    counted coefficients.

    Attributes:
        feature: "state", "reward" or "prediction".
        num_rollouts: fresh rollouts for the counts, at least 1.
        num_classes: of rewards, the distinct ones seen, at least 2: if there are more, the largest
            share a class; or of predictions, equal parts of their range.
        prior: pseudo-counts of the policy for each outcome, positive.
        centred: h / pi - 1, whose mean is the advantage; or h / pi, whose mean is Q. The gradient
            is the same.
        fit: of a model of h (`casim.estimators.sources.posteriors`), whose own rollouts and sight
            are not read; None counts, with the prior.
        immediate: adds the mean reward of each action, counted on the same rollouts, as HCA does.
        discount: of later rewards, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    feature: Literal["state", "reward", "prediction"] = "reward"
    num_rollouts: int = 64
    num_classes: int = 8
    prior: float = 1.0
    centred: bool = True
    immediate: bool = False
    discount: float | None = None
    fit: Fit | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    needs: ClassVar[frozenset[str]] = frozenset({"critic", "outcome"})

    def __post_init__(self) -> None:
        check_choice("feature", self.feature, FEATURES)
        check_integer("num_rollouts", self.num_rollouts, 1)
        check_integer("num_classes", self.num_classes, 2)
        check_range("prior", self.prior, 1e-9, math.inf)
        check_discount(self.discount)
        if self.fit is not None:
            check_recipes(self, fit=Fit)

    def give(self, key, world, batch):
        world = required(world, self)
        data = world.rollout(key, self.num_rollouts)
        weight = jnp.ones(data.action.shape[:1], data.reward.dtype)
        credit = self.on(world, batch, data, weight)
        used = count(data.live)
        sweeps = 1 if self.fit is None else self.fit.num_updates
        return credit, cost(env_steps=used, critic_updates=sweeps * used)

    def on(
        self,
        world: World,
        batch: Batch,
        data: Trajectory,
        weight: Float[Array, " R"],
    ) -> Float[Array, "P N T A"]:
        """The credit with coefficients counted on these rollouts, each of its weight."""
        rows = rows_of(batch)
        steps = rows.action.shape[-1]
        reward = jnp.where(rows.live, rows.reward, 0.0)
        discount = discount_of(world, batch, self.discount)
        each = jnp.broadcast_to(discount, (steps,))
        each = each.astype(reward.dtype)
        both, fresh, size = self._outcomes(world, rows, data, weight)
        seen = Seen(_cell(data, world.num_actions), fresh, data.live)
        later = Later(rows.observation.astype(jnp.int32), both, reward)
        acting = policy_of_steps(world)
        if self.fit is None:
            credit = counted_credit(
                seen,
                weight,
                later,
                acting,
                each,
                self.prior,
                size,
                self.centred,
            )
        else:
            credit = self._fitted(self.fit, seen, weight, later, acting, each, size)
        if self.immediate:
            credit = credit + self._earned(world, rows, data, weight)
        credit = credit.reshape(*batch.action.shape, -1)
        shown = batch.live & batch.counted[..., None]
        return jnp.where(shown[..., None], credit, 0.0)

    def _fitted(
        self,
        fit: Fit,
        seen: Seen,
        weight: Float[Array, " R"],
        later: Later,
        acting: Float[Array, "T O A"],
        discount: Float[Array, " T"],
        size: int,
    ) -> Float[Array, "N T A"]:
        """The credit with coefficients of a model that is fitted to the counts."""
        _, observations, actions = acting.shape
        number = all_counts(seen, weight, discount, observations * actions, size)
        by_action = number.reshape(-1, observations, actions, size)
        ratio = fitted_ratio(fit, by_action, acting)
        coefficient = ratio - 1.0 if self.centred else ratio

        def advance(
            carry: Array,
            now: Array,
        ) -> tuple[Array, Array]:
            return carry, now

        nothing = jnp.zeros((), weight.dtype)
        return later_credit(advance, nothing, coefficient, later, discount, size)

    def _outcomes(
        self,
        world: World,
        rows: Trajectory,
        data: Trajectory,
        weight: Float[Array, " R"],
    ) -> tuple[Int[Array, "N T"], Int[Array, "R T"], int]:
        """The feature of each step, of the batch and of the rollouts, and how many there are."""
        if self.feature == "state":
            size = world.policy.shape[0] * world.num_observations
            both, fresh = (_place(world, x.observation) for x in (rows, data))
            return both, fresh, size
        if self.feature == "reward":
            met = data.live & (weight > 0)[:, None]
            known = jnp.where(met, data.reward, jnp.inf)
            every = jnp.unique(known, size=self.num_classes, fill_value=jnp.inf)
            both, fresh = (nearest_of(every, x.reward) for x in (rows, data))
            return both, fresh, self.num_classes
        table, met = self._predicted(world, data, weight)
        classes = self._classes(table, met)
        both = classes[world.schedule, _cell(rows, world.num_actions)]
        fresh = classes[world.schedule, _cell(data, world.num_actions)]
        return both, fresh, self.num_classes

    def _classes(
        self,
        table: Float[Array, "M C"],
        met: Bool[Array, "M C"],
    ) -> Int[Array, "M C"]:
        """Equal parts of the range of the predictions that were met."""
        low = jnp.min(jnp.where(met, table, jnp.inf))
        high = jnp.max(jnp.where(met, table, -jnp.inf))
        width = jnp.where(high > low, high - low, 1.0)
        share = (table - low) / width
        place = jnp.floor(share * self.num_classes)
        inside = jnp.clip(place, 0, self.num_classes - 1)
        return inside.astype(jnp.int32)

    def _predicted(
        self,
        world: World,
        data: Trajectory,
        weight: Float[Array, " R"],
    ) -> tuple[Float[Array, "M C"], Bool[Array, "M C"]]:
        """The mean reward of what is seen and done under each kernel, and whether it was met."""
        kernels, observations, actions = world.policy.shape
        cell = _cell(data, actions)
        each = jnp.where(data.live, weight[:, None], 0.0)
        schedule = jnp.asarray(world.schedule)

        def added(x: Array) -> Array:
            return kernel_sums(
                x,
                cell,
                schedule,
                kernels,
                observations * actions,
            )

        number = added(each)
        total = added(each * data.reward)
        met = number > 0
        return total / jnp.where(met, number, 1.0), met

    def _earned(
        self,
        world: World,
        rows: Trajectory,
        data: Trajectory,
        weight: Float[Array, " R"],
    ) -> Float[Array, "N T A"]:
        """The mean reward of every action, less that of the policy where centred."""
        table, _ = self._predicted(world, data, weight)
        by_action = table.reshape(world.policy.shape)
        each = by_action[world.schedule, rows.observation]
        if not self.centred:
            return each
        chance = world.probability(rows)
        on_average = jnp.sum(chance * each, axis=-1, keepdims=True)
        return each - on_average


def policy_of_steps(world: World) -> Float[Array, "T O A"]:
    """The policy at every step as it acts: action 0 where nothing is decided."""
    table = world.policy[world.schedule]
    first = jnp.arange(table.shape[-1]) == 0
    return jnp.where(world.decision[:, None, None], table, first.astype(table.dtype))


def _cell(
    rows: Trajectory,
    actions: int,
) -> Int[Array, "R T"]:
    """What is seen and done, as one label."""
    return rows.observation.astype(jnp.int32) * actions + rows.action


def _place(
    world: World,
    seen: Int[Array, "R T"],
) -> Int[Array, "R T"]:
    """What is seen, and the kernel of the step, as one label."""
    kernel = jnp.broadcast_to(world.schedule, seen.shape).astype(jnp.int32)
    return kernel * world.num_observations + seen.astype(jnp.int32)
