"""Judges of what a team did together: a joint critic, and shares of the outcome.

Both speak of the trajectory's joint actions, and know the process: with the error at 0 their word
is exact.

`JointCritic` says of every action b of step t

    E[R | s_0, a_u as taken at all other steps u, a_t = b] + noise eps,

`Shares` says at the steps of unit i, with R the return, n the number of units and phi their values
in the game v(S) = E[R | s_0, actions of S as taken, the others absent],

    (1 - uninformed) phi_j + uninformed R / n + bias + noise eps_i,

where j = i, or, with probability `swap`, another unit. phi is the Shapley value or what is lost
without the unit, v(all) - v(all but i).

References:
    Foerster et al. 2018, arXiv:1705.08926 (COMA: a central critic of joint actions); Nagpal et al.
    2025, arXiv:2502.16863 (LLM-MCA: an LLM decomposes the reward) [second-hand]. The error models
    are casim's own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.doors import door
from casim.dynamics import absorb, discounting, observe, step_discount
from casim.graders.silent import Silent
from casim.judging import Grader, normal
from casim.oracle.games import all_coalitions, taken_game, worth
from casim.oracle.shapley import MAX_PLAYERS, shapley_values
from casim.pytree import pytree
from casim.simulate.belief import transition_matrix
from casim.simulate.noise import ACTION, key_words, pair
from casim.types import MDP, Trajectory, Truth

UNITS = ("segment", "turn", "agent")
GAMES = ("shapley", "difference")


@final
@dataclasses.dataclass(frozen=True)
class JointCritic(Grader):
    """What the team's actions are worth together, were one of them another: `[P, N, T, A]`.

    Attributes:
        noise: standard deviation of each of its words, in units of reward, at least 0.

    Raises:
        ValueError: a setting out of its range.
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        check_range("noise", self.noise, 0.0, math.inf)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> JointCriticModel:
        """The critic for one MDP and the truth of its policy."""
        kind = truth.value.dtype
        return JointCriticModel(
            absorb(mdp),
            truth.state_policy,
            jnp.asarray(self.noise, kind),
        )


@final
@pytree
@dataclasses.dataclass(frozen=True)
class JointCriticModel(Silent):
    """See `JointCritic`."""

    mdp: MDP
    acting: Float[Array, "M S A"]
    noise: Float[Array, ""]

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T A"]:
        """What every action is worth among the others; NaN after the end."""
        start = batch.state[:, 0]
        exact = jax.vmap(self._of_row)(batch.action, batch.live, start)
        episode, time = jnp.indices(batch.action.shape)
        said = []
        for action in range(exact.shape[-1]):
            own = key_words(jax.random.fold_in(key, action))
            error = self.noise * _normal(own, episode, time)
            said.append(exact[..., action] + error)
        of_actions = jnp.stack(said, axis=-1)
        return jnp.where(batch.live[..., None], of_actions, jnp.nan)

    def _of_row(
        self,
        action: Int[Array, " T"],
        live: Array,
        start: Array,
    ) -> Float[Array, "T A"]:
        """The exact values of one trajectory: what came before, now, and what comes after."""
        mdp = self.mdp
        earn = jnp.einsum("msak,msak->msa", mdp.prob, mdp.reward, precision="highest")
        move = transition_matrix(mdp)
        discount = step_discount(mdp)
        taken = jax.nn.one_hot(action, earn.shape[-1], dtype=earn.dtype)
        # After its own end the policy plays on.
        choice = jnp.where(
            live[:, None, None],
            taken[:, None, :],
            self.acting[mdp.schedule],
        )
        steps = (mdp.schedule, choice, discount)

        def pay(
            kernel: Array,
            later: Array,
            factor: Array,
        ) -> Float[Array, "S A"]:
            """What each state and action is worth, given the value after it."""
            onward = jnp.einsum("sat,t->sa", move[kernel], later, precision="highest")
            return earn[kernel] + factor * onward

        def back(
            later: Array,
            now: tuple[Array, ...],
        ) -> tuple[Array, Array]:
            kernel, acting, factor = now
            worth = pay(kernel, later, factor)
            return jnp.sum(acting * worth, axis=-1), worth

        def onward(
            carry: tuple[Array, Array, Array],
            now: tuple[Array, ...],
        ) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
            """The law of the state, the return so far, and the weight of the step."""
            law, so_far, weight = carry
            kernel, acting, factor = now
            joint = law[:, None] * acting
            earned = jnp.sum(joint * earn[kernel])
            gained = weight * earned
            after = jnp.einsum("sa,sat->t", joint, move[kernel], precision="highest")
            carried = (after, so_far + gained, weight * factor)
            return carried, (law, so_far, weight)

        zero = jnp.zeros(earn.shape[1], earn.dtype)
        _, worth = jax.lax.scan(back, zero, steps, reverse=True)
        first = jax.nn.one_hot(start, earn.shape[1], dtype=earn.dtype)
        nothing = jnp.zeros((), earn.dtype)
        begin = (first, nothing, jnp.ones((), earn.dtype))
        _, found = jax.lax.scan(onward, begin, steps)
        law, before, weight = found
        here = jnp.einsum("ts,tsa->ta", law, worth, precision="highest")
        ahead = weight[:, None] * here
        return before[:, None] + ahead


