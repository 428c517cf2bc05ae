"""Generalised advantage estimation over a critic that is given, or learned inside the call.

In maths: A_t = sum_l (discount lambda)^l delta_{t+l}, delta_t = r_t + discount v(o_{t+1}) - v(o_t),
with v of `casim.estimators.sources.tables`.

What the environment's tokens do is where trainers differ. At lambda 0 and discount 1, with values
.5 .6 .9 .1 .7 .8 of which the two in the middle are of such tokens, the decision before them gets
.7 - .6 in verl, 0 - .6 in OpenRLHF, .9 - .6 in SkyRL.

References:
    Schulman et al. 2016, arXiv:1506.02438 (GAE).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_integer
from casim.estimators.accumulate import onto_decisions
from casim.estimators.sources.tables import TableCritic
from casim.ops import Discount, gae
from casim.recurrence import affine_scan


@final
@dataclasses.dataclass(frozen=True)
class Gae(TableCritic):
    """GAE over a tabular critic.

    With lambda = 1 its mean in a cell is Q_t(s, a) minus the critic's value of the observation,
    whatever that is, and the gradient is exact; with a critic that is V itself it is unbiased at
    every lambda. A learned critic and lambda < 1 give bias, so no claim is made for the defaults.

    Attributes:
        lambda_: of the advantage, in [0, 1].
        fit: "monte_carlo", "td", or "traces"; of a batch without values. This and the next are
            those of `TableCritic`.
        num_rollouts: fresh rollouts for the fit, or 0 for the scored batch itself.
        critic_lambda: of the TD fit, in [0, 1].
        num_sweeps: of the TD fit, at least 1.
        learning_rate: of the TD fit, in (0, 1].
        discount: of values and advantage, in [0, 1]; None is the world's, see `discount_of`.
        gaps: what the environment's tokens are to the advantage: steps that "count", with values of
            their own (SkyRL); "skipped", as if they were not there (verl); or "zeroed", steps of
            value 0 that earn nothing, their reward given to the last decision (OpenRLHF).
        steps: the advantage sums so many errors, at least 1; None is all of them.

    Raises:
        ValueError: a setting out of its range.
    """

    gaps: Literal["count", "skipped", "zeroed"] = "count"
    steps: int | None = None
    granularity: ClassVar[str] = "token"
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("gaps", self.gaps, ("count", "skipped", "zeroed"))
        if self.steps is not None:
            check_integer("steps", self.steps, 1)

    def advantage(self, batch, value, discount):
        where = batch.live & batch.counted[..., None]
        reward = jnp.where(where, batch.reward, 0.0)
        value = jnp.where(where, value, 0.0)
        if self.gaps == "skipped":
            where = where & batch.decision
        if self.gaps == "zeroed":
            value = jnp.where(batch.decision, value, 0.0)
            reward = onto_decisions(reward, batch)
        if self.steps is None:
            return gae(reward, value, where, discount, self.lambda_)
        error = gae(reward, value, where, discount, 0.0)
        return some_errors(error, where, discount * self.lambda_, self.steps)


def some_errors(
    error: Float[Array, "P N T"],
    where: Bool[Array, "P N T"],
    factor: Discount,
    steps: int,
) -> Float[Array, "P N T"]:
    """The errors of each step in `where` and of the next ones, `steps` in all, discounted.

    In maths: A^(n)_t = delta_t + factor_t A^(n-1) of the next step, from A^(0) = 0.
    """

    def longer(shorter: Array, _) -> tuple[Array, None]:
        following = affine_scan(0.0, shorter, where, reverse=True, exclusive=True)
        return jnp.where(where, error + factor * following, 0.0), None

    return jax.lax.scan(longer, jnp.zeros_like(error), None, length=steps)[0]
