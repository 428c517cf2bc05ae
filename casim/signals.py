"""What a judge of steps can score: labels of a step, and how they are spread along episodes.

In maths, label l_t by signal:

- "value": r_t + discount_t V_{t+1}(s_{t+1}), the success probability of the prefix that ends with
  step t;
- "advantage" and "q_value": A_t(s_t, a_t) and Q_t(s_t, a_t);
- "td_error": r_t + discount_t V_{t+1}(s_{t+1}) - V_t(s_t), what the step turned out to be worth;
- "clairvoyant": Q*_t(s_t, a_t) - V*_t(s_t) of the best policy that sees the latent state;
- "gap" and "spread", how critical the step is, whatever is done there: max_a Q_t(s_t, a) - min_a
  Q_t(s_t, a) over all actions, and the standard deviation of Q_t(s_t, a) under the policy. Both are
  0 where nothing is decided.
"""

from __future__ import annotations

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from casim.blocks import Blocks, cut
from casim.oracle import optimal
from casim.types import MDP, Truth

LABEL_CHUNK = 1024
"""Steps whose labels are added up at once: what of them is in memory."""
SIGNALS = ("value", "advantage", "q_value", "td_error", "clairvoyant", "gap", "spread")
"""What a `Judge` can score."""
Signal = Literal["value", "advantage", "q_value", "td_error", "clairvoyant", "gap", "spread"]
"""One of `SIGNALS`."""
AFTER = ("value", "td_error")
"""Signals that depend on where a step led to."""


class Range(NamedTuple):
    """How a label is spread over the live steps of on-policy episodes."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    """The mean of its square."""
    low: Float[Array, ""]
    high: Float[Array, ""]


def table_of(
    signal: Signal,
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    """The label of every state and action; of signals in `AFTER` it is read by no one."""
    return _TABLES[signal](mdp, truth)


def range_of(
    signal: Signal,
    mdp: MDP,
    truth: Truth,
    table: Float[Array, "T S A"],
) -> Range:
    """How the label of a signal is spread; `table` is that of `table_of`."""
    before = truth.value[:-1] if signal == "td_error" else None
    return label_range(mdp, truth, table, signal in AFTER, before)


def _advantage(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    return truth.advantage


def _q_value(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    return truth.q_value


def _clairvoyant(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    best = optimal(mdp)
    return best.q_value - best.value[:-1, :, None]


def _gap(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    """Differences of advantages are those of Q, without what they have in common."""
    gap = jnp.max(truth.advantage, axis=-1) - jnp.min(
        truth.advantage,
        axis=-1,
    )
    decided = mdp.decision[mdp.schedule]
    return _for_every_action(jnp.where(decided[:, None], gap, 0.0), truth)


def _spread(
    mdp: MDP,
    truth: Truth,
) -> Float[Array, "T S A"]:
    """The mean of the advantage is 0, so this is the root of its mean square."""
    acting = truth.state_policy[mdp.schedule]
    spread = jnp.sqrt(jnp.sum(acting * truth.advantage**2, axis=-1))
    decided = mdp.decision[mdp.schedule]
    return _for_every_action(jnp.where(decided[:, None], spread, 0.0), truth)


def _for_every_action(
    label: Float[Array, "T S"],
    truth: Truth,
) -> Float[Array, "T S A"]:
    return jnp.broadcast_to(label[..., None], truth.advantage.shape)


_TABLES = {
    "value": _advantage,  # read by no one
    "advantage": _advantage,
    "q_value": _q_value,
    "td_error": _advantage,  # nor this one
    "clairvoyant": _clairvoyant,
    "gap": _gap,
    "spread": _spread,
}
"""What each signal says of a state and action."""


class _Sums(NamedTuple):
    """Over the steps so far, weighed by how often they are visited."""

    mass: Array
    total: Array
    square: Array
    low: Array
    high: Array

    @classmethod
    def nothing(cls, zero: Array) -> _Sums:
        return cls(zero, zero, zero, low=zero + jnp.inf, high=zero - jnp.inf)

    def plus(self, weight: Array, label: Array) -> _Sums:
        """With more transitions, of these weights and labels."""
        seen = weight > 0
        smallest = jnp.min(jnp.where(seen, label, jnp.inf))
        largest = jnp.max(jnp.where(seen, label, -jnp.inf))
        return _Sums(
            mass=self.mass + jnp.sum(weight),
            total=self.total + jnp.sum(weight * label),
            square=self.square + jnp.sum(weight * label**2),
            low=jnp.minimum(self.low, smallest),
            high=jnp.maximum(self.high, largest),
        )


@functools.partial(jax.jit, static_argnames="after")
def label_range(
    mdp: MDP,
    truth: Truth,
    table: Float[Array, "T S A"],
    after: bool,
    before: Float[Array, "T S"] | None = None,
) -> Range:
    """How labels are spread. They are added up chunk by chunk of steps.

    `after` labels are what follows the step, less the value `before` it if there is one.
    """
    steps = mdp.schedule.shape[0]
    chunks = Blocks.of_length(steps, min(LABEL_CHUNK, steps))

    def chunk(
        sums: _Sums,
        inputs: Any,
    ) -> tuple[_Sums, None]:
        kernel, occupancy, later, label, now = inputs
        acting = occupancy[:, :, None] * truth.state_policy[kernel]
        weight = acting[..., None] * mdp.prob[kernel]
        if after:
            each = _label_after(mdp, kernel, later, now)
        else:
            each = jnp.broadcast_to(label[..., None], weight.shape)
        return sums.plus(weight, each), None

    # What fills up the last chunk has occupancy 0.
    given = (mdp.schedule, truth.occupancy, truth.value[1:], table, before)
    xs = tuple(None if x is None else cut(x, chunks) for x in given)
    zero = jnp.zeros((), truth.value.dtype)
    found, _ = jax.lax.scan(chunk, _Sums.nothing(zero), xs)
    return Range(
        mean=found.total / found.mass,
        square=found.square / found.mass,
        low=found.low,
        high=found.high,
    )


def _label_after(
    mdp: MDP,
    kernel: Array,
    later: Float[Array, "L S"],
    now: Float[Array, "L S"] | None,
) -> Float[Array, "L S A K"]:
    """What follows each transition of a run of steps, less the value now if there is one."""
    target = mdp.successor[kernel]
    over = mdp.terminal[None, :]
    left = jnp.where(over, 0.0, later)
    each = target.reshape(target.shape[0], -1)
    ahead = jnp.take_along_axis(left, each, axis=1)
    ahead = ahead.reshape(target.shape)
    discount = mdp.discount[kernel]
    discounted = discount[:, None, None, None] * ahead
    label = mdp.reward[kernel] + discounted
    if now is None:
        return label
    return label - now[:, :, None, None]
