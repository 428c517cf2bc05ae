"""Two roles beside a solo run: who speaks first is credited by what it changed.

In maths, with R the return of the trajectory, S that of a replay in which its first unit is absent,
D = R - S, and z_x(y) = (y - mu_x) / (sigma_x + epsilon) with statistics of x that are remembered
from call to call:

    "gated"    first unit tanh(alpha z_D(D)), others g z_R(R) + (1 - g) z_S(S),
               g = 1 / (1 + exp(-eta mu_D / (sigma_D + epsilon))),
    "helped"   first unit Y_R + lambda (1{Y_R > 0 > B} - 1{Y_R < 0 < B}), others Y_R,
    "margin"   first unit Y_R + lambda (Y_R - B) / 2, others Y_R,

with Y = 1 of a success, else -1, and B the mean of the group's Y_S: the first unit helped where the
group fails without it, and hurt where the group succeeds. Statistics are exponential averages of
the batches' means and variances (a variance up to 1e-6 counts as 1). They are read before they are
renewed: with fewer samples than `warm` values are handed on as they are.

References:
    Li et al. 2026, arXiv:2603.21563 (CCPO), and its code at bhai114/ccpo.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import Estimator, add_costs, cost, discount_of, required
from casim.estimators.sources.absent import PLAYERS, Player, Without, players
from casim.ops import mean as mean_of
from casim.types import Batch, Credit

FORMS = ("gated", "helped", "margin")
EPSILON = 1e-6
SMALL = 1e-6
"""A variance up to this counts as 1."""


class Remembered(NamedTuple):
    """What is known of a number from the batches so far."""

    mean: Float[Array, ""]
    variance: Float[Array, ""]
    number: Float[Array, ""]
    """Samples seen."""

    @classmethod
    def nothing(cls) -> Remembered:
        """Before the first batch."""
        zero = jnp.zeros(())
        return cls(zero, zero, zero)

    @property
    def deviation(self) -> Float[Array, ""]:
        """1 where the variance is as good as 0."""
        large = self.variance > SMALL
        return jnp.sqrt(jnp.where(large, self.variance, 1.0))

    def score(
        self,
        x: Float[Array, "*shape"],
    ) -> Float[Array, "*shape"]:
        """(x - mean) / (deviation + epsilon)."""
        return (x - self.mean) / (self.deviation + EPSILON)

    def renewed(
        self,
        x: Float[Array, "P N"],
        counted: Array,
        decay: float,
    ) -> Remembered:
        """After a batch; the first one sets the averages."""
        mean = mean_of(x, where=counted).reshape(())
        square = (x - mean) ** 2
        variance = mean_of(square, where=counted).reshape(())
        fresh = self.number == 0
        kept = jnp.where(fresh, 0.0, decay)
        return Remembered(
            kept * self.mean + (1.0 - kept) * mean,
            kept * self.variance + (1.0 - kept) * variance,
            self.number + jnp.sum(counted),
        )


@final
@dataclasses.dataclass(frozen=True)
class BesideSolo(Estimator):
    """Credit by role, from one solo replay of every trajectory.

    The first unit is absent in the replay, the policy plays the rest; the replay is charged. Every
    replicate of a study starts anew: there "gated" hands on what it is given.

    Attributes:
        form: "gated", "helped" or "margin".
        unit: "turn" or "agent" (or "step", "segment"): the first of them has the first role.
        null: the action of who is absent, at least 0.
        slope: alpha, positive.
        gate: eta.
        bonus: lambda.
        decay: of the averages, in [0, 1).
        warm: samples before they are used, at least 1.

    Raises:
        ValueError: a setting out of its range.
    """

    form: Literal["gated", "helped", "margin"] = "gated"
    unit: Player = "turn"
    null: int = 0
    slope: float = 1.0
    gate: float = 1.0
    bonus: float = 0.2
    decay: float = 0.99
    warm: int = 10
    granularity: ClassVar[str] = "turn"
    methodology: ClassVar[str] = "game_theoretic"
    needs: ClassVar[frozenset[str]] = frozenset({"reset", "group"})

    def __post_init__(self) -> None:
        check_choice("form", self.form, FORMS)
        check_choice("unit", self.unit, PLAYERS)
        check_integer("null", self.null, 0)
        check_range("slope", self.slope, 1e-12, math.inf)
        check_range("gate", self.gate, -1e12, 1e12)
        check_range("bonus", self.bonus, -1e12, 1e12)
        check_range("decay", self.decay, 0.0, 1.0)
        check_integer("warm", self.warm, 1)

    @property
    def stateful(self) -> bool:
        return self.form == "gated"

    def init(self, key, world) -> Any:
        if self.form != "gated":
            return ()
        return tuple(Remembered.nothing() for _ in range(3))

    def __call__(self, key, world, batch, credit, state):
        world = required(world, self)
        label, _ = players(world, self.unit)
        role = label == label[0]
        solo = Without(self.unit, self.null)
        discount = discount_of(world, batch, None)
        joint, alone, played = solo.branched(
            key,
            world,
            batch,
            role,
            discount,
        )
        first, others, state = self._roles(batch, joint, alone, state)
        of_role, of_others = first[..., None], others[..., None]
        each = jnp.where(role, of_role, of_others)
        shown = batch.live & batch.counted[..., None]
        value = jnp.where(shown, each, 0.0)
        paid = add_costs(credit.cost, cost(env_steps=played))
        return Credit(value, credit.weight, paid), state

    def _roles(
        self,
        batch: Batch,
        joint: Float[Array, "P N"],
        alone: Float[Array, "P N"],
        state: Any,
    ) -> tuple[Float[Array, "P N"], Float[Array, "P N"], Any]:
        """What each role gets, and what is remembered."""
        if self.form == "gated":
            return self._gated(batch, joint, alone, state)
        right, right_alone = _sign(joint), _sign(alone)
        counted = batch.counted
        # Of whole numbers, so that a mean of 0 is exactly that.
        total = jnp.sum(right_alone, axis=-1, where=counted, keepdims=True)
        number = jnp.sum(counted, axis=-1, keepdims=True)
        baseline = total / jnp.maximum(number, 1)
        changed = (right - baseline) / 2
        if self.form == "helped":
            helped = (right > 0) & (baseline < 0)
            hurt = (right < 0) & (baseline > 0)
            changed = 1.0 * helped - 1.0 * hurt
        return right + self.bonus * changed, right, state

    def _gated(
        self,
        batch: Batch,
        joint: Float[Array, "P N"],
        alone: Float[Array, "P N"],
        state: tuple[Remembered, Remembered, Remembered],
    ) -> tuple[Float[Array, "P N"], Float[Array, "P N"], Any]:
        """The first role by what it changed, the others by both runs."""
        gain = joint - alone
        of_gain, of_joint, of_solo = state
        known = of_gain.number >= self.warm
        squashed = jnp.tanh(self.slope * of_gain.score(gain))
        lean = of_gain.mean / (of_gain.deviation + EPSILON)
        opened = jax.nn.sigmoid(self.gate * lean)
        share = jnp.where(known, opened, 0.5)
        together = jnp.where(known, of_joint.score(joint), joint)
        apart = jnp.where(known, of_solo.score(alone), alone)
        first = jnp.where(known, squashed, gain)
        others = share * together + (1.0 - share) * apart
        counted, decay = batch.counted, self.decay
        renewed = (
            of_gain.renewed(gain, counted, decay),
            of_joint.renewed(joint, counted, decay),
            of_solo.renewed(alone, counted, decay),
        )
        return first, others, renewed


def _sign(
    outcome: Float[Array, "P N"],
) -> Float[Array, "P N"]:
    """1 of a success, else -1."""
    return jnp.where(outcome > 0, 1.0, -1.0)