@final
@dataclasses.dataclass(frozen=True)
class Shares(Grader):
    """What each unit of a trajectory contributed to its outcome: `[P, N, T]`.

    Attributes:
        of: phi, the "shapley" value or the "difference" that a unit's absence makes.
        unit: "segment", "turn" or "agent"; at most 12 of them.
        null: the action of what is absent; None draws the policy's.
        uninformed: how much of its word is an equal share of the return, in [0, 1].
        bias: added to every share, in units of reward.
        noise: standard deviation of each share, in units of reward, at least 0.
        swap: probability that a unit is given the share of another, in [0, 1].

    Of more than 12 units it says nothing. All coalitions of as many units as there are steps, at
    most 12, are evaluated: it is a judge for short episodes.

    Raises:
        ValueError: a setting out of its range.
    """

    of: Literal["shapley", "difference"] = "shapley"
    unit: Literal["segment", "turn", "agent"] = "agent"
    null: int | None = None
    uninformed: float = 0.0
    bias: float = 0.0
    noise: float = 0.0
    swap: float = 0.0

    def __post_init__(self) -> None:
        check_choice("of", self.of, GAMES)
        check_choice("unit", self.unit, UNITS)
        if self.null is not None:
            check_integer("null", self.null, 0)
        check_range("uninformed", self.uninformed, 0.0, 1.0)
        check_range("bias", self.bias, -math.inf, math.inf)
        check_range("noise", self.noise, 0.0, math.inf)
        check_range("swap", self.swap, 0.0, 1.0)

    @door
    def model(
        self,
        mdp: MDP,
        truth: Truth,
    ) -> SharesModel:
        """The judge for one MDP and the truth of its policy."""
        label = getattr(mdp, self.unit)
        _, owner = jnp.unique(label, return_inverse=True, size=label.shape[0])
        acting = truth.state_policy
        if self.null is not None:
            actions = mdp.prob.shape[2]
            check_integer("null", self.null, 0, actions - 1)
            chosen = (jnp.arange(actions) == self.null)[None, None, :]
            acting = jnp.broadcast_to(chosen, acting.shape).astype(acting.dtype)
        numbers = (self.uninformed, self.bias, self.noise, self.swap)
        return SharesModel(
            observe(mdp),
            acting,
            owner,
            discounting(mdp),
            *(jnp.asarray(x, truth.value.dtype) for x in numbers),
            of=self.of,
        )


@final
@pytree
@dataclasses.dataclass(frozen=True)
class SharesModel(Silent):
    """See `Shares`."""

    mdp: MDP
    """Fully observed, so that what is absent plays by the state."""
    absent: Float[Array, "M S A"]
    owner: Int[Array, " T"]
    weight: Float[Array, " T"]
    uninformed: Float[Array, ""]
    bias: Float[Array, ""]
    noise: Float[Array, ""]
    swap: Float[Array, ""]
    of: str = dataclasses.field(metadata={"static": True})

    @property
    def _places(self) -> int:
        """Most units that there can be; static under jit, unlike their number."""
        return min(self.owner.shape[0], MAX_PLAYERS)

    def __call__(
        self,
        key: Key[Array, ""],
        batch: Trajectory,
    ) -> Float[Array, "N T"]:
        """The share of the unit of every step; NaN after the end."""
        exact = self._values(batch)
        number = jnp.max(self.owner) + 1
        episode, unit = jnp.indices(exact.shape)
        words = key_words(key)
        own = key_words(jax.random.fold_in(key, 1))
        chance, which = pair(own, episode, unit, ACTION)
        drawn = jnp.floor(which * (number - 1)).astype(jnp.int32)
        highest = jnp.maximum(number - 2, 0)
        other = jnp.clip(drawn, 0, highest)
        # Those from the unit itself on are one further.
        skipping = jnp.where(other >= unit, other + 1, other)
        other = skipping % number
        confused = jnp.where(chance < self.swap, other, unit)
        known = jnp.take_along_axis(exact, confused, axis=-1)
        discounted = self.weight[None, :] * batch.reward
        earned = jnp.sum(discounted, axis=-1, keepdims=True)
        equal = jnp.broadcast_to(earned / number, known.shape)
        informed = 1 - self.uninformed
        share = informed * known + self.uninformed * equal
        error = self.noise * _normal(words, episode, unit)
        said = share + self.bias + error
        place = jnp.minimum(self.owner, self._places - 1)
        by_step = said[:, place]
        heard = batch.live & (number <= self._places)
        return jnp.where(heard, by_step, jnp.nan)

    def _values(
        self,
        batch: Trajectory,
    ) -> Float[Array, "N G"]:
        """What every unit is worth; where a place is no unit's it is 0."""
        game = taken_game(self.mdp, self.absent, batch, self.owner)
        if self.of == "shapley":
            return shapley_values(all_coalitions(game, self._places))
        # Coalition i lacks unit i, and the last one lacks none.
        places = jnp.arange(self._places)[None, :]
        coalitions = jnp.arange(self._places + 1)[:, None]
        lacks = coalitions == places
        rows = batch.action.shape[0]
        present = jnp.broadcast_to(~lacks[None], (rows, *lacks.shape))
        value = worth(game, present)
        return value[:, -1:] - value[:, :-1]


def _normal(
    words: Array,
    row: Int[Array, "*s"],
    column: Int[Array, "*s"],
) -> Float[Array, "*s"]:
    """A standard normal number for each address."""
    uniforms = pair(words, row, column, ACTION)
    return normal(*uniforms)
