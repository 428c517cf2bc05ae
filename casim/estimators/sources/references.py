"""Log-ratios of the policy and a reference: rewards that a policy carries in itself.

In maths, c_t = beta log pi(a_t | o_t) / pi_ref(a_t | o_t) at the decisions.

References:
    Rafailov et al. 2024, arXiv:2404.12358; Fei et al. 2025, arXiv:2507.01551 (SPRO); Yao et al.
    2026, arXiv:2601.10201 (PRL).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.checks import check_choice, check_range
from casim.estimators.base import Part, Source, behaviour_log_prob_of, cost
from casim.simulate import World
from casim.targets import Soft, Target
from casim.types import Batch


@final
@dataclasses.dataclass(frozen=True)
class LogRatio(Source):
    """Beta times the log of the policy's over the reference's probability of the action taken.

    Attributes:
        beta: finite.
        of: whose probability is over the reference's: that of the "policy", or of the "behaviour",
            who acted.

    Raises:
        ValueError: a setting out of its range; or neither the log nor a world has a reference.
    """

    beta: float = 1.0
    of: Literal["policy", "behaviour"] = "policy"
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Soft()
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __post_init__(self) -> None:
        check_range("beta", self.beta, -1e12, 1e12)
        check_choice("of", self.of, ("policy", "behaviour"))

    def give(self, key, world, batch):
        if self.of == "behaviour" and batch.log_prob is not None:
            batch = batch._replace(policy_log_prob=batch.log_prob)
        return self.beta * log_ratio(world, batch), cost()


@final
@dataclasses.dataclass(frozen=True)
class LessDivergence(Part):
    """The value less beta times the log-ratio of the whole trajectory, summed over its decisions.

    Attributes:
        beta: at least 0.

    Raises:
        ValueError: as `LogRatio`.
    """

    beta: float = 0.05
    needs: ClassVar[frozenset[str]] = frozenset({"reference"})

    def __post_init__(self) -> None:
        check_range("beta", self.beta, 0.0, 1e12)

    def apply(self, world, batch, credit):
        total = jnp.sum(log_ratio(world, batch), axis=-1, keepdims=True)
        value = credit.value - self.beta * total
        return credit._replace(value=jnp.where(batch.live, value, 0.0))


def log_ratio(
    world: World | None,
    batch: Batch,
) -> Float[Array, "P N T"]:
    """Log pi / pi_ref of the action taken, 0 where nothing is decided.

    A log's own columns come first; its policy is whoever took the action, if it says nothing else.

    Raises:
        ValueError: neither has a reference.
    """
    decided = batch.decided & batch.counted[..., None]
    own = own_log_prob_of(world, batch)
    return jnp.where(decided, own - reference_log_prob_of(world, batch), 0.0)


def own_log_prob_of(
    world: World | None,
    batch: Batch,
) -> Float[Array, "P N T"]:
    """Log pi of the action taken; in a log that does not say, that of who took it."""
    if batch.policy_log_prob is not None:
        return batch.policy_log_prob
    return behaviour_log_prob_of(batch) if world is None else world.policy_log_prob(batch)


def reference_log_prob_of(
    world: World | None,
    batch: Batch,
) -> Float[Array, "P N T"]:
    """Log pi_ref of the action taken: of the log, or of the world.

    Raises:
        ValueError: neither has one.
    """
    if batch.reference_log_prob is not None:
        return batch.reference_log_prob
    if world is None:
        where = "batch.reference_log_prob must be given where there is no world"
        raise ValueError(f"{where}, got None")
    return world.reference_log_prob(batch)
