"""Values of the policy from rollouts of another: V-trace and Retrace.

In maths, with rho_t = pi(a_t | o_t) / mu(a_t | o_t), 1 where nothing is decided, d_t the discount,
and all values 0 after the end. V-trace, with c_t = lambda min(c_bar, rho_t):

    delta_t = r_t + d_t V_{t+1} - V_t,      e_t = min(rho_bar, rho_t) delta_t + d_t c_t e_{t+1},
    target of V_t: V_t + e_t,               credit_t = delta_t + d_t lambda e_{t+1},

which at lambda = 1 is r_t + d_t v_{t+1} - V_t; its weight in the gradient is min(rho_bar, rho_t).
Retrace(lambda), with c_t = lambda min(1, rho_t) and V(o) = sum_a pi(a | o) Q(o, a):

    delta_t = r_t + d_t V(o_{t+1}) - Q(o_t, a_t),      e_t = delta_t + d_t c_{t+1} e_{t+1},
    target of Q_t: Q_t + e_t,                          credit_t = Q_t + e_t - V(o_t).

Where mu is pi, V-trace's credit is GAE(lambda). With exact values and no bounds its mean in a cell
is the advantage of pi, and Retrace's is so for any mu. With bounds V-trace's targets have as fixed
point the values of pi_rho, proportional to min(rho_bar mu, pi), and not those of pi.

References:
    Espeholt et al. 2018, arXiv:1802.01561 (V-trace); Munos et al. 2016, arXiv:1606.02647 (Retrace).
    The mixture of lambda into the credit of V-trace is that of rlax.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from casim.checks import check_integer, check_range
from casim.estimators.base import (
    Source,
    behaviour_log_prob_of,
    check_discount,
    cost,
    count,
    discount_of,
    policy_log_prob_of,
    required,
    rows_of,
)
from casim.ops import Discount, class_mean, class_value, shift_left
from casim.recurrence import affine_scan
from casim.simulate import World
from casim.targets import Advantage, Target
from casim.types import Batch, Cost, Trajectory

LARGEST_LOG = 40.0
"""Ratios are held at e^40, which bounds cut off in any case."""

Steps = Float[Array, "*rows T"]


class Traced(NamedTuple):
    """What an off-policy rule says of each step."""

    error: Steps
    """Target less the value that there was."""
    credit: Steps


def vtrace(
    reward: Steps,
    value: Steps,
    ratio: Steps,
    live: Bool[Array, "*rows T"],
    discount: Discount,
    lambda_: float = 1.0,
    rho_bar: float | None = 1.0,
    c_bar: float | None = 1.0,
) -> Traced:
    """V-trace, see above; what is not live counts nothing, and gets 0."""
    value = jnp.where(live, value, 0.0)
    reward = jnp.where(live, reward, 0.0)
    ratio = jnp.where(live, ratio, 0.0)
    each = jnp.broadcast_to(discount, reward.shape)
    delta = jnp.where(live, reward + each * shift_left(value) - value, 0.0)
    trace = each * lambda_ * jnp.clip(ratio, max=c_bar)
    error = affine_scan(trace, jnp.clip(ratio, max=rho_bar) * delta, reverse=True)
    credit = delta + each * lambda_ * shift_left(error)
    return Traced(error, jnp.where(live, credit, 0.0))


def retrace(
    reward: Steps,
    taken: Steps,
    value: Steps,
    ratio: Steps,
    live: Bool[Array, "*rows T"],
    discount: Discount,
    lambda_: float = 1.0,
) -> Traced:
    """Retrace, see above; `taken` is Q of the action taken, `value` its mean under the policy."""
    value = jnp.where(live, value, 0.0)
    reward = jnp.where(live, reward, 0.0)
    ratio = jnp.where(live, ratio, 0.0)
    each = jnp.broadcast_to(discount, reward.shape)
    delta = jnp.where(live, reward + each * shift_left(value) - taken, 0.0)
    trace = each * lambda_ * shift_left(jnp.minimum(ratio, 1.0))
    error = affine_scan(trace, delta, reverse=True)
    credit = taken + error - value
    return Traced(error, jnp.where(live, credit, 0.0))


@final
@dataclasses.dataclass(frozen=True)
class VTrace(Source):
    """V-trace's advantage, by the values of the batch or of a table fitted to its own targets.

    The table's rollouts are those of the behaviour, and are charged. In the gradient the credit is
    to be weighed by `Ratio("token", bounds=(0, rho_bar))`; what is not corrected is which states
    the behaviour comes to.

    Attributes:
        lambda_: of the traces, in [0, 1].
        rho_bar: the largest ratio of an error, positive; None bounds nothing.
        c_bar: the largest ratio of a trace, positive; None bounds nothing.
        num_rollouts: fresh rollouts for the fit; 0 fits to the scored batch itself.
        num_sweeps: sweeps of v <- v + rate (mean target of the cell - v), at least 1.
        learning_rate: the rate, in (0, 1].
        discount: of values and advantage, in [0, 1]; None is the world's, see `discount_of`.

    Raises:
        ValueError: a setting out of its range, or a log without the logarithms of both policies.
    """

    lambda_: float = 1.0
    rho_bar: float | None = 1.0
    c_bar: float | None = 1.0
    num_rollouts: int = 16
    num_sweeps: int = 10
    learning_rate: float = 0.5
    discount: float | None = None
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic"})

    def __post_init__(self) -> None:
        _check_fit(self)
        for field in ("rho_bar", "c_bar"):
            bound = getattr(self, field)
            if bound is not None:
                check_range(field, bound, 1e-12, math.inf)

    def give(self, key, world, batch):
        discount = discount_of(world, batch, self.discount)
        value, used = self._values(key, world, batch, discount)
        live = batch.live & batch.counted[..., None]
        policy = policy_log_prob_of(world, batch)
        ratio = _ratio(policy, behaviour_log_prob_of(batch), batch.decided)
        return self._traced(batch.reward, value, ratio, live, discount).credit, used

    def _traced(
        self,
        reward: Steps,
        value: Steps,
        ratio: Steps,
        live: Bool[Array, "*rows T"],
        discount: Discount,
    ) -> Traced:
        settings = self.lambda_, self.rho_bar, self.c_bar
        return vtrace(reward, value, ratio, live, discount, *settings)

    def _values(
        self,
        key: Key[Array, ""],
        world: World | None,
        batch: Batch,
        discount: Discount,
    ) -> tuple[Steps, Cost]:
        """The value before each step, and what the fit used."""
        if batch.value is not None:
            return batch.value, cost()
        world = required(world, self)
        data, used = _data(key, world, batch, self.num_rollouts)
        ratio = _ratio_of_rows(world, data)
        size = world.num_observations

        def sweep(table: Array, _) -> tuple[Array, None]:
            value = class_value(table, data.observation)
            error = self._traced(data.reward, value, ratio, data.live, discount).error
            mean = class_mean(value + error, data.observation, data.live, size)
            return table + self.learning_rate * (mean - table), None

        table = jnp.zeros((data.reward.shape[-1], size), data.reward.dtype)
        table = jax.lax.scan(sweep, table, None, length=self.num_sweeps)[0]
        updates = self.num_sweeps * count(data.live)
        paid = cost(env_steps=used, critic_updates=updates)
        return class_value(table, batch.observation), paid


@final
@dataclasses.dataclass(frozen=True)
class Retrace(Source):
    """Retrace's target less the value, by a table of all actions or by a judge of them.

    The table's rollouts are those of the behaviour, and are charged; actions that were never taken
    are worth what others are at their step. A judge of all actions (`casim.graders.PerAction` of
    the signal "q_value") takes the table's place.

    Attributes:
        lambda_: of the traces, in [0, 1].
        num_rollouts: fresh rollouts for the fit; 0 fits to the scored batch itself.
        num_sweeps: sweeps of Q <- Q + rate (mean target of the cell - Q), at least 1.
        learning_rate: the rate, in (0, 1].
        discount: of values, in [0, 1]; None is the world's, see `discount_of`.
        judge: the name of a judge of all actions; None fits a table.

    Raises:
        ValueError: a setting out of its range.
    """

    lambda_: float = 1.0
    num_rollouts: int = 16
    num_sweeps: int = 10
    learning_rate: float = 0.5
    discount: float | None = None
    judge: str | None = None
    granularity: ClassVar[str] = "token"
    methodology: ClassVar[str] = "temporal_difference"
    target: ClassVar[Target] = Advantage()

    def __post_init__(self) -> None:
        _check_fit(self)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return frozenset({"critic"} if self.judge is None else {"judge"})

    @property
    def judges(self) -> frozenset[str]:
        return frozenset() if self.judge is None else frozenset({self.judge})

    def give(self, key, world, batch):
        world = required(world, self)
        discount = discount_of(world, batch, self.discount)
        chance = world.probability(batch)
        q_value, used = self._q_values(key, world, batch, discount)
        live = batch.live & batch.counted[..., None]
        policy = world.policy_log_prob(batch)
        ratio = _ratio(policy, behaviour_log_prob_of(batch), batch.decided)
        taken, value = _of_actions(q_value, chance, batch)
        return self._traced(batch.reward, taken, value, ratio, live, discount).credit, used

    def _traced(
        self,
        reward: Steps,
        taken: Steps,
        value: Steps,
        ratio: Steps,
        live: Bool[Array, "*rows T"],
        discount: Discount,
    ) -> Traced:
        return retrace(reward, taken, value, ratio, live, discount, self.lambda_)

    def _q_values(
        self,
        key: Key[Array, ""],
        world: World,
        batch: Batch,
        discount: Discount,
    ) -> tuple[Float[Array, "P N T A"], Cost]:
        """The value of every action at each step, and what it used."""
        if self.judge is not None:
            said = world.judge(key, batch, self.judge)
            heard = jnp.isfinite(said)
            return jnp.where(heard, said, 0.0), cost(judge_calls=count(heard))
        data, used = _data(key, world, batch, self.num_rollouts)
        table = self._table(world, data, discount)
        updates = self.num_sweeps * count(data.live)
        paid = cost(env_steps=used, critic_updates=updates)
        return _of_observations(table, batch), paid

    def _table(
        self,
        world: World,
        data: Trajectory,
        discount: Discount,
    ) -> Float[Array, "T O A"]:
        """The fitted critic."""
        chance = world.probability(data)
        ratio = _ratio_of_rows(world, data)
        actions = world.num_actions
        cells = world.num_observations * actions
        cell = data.observation.astype(jnp.int32) * actions + data.action
        shape = data.reward.shape[-1], world.num_observations, actions

        def sweep(table: Array, _) -> tuple[Array, None]:
            q_value = _of_observations(table, data)
            taken, value = _of_actions(q_value, chance, data)
            error = self._traced(data.reward, taken, value, ratio, data.live, discount).error
            mean = class_mean(taken + error, cell, data.live, cells)
            return table + self.learning_rate * (mean.reshape(shape) - table), None

        table = jnp.zeros(shape, data.reward.dtype)
        return jax.lax.scan(sweep, table, None, length=self.num_sweeps)[0]


def _check_fit(source: VTrace | Retrace) -> None:
    """Raises `ValueError` unless the settings that both share are in their ranges."""
    check_range("lambda_", source.lambda_, 0.0, 1.0)
    check_integer("num_rollouts", source.num_rollouts, 0)
    check_integer("num_sweeps", source.num_sweeps, 1)
    check_range("learning_rate", source.learning_rate, 1e-6, 1.0)
    check_discount(source.discount)


def _data(
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    num: int,
) -> tuple[Trajectory, Float[Array, ""] | float]:
    """What a table is fitted to, and the steps that were played for it."""
    if num == 0:
        return rows_of(batch), 0.0
    data = world.rollout(key, num)
    return data, count(data.live)


def _ratio_of_rows(
    world: World,
    data: Trajectory,
) -> Float[Array, "N T"]:
    decided = data.live & world.decision[None]
    return _ratio(world.policy_log_prob(data), data.log_prob, decided)


def _ratio(
    policy: Steps,
    behaviour: Steps,
    decided: Bool[Array, "*rows T"],
) -> Steps:
    """Pi over mu of the action taken; 1 where nothing is decided."""
    # Who imposes an action may be as unlikely to take it: infinity less infinity is no number.
    log = jnp.where(jnp.isneginf(policy), -jnp.inf, policy - behaviour)
    ratio = jnp.exp(jnp.minimum(log, LARGEST_LOG))
    return jnp.where(decided, ratio, 1.0)


def _of_observations(
    table: Float[Array, "T O A"],
    batch: Batch | Trajectory,
) -> Float[Array, "*rows T A"]:
    """The row of what was seen at each step."""
    return table[jnp.arange(table.shape[0]), batch.observation]


def _of_actions(
    q_value: Float[Array, "*rows T A"],
    chance: Float[Array, "*rows T A"],
    batch: Batch | Trajectory,
) -> tuple[Steps, Steps]:
    """The value of the action taken, and the mean under the policy."""
    action = batch.action.astype(jnp.int32)[..., None]
    taken = jnp.take_along_axis(q_value, action, axis=-1)[..., 0]
    return taken, jnp.sum(chance * q_value, axis=-1)
