"""NewEstimator: reward-to-go minus what the rest of the group earns from the same step on.

In maths: c_it = G_it - (1 / (N - 1)) sum_{j != i} G_jt, with G the discounted reward-to-go.

Check it against the contract, which tests every claim below:

    python new_estimator.py

Then put it into a study, in an experiment file (`casim new experiment NAME` writes one):

    from new_estimator import NewEstimator
    casim.Study("name", tasks, (NewEstimator(), casim.methods.RLOO))

References:
    Author, year, arXiv id.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp

from casim.estimators import Source
from casim.estimators.base import check_discount, cost, discount_of, keeps_discount
from casim.ops import returns_to_go
from casim.targets import Advantage, Target


@final
@dataclasses.dataclass(frozen=True)
class NewEstimator(Source):
    """Reward-to-go with a baseline of the other trajectories at the same step.

    Attributes:
        discount: of the rewards, in [0, 1]; None is the world's.

    Raises:
        ValueError: a setting out of its range.
    """

    # Fields are settings: they are part of the row, and `casim ablate` can vary them.
    discount: float | None = None

    # The taxonomy; `casim.estimators.base` lists what each may be.
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    # What the credit of a step is meant to be.
    target: ClassVar[Target] = Advantage()
    # What it uses beyond its own trajectory. With "reset", "judge" or "privileged" it may call
    # `world.branch`, `world.judge`, `world.privileged`, and says in `cost(...)` what that took.
    needs: ClassVar[frozenset[str]] = frozenset({"group"})
    # What it is unbiased for: "target" or "advantage" in every cell, or the policy "gradient".
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __post_init__(self) -> None:
        check_discount(self.discount)

    def claims(self, discount: float) -> frozenset[str]:
        """What of `unbiased` holds in a world of this discount: here all, if it is one's own."""
        return self.unbiased if keeps_discount(self.discount, discount) else frozenset()

    def give(self, key, world, batch):
        """Credit `[P, N, T]`, P prompts x N trajectories, 0 where not live; and its cost."""
        discount = discount_of(world, batch, self.discount)
        future = returns_to_go(batch.reward, discount, batch.live)
        others = max(future.shape[1] - 1, 1)
        baseline = (jnp.sum(future, axis=1, keepdims=True) - future) / others
        return jnp.where(batch.live, future - baseline, 0.0), cost()


if __name__ == "__main__":
    from casim.testing import check_estimator

    check_estimator(NewEstimator())
    print("NewEstimator passes the contract of estimators")
