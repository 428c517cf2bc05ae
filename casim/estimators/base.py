"""Estimator: the one interface of every credit-assignment method."""

from __future__ import annotations

import abc
import dataclasses
import functools
import math
import operator
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim import identity
from casim.checks import check_range
from casim.discounts import weights
from casim.simulate import JUDGE, World
from casim.targets import Advantage, Target
from casim.types import Batch, Cost, Credit, Trajectory, recorded

INIT = 2**31 - 1
"""Sets the key of what is learned apart from those of calls."""


@dataclasses.dataclass(frozen=True)
class Estimator(abc.ABC):
    """A rule that gives credit to the steps of a batch: a part, or a chain of parts.

    Subclasses are final frozen dataclasses; fields are hyperparameters, checked when set. Most are
    a `Source`, which makes credit, or a `Part`, which changes the credit that it is handed.

    Class attributes, the taxonomy in code; parts that only change credit leave them out:
        granularity: the unit that receives credit, one of `casim.vocabulary.GRANULARITIES`.
        methodology: one of its `METHODOLOGIES`, or a word of one's own.
        target: what it estimates, a recipe of `casim.targets`; a property where a setting changes
            it.
        needs: what it needs beyond the batch, from its `NEEDS`.
        unbiased: what it is unbiased for, from its `CLAIMS`: the "target" or the "advantage" in
            every cell (t, s, a), or the policy "gradient". `claims` says at which settings; each
            has a test.
        ratio_weighted: whether its weights are ratios of the policy's probabilities to the
            behaviour's. Then its value alone is not what it gives: where the two differ, it has
            scores of the gradient only.
    """

    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset()
    ratio_weighted: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Takes the digest of the class's source, by which rows of other code are told apart."""
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    @property
    def judges(self) -> frozenset[str]:
        """The names of the judges that it asks: that of its setting `judge`, if it needs one."""
        asked = {getattr(self, "judge", JUDGE)} if "judge" in self.needs else ()
        return frozenset(asked)

    @property
    def stateful(self) -> bool:
        """Whether it learns or remembers anything from call to call."""
        return type(self).init is not Estimator.init

    def claims(self, discount: float) -> frozenset[str]:
        """What of `unbiased` holds under these settings in a world of this discount.

        All of it, unless a class says otherwise.
        """
        return self.unbiased

    def init(self, key: Key[Array, ""], world: World | None) -> Any:
        """What it learns or remembers, before the first call: nothing by default."""
        return ()

    @abc.abstractmethod
    def __call__(
        self,
        key: Key[Array, ""],
        world: World | None,
        batch: Batch,
        credit: Credit,
        state: Any,
    ) -> tuple[Credit, Any]:
        """Credit of a batch `[P, N, T]`, and what is remembered of the call.

        Args:
            key: for whatever the estimator draws.
            world: the door to more rollouts, branches or a judge; None is enough for estimators
                that need only the batch, so that logs can be scored too.
            batch: the trajectories to score.
            credit: what the part before it gave; a source ignores it.
            state: from `init`, or from the call before.

        Raises:
            ValueError: the estimator needs a world and got None.
        """

    @final
    def credit(self, key: Key[Array, ""], world: World | None, batch: Batch) -> Credit:
        """The credit of one batch by a fresh start: value and weight `[P, N, T]`, and the cost.

        Raises:
            ValueError: the estimator needs a world and got None.
        """
        fresh = ()
        if self.stateful:
            own_key = jax.random.fold_in(key, INIT)
            fresh = self.init(own_key, world)
        given, _ = self(key, world, batch, begin(batch), fresh)
        if not isinstance(given, Credit):
            return given
        return given._replace(whole=None)


