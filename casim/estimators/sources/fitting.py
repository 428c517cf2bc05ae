"""How a model is fitted: on fresh groups, which are charged, by an optax optimiser.

In maths: theta minimises the mean of an objective (`casim.estimators.sources.objectives`) over the
groups, plus ridge / 2 sum theta^2, from theta = 0. By "momentum" a table goes to the least squares
solution of smallest norm where there are many; by "adam" it goes somewhere faster.

References:
    Kingma and Ba 2015, arXiv:1412.6980 (Adam); Nesterov 1983 (momentum).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_choice, check_integer, check_range
from casim.estimators.base import add_costs, check_recipes, cost, count
from casim.estimators.sources.descent import descend
from casim.estimators.sources.models import Model, Shape, Tabular, look_up
from casim.estimators.sources.objectives import Lesson, Objective
from casim.estimators.sources.sights import Shown, Sight
from casim.estimators.units import decisions
from casim.simulate import World
from casim.sums import cell_sums
from casim.types import Batch, Cost

Theta = Float[Array, "P N T A"]
Form = Callable[[Theta, Any], Theta]
"""What is made of theta at every step, with what else is known of the step: scores of actions."""
Loss = Callable[[Key[Array, ""], Theta, Any], Float[Array, ""]]
"""Of a key, theta at every step, and what else is given of the groups."""


def itself(
    theta: Float[Array, "P N T A"],
    _: Any,
) -> Float[Array, "P N T A"]:
    """Scores that are theta."""
    return theta


def log_ratios(
    theta: Float[Array, "P N T A"],
    prior: Float[Array, "P N T A"],
) -> Float[Array, "P N T A"]:
    """The log of a policy over its reference: theta less log sum_a ref(a) exp(theta_a).

    0 for what the reference never does.
    """
    possible = prior > 0
    inside = jnp.where(possible, theta, -jnp.inf)
    largest = jnp.max(inside, axis=-1, keepdims=True)
    largest = jax.lax.stop_gradient(largest)
    away = jnp.where(possible, theta - largest, 0.0)
    # Exactly 0 where theta is: the probabilities of a reference add up to 1 but for rounding.
    growth = prior * jnp.expm1(away)
    change = jnp.sum(growth, axis=-1, keepdims=True)
    ratio = away - jnp.log1p(change)
    return jnp.where(possible, ratio, 0.0)


@final
@dataclasses.dataclass(frozen=True)
class Fit:
    """A recipe for a fit.

    Attributes:
        model: what is fitted.
        sight: what it is shown of a step.
        num_prompts: groups that it is fitted to, at least 1.
        num_rollouts: in each, at least 1.
        num_updates: steps of the optimiser, at least 1.
        minibatch: groups in each of them, drawn with replacement, at least 1; None takes all.
        learning_rate: positive; Adam's falls to 0 as a cosine.
        optimiser: "adam" or "momentum".
        ridge: of the penalty, at least 0.

    Raises:
        ValueError: a setting out of its range.
    """

    model: Model = Tabular()
    sight: Sight = Shown()
    num_prompts: int = 4
    num_rollouts: int = 8
    num_updates: int = 100
    minibatch: int | None = None
    learning_rate: float = 0.1
    optimiser: Literal["adam", "momentum"] = "adam"
    ridge: float = 0.0

    def __post_init__(self) -> None:
        check_recipes(self, model=Model, sight=Sight)
        for field in ("num_prompts", "num_rollouts", "num_updates"):
            check_integer(field, getattr(self, field), 1)
        if self.minibatch is not None:
            check_integer("minibatch", self.minibatch, 1)
        check_range("learning_rate", self.learning_rate, 1e-8, math.inf)
        check_choice("optimiser", self.optimiser, ("adam", "momentum"))
        check_range("ridge", self.ridge, 0.0, math.inf)

    def rollouts(
        self,
        key: Key[Array, ""],
        world: World,
    ) -> tuple[Batch, Cost]:
        """Fresh groups, and what they cost."""
        batch = world.groups(key, self.num_prompts, self.num_rollouts)
        return batch, cost(env_steps=count(batch.live))

    def table(
        self,
        key: Key[Array, ""],
        shape: Shape,
        objective: Objective,
        lesson: Lesson,
        label: Int[Array, "P N T"],
        form: Form = itself,
        prior: Float[Array, "P N T A"] | None = None,
    ) -> Float[Array, "K L A"]:
        """Theta after the fit.

        Args:
            key: of minibatches, and of what the objective draws.
            shape: of theta.
            objective: what is minimised.
            lesson: what is learned from.
            label: of its steps.
            form: what scores are made of theta.
            prior: handed to it.
        """

        def loss(
            key: Array,
            theta: Array,
            given: tuple[Lesson, Any],
        ) -> Float[Array, ""]:
            some, known = given
            score = of_taken(form(theta, known), some.batch)
            return objective.loss(key, score, some)

        return self.minimised(key, shape, label, (lesson, prior), loss)

    def minimised(
        self,
        key: Key[Array, ""],
        shape: Shape,
        label: Int[Array, "P N T"],
        given: Any,
        loss: Loss,
    ) -> Float[Array, "K L A"]:
        """Theta of the least loss that may look at all of it, not only at the action taken.

        Args:
            key: of minibatches, and of what the loss draws.
            shape: of theta.
            label: of the steps that are learned from.
            given: what else the loss reads: arrays whose first axis are the groups.
            loss: see `Loss`.
        """
        groups = label.shape[0]
        every = (label, given)

        def error(
            params: Any,
            key: Array,
        ) -> Float[Array, ""]:
            key_pick, key_loss = jax.random.split(key)
            labels, known = every
            if self.minibatch is not None:
                pick = jax.random.randint(key_pick, (self.minibatch,), 0, groups)
                labels, known = jax.tree.map(lambda x: x[pick], every)
            theta = self.model.table(params, shape)
            lost = loss(key_loss, look_up(theta, labels), known)
            penalty = self.ridge / 2 * jnp.sum(theta**2)
            return lost + penalty

        start = self.model.init(shape, jnp.result_type(float))
        rounds = jax.random.split(key, self.num_updates)
        params = descend(self._optimiser(), error, start, rounds)
        return self.model.table(params, shape)

    def updates(
        self,
        batch: Batch,
    ) -> Float[Array, ""]:
        """Sample updates: live steps of what each step of the optimiser sees, on average."""
        share = 1.0 if self.minibatch is None else self.minibatch / self.num_prompts
        return self.num_updates * share * count(batch.live)

    def _optimiser(self) -> Any:
        import optax  # importing it takes long

        if self.optimiser == "momentum":
            descent = optax.sgd(self.learning_rate, momentum=0.9, nesterov=True)
            return optax.flatten(descent)
        rate = optax.cosine_decay_schedule(self.learning_rate, self.num_updates)
        return optax.flatten(optax.adam(rate))


class Learned(NamedTuple):
    """Scores of all actions at every step of a batch, by a model that was fitted elsewhere."""

    scores: Float[Array, "P N T A"]
    used: Cost


def learned(
    key: Key[Array, ""],
    world: World,
    batch: Batch,
    fit: Fit,
    objective: Objective,
    lessons: Callable[[Key[Array, ""], Batch], tuple[Any, Cost]] | None = None,
    form: Form = itself,
    prior: Callable[[Batch], Float[Array, "P N T A"]] | None = None,
) -> Learned:
    """Fits a model on fresh groups, and asks it about the batch.

    Args:
        key: of all that is drawn.
        world: where it is fitted.
        batch: what it is asked about.
        fit: how it is fitted.
        objective: to what.
        lessons: the goal of the groups, and what it cost; None leaves it to the objective.
        form: what scores are made of theta.
        prior: what else is known of every step of a batch.
    """
    key_data, key_goal, key_see, key_fit, key_ask = jax.random.split(key, 5)
    data, used = fit.rollouts(key_data, world)
    if lessons is None:
        goal = objective.goal(key_goal, data)
    else:
        goal, more = lessons(key_goal, data)
        used = add_costs(used, more)
    size = fit.sight.size(world)
    shape = Shape(batch.action.shape[-1], size, world.num_actions)
    weight = jnp.ones(data.live.shape[:-1], data.reward.dtype)
    lesson = Lesson(data, goal, weight)
    seen = fit.sight.label(key_see, world, data)
    known = None if prior is None else prior(data)
    theta = fit.table(key_fit, shape, objective, lesson, seen, form, known)
    label = fit.sight.label(key_ask, world, batch)
    known = None if prior is None else prior(batch)
    scores = form(look_up(theta, label), known)
    updates = cost(critic_updates=fit.updates(data))
    return Learned(scores, add_costs(used, updates))


def of_taken(
    scores: Float[Array, "P N T A"],
    batch: Batch,
) -> Float[Array, "P N T"]:
    """The score of the action taken, 0 where nothing is decided."""
    return jnp.where(decisions(batch), own_of(scores, batch), 0.0)


def own_of(
    scores: Float[Array, "P N T A"],
    batch: Batch,
) -> Float[Array, "P N T"]:
    """The score of what was done at each step, by the policy or by the environment."""
    action = batch.action.astype(jnp.int32)
    own = jnp.take_along_axis(scores, action[..., None], axis=-1)
    return own[..., 0]


def cell_means(
    x: Float[Array, "P N T"],
    label: Int[Array, "P N T"],
    size: int,
    weight: Float[Array, "P N T"],
) -> Float[Array, "T L"]:
    """The weighted mean at each step, apart for each of `size` labels; 0 where there is no weight.

    What least squares would put there.
    """
    steps = x.shape[-1]
    both = jnp.stack([weight * x, weight], axis=-1)
    sums = cell_sums(both.reshape(-1, steps, 2), label.reshape(-1, steps), size)
    total, number = sums[..., 0], sums[..., 1]
    return total / jnp.where(number > 0, number, 1.0)
