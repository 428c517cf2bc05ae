"""Critic: exact advantages of every action, to whoever knows this or that of what is hidden.

In maths, as in `casim.oracle.belief`, with z a class of latent states:
- "history": A(h, a), what the agent can know: the right answer;
- "latent_history": A(z, h, a) = E[Q | z, h, a] - sum_b pi(b | o_t) E[Q | z, h, b], whose mean over
  z given h is A(h, a): right on average;
- "latent": A_t(z, a) = E[G_t | z, a] - E[G_t | z], which mixes histories: biased, unless z is the
  whole state and then by a number that does not depend on the action;
- "clairvoyant": Q*_t(s, a) - V*_t(s) of the best policy that sees the state: an action that only
  gathers information is worth minus its cost.

References:
    Baisero and Amato 2022, arXiv:2105.11674 (critics on history and state); Zhou et al. 2025,
    arXiv:2503.15478 (SWEET-RL: a critic with information of training time).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_choice, check_integer
from casim.doors import door
from casim.graders.silent import Silent
from casim.judging import Grader, addresses
from casim.oracle.belief import (
    acting_along,
    beliefs,
    history_critic,
    latent_history_critic,
    latent_tables,
    one_hot,
)
from casim.oracle.values import optimal
from casim.pytree import pytree
from casim.types import MDP, Trajectory, Truth

KNOWS = ("history", "latent_history", "latent", "clairvoyant")


@final
@dataclasses.dataclass(frozen=True)
class Critic(Grader):
    """The advantage of every action, by what is known: `[P, N, T, A]`, without noise.

    What it errs by is what it does not know, or knows too much.

    Attributes:
        knows: "history", "latent_history", "latent" or "clairvoyant".
        classes: z of each state, 0, 1, ...; none takes the whole state. Only critics of the latent
            have any.

    Raises:
        ValueError: a setting out of its range, classes that are not read, or not one for each
            state.
    """

    knows: Literal["history", "latent_history", "latent", "clairvoyant"] = "latent_history"
    classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_choice("knows", self.knows, KNOWS)
        for label in self.classes:
            check_integer("classes", label, 0)
        if self.classes and self.knows in ("history", "clairvoyant"):
            raise ValueError(f"classes must be () for a {self.knows} critic, got {self.classes!r}")

    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> TableCritic:
        """The critic for one MDP and the truth of its policy.

        Raises:
            ValueError: a critic of the history, which must know the policy's table: see `informed`.
        """
        if self.knows in ("history", "latent_history"):
            wanted = "be made by `informed`, with the policy"
            raise ValueError(f"a {self.knows} critic must {wanted}, got none")
        return self._of_state(mdp, truth)

    def informed(self, mdp, truth, policy, reference=None) -> Any:
        if self.knows in ("history", "latent_history"):
            return self._of_history(mdp, truth, policy)
        return self._of_state(mdp, truth)

    @door
    def _of_state(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> TableCritic:
        """One that reads a table of steps and states."""
        if self.knows == "clairvoyant":
            best = optimal(mdp)
            return TableCritic(best.q_value - best.value[:-1, :, None])
        if not self.classes:
            seen = truth.state_policy[mdp.schedule] > 0
            return TableCritic(jnp.where(seen, truth.advantage, jnp.nan))
        label = self._labels(mdp)
        value, q_value = latent_tables(mdp, truth, one_hot(label, self._number, truth.value.dtype))
        return TableCritic((q_value - value[..., None])[:, label])

    @door
    def _of_history(
        self,
        mdp: MDP,
        truth: Truth,
        policy: Float[Array, "M O A"],
    ) -> HistoryCritic:
        """One that follows what was seen and done."""
        label = self._labels(mdp) if self.classes else None
        number = self._number if self.classes else 0
        latent = self.knows == "latent_history"
        return HistoryCritic(mdp, policy, truth, label, number=number, latent=latent)

    @property
    def _number(self) -> int:
        return max(self.classes) + 1

    def _labels(
        self,
        mdp: MDP,
    ) -> Int[Array, " S"]:
        states = mdp.start.shape[0]
        check_integer("number of classes", len(self.classes), states, states)
        return jnp.asarray(self.classes)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class TableCritic(Silent):
    """A critic that reads a table."""

    advantage: Float[Array, "T S A"]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """Advantages of all actions; NaN after the end, and of what is never seen."""
        _, time = addresses(batch)
        said = self.advantage[time, batch.state]
        return jnp.where(batch.live[..., None], said, jnp.nan)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class HistoryCritic(Silent):
    """A critic that knows the history, and perhaps the class of the latent state."""

    mdp: MDP
    policy: Float[Array, "M O A"]
    truth: Truth
    label: Int[Array, " S"] | None
    """The class of each state; None is the state itself."""
    number: int = dataclasses.field(metadata={"static": True})
    latent: bool = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """Advantages of all actions; NaN after the end."""
        said = self._advantage(batch)
        return jnp.where(batch.live[..., None], said, jnp.nan)

    def _advantage(
        self,
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        if self.latent and self.label is None:
            _, time = addresses(batch)
            acting = acting_along(self.mdp, self.policy, batch)
            # Of the latent advantages, less what the policy's observation makes of them.
            known = self.truth.advantage[time, batch.state]
            return known - jnp.sum(acting * known, axis=-1, keepdims=True)
        given = (self.mdp, self.policy, self.truth, beliefs(self.mdp, batch), batch)
        if self.label is not None:
            member = one_hot(self.label, self.number, self.truth.value.dtype)
            return latent_history_critic(*given, member).advantage
        return history_critic(*given).advantage
