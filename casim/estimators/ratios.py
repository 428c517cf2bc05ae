"""Importance ratios as weights: how much likelier the policy does what the behaviour did.

In maths, with rho_u = pi(a_u | o_u) / mu(a_u | o_u) at decisions, pi the policy and mu who acted,
and with U the decisions that step t is weighed with (itself, those of its turn, those up to it, or
all of its trajectory), the ratio of step t is

    w_t = prod_{u in U} rho_u    or    (prod_{u in U} rho_u)^(1 / |U|),

the product or the geometric mean. What of it the weight takes, with bounds low and high:

- no bounds: weight x w;
- "truncate": weight x min(max(w, low), high);
- "ppo": weight x w, but 0 where w > high and the value is positive, or w < low and it is negative:
  what the gradient of min(w c, clip(w) c) keeps;
- "gate": weight x 1[low <= w <= high], without the ratio itself.

Published forms, e for a small number:

| form | recipe |
|---|---|
| importance sampling | `Ratio("sequence")` on a whole return |
| per decision | `Ratio("prefix")` on an advantage of the policy |
| PPO clip | `Ratio("token", bounds=(1 - e, 1 + e), kind="ppo")` |
| CISPO | `Ratio("token", bounds=(1 - e, 1 + e))` |
| truncated importance sampling (TIS) | `Ratio("token", bounds=(0, C))` |
| IcePop | `Chain(Ratio("token"), Ratio("token", bounds=(0.5, 5), kind="gate"))` |
| sequence-masked TIS | the same with `Ratio("sequence", "geometric", bounds, kind="gate")` |
| turn-level PPO | `Ratio("turn", bounds=(1 - e, 1 + e), kind="ppo")` |
| SORL | `Ratio("turn", "geometric", bounds=(0.8, 1.2), kind="ppo")` |
| GSPO | `Chain(OverLength("own"), Ratio("sequence", "geometric", bounds, kind="ppo"))` |

The gradient of a geometric mean is w (1 / |U|) sum_u grad log pi: the share of each token in it is
`OverLength`'s, before the clip, which must not shorten the length.

What is unbiased for the gradient of the policy's return, if mu takes whatever pi does: the product
over the sequence with the whole return, or with whatever else of the trajectory is right on policy;
the product over the prefix with the advantage of the policy. Ratios of tokens or turns correct the
actions and not the states they lead to, the geometric mean is no ratio of probabilities, and bounds
take away what they cut off: all are biased, by how much is in docs/staleness.md.

References:
    Precup, Sutton and Singh 2000 (per-decision importance sampling). Schulman et al. 2017,
    arXiv:1707.06347 (PPO's clip). Zheng et al. 2025, arXiv:2507.18071 (GSPO). MiniMax 2025,
    arXiv:2506.13585 (CISPO). Li et al. 2025, arXiv:2511.20718 (ratios of turns, SORL). Truncated
    importance sampling and IcePop as in the public code of OpenRLHF.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from casim.checks import check_choice, check_range
from casim.estimators import peers
from casim.estimators.base import (
    Part,
    behaviour_log_prob_of,
    check_taken,
    policy_log_prob_of,
)
from casim.simulate import World
from casim.types import Batch

LARGEST_LOG = 40.0
"""Ratios are held at e^40: squares of credit with them are still in the range of float32."""
NEVER = 1e30
"""Size of the logarithm of a ratio of 0 or infinity: sums over a million of them are in range."""

MEANS = ("product", "geometric")
KINDS = ("truncate", "ppo", "gate")

Steps = Float[Array, "P N T"]
Sum = Callable[[World | None, Batch, Steps], Steps]
"""Sums over the decisions that each step is weighed with, given 0 elsewhere."""


def token(
    world: World | None,
    batch: Batch,
    x: Steps,
) -> Steps:
    """The step itself."""
    return x


def turn(
    world: World | None,
    batch: Batch,
    x: Steps,
) -> Steps:
    """The steps of its turn."""
    turns = peers.turn(world, batch)
    return turns.spread(turns.ballot(x))


def prefix(
    world: World | None,
    batch: Batch,
    x: Steps,
) -> Steps:
    """The steps up to it, itself included."""
    return jnp.cumsum(x, axis=-1)


def sequence(
    world: World | None,
    batch: Batch,
    x: Steps,
) -> Steps:
    """All steps of its trajectory."""
    total = jnp.sum(x, axis=-1, keepdims=True)
    return jnp.broadcast_to(total, x.shape)


LEVELS: dict[str, Sum] = {
    "token": token,
    "turn": turn,
    "prefix": prefix,
    "sequence": sequence,
}
"""What a step is weighed with, by the name that is a setting of `Ratio`."""


@final
@dataclasses.dataclass(frozen=True)
class Ratio(Part):
    """Weighs by how much likelier the policy does what the behaviour did; see above for the forms.

    A log brings the logarithms of both (`batch.policy_log_prob`, `batch.log_prob`); for a batch of
    a world the world's door gives the first. Where both policies are one, every ratio is exactly 1.

    Attributes:
        level: the decisions that a step is weighed with: its "token", those of its "turn", of the
            "prefix" up to it, or of the whole "sequence".
        mean: their "product", or their "geometric" mean.
        bounds: the least and the largest ratio, at least 0 and in order; None bounds nothing.
        kind: what bounds do: "truncate", "ppo" or "gate".

    Raises:
        ValueError: a setting out of its range, a gate without bounds, a log without the logarithms
            of the policy or the behaviour, or credit of all actions, which needs no ratio of the
            one taken.
    """

    level: Literal["token", "turn", "prefix", "sequence"] = "token"
    mean: Literal["product", "geometric"] = "product"
    bounds: tuple[float, float] | None = None
    kind: Literal["truncate", "ppo", "gate"] = "truncate"
    needs: ClassVar[frozenset[str]] = frozenset()
    ratio_weighted: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_choice("level", self.level, tuple(LEVELS))
        check_choice("mean", self.mean, MEANS)
        check_choice("kind", self.kind, KINDS)
        if self.bounds is not None:
            low, high = self.bounds
            check_range("bounds[0]", low, 0.0, math.inf)
            check_range("bounds[1]", high, low, math.inf)
        elif self.kind != "truncate":
            raise ValueError(f"bounds must be two numbers for kind {self.kind!r}, got None")

    def apply(self, world, batch, credit):
        check_taken(credit, self)
        ratio = jnp.exp(jnp.minimum(self._log_ratio(world, batch), LARGEST_LOG))
        factor = self._bounded(ratio, credit.value)
        return credit._replace(weight=credit.weight * factor)

    def _log_ratio(
        self,
        world: World | None,
        batch: Batch,
    ) -> Steps:
        """Logarithms of the ratios of all steps, so that no product leaves the range of floats."""
        over = LEVELS[self.level]
        decided = batch.decided
        own = token_log_ratio(world, batch)
        total = over(world, batch, jnp.where(decided, own, 0.0))
        if self.mean == "product":
            return total
        length = over(world, batch, decided.astype(total.dtype))
        return total / jnp.maximum(length, 1.0)

    def _bounded(
        self,
        ratio: Steps,
        value: Steps,
    ) -> Steps:
        """What the weight is multiplied by."""
        if self.bounds is None:
            return ratio
        low, high = self.bounds
        if self.kind == "truncate":
            return jnp.clip(ratio, low, high)
        if self.kind == "gate":
            within = (ratio >= low) & (ratio <= high)
            return within.astype(ratio.dtype)
        return jnp.where(self._clipped(ratio, value), 0.0, ratio)

    def _clipped(
        self,
        ratio: Steps,
        value: Steps,
    ) -> Bool[Array, "P N T"]:
        """Where PPO's objective is flat: the policy has gone far enough where the value points."""
        low, high = self.bounds or (0.0, math.inf)
        far_up = (value > 0) & (ratio > high)
        far_down = (value < 0) & (ratio < low)
        return far_up | far_down


def token_log_ratio(
    world: World | None,
    batch: Batch,
) -> Steps:
    """How much likelier the policy takes the action: log pi(a_t | o_t) - log mu(a_t | o_t), finite.

    Raises:
        ValueError: a log without the logarithms of the policy, or of the behaviour.
    """
    policy = policy_log_prob_of(world, batch)
    impossible = jnp.isneginf(policy)
    # Who imposes an action may be as unlikely to take it: infinity less infinity is no number.
    ratio = jnp.where(impossible, -NEVER, policy - behaviour_log_prob_of(batch))
    return jnp.clip(ratio, -NEVER, NEVER)
