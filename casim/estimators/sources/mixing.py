"""Value decomposition: the return of a team, fitted by what each agent's actions say alone.

In maths, with i the agent of step t, gamma_t the product of the discounts of the steps before t,
and Q_i[o, a] a table of its own for each agent, fitted by least squares to the returns of rollouts:

    Q_tot = sum_t gamma_t w_t Q_i[o_t, a_t]                              (additive)
    Q_tot = sum_h |v_h| elu(sum_i |W_hi| U_i + b_h) + c,  U_i = sum_{t of i} gamma_t Q_i[o_t, a_t]
                                                                         (monotone)

and the credit of a step is what Q_tot owes to the action, all else as it was:

    c_t = (Q_tot - sum_b pi(b | o_t) Q_tot with a_t replaced by b) / gamma_t,

which for the additive form is w_t (Q_i[o_t, a_t] - sum_b pi(b | o_t) Q_i[o_t, b]). Where the team's
value is not of the form, this is its projection: synergy and redundancy between agents are lost. In
a log there is no policy: there the average is that of the log, for each agent and observation.

Where an agent sees what another did, the two say the same thing twice and the fit cannot tell them
apart: the least norm halves the effect, and the half on the observation is averaged away.

References:
    Sunehag et al. 2018, arXiv:1706.05296 (VDN: w = 1); Rashid et al. 2018, arXiv:1803.11485 (QMIX:
    monotone, non-negative weights; there they depend on the state); Jiang et al. 2025,
    arXiv:2504.12961 (QLLM: w = n softmax(score), written and not learned). They fit by temporal
    differences and act greedily; the fit to returns and the credit are casim's.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_integer, check_range
from casim.estimators.base import (
    Source,
    cost,
    count,
    discount_of,
    episode_return,
    required,
    time_weights,
)
from casim.estimators.peers import paired
from casim.estimators.sources.players import players
from casim.simulate import World
from casim.sums import label_sum
from casim.targets import Advantage, Target
from casim.types import Batch


class Cells(NamedTuple):
    """Where each step stands in the tables of all agents, which are one list."""

    place: Int[Array, "P N T"]
    """Agent and observation."""
    cell: Int[Array, "P N T"]
    """Agent, observation and action."""
    number: int
    """D, the entries of the list."""


class Model(NamedTuple):
    """A monotone mixer and the tables that it mixes."""

    table: Float[Array, "I K"]
    """Q of each agent, its observations and actions on one axis."""
    inner: Float[Array, "I H"]
    offset: Float[Array, " H"]
    outer: Float[Array, " H"]
    constant: Float[Array, ""]


@final
@dataclasses.dataclass(frozen=True)
class AdditiveMixing(Source):
    """The additive form, by least squares: of several best fits that of the least norm.

    It is the projection of the team's value: where that is additive, it is the agent's own
    advantage but for the error of the fit. A log is fitted itself.

    Attributes:
        num_rollouts: fresh rollouts for the fit, at least 0; with 0 the batch itself is fitted.
        shares: w of each agent, at least 0, if they are constants; none is 1 for each. An agent
            with 0 gets no credit.
        judge: the name of a judge whose scores are turned into shares: w = n softmax(mean score of
            the agent's decisions / temperature) over the n agents; None takes `shares`.
        temperature: of that softmax, positive, in units of the score.

    Raises:
        ValueError: a setting out of its range; when called, another number of shares than agents.
    """

    num_rollouts: int = 256
    shares: tuple[float, ...] = ()
    judge: str | None = None
    temperature: float = 1.0
    granularity: ClassVar[str] = "multi_agent"
    methodology: ClassVar[str] = "game_theoretic"
    target: ClassVar[Target] = Advantage()

    def __post_init__(self) -> None:
        check_integer("num_rollouts", self.num_rollouts, 0)
        check_range("temperature", self.temperature, 1e-6, math.inf)
        object.__setattr__(self, "shares", tuple(self.shares))
        for share in self.shares:
            check_range("shares", share, 0.0, 1e12)

    @property
    def needs(self) -> frozenset[str]:  # pyright: ignore[reportIncompatibleVariableOverride]
        fit = frozenset({"critic" if self.num_rollouts else "group"})
        if self.judge is None:
            return fit
        return fit | {"judge"}

    @property
    def judges(self) -> frozenset[str]:
        if self.judge is None:
            return frozenset()
        return frozenset({self.judge})

    def give(self, key, world, batch):
        to_roll, to_data, to_batch = jax.random.split(key, 3)
        share, asked = self._shares(to_batch, world, batch)
        cells = _cells(world, batch)
        if world is None or self.num_rollouts == 0:
            design = _design(world, batch, cells, share)
            earned = _earned(world, batch)
            table = _least_squares(design, earned)
            used = cost(judge_calls=asked)
        else:
            data = _fresh(to_roll, world, self.num_rollouts)
            of_data, more = self._shares(to_data, world, data)
            own = _cells(world, data)
            design = _design(world, data, own, of_data)
            earned = _earned(world, data)
            table = _least_squares(design, earned)
            fitted = count(data.decided)
            steps = count(data.live)
            used = cost(steps, asked + more, fitted)
        taken = table[cells.cell]
        average = _average(table, world, batch, cells)
        credit = share * (taken - average)
        value = jnp.where(_counted(batch), credit, 0.0)
        return value, used

    def _shares(
        self,
        key: Key[Array, ""],
        world: World | None,
        batch: Batch,
    ) -> tuple[Float[Array, "P N T"], Array | float]:
        """w_t, and the calls of a judge that it took."""
        kind = batch.reward.dtype
        if self.judge is None and not self.shares:
            return jnp.ones(batch.reward.shape, kind), 0.0
        owner, number = players(required(world, self), "agent")
        if self.judge is None:
            check_integer("number of shares", len(self.shares), number, number)
            of_agent = jnp.asarray(self.shares, kind)
            each = of_agent[owner]
            return jnp.broadcast_to(each, batch.reward.shape), 0.0
        asked = required(world, self)
        said = asked.judge(key, batch, self.judge)
        given = batch.decided & jnp.isfinite(said)
        label = jnp.broadcast_to(owner, given.shape)
        votes = label_sum(given.astype(kind), label, number)
        said = jnp.where(given, said, 0.0)
        total = label_sum(said, label, number)
        score = total / jnp.maximum(votes, 1.0)
        odds = score / self.temperature
        share = number * jax.nn.softmax(odds, axis=-1)
        return share[..., owner], count(given)


@final
@dataclasses.dataclass(frozen=True)
class MonotoneMixing(Source):
    """The monotone form, by Adam on all rollouts at once, from new random weights in every call.

    Attributes:
        num_rollouts: fresh rollouts for the fit, at least 1.
        hidden: H, units of the mixer, at least 1.
        num_updates: of Adam, at least 1.
        learning_rate: of Adam, positive.

    Raises:
        ValueError: a setting out of its range.
    """

    num_rollouts: int = 256
    hidden: int = 8
    num_updates: int = 200
    learning_rate: float = 0.05
    granularity: ClassVar[str] = "multi_agent"
    methodology: ClassVar[str] = "game_theoretic"
    target: ClassVar[Target] = Advantage()
    needs: ClassVar[frozenset[str]] = frozenset({"critic"})

    def __post_init__(self) -> None:
        for field in ("num_rollouts", "hidden", "num_updates"):
            check_integer(field, getattr(self, field), 1)
        check_range("learning_rate", self.learning_rate, 1e-8, math.inf)

    def give(self, key, world, batch):
        world = required(world, self)
        to_roll, to_fit = jax.random.split(key)
        data = _fresh(to_roll, world, self.num_rollouts)
        one = jnp.ones_like(data.reward)
        cells = _cells(world, data)
        design = _design(world, data, cells, one)
        by_agent = design.reshape(len(design), world.num_agents, -1)
        earned = _earned(world, data)
        model = self._fit(to_fit, by_agent, earned)
        updates = self.num_updates * count(data.decided)
        steps = count(data.live)
        used = cost(steps, critic_updates=updates)
        return owed(model, world, batch), used

    def _fit(
        self,
        key: Key[Array, ""],
        design: Float[Array, "R I K"],
        earned: Float[Array, " R"],
    ) -> Model:
        """The mixer and its tables, after all updates."""
        import optax

        optimiser = optax.adam(self.learning_rate)

        def loss(
            model: Model,
        ) -> Array:
            utility = jnp.einsum("rik,ik->ri", design, model.table, precision="highest")
            predicted = mixed(model, inputs(model, utility))
            error = predicted - earned
            return jnp.mean(error**2)

        def update(
            carry: tuple[Any, Any],
            _,
        ) -> tuple[tuple[Any, Any], None]:
            model, state = carry
            slope = jax.grad(loss)(model)
            change, state = optimiser.update(slope, state)
            after = optax.apply_updates(model, change)
            return (after, state), None

        start = self._initial(key, design.shape[1:], earned)
        carry = (start, optimiser.init(start))
        carry, _ = jax.lax.scan(update, carry, None, length=self.num_updates)
        model, _ = carry
        return model

    def _initial(
        self,
        key: Key[Array, ""],
        shape: tuple[int, ...],
        earned: Float[Array, " R"],
    ) -> Model:
        """Tables near 0, positive mixing weights, and the mean return."""
        to_table, to_inner, to_outer = jax.random.split(key, 3)
        kind = earned.dtype
        agents = shape[0]
        shape_of_inner = (agents, self.hidden)
        inner = jax.random.uniform(to_inner, shape_of_inner, kind, 0.1, 1.0)
        outer = jax.random.uniform(to_outer, (self.hidden,), kind, 0.1, 1.0)
        return Model(
            table=0.1 * jax.random.normal(to_table, shape, kind),
            inner=inner,
            offset=jnp.linspace(-1.0, 1.0, self.hidden, dtype=kind),
            outer=outer / self.hidden,
            constant=jnp.mean(earned),
        )


def inputs(
    model: Model,
    utility: Float[Array, "*rows I"],
) -> Float[Array, "*rows H"]:
    """What the units of the mixer are given: never less for more utility."""
    inner = jnp.abs(model.inner)
    weighted = jnp.matmul(utility, inner, precision="highest")
    offset = jnp.broadcast_to(model.offset, weighted.shape)
    return weighted + offset


def mixed(
    model: Model,
    given: Float[Array, "*rows H"],
) -> Float[Array, "*rows"]:
    """Q_tot."""
    units = jax.nn.elu(given)
    outer = jnp.abs(model.outer)
    above = jnp.matmul(units, outer, precision="highest")
    return above + model.constant


def owed(
    model: Model,
    world: World,
    batch: Batch,
) -> Float[Array, "P N T"]:
    """What Q_tot loses on average where the action of a step is drawn from the policy again."""
    owner, number = players(world, "agent")
    cells = _cells(world, batch)
    table = model.table.reshape(-1)
    factor = _factor(world, batch)
    own = table[cells.cell]
    label = jnp.broadcast_to(owner, own.shape)
    given_by = factor * own
    utility = label_sum(given_by, label, number)
    given = inputs(model, utility)[..., None, :]
    weight = jnp.abs(model.inner)[owner]
    chance = world.probability(batch)

    def after(
        action: Int[Array, ""],
    ) -> Float[Array, "P N T"]:
        """The chance of another action times what Q_tot is with it."""
        first = cells.place * world.num_actions
        other = table[first + action]
        gain = factor * (other - own)
        gains = gain[..., None]
        change = gains * weight[None, None]
        changed = mixed(model, given + change)
        return chance[..., action] * changed

    actions = jnp.arange(world.num_actions)
    every = jax.lax.map(after, actions)
    on_average = jnp.sum(every, axis=0)
    lost = mixed(model, given) - on_average
    counts = factor > 0
    safe = jnp.where(counts, factor, 1.0)
    return jnp.where(counts, lost / safe, 0.0)


def _fresh(
    key: Key[Array, ""],
    world: World,
    num: int,
) -> Batch:
    """Rollouts as one group."""
    rolled = world.rollout(key, num)
    one_prompt = jax.tree.map(lambda x: x[None], rolled)
    return world.attach(one_prompt)


def _counted(
    batch: Batch,
) -> Array:
    counted = batch.counted[..., None]
    return batch.decided & counted


def _factor(
    world: World | None,
    batch: Batch,
) -> Float[Array, "P N T"]:
    """gamma_t, 0 where nothing is decided."""
    discount = discount_of(world, batch, None)
    weight = time_weights(discount, batch)
    return jnp.where(_counted(batch), weight, 0.0)


def _earned(
    world: World | None,
    batch: Batch,
) -> Float[Array, " R"]:
    """The return of every row, 0 for those that do not count."""
    discount = discount_of(world, batch, None)
    total = episode_return(batch, discount)
    counted = jnp.where(batch.counted, total, 0.0)
    return counted.reshape(-1)


def _cells(
    world: World | None,
    batch: Batch,
) -> Cells:
    """The cells of a batch; a log has those that it met."""
    seen = batch.observation.astype(jnp.int32)
    action = batch.action.astype(jnp.int32)
    if world is None:

        def in_one(x: Array) -> Array:
            return x.reshape(1, -1, x.shape[-1])

        agent = in_one(batch.agent.astype(jnp.int32))
        place = paired(agent, in_one(seen))
        cell = paired(place, in_one(action))
        shape = seen.shape
        place = place.reshape(shape)
        cell = cell.reshape(shape)
        return Cells(place, cell, seen.size)
    owner, agents = players(world, "agent")
    own = jnp.broadcast_to(owner, seen.shape)
    place = own * world.num_observations + seen
    number = agents * world.num_observations * world.num_actions
    cell = place * world.num_actions + action
    return Cells(place, cell, number)


def _design(
    world: World | None,
    batch: Batch,
    cells: Cells,
    share: Float[Array, "P N T"],
) -> Float[Array, "R D"]:
    """How much each entry of the tables counts in each row."""
    weight = _factor(world, batch) * share
    counts = label_sum(weight, cells.cell, cells.number)
    return counts.reshape(-1, cells.number)


def _least_squares(
    design: Float[Array, "R D"],
    earned: Float[Array, " R"],
) -> Float[Array, " D"]:
    """The tables that fit best, of least norm."""
    table, *_ = jnp.linalg.lstsq(design, earned)
    return table


def _average(
    table: Float[Array, " D"],
    world: World | None,
    batch: Batch,
    cells: Cells,
) -> Float[Array, "P N T"]:
    """The mean utility where the agent sees what it sees: over its policy, or over the log."""
    if world is not None:
        actions = jnp.arange(world.num_actions)
        numbers = actions[None, None, None, :]
        first = cells.place[..., None] * world.num_actions
        every = table[first + numbers]
        chance = world.probability(batch)
        return jnp.sum(chance * every, axis=-1)
    counted = _counted(batch).astype(table.dtype)
    met = counted.reshape(1, -1)
    place = cells.place.reshape(1, -1)
    number = label_sum(met, place, cells.number)
    utility = table[cells.cell]
    weighed = met * utility.reshape(1, -1)
    total = label_sum(weighed, place, cells.number)
    mean = total / jnp.maximum(number, 1.0)
    return mean[0][cells.place]
