"""What a fitted model is shown of a step: one of a few labels.

References:
    Zhou et al. 2025, arXiv:2503.15478 (SWEET-RL: a critic with information of training time); Qu et
    al. 2024, arXiv:2412.11120 (LaRe: features that an LLM writes once).
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
from typing import ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from casim import identity
from casim.checks import check_integer, check_range
from casim.ops import nearest_of, shift_left
from casim.simulate import World
from casim.types import Batch


@dataclasses.dataclass(frozen=True)
class Sight(abc.ABC):
    """A recipe for the labels of steps.

    Class attribute:
        needs: what it needs beyond the batch, as that of an estimator.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **kwargs) -> None:
        """Takes the digest of the source that defines the class."""
        super().__init_subclass__(**kwargs)
        identity.remember(cls)

    @abc.abstractmethod
    def size(self, world: World) -> int:
        """How many labels there are."""

    @abc.abstractmethod
    def label(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
    ) -> Int[Array, "P N T"]:
        """The label of each step."""


@final
@dataclasses.dataclass(frozen=True)
class Shown(Sight):
    """The observation, as the agent sees it."""

    def size(self, world):
        return world.num_observations

    def label(self, key, world, batch):
        return batch.observation.astype(jnp.int32)


@final
@dataclasses.dataclass(frozen=True)
class Latent(Sight):
    """The latent state beside the observation: information of training time."""

    needs: ClassVar[frozenset[str]] = frozenset({"privileged"})

    def size(self, world):
        return world.num_states * world.num_observations

    def label(self, key, world, batch):
        state = world.privileged(batch).astype(jnp.int32)
        return state * world.num_observations + batch.observation


@final
@dataclasses.dataclass(frozen=True)
class Abstract(Sight):
    """A class of the observation, o mod `classes`, misread at a given rate.

    Attributes:
        classes: d, at least 1.
        noise: the probability that a step gets a class drawn at random instead, in [0, 1].

    Raises:
        ValueError: a setting out of its range.
    """

    classes: int = 4
    noise: float = 0.0

    def __post_init__(self) -> None:
        check_integer("classes", self.classes, 1)
        check_range("noise", self.noise, 0.0, 1.0)

    def size(self, world):
        return self.classes

    def label(self, key, world, batch):
        right = batch.observation.astype(jnp.int32) % self.classes
        key_whether, key_what = jax.random.split(key)
        misread = jax.random.bernoulli(key_whether, self.noise, right.shape)
        other = jax.random.randint(key_what, right.shape, 0, self.classes, jnp.int32)
        return jnp.where(misread, other, right)


@final
@dataclasses.dataclass(frozen=True)
class Earning(Sight):
    """The observation, and which of some rewards the step earned, the nearest of them.

    Attributes:
        rewards: that there are, ascending, two or more.

    Raises:
        ValueError: rewards that are not ascending.
    """

    rewards: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in itertools.pairwise(self.rewards))
        if not (len(self.rewards) > 1 and rising):
            raise ValueError(f"rewards must be two or more rising numbers, got {self.rewards!r}")

    def size(self, world):
        return world.num_observations * len(self.rewards)

    def label(self, key, world, batch):
        values = jnp.asarray(self.rewards, batch.reward.dtype)
        earned = nearest_of(values, batch.reward)
        return batch.observation.astype(jnp.int32) * len(self.rewards) + earned


@final
@dataclasses.dataclass(frozen=True)
class Passage(Sight):
    """The observation, and the one that follows; after the last step none does."""

    def size(self, world):
        return world.num_observations * (world.num_observations + 1)

    def label(self, key, world, batch):
        none = world.num_observations
        seen = batch.observation.astype(jnp.int32)
        goes_on = shift_left(batch.live, False)
        then = jnp.where(goes_on, shift_left(seen), none)
        return seen * (none + 1) + then
