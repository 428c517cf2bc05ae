"""Return redistribution: a step earns what it changed in the predicted return.

In maths, with w_t the product of the discounts of the steps before t, G = sum_u w_u r_u and q_t a
prediction of the return from t on, given what is seen and done there,

    g_t = sum_{u<t} w_u r_u + w_t q_t,    r'_t = g_t - g_{t-1},    g_{-1} = 0,

and the last step earns G - g_t on top: the r' of a trajectory add up to G, whatever q is. With q =
Q, and rewards at the end only, r'_t = A_t + (V_t - Q_{t-1}): the advantage, and the luck of the
transition that led here, which is credited to the action after it.

References:
    Arjona-Medina et al. 2019, arXiv:1806.07857 (RUDDER, whose predictor is an LSTM).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from casim.checks import check_integer
from casim.estimators.accumulate import last_of
from casim.estimators.base import (
    Source,
    check_discount,
    cost,
    count,
    discount_of,
    required,
    time_weights,
)
from casim.ops import class_mean, class_value, returns_to_go, shift_right
from casim.simulate import World
from casim.targets import Redistribution, Target
from casim.types import Batch, Cost, Trajectory


@final
@dataclasses.dataclass(frozen=True)
class ReturnDifferences(Source):
    """Differences of predicted returns. They are rewards: `ToGo` after it adds them up.

    Attributes:
        judge: the name of one that says Q of the action taken, `Judge("q_value")`; None predicts by
            the mean return-to-go of what is seen and done at the step, on fresh rollouts.
        num_rollouts: fresh rollouts for that, at least 1.
        discount: of the return, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range.
    """

    judge: str | None = None
    num_rollouts: int = 64
    discount: float | None = None
    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "model_based"
    target: ClassVar[Target] = Redistribution()

    def __post_init__(self) -> None:
        check_integer("num_rollouts", self.num_rollouts, 1)
        check_discount(self.discount)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"critic"} if self.judge is None else {"judge"})

    @property
    def judges(self) -> frozenset[str]:
        return frozenset() if self.judge is None else frozenset({self.judge})

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        predicted, used = self._predicted(key, world, batch, discount)
        shown = batch.live & batch.counted[..., None]
        weight = time_weights(discount, batch)
        earned = jnp.where(shown, weight * batch.reward, 0.0)
        so_far = jnp.cumsum(earned, axis=-1)
        whole = so_far - earned + weight * predicted
        change = whole - shift_right(whole)
        missing = so_far[..., -1:] - whole
        rest = jnp.where(last_of(batch.live), missing, 0.0)
        return jnp.where(shown, change + rest, 0.0), used

    def _predicted(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        discount: Array | float,
    ) -> tuple[Float[Array, "P N T"], Cost]:
        """The predicted return from each step on, and what it cost to say so."""
        if self.judge is not None:
            said = world.judge(key, batch, self.judge)
            told = jnp.isfinite(said) & batch.live
            return jnp.where(told, said, 0.0), cost(judge_calls=count(told))
        data = world.rollout(key, self.num_rollouts)
        future = returns_to_go(data.reward, discount, data.live)
        actions = world.num_actions
        table = class_mean(
            future,
            _cell(data, actions),
            data.live,
            world.num_observations * actions,
        )
        value = class_value(table, _cell(batch, actions))
        used = count(data.live)
        return value, cost(env_steps=used, critic_updates=used)


def _cell(
    rows: Batch | Trajectory,
    actions: int,
) -> Array:
    """What is seen and done, as one label."""
    return rows.observation.astype(jnp.int32) * actions + rows.action
