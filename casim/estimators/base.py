"""Estimator: the one interface of every credit-assignment method."""

from __future__ import annotations

import abc
import dataclasses
import math
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from casim import identity
from casim.checks import check_range
from casim.discounts import weights
from casim.simulate import World
from casim.targets import Target
from casim.types import Cost, Credit, Trajectory

GRANULARITIES = ("token", "segment", "step", "turn", "trajectory", "multi_agent")
METHODOLOGIES = (
    "monte_carlo",
    "temporal_difference",
    "model_based",
    "game_theoretic",
    "information_theoretic",
)
NEEDS = ("group", "reset", "critic", "reference", "judge", "privileged", "outcome")
CLAIMS = ("target", "advantage", "gradient")


@dataclasses.dataclass(frozen=True)
class Estimator(abc.ABC):
    """A rule that gives credit to the steps of one group: N trajectories of one prompt.

    Subclasses are final frozen dataclasses; fields are hyperparameters, checked when set.

    Class attributes, the taxonomy in code:
        granularity: the unit that receives credit, one of `GRANULARITIES`.
        methodology: one of `METHODOLOGIES`.
        target: what it estimates, a recipe of `casim.targets`; a property where a setting changes
            it.
        needs: what it needs beyond the batch, from `NEEDS`.
        unbiased: what it is unbiased for, from `CLAIMS`: its "target" or the "advantage" in every
            cell (t, s, a), or the policy "gradient". `claims` says at which settings; each has a
            test.
    """

    granularity: ClassVar[str]
    methodology: ClassVar[str]
    target: ClassVar[Target]
    needs: ClassVar[frozenset[str]]
    unbiased: ClassVar[frozenset[str]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Takes the digest of the source that defines the class, by which rows of other code are told apart."""
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    def claims(self, discount: float) -> frozenset[str]:
        """What of `unbiased` holds under these settings in a world of this discount.

        All of it, unless a class says otherwise.
        """
        return self.unbiased

    @abc.abstractmethod
    def __call__(self, key: Key[Array, ""], world: World | None, batch: Trajectory) -> Credit:
        """Credit `[N, T]` of a batch `[N, T]`, 0 where not live, and what it cost.

        Args:
            key: for whatever the estimator draws.
            world: the door to more rollouts, branches or a judge; None is enough for estimators
                that need only the batch, so that logged rollouts can be scored too.
            batch: the trajectories to score.

        Raises:
            ValueError: the estimator needs a world and got None.
        """


def cost(
    env_steps: Array | float = 0.0,
    judge_calls: Array | float = 0.0,
    critic_updates: Array | float = 0.0,
) -> Cost:
    """A `Cost` of float scalars."""
    return Cost(*(jnp.asarray(x, jnp.float32) for x in (env_steps, judge_calls, critic_updates)))


def count(mask: Bool[Array, "*shape"]) -> Float[Array, ""]:
    """How many entries are True, as a float."""
    return jnp.sum(mask, dtype=jnp.float32)


def claimed(estimator: Estimator) -> str:
    """What an estimator claims, and where it does not at every discount: "gradient (discount 1), target"."""
    undiscounted, discounted = estimator.claims(1.0), estimator.claims(0.5)
    words = [
        name if name in discounted else f"{name} (discount 1)" for name in sorted(undiscounted)
    ]
    return ", ".join(words) or "-"


def check_discount(own: float | None) -> None:
    """Raises `ValueError` unless a discount of one's own is in [0, 1]; None is the world's."""
    if own is not None:
        check_range("discount", own, 0.0, 1.0)


def discount_of(
    world: World | None, own: float | None
) -> float | Float[Array, ""] | Float[Array, " T"]:
    """The discount that an estimator works with: the world's, unless it has one of its own.

    One of its own is a setting made on purpose. What it changes shows as bias in the scores, since
    every target is at the discount of the world. Where there is no world, nothing says how
    rewards count later, and they count in full, as most trainers take them: None is 1.
    """
    if own is not None:
        return own
    return 1.0 if world is None else world.discount


def keeps_discount(own: float | None, discount: float) -> bool:
    """Whether an estimator's discount is that of the world; floats may be of either precision."""
    return own is None or math.isclose(own, discount, rel_tol=1e-6)


def episode_return(
    batch: Trajectory, discount: float | Float[Array, ""] | Float[Array, " T"]
) -> Float[Array, "*batch"]:
    """The discounted return of each episode, from its first step."""
    scaling = weights(discount, batch.reward.shape[-1])
    each = scaling.reshape((1,) * (batch.reward.ndim - 1) + (-1,))
    return jnp.sum(batch.reward * each, axis=-1)


def to_steps(value: Float[Array, " N"], batch: Trajectory) -> Float[Array, "N T"]:
    """The same credit for every live step of a trajectory."""
    return jnp.where(batch.live, value[:, None], 0.0)


def time_of(batch: Trajectory) -> Int[Array, "N T"]:
    """The step index of every entry of a batch."""
    return jnp.broadcast_to(jnp.arange(batch.action.shape[-1])[None, :], batch.action.shape)


def required(world: World | None, estimator: Estimator) -> World:
    """The world, or a `ValueError` that says who needs it."""
    if world is None:
        raise ValueError(
            f"world must be given to {type(estimator).__name__}, which needs {sorted(estimator.needs)}, got None"
        )
    return world
