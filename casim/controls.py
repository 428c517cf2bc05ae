"""Controls beside every study: what perfect, absent, undifferentiated and misplaced credit score.

In maths: exact c_t = A_t(s_t, a_t); zero c_t = 0; broadcast c_t = G_0; shuffled = the exact credits
of a trajectory, permuted over its decision steps.

References:
    The shuffled control follows the replication reported in Zhang 2026, arXiv:2604.09459, where one
    dense-credit method did no better than its own labels shuffled.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, final

import jax.numpy as jnp
from jaxtyping import Array, Key

from casim.checks import check_choice
from casim.estimators.base import begin, episode_return, to_steps
from casim.ops import shuffle
from casim.oracle.along import advantage_along
from casim.oracle.moments import Known, Recursion, Shuffled, advantage, nothing, whole_return
from casim.simulate import World
from casim.targets import Advantage, Target
from casim.types import Batch, Credit, Truth, recorded

CONTROLS = ("exact", "zero", "broadcast", "shuffled")
_KNOWN = {
    "exact": Recursion(advantage),
    "zero": Recursion(advantage, nothing),
    "broadcast": Recursion(whole_return()),
    "shuffled": Shuffled(),
}


@final
@dataclasses.dataclass(frozen=True)
class Control:
    """One of the controls. Not an estimator: it may read the truth.

    Raises:
        ValueError: an unknown name.
    """

    name: Literal["exact", "zero", "broadcast", "shuffled"]
    target: ClassVar[Target] = Advantage()
    ratio_weighted: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_choice("name", self.name, CONTROLS)

    @property
    def recursion(self) -> Known:
        """What gives its exact moments at any horizon."""
        return _KNOWN[self.name]

    def __call__(self, key: Key[Array, ""], world: World, truth: Truth, batch: Batch) -> Credit:
        """Credit `[P, N, T]` of a batch, free of cost."""
        start = begin(batch)
        value = jnp.where(batch.decided, advantage_along(truth, recorded(batch)), 0.0)
        if self.name == "zero":
            value = jnp.zeros_like(value)
        elif self.name == "broadcast":
            returns = episode_return(batch, world.discount)
            value = to_steps(returns, batch)
        elif self.name == "shuffled":
            steps = value.shape[-1]
            rows = shuffle(key, value.reshape(-1, steps), batch.decided.reshape(-1, steps))
            value = rows.reshape(value.shape)
        return start._replace(value=value)
