"""Candidates at a decision, ranked by the credit of actions: the gradient of one preference.

In maths, n actions are drawn from the policy at what is seen and put in order of their credit; w is
one of the better half and l one of the worse half, each as likely. The gradient of
-log sigma(beta (m_w - m_l)), m = log pi / ref of what is seen, is that of all-action credit

    C(a) = beta sigma(-beta (m_w - m_l)) (1{a = w} - 1{a = l}) / pi(a | o).

Candidates are scored and not executed: they cost no step of the environment.

References:
    Zhou et al. 2025, arXiv:2503.15478 (SWEET-RL: 16 candidates of a turn, halves, DPO).
"""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_integer, check_range
from casim.estimators.base import Estimator, required
from casim.estimators.units import decisions
from casim.simulate import World
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class RankedPair(Estimator):
    """Credit of all actions, by a preference between two candidates that the credit ranks.

    Attributes:
        number: n of candidates, even, at least 2.
        beta: of the preference, positive.

    Raises:
        ValueError: a setting out of its range; when called, credit of the action taken alone.
    """

    number: int = 16
    beta: float = 0.1
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __post_init__(self) -> None:
        check_integer("number", self.number, 2)
        if self.number % 2:
            raise ValueError(f"number must be even, got {self.number}")
        check_range("beta", self.beta, 1e-12, 1e12)

    def __call__(self, key, world, batch, credit, state):
        if credit.value.ndim == credit.weight.ndim:
            raise ValueError("RankedPair must be given credit of all actions, got that of one")
        world = required(world, self)
        better, worse = self._drawn(key, world, batch, credit.value)
        chance = world.probability(batch)
        actions = chance.shape[-1]
        wins = jax.nn.one_hot(better, actions, dtype=chance.dtype)
        loses = jax.nn.one_hot(worse, actions, dtype=chance.dtype)
        beats = wins - loses
        margin = _margin(world, batch)
        ahead = beats * margin
        lead = jnp.sum(ahead, axis=-1)
        odds = -self.beta * lead
        wrong = jax.nn.sigmoid(odds)
        size = self.beta * wrong
        possible = chance > 0
        safe = jnp.where(possible, chance, 1.0)
        over = jnp.where(possible, 1.0 / safe, 0.0)
        steps = size[..., None]
        value = steps * beats * over
        shown = decisions(batch)[..., None]
        value = jnp.where(shown, value, 0.0)
        return credit._replace(value=value), state

    def _drawn(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        worth: Float[Array, "P N T A"],
    ) -> tuple[Int[Array, "P N T"], Int[Array, "P N T"]]:
        """One of the better half of the candidates, and one of the worse."""
        key_draw, key_better, key_worse = jax.random.split(key, 3)
        chance = world.probability(batch)
        safe = jnp.where(chance > 0, chance, 1.0)
        log_chance = jnp.log(safe)
        odds = jnp.where(chance > 0, log_chance, -jnp.inf)
        places = batch.action.shape
        shape = (self.number, *places)
        drawn = jax.random.categorical(key_draw, odds, shape=shape)
        every = worth[None]
        of_drawn = jnp.take_along_axis(every, drawn[..., None], axis=-1)
        score = of_drawn[..., 0]
        order = jnp.argsort(-score, axis=0)
        half = self.number // 2

        def one_of(
            key: Array,
            first: int,
        ) -> Int[Array, "P N T"]:
            last = first + half
            rank = jax.random.randint(key, places, first, last)
            which = jnp.take_along_axis(order, rank[None], axis=0)
            chosen = jnp.take_along_axis(drawn, which, axis=0)
            return chosen[0]

        return one_of(key_better, 0), one_of(key_worse, half)


def _margin(
    world: World,
    batch: Batch,
) -> Any:
    """Log pi / ref of every action, 0 where either never takes it."""
    policy = world.probability(batch)
    reference = world.reference_probability(batch)
    known = (policy > 0) & (reference > 0)
    own = jnp.where(known, policy, 1.0)
    other = jnp.where(known, reference, 1.0)
    ratio = own / other
    return jnp.log(ratio)
