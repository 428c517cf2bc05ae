"""A judge of contributions: what each action had to do with every later reward of a trajectory.

In maths, with u_k a feature of step k, d(t, k) the product of the discounts of the steps t to k - 1
and N_t(s, a, u) = sum_{k>t} d(t, k) P(u_k = u | s_t = s, a_t = a),

    w_t(s, a, u) = N_t(s, a, u) / sum_b pi(b | s) N_t(s, b, u) - 1,
    C_t(a) = trust sum_{k>t} d(t, k) w_t(s_t, a, u_k) r_k:

the exact coefficients, mixed with those of someone who knows nothing. Its mean over the future is
trust times the advantage of a less what the step itself earns, where the feature says all of the
reward that the action could; see `casim.estimators.Contribution`, which counts the same.

References:
    Harutyunyan et al. 2019, arXiv:1912.02503 (hindsight on states); Meulemans et al. 2023,
    arXiv:2306.16803 (contribution coefficients).
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_choice, check_range
from casim.doors import door
from casim.dynamics import absorb, step_discount
from casim.estimators.sources.contributions import FEATURES, Later, later_credit
from casim.judging import Grader
from casim.ops import nearest_of
from casim.pytree import pytree
from casim.sums import outcome_sum
from casim.types import MDP, Trajectory, Truth


@final
@dataclasses.dataclass(frozen=True)
class Contributed(Grader):
    """What each action contributed to the rewards after it: `[P, N, T, A]`.

    Attributes:
        feature: what of a later step it looks at: the latent "state" and its kernel, the "reward"
            itself, or its "prediction", the mean reward of state and action.
        support: the rewards or mean rewards that there are, ascending; each is taken for the
            nearest of them. Not read for states.
        trust: how much of the coefficients it knows, in [0, 1].
        centred: subtracts 1 from every ratio: the mean is an advantage, else a part of Q.
        immediate: adds the mean reward of each action (less that of the policy where centred).

    Raises:
        ValueError: a setting out of its range.
    """

    feature: Literal["state", "reward", "prediction"] = "reward"
    support: tuple[float, ...] = (0.0, 1.0)
    trust: float = 1.0
    centred: bool = True
    immediate: bool = False

    def __post_init__(self) -> None:
        check_choice("feature", self.feature, FEATURES)
        pairs = itertools.pairwise(self.support)
        rising = all(a < b for a, b in pairs)
        if not (len(self.support) > 1 and rising):
            raise ValueError(f"support must be two or more rising numbers, got {self.support!r}")
        check_range("trust", self.trust, 0.0, 1.0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> ContributedModel:
        """The judge for one MDP and the truth of its policy."""
        kind = truth.value.dtype
        return ContributedModel(
            absorb(mdp),
            truth.state_policy,
            jnp.asarray(self.support, kind),
            jnp.asarray(self.trust, kind),
            feature=self.feature,
            centred=self.centred,
            immediate=self.immediate,
        )


@final
@pytree
@dataclasses.dataclass(frozen=True)
class ContributedModel:
    """See `Contributed`."""

    mdp: MDP
    acting: Float[Array, "M S A"]
    values: Float[Array, " U"]
    trust: Float[Array, ""]
    feature: str = dataclasses.field(metadata={"static": True})
    centred: bool = dataclasses.field(metadata={"static": True})
    immediate: bool = dataclasses.field(metadata={"static": True})

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """The contribution of every action; NaN after the end."""
        states = self.acting.shape[1]
        size = self._size()
        seen = self._seen(size)
        discount = step_discount(self.mdp)

        def advance(
            carry: Array,
            now: tuple[Array, Array],
        ) -> tuple[Array, Array]:
            """From sum_{k>=t+1} d P(u_k = u | s_{t+1}) `[S, U]` to that of t, and the ratios."""
            kernel, factor = now
            onward = carry[self.mdp.successor[kernel]]
            mean = jnp.einsum("sak,saku->sau", self.mdp.prob[kernel], onward)
            later = factor * mean
            on_average = jnp.einsum("sa,sau->su", self.acting[kernel], later)
            coefficient = self._coefficient(later, on_average[:, None])
            return seen[kernel] + on_average, coefficient

        reward = jnp.where(batch.live, batch.reward, 0.0)
        state = batch.state.astype(jnp.int32)
        credit = later_credit(
            advance,
            jnp.zeros((states, size), reward.dtype),
            (self.mdp.schedule, discount),
            Later(state, self._outcome(batch), reward),
            discount,
            size,
        )
        if self.immediate:
            now = self._now()[self.mdp.schedule, state]
            credit = credit + self.trust * now
        return jnp.where(batch.live[..., None], credit, jnp.nan)

    def prompt(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, " N"]:
        """Raises `ValueError`: only judges of values score a prompt."""
        raise ValueError("judge must be one of values to score a prompt, got Contributed")

    def _coefficient(
        self,
        later: Float[Array, "S A U"],
        on_average: Float[Array, "S 1 U"],
    ) -> Float[Array, "S A U"]:
        """Of each action and outcome; that of one which is impossible is never read."""
        possible = on_average > 0
        safe = jnp.where(possible, on_average, 1.0)
        excess = (later - on_average) / safe
        known = jnp.where(possible, excess, 0.0)
        told = self.trust * known
        return told if self.centred else 1.0 + told

    def _now(self) -> Float[Array, "M S A"]:
        """What a step earns on average by each action."""
        earned = self._mean_reward()
        if not self.centred:
            return earned
        on_average = jnp.sum(self.acting * earned, axis=-1, keepdims=True)
        return earned - on_average

    def _mean_reward(self) -> Float[Array, "M S A"]:
        return jnp.sum(self.mdp.prob * self.mdp.reward, axis=-1)

    def _size(self) -> int:
        kernels, states = self.acting.shape[:2]
        return kernels * states if self.feature == "state" else self.values.shape[0]

    def _seen(self, size: int) -> Float[Array, "M S U"]:
        """P(u | s) of a live step of each kernel, under the policy."""
        kernels, states = self.acting.shape[:2]
        live = jnp.where(self.mdp.terminal, 0.0, 1.0)
        chance = self.acting[..., None] * self.mdp.prob
        joint = chance * live[None, :, None, None]
        code = jnp.broadcast_to(self._of_transition(), joint.shape)
        rows = (kernels, states, -1)
        return outcome_sum(
            joint.reshape(rows),
            code.reshape(rows),
            size,
        )

    def _of_transition(self) -> Int[Array, "M S _ _"]:
        """The feature of every transition."""
        if self.feature == "reward":
            return nearest_of(self.values, self.mdp.reward)
        if self.feature == "prediction":
            predicted = nearest_of(self.values, self._mean_reward())
            return predicted[..., None]
        kernels, states = self.acting.shape[:2]
        place = jnp.arange(kernels * states)
        return place.reshape(kernels, states, 1, 1)

    def _outcome(self, batch: Trajectory) -> Int[Array, "N T"]:
        """The feature of every step of a trajectory."""
        if self.feature == "reward":
            return nearest_of(self.values, batch.reward)
        kernel = jnp.broadcast_to(self.mdp.schedule, batch.action.shape)
        code = self._of_transition()[..., 0]
        action = batch.action.astype(jnp.int32)
        place = action if self.feature == "prediction" else 0 * action
        return code[kernel, batch.state, place]
