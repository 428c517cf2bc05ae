"""Posterior: how likely each action was, now that the outcome is known."""

from __future__ import annotations

import dataclasses
import itertools
from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from casim.checks import check_choice, check_range
from casim.doors import door
from casim.dynamics import observe
from casim.graders.silent import Silent
from casim.judging import Grader, addresses
from casim.oracle.hindsight import Outcomes, return_hindsight
from casim.oracle.information import return_index
from casim.pytree import pytree
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class Posterior(Grader):
    """How likely each action was, now that the outcome is known: `[P, N, T, A]`.

    In maths: trust h(a | s_t, z) + (1 - trust) pi(a | s_t), where h(a | s, z) = pi(a | s) P(Z_t = z
    | s, a) / P(Z_t = z | s) and Z_t = sum_{u>=t} r_u, undiscounted. It sums to 1 over the actions,
    and its total variation distance from the truth is 1 - trust times that of the policy. NaN where
    the outcome is impossible.

    Attributes:
        outcome: z, one of the support; None takes what Z_t was in the trajectory itself.
        support: what Z_t can be, ascending.
        trust: how much of the posterior it knows, in [0, 1].

    Raises:
        ValueError: a setting out of its range.

    References:
        Harutyunyan et al. 2019, arXiv:1912.02503 (return-conditional hindsight).
    """

    outcome: float | None = None
    support: tuple[float, ...] = (0.0, 1.0)
    trust: float = 1.0

    def __post_init__(self) -> None:
        check_support(self.support)
        check_choice("outcome", self.outcome, (None, *self.support))
        check_range("trust", self.trust, 0.0, 1.0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> PosteriorModel:
        """The judge for one MDP and the truth of its policy."""
        outcomes = outcomes_of(mdp, truth, self.support)
        stated = -1 if self.outcome is None else self.support.index(self.outcome)
        trust = jnp.asarray(self.trust, truth.value.dtype)
        acting = truth.state_policy[mdp.schedule]
        return PosteriorModel(outcomes, acting, trust, stated=stated)


@final
@pytree
@dataclasses.dataclass(frozen=True)
class PosteriorModel(Silent):
    """See `Posterior`."""

    outcomes: Outcomes
    acting: Float[Array, "T S A"]
    trust: Float[Array, ""]
    stated: int = dataclasses.field(metadata={"static": True})
    """The index of the outcome; -1 is that of the trajectory."""

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """Probabilities of all actions; NaN after the end, or where the outcome is impossible."""
        _, time = addresses(batch)
        if self.stated < 0:
            index, found = return_index(self.outcomes, batch)
        else:
            index, found = jnp.full_like(time, self.stated), batch.live
        known = self.outcomes.hindsight[time, batch.state, :, index]
        prior = self.acting[time, batch.state]
        mixed = self.trust * known + (1 - self.trust) * prior
        given = batch.live & found
        return jnp.where(given[..., None], mixed, jnp.nan)


def outcomes_of(
    mdp: MDP,
    truth: Truth,
    support: tuple[float, ...],
) -> Outcomes:
    """The laws of the undiscounted returns from every step on, of the latent state."""
    undiscounted = mdp._replace(discount=jnp.ones_like(mdp.discount))
    # Seen from the latent state, what acts is the policy averaged over what the state shows.
    latent = observe(undiscounted)
    return return_hindsight(latent, truth.state_policy, jnp.asarray(support))


def check_support(support: tuple[float, ...]) -> None:
    """Raises `ValueError` unless there are numbers, in ascending order."""
    rising = all(a < b for a, b in itertools.pairwise(support))
    if not (support and rising):
        raise ValueError(f"support must be ascending numbers, got {support!r}")