class Source(Estimator):
    """An estimator that makes credit of a batch, whatever was there before it, and learns nothing.

    Subclasses define `give`.
    """

    @abc.abstractmethod
    def give(
        self, key: Key[Array, ""], world: World | None, batch: Batch
    ) -> tuple[Float[Array, "P N T *A"], Cost]:
        """What each step is worth, 0 where not live, and what it cost to say so."""

    def __call__(
        self,
        key: Key[Array, ""],
        world: World | None,
        batch: Batch,
        credit: Credit,
        state: Any,
    ) -> tuple[Credit, Any]:
        given: Any = self.give(key, world, batch)
        is_pair = isinstance(given, tuple) and len(given) == 2
        if not is_pair or not isinstance(given[1], Cost):
            wanted = f"{type(self).__name__}.give must return credit [P, N, T] and a casim.Cost"
            raise ValueError(f"{wanted}, got {type(given).__name__}")
        value, used = given
        total = add_costs(credit.cost, used)
        return Credit(value, credit.weight, total), state


class Part(Estimator):
    """An estimator that changes the credit it is handed, without noise, and learns nothing.

    Subclasses define `apply`.
    """

    @abc.abstractmethod
    def apply(self, world: World | None, batch: Batch, credit: Credit) -> Credit:
        """The changed credit."""

    def __call__(
        self,
        key: Key[Array, ""],
        world: World | None,
        batch: Batch,
        credit: Credit,
        state: Any,
    ) -> tuple[Credit, Any]:
        return self.apply(world, batch, credit), state


def begin(batch: Batch) -> Credit:
    """What every chain begins with: the reward, with weight 1 where the policy decides.

    Episodes that do not count have neither, whatever their rewards are.
    """
    there = batch.of_counted(batch.live)
    value = jnp.where(there, batch.reward, 0.0)
    weight = batch.of_counted(batch.decided)
    weight = weight.astype(value.dtype)
    return Credit(value, weight, cost())


def check_taken(credit: Credit, part: Estimator) -> None:
    """Raises `ValueError`, naming the part, if every action has a credit, not only that taken."""
    if credit.value.ndim > credit.weight.ndim:
        name = type(part).__name__
        raise ValueError(
            f"{name} must be given credit of the action taken, got that of all actions"
        )


def cost(
    env_steps: Array | float = 0.0,
    judge_calls: Array | float = 0.0,
    critic_updates: Array | float = 0.0,
) -> Cost:
    """A `Cost` of float scalars."""
    return Cost(
        env_steps=jnp.asarray(env_steps, jnp.float32),
        judge_calls=jnp.asarray(judge_calls, jnp.float32),
        critic_updates=jnp.asarray(critic_updates, jnp.float32),
    )


def add_costs(*costs: Cost) -> Cost:
    """What several calls used together."""

    def added(*each: Array) -> Array:
        return functools.reduce(operator.add, each)

    return jax.tree.map(added, *costs)


