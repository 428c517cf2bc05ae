"""Counterfactual: what each action would have earned with the luck that the trajectory had."""

from __future__ import annotations

import dataclasses
from typing import final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from casim.checks import check_range
from casim.doors import door
from casim.graders.hindsight import check_support, outcomes_of
from casim.graders.silent import Silent
from casim.judging import Grader, addresses
from casim.oracle.hindsight import Outcomes
from casim.oracle.information import return_index
from casim.pytree import pytree
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class Counterfactual(Grader):
    """What each action would have earned by the same luck: `[P, N, T, A]`.

    In maths, with Z_t = sum_{u>=t} r_u undiscounted and F_a its distribution function given s_t and
    a: luck is the rank Phi of Z_t among the returns after (s_t, a_t),

        Phi ~ U(F_{a_t}(Z_t-), F_{a_t}(Z_t)),    Q(s_t, Phi, a) = F_a^{-1}(Phi),

    and what is said of a is trust E[Q(s_t, Phi, a) | a_t, Z_t] + (1 - trust) Z_t: someone who knows
    nothing holds that all actions would have earned the same. Given s_t, Phi is uniform whatever
    a_t is. So the mean of what is said of a is Q_t(s_t, a) at trust 1, and sum_a pi(a | s_t)
    Q(s_t, Phi, a) = E[Z_t | s_t, Phi] is a baseline that knows the future and not the action. NaN
    where the return is not in the support.

    Attributes:
        support: what Z_t can be, ascending.
        trust: how much of the counterfactuals it knows, in [0, 1].

    Raises:
        ValueError: a setting out of its range.

    References:
        Mesnard et al. 2021, arXiv:2011.09464 (counterfactual credit assignment: any statistic of
        the future that is independent of the action). That the rank is one is derived here.
    """

    support: tuple[float, ...] = (0.0, 1.0)
    trust: float = 1.0

    def __post_init__(self) -> None:
        check_support(self.support)
        check_range("trust", self.trust, 0.0, 1.0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> CounterfactualModel:
        """The judge for one MDP and the truth of its policy."""
        outcomes = outcomes_of(mdp, truth, self.support)
        return CounterfactualModel(outcomes, jnp.asarray(self.trust, truth.value.dtype))


@final
@pytree
@dataclasses.dataclass(frozen=True)
class CounterfactualModel(Silent):
    """See `Counterfactual`."""

    outcomes: Outcomes
    trust: Float[Array, ""]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """The return by the same luck after every action; NaN after the end."""
        _, time = addresses(batch)
        index, found = return_index(self.outcomes, batch)
        chance = self.outcomes.given_action[time, batch.state]
        highest = jnp.cumsum(chance, axis=-1)
        lowest = highest - chance

        def of_taken(x: Float[Array, "N T A Z"]) -> Float[Array, "N T 1 1"]:
            """At the action taken and the return that it had."""
            action = batch.action.astype(jnp.int32)[..., None, None]
            own = jnp.take_along_axis(x, action, axis=-2)
            return jnp.take_along_axis(own, index[..., None, None], axis=-1)

        # The ranks that each return of each action shares with what happened.
        begin = jnp.maximum(lowest, of_taken(lowest))
        end = jnp.minimum(highest, of_taken(highest))
        shared = jnp.maximum(end - begin, 0.0)
        width = jnp.sum(shared, axis=-1, keepdims=True)
        seen = self.outcomes.support[index][..., None]
        gain = jnp.expand_dims(self.outcomes.support, (0, 1, 2)) - seen[..., None]
        overlaps = width > 0
        safe = jnp.where(overlaps, width, 1.0)
        share = jnp.where(overlaps, shared / safe, 0.0)
        change = jnp.sum(share * gain, axis=-1)
        given = batch.live & found
        return jnp.where(given[..., None], seen + self.trust * change, jnp.nan)
