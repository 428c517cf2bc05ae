"""Truth at every granularity: what a token, segment, turn, agent or episode added.

What was added is skill, of the policy, and luck, of the environment.

In maths, for a unit with first step f, along a trajectory, V = 0 after its end, w(f, t) the product
of the discounts of the steps f to t - 1:
- skill = sum_{t in unit} w(f, t) A_t(s_t, a_t): what the policy's actions added;
- luck = sum_{t in unit} w(f, t) [r_t + discount_t V_{t+1}(s_{t+1}) - Q_t(s_t, a_t)]: what
  transitions added;
- gain = rewards of the unit + value where it is left - value where it is entered, each discounted
  to step f.

Sum rules: gain = skill + luck for every unit, and a unit that consists of others is the sum of
w(f, f') times theirs, f' their first steps; the gain of the episode is its return less
V_0(s_0). An agent's steps need not be consecutive: it gains from each entry to the next exit, and
the agents add up to the episode.

Skill and luck are martingale differences: each has mean 0 whatever the past, skills and lucks of
all steps are uncorrelated, and

    Var[G_0] = Var[V_0(s_0)] + sum_t w(0, t)^2 (E[A_t^2] + E[luck_t^2]).

Where the state is hidden, the draw of the observation counts as skill: A is that of state and
action. On steps of the environment skill is 0.

Cost: O(N T) along trajectories; O(T S A K) for the variances.

References:
    Pan and Schölkopf 2024, arXiv:2402.12874 (a return as skill and luck), not verified against the
    paper. The sum rules and the variances follow from the definitions; derived here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from casim.discounts import product
from casim.doors import door
from casim.dynamics import absorb, discounting, step_discount
from casim.ops import segment_sum, shift_left, shift_right
from casim.oracle.along import along
from casim.sums import first_of
from casim.types import MDP, Trajectory, Truth


class UnitTruth(NamedTuple):
    """What each unit added, in units of reward, discounted to the unit's first step."""

    skill: Float[Array, "N G"]
    luck: Float[Array, "N G"]
    gain: Float[Array, "N G"]
    """From rewards and from the values at the unit's borders alone."""
    first: Int[Array, " G"]
    """First step of the unit."""


class Granularities(NamedTuple):
    """The truth of one batch at five granularities."""

    token: UnitTruth
    segment: UnitTruth
    turn: UnitTruth
    agent: UnitTruth
    episode: UnitTruth


class Sizes(NamedTuple):
    """Numbers of units, static under jit."""

    num_segments: int
    num_turns: int
    num_agents: int


class VarianceParts(NamedTuple):
    """Where the variance of the return comes from; the parts add up to it."""

    prompt: Float[Array, ""]
    """Var[V_0(s_0)]."""
    skill: Float[Array, " T"]
    """w(0, t)^2 E[A_t^2]: from the choice of the action.

    The draw of the observation counts too, where the state is hidden.
    """
    luck: Float[Array, " T"]
    """w(0, t)^2 E[luck_t^2]: from the transition."""


def sizes(
    mdp: MDP,
) -> Sizes:
    """How many segments, turns and agents there are; not under jit."""

    def number(label: Any) -> int:
        last = np.max(np.asarray(label))
        return int(last) + 1

    return Sizes(number(mdp.segment), number(mdp.turn), number(mdp.agent))


@door
def unit_truth(
    mdp: MDP,
    truth: Truth,
    batch: Trajectory,
    unit: Int[Array, " T"],
    num_units: int,
) -> UnitTruth:
    """Skill, luck and gain of every unit of every trajectory; 0 for a unit that is never live.

    Args:
        mdp: the process.
        truth: of its policy, from `solve`.
        batch: trajectories.
        unit: unit of each step, from 0; not necessarily consecutive steps.
        num_units: G, static under jit.
    """
    value, _, later = along(truth, batch)
    time = jnp.arange(unit.shape[0])
    skill = truth.advantage[time[None, :], batch.state, batch.action]
    each = step_discount(mdp)
    later = each[None, :] * later
    td_error = batch.reward + later - value
    first = first_of(unit, num_units)
    scale = product(each, first[unit], time)[None, :]

    def total(
        x: Float[Array, "N T"],
    ) -> Float[Array, "N G"]:
        return segment_sum(jnp.where(batch.live, scale * x, 0.0), unit, num_units)

    enters = (shift_right(unit, -1) != unit)[None, :]
    leaves = (shift_left(unit, -1) != unit)[None, :]
    # An episode that has ended within a unit leaves it there, to value 0.
    at_end = jnp.where(leaves, later, 0.0)
    at_start = jnp.where(enters, value, 0.0)
    border = at_end - at_start
    luck = td_error - skill
    gain = batch.reward + border
    return UnitTruth(total(skill), total(luck), total(gain), first)


@door
def granularities(
    mdp: MDP,
    truth: Truth,
    batch: Trajectory,
    counts: Sizes,
) -> Granularities:
    """The truth of a batch for tokens (single steps), segments, turns, agents and the episode.

    Args:
        mdp: the process.
        truth: of its policy, from `solve`.
        batch: trajectories.
        counts: from `sizes`, static under jit.
    """
    steps = mdp.schedule.shape[0]
    labels = (
        (jnp.arange(steps), steps),
        (mdp.segment, counts.num_segments),
        (mdp.turn, counts.num_turns),
        (mdp.agent, counts.num_agents),
        (jnp.zeros(steps, int), 1),
    )
    return Granularities(*(unit_truth(mdp, truth, batch, unit, num) for unit, num in labels))


@door
def merge(
    fine: Float[Array, "N G"],
    fine_first: Int[Array, " G"],
    parent: Int[Array, " G"],
    first: Int[Array, " H"],
    discount: Float[Array, " T"] | Float[Array, ""] | float,
) -> Float[Array, "N H"]:
    """The sum rule: what coarse units added, from what their parts did.

    In maths: sum over the parts g of h of w(first_h, first_g) fine_g.

    Args:
        fine: skill, luck or gain of the parts.
        fine_first: first steps of the parts.
        parent: the coarse unit of each part.
        first: first steps of the coarse units.
        discount: of the process: of each step, or one for all.
    """
    scaled = fine * product(discount, first[parent], fine_first)[None, :]
    return segment_sum(scaled, parent, first.shape[0])


@door
def variance_parts(
    mdp: MDP,
    truth: Truth,
) -> VarianceParts:
    """The variance of the return from a random prompt, exactly, by source and step.

    Sums over a unit's steps add up.
    """
    mdp = absorb(mdp)

    def step(
        _: None,
        now,
    ) -> tuple[None, tuple[Array, Array]]:
        kernel, value, advantage, later, occupancy = now
        acting = occupancy[:, None] * truth.state_policy[kernel]
        discounted = mdp.discount[kernel] * later
        target = mdp.successor[kernel]
        outcome = mdp.reward[kernel] + discounted[target]
        gain = outcome - value[:, None, None]
        luck = gain - advantage[..., None]
        chance = jnp.sum(mdp.prob[kernel] * luck**2, axis=-1)
        of_skill = jnp.sum(acting * advantage**2)
        return None, (of_skill, jnp.sum(acting * chance))

    xs = (
        mdp.schedule,
        truth.value[:-1],
        truth.advantage,
        truth.value[1:],
        truth.occupancy,
    )
    _, found = jax.lax.scan(step, None, xs)
    skill, luck = found
    scale = discounting(mdp) ** 2
    away = truth.value[0] - truth.expected_return
    prompt = jnp.sum(mdp.start * away**2)
    return VarianceParts(prompt, scale * skill, scale * luck)