def count(mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """How many entries are True, as a float."""
    return jnp.sum(mask, dtype=jnp.float32)


def claimed(estimator: Estimator) -> str:
    """What an estimator claims, and at which discounts: "gradient (discount 1), target"."""
    undiscounted = estimator.claims(1.0)
    discounted = estimator.claims(0.5)
    names = sorted(undiscounted)
    words = [name if name in discounted else f"{name} (discount 1)" for name in names]
    return ", ".join(words) or "-"


def check_discount(own: float | None) -> None:
    """Raises `ValueError` unless a discount of one's own is in [0, 1]; None is the world's."""
    if own is not None:
        check_range("discount", own, 0.0, 1.0)


def check_recipes(
    recipe: object,
    **kinds: type,
) -> None:
    """Raises `ValueError` unless fields hold recipes of their kinds."""
    for field, kind in kinds.items():
        value = getattr(recipe, field)
        if not isinstance(value, kind):
            raise ValueError(f"{field} must be a recipe of {kind.__name__}, got {value!r}")


def discount_of(
    world: World | None, batch: Batch | Trajectory, own: float | None
) -> float | Float[Array, "*shape"]:
    """The discount that an estimator works with: the world's, unless it has one of its own.

    One of its own is a setting made on purpose. What it changes shows as bias in the scores, since
    every target is at the discount of the world. A log has its own in each step, 1 if it says
    nothing.
    """
    if own is not None:
        return own
    if world is not None:
        return world.discount
    return batch.discount if isinstance(batch, Batch) else 1.0


def keeps_discount(own: float | None, discount: float) -> bool:
    """Whether an estimator's discount is that of the world; floats may be of either precision."""
    return own is None or math.isclose(own, discount, rel_tol=1e-6)


def time_weights(
    discount: float | Float[Array, "*shape"], batch: Batch | Trajectory
) -> Float[Array, "*rows T"]:
    """What each step counts from the start: the product of the discounts of the steps before it."""
    *rows, steps = batch.reward.shape
    if jnp.ndim(discount) < 2:
        one_row = weights(discount, steps)
        return jnp.broadcast_to(one_row, batch.reward.shape)
    each = jnp.asarray(discount).reshape(-1, steps)
    found = jax.vmap(lambda row: weights(row, steps))(each)
    return found.reshape(*rows, steps)


def episode_return(
    batch: Batch | Trajectory,
    discount: float | Float[Array, "*shape"],
) -> Float[Array, "*rows"]:
    """The discounted return of each episode, from its first step."""
    weighed = batch.reward * time_weights(discount, batch)
    return jnp.sum(weighed, axis=-1)


def to_steps(value: Float[Array, "*rows"], batch: Batch | Trajectory) -> Float[Array, "*rows T"]:
    """The same credit for every live step of a trajectory."""
    every_step = value[..., None]
    return jnp.where(batch.live, every_step, 0.0)


def rows_of(batch: Batch) -> Trajectory:
    """What happened in all groups, on one axis of trajectories."""
    steps = batch.action.shape[-1]
    return jax.tree.map(lambda x: x.reshape(-1, steps), recorded(batch))


def time_of(batch: Batch | Trajectory) -> Int[Array, "*rows T"]:
    """The step index of every entry of a batch."""
    shape = batch.action.shape
    steps = jnp.arange(shape[-1])
    return jnp.broadcast_to(steps, shape)


def entropy_of(world: World | None, batch: Batch) -> Float[Array, "P N T"]:
    """The policy's entropy at each step, in nats: that of the log, or of the world.

    Raises:
        ValueError: neither has one.
    """
    if batch.entropy is not None:
        return batch.entropy
    if world is None:
        raise ValueError("batch.entropy must be given where there is no world, got None")
    chance = world.probability(batch)
    safe = jnp.where(chance > 0, chance, 1.0)
    surprise = chance * jnp.log(safe)
    return -jnp.sum(surprise, axis=-1)


def policy_log_prob_of(world: World | None, batch: Batch) -> Float[Array, "P N T"]:
    """The logarithm of the policy's probability of the action taken: of the log, or of the world.

    That of who took it is `behaviour_log_prob_of`; probabilities of all actions are behind the
    doors `World.probability` and `World.behaviour_probability`.

    Raises:
        ValueError: neither has one.
    """
    if batch.policy_log_prob is not None:
        return batch.policy_log_prob
    if world is None:
        wanted = "be given where there is no world"
        raise ValueError(f"batch.policy_log_prob must {wanted}, got None")
    return world.policy_log_prob(batch)


def behaviour_log_prob_of(batch: Batch) -> Float[Array, "P N T"]:
    """The logarithm of the probability with which the action was taken, by who took it.

    Raises:
        ValueError: a log that does not say.
    """
    if batch.log_prob is None:
        wanted = "hold the logarithms of the behaviour's probabilities"
        raise ValueError(f"batch.log_prob must {wanted}, got None")
    return batch.log_prob


def required(world: World | None, estimator: Estimator) -> World:
    """The world, or a `ValueError` that says who needs it."""
    if world is None:
        needs = sorted(estimator.needs)
        name = type(estimator).__name__
        raise ValueError(f"world must be given to {name}, which needs {needs}, got None")
    return world
