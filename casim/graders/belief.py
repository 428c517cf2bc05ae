"""Belief: how probable the truth is to who has seen what the agent has."""

from __future__ import annotations

import dataclasses
from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_integer, check_range
from casim.doors import door
from casim.judging import Grader
from casim.ops import shift_left
from casim.oracle.belief import before_observing, beliefs
from casim.pytree import pytree
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class Belief(Grader):
    """How probable the truth is to who has seen what the agent has: `[P, N, T]`.

    In maths, with b_t(z) = P(z_t = z | h_t) by Bayes and z a class of latent states: trust
    b_{t+1}(z_{t+1}) + (1 - trust) P(z), after step t, and b_0(z_0) for the prompt, with P(z) what
    was known before anything was seen. Nothing is observed after the last step: it is that of the
    step before. It stands for a model's probability of the gold answer.

    Attributes:
        classes: z of each state, 0, 1, ...; none takes every state for a class of its own.
        trust: how much of the belief it knows, in [0, 1].

    Raises:
        ValueError: a class below 0 or a trust out of its range; a number of classes that is not
            that of the states, when the judge is made.
    """

    classes: tuple[int, ...] = ()
    trust: float = 1.0

    def __post_init__(self) -> None:
        for label in self.classes:
            check_integer("classes", label, 0)
        check_range("trust", self.trust, 0.0, 1.0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> BeliefModel:
        """The judge for one MDP, whatever its policy."""
        states = mdp.start.shape[0]
        classes = self.classes or tuple(range(states))
        if len(classes) != states:
            raise ValueError(f"classes must be {states}, one for each state, got {len(classes)}")
        trust = jnp.asarray(self.trust, truth.value.dtype)
        return BeliefModel(mdp, jnp.asarray(classes), trust)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class BeliefModel:
    """See `Belief`."""

    mdp: MDP
    label: Int[Array, " S"]
    trust: Float[Array, ""]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """What the truth has after each step; NaN after the end."""
        now = self._of_truth(batch)
        goes_on = shift_left(batch.live, False)
        after = jnp.where(goes_on, shift_left(now), now)
        return jnp.where(batch.live, after, jnp.nan)

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """What the truth has before the first action."""
        return self._of_truth(batch)[:, 0]

    def _of_truth(self, batch: Trajectory) -> Float[Array, "N T"]:
        """How probable the class of the state is at each step."""
        truth = self.label[batch.state]
        same = self.label[None, None, :] == truth[..., None]
        known = jnp.sum(jnp.where(same, beliefs(self.mdp, batch), 0.0), axis=-1)
        before = before_observing(self.mdp, batch)
        before = before / jnp.sum(before, axis=-1, keepdims=True)
        prior = jnp.sum(jnp.where(same, before[:, None, :], 0.0), axis=-1)
        return self.trust * known + (1 - self.trust) * prior
