"""The protocol-specific contrast of a unit: its actions as taken, against those of a reference.

In maths, with u a unit (consecutive steps from f on), z the state and the observation before it, a
the actions taken in it, q the reference and rho the protocol (who plays afterwards, until when
returns count):

    Delta_u(q; rho) = E[G_f | z, a, rho] - E[G_f | z, a' ~ q, rho],
    G_f = sum_{f<=t<horizon} d_f ... d_{t-1} r_t, d_t the discount of step t.

If z is restored, both branches start in s_f. If it is re-fed, s_f is redrawn from the belief given
the observations up to f and the actions before; with probability `lost` either happens to each
branch.
- Both policies equal to pi, units of one step, all observed: Delta = Q_t(s, a) - V_t(s), the
  advantage.
- The reference a point mass on a default action: Delta = Q_t(s, a) - Q_t(s, default), the
  difference reward.
- Proposition 1: the mean of paired differences is unbiased for Delta, and common random numbers
  change only its variance.
- Proposition 2: what is logged (text, action, outcome) may leave even the sign of Delta open; see
  `casim.tasks.HiddenCause`.

The variance of a branch's return is the noise of its replicas: the difference of two nominally
identical branches with fresh random numbers has twice that variance.

Cost: O(T S A K) time a row, and O(N T S) memory for the beliefs.

References:
    Contrast and propositions: Zhang 2026, arXiv:2604.09459, version 3, read at second hand; units
    of several steps, the mixture of restored and redrawn states, and the variances are derived
    here. Difference rewards: Wolpert and Tumer 2002.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from casim.checks import check_integer, check_range
from casim.discounts import product
from casim.doors import door
from casim.dynamics import absorb, force, state_policy, step_discount
from casim.oracle.belief import before_observing, beliefs
from casim.simulate.belief import filter_to, redraw
from casim.simulate.engine import roll
from casim.simulate.noise import OBSERVATION, key_words, pair
from casim.simulate.scan import Request
from casim.simulate.tables import Script, prepare
from casim.types import MDP, Trajectory
from casim.wellformed import check_labels, check_policy, known

NO_END = 2**31 - 1


class Protocol(NamedTuple):
    """What a contrast is relative to: change it, and value and sign of the contrast may change."""

    reference: Float[Array, "M O A"]
    """Plays the unit in the second branch."""
    downstream: Float[Array, "M O A"]
    """Plays after the unit, in both branches, and in it where a rerun outlives the trajectory."""
    lost: Float[Array, ""] | float = 0.0
    """Probability that what is hidden is redrawn from the belief: 0 restored, 1 re-fed."""
    horizon: Int[Array, ""] | int = NO_END
    """Rewards of this step and later ones do not count."""


class Contrast(NamedTuple):
    """Mean and variance of the return of each branch, discounted to the unit's first step.

    0 where that step is not live.
    """

    taken: Float[Array, "N G"]
    reference: Float[Array, "N G"]
    taken_variance: Float[Array, "N G"]
    reference_variance: Float[Array, "N G"]

    @property
    def value(self) -> Float[Array, "N G"]:
        """The contrast."""
        return self.taken - self.reference

    @property
    def pair_variance(self) -> Float[Array, "N G"]:
        """Variance of one paired difference with fresh random numbers."""
        return self.taken_variance + self.reference_variance

    @property
    def noise_floor(self) -> Float[Array, "N G"]:
        """Standard deviation of the difference of two replicas of the taken branch.

        The replicas draw fresh random numbers.
        """
        return jnp.sqrt(2.0 * self.taken_variance)


class Pairs(NamedTuple):
    """Sampled returns of the two branches, copy k of one beside copy k of the other."""

    taken: Float[Array, "N num"]
    reference: Float[Array, "N num"]

    @property
    def difference(self) -> Float[Any, "N num"]:
        """Each is unbiased for the contrast."""
        return self.taken - self.reference


class _Law(NamedTuple):
    """Mean and variance of a return, from each of several states or actions."""

    mean: Array
    variance: Array


@door
def contrast(
    mdp: MDP,
    protocol: Protocol,
    batch: Trajectory,
    unit: Int[Array, " T"],
    num_units: int,
) -> Contrast:
    """The exact contrast of every unit of every trajectory.

    Args:
        mdp: the process; where the verifier of the protocol is another one, with its rewards.
        protocol: see `Protocol`.
        batch: trajectories.
        unit: unit of each step, numbered 0, 1, 2, ... in order of time: `mdp.segment`, `mdp.turn`,
            `arange(T)`.
        num_units: G, static under jit.

    Raises:
        ValueError: a policy of the protocol that is no table of probabilities, or a `lost` outside
            [0, 1], if they are known before compilation.
    """
    _check_protocol(protocol, mdp)
    still = absorb(mdp)
    belief = beliefs(mdp, batch)

    def of_row(*row: Any) -> tuple[_Law, _Law]:
        return _branches(still, protocol, unit, *row)

    taken, other = jax.vmap(of_row)(batch, belief)
    units = jnp.arange(num_units)
    begins = jnp.searchsorted(unit, units)
    fields = (taken.mean, other.mean, taken.variance, other.variance)

    def at_begins(x: Array) -> Array:
        lived = jnp.where(batch.live, x, 0.0)
        return lived[:, begins]

    return Contrast(*map(at_begins, fields))


def _branches(
    mdp: MDP,
    protocol: Protocol,
    unit: Int[Array, " T"],
    batch: Trajectory,
    belief: Float[Array, "T S"],
) -> tuple[_Law, _Law]:
    """The laws `[T]` of the two branches of one trajectory.

    They run from every step to the end of its unit and beyond.
    """
    reference, downstream = (
        state_policy(mdp, table) for table in (protocol.reference, protocol.downstream)
    )
    chosen = force(mdp, protocol.reference)
    following = unit[1:]
    current = unit[:-1]
    changes = following != current
    ends = jnp.append(changes, True)

    def step(
        later: tuple[_Law, _Law, _Law],
        now,
    ) -> tuple[tuple[_Law, _Law, _Law], tuple[_Law, _Law]]:
        time, kernel, end, at, seen = now
        after, *inside = later
        counted = time < protocol.horizon
        # The unit's last step hands over to the downstream policy.
        q_taken, q_other = (
            _back(mdp, kernel, counted, jax.tree.map(lambda x, y: jnp.where(end, x, y), after, law))
            for law in inside
        )
        imposed = jax.tree.map(lambda x: x[:, at.action], q_taken)
        acting = downstream[kernel]
        free = _mix(acting, q_taken)

        def where_live(x: Array, y: Array) -> Array:
            return jnp.where(at.live, x, y)

        taken = jax.tree.map(where_live, imposed, free)
        choice = chosen[kernel, at.observation]
        of_one = choice[None, :]
        first = _mix(of_one, q_other)
        hidden = _hidden(seen, at.state, protocol.lost)
        q_after = _back(mdp, kernel, counted, after)
        after = _mix(acting, q_after)
        other = _mix(reference[kernel], q_other)
        of_taken = _mix(hidden, imposed)
        of_other = _mix(hidden, first)
        found = (of_taken, of_other)
        return (after, taken, other), found

    nothing = jnp.zeros_like(mdp.start)
    zero = _Law(nothing, nothing)
    num_steps = unit.shape[0]
    times = jnp.arange(num_steps)
    steps = (times, mdp.schedule, ends, batch, belief)
    start = (zero, zero, zero)
    _, found = jax.lax.scan(step, start, steps, reverse=True)
    return found


@door
def sample_contrast(
    key: Key[Array, ""],
    mdp: MDP,
    protocol: Protocol,
    batch: Trajectory,
    unit: Int[Array, " T"],
    index: Int[Array, ""] | int,
    num: int,
    common: bool = True,
) -> Pairs:
    """Reruns one unit of every trajectory `num` times in both branches; returns as in `Contrast`.

    Args:
        key: keys the noise. Episode addresses, and so the numbers drawn, are those of
            `World.branch`.
        mdp: as for `contrast`.
        protocol: as for `contrast`.
        batch: as for `contrast`.
        unit: as for `contrast`.
        index: which unit.
        num: pairs for each trajectory.
        common: whether both branches of a pair share their random numbers, also those that redraw
            what is hidden.

    Raises:
        ValueError: as `contrast`, an index beyond the last step, or a number of pairs below 0.
    """
    _check_protocol(protocol, mdp)
    num_steps = mdp.schedule.shape[0]
    check_labels("index", index, num_steps)
    check_integer("num", num, 0)
    inside = unit == index
    first = jnp.searchsorted(unit, index)
    # Kernels a second time, under the reference: a schedule then says who plays at which step.
    again = {
        name: getattr(mdp, name)
        for name in ("successor", "prob", "reward", "emission", "decision", "kind", "discount")
    }
    twice = {name: jnp.concatenate([x, x]) for name, x in again.items()}
    double = mdp._replace(**twice)
    both_policies = jnp.concatenate([protocol.downstream, protocol.reference])
    tables = prepare(double, both_policies)
    kernels = mdp.prob.shape[0]
    shift = jnp.where(inside, kernels, 0)
    other = mdp.schedule + shift
    rows, steps = batch.action.shape
    state, observation, action = (
        x.astype(jnp.int32) for x in (batch.state, batch.observation, batch.action)
    )
    time = jnp.arange(steps)
    at = jnp.full((rows,), first, jnp.int32)
    before = before_observing(mdp, batch)
    belief = filter_to(mdp, batch, at, before)
    mass = jnp.sum(belief, axis=1)
    believed = mass > 0
    lives = batch.live[:, first]
    running = lives & believed
    begun = time >= first
    within = time < protocol.horizon
    counted = begun & within
    discounts = step_discount(mdp)
    discount = product(discounts, first, time)
    weight = jnp.where(counted, discount, 0.0)

    def branch(
        words: Array,
        schedule: Array,
        imposed: Array,
    ) -> Float[Array, "N num"]:
        def copy(
            episode: Int[Array, " N"],
        ) -> Float[Array, " N"]:
            address = at + steps
            chance, noise = pair(words, episode, address, OBSERVATION)
            is_lost = chance < protocol.lost
            hidden = running & is_lost
            redrawn = redraw(belief, noise)
            restored = state[:, first]
            start = jnp.where(hidden, redrawn, restored)
            drawn = jnp.full_like(at, -1)
            acts = jnp.where(imposed, action, -1)
            shown = observation[:, first]
            script = Script(at, shown, drawn, acts)
            request = Request(tables, schedule, words, episode, start, script)
            new = roll(None, request, True)
            weights = weight[None, :]
            earned = weights * new.reward
            returns = jnp.sum(earned, axis=1)
            return jnp.where(lives, returns, 0.0)

        numbers = jnp.arange(num)
        copies = numbers[:, None]
        number = jnp.arange(rows)
        first_copy = number[None, :]
        episode = copies * rows + first_copy
        return jax.vmap(copy)(episode).T

    keys = (key, key) if common else jax.random.split(key)
    words = jnp.stack([key_words(k) for k in keys])
    acts = inside[None, :]
    imposed = acts & batch.live
    schedules = jnp.stack([mdp.schedule, other])
    nothing = jnp.zeros_like(imposed)
    acting = jnp.stack([imposed, nothing])
    both = jax.vmap(branch)(words, schedules, acting)
    return Pairs(*jnp.unstack(both))


def _check_protocol(
    protocol: Protocol,
    mdp: MDP,
) -> None:
    """Raises `ValueError` unless both policies fit the process and `lost` is a probability."""
    check_policy(protocol.reference, mdp, "protocol.reference")
    check_policy(protocol.downstream, mdp, "protocol.downstream")
    if known(protocol.lost):
        check_range("protocol.lost", float(protocol.lost), 0.0, 1.0)


def _mix(
    weight: Float[Array, "*shape K"],
    law: _Law,
) -> _Law:
    """The law of a mixture over the last axis: variances within, and of the means between."""
    weighed = weight * law.mean
    mean = jnp.sum(weighed, axis=-1)
    centre = mean[..., None]
    away = law.mean - centre
    square = law.variance + away**2
    weighed = weight * square
    variance = jnp.sum(weighed, axis=-1)
    return _Law(mean, variance)


def _back(
    mdp: MDP,
    kernel: Array,
    counted: Array,
    later: _Law,
) -> _Law:
    """The law of the return of every state and action `[S, A]`, from that of the next states."""
    successor = mdp.successor[kernel]
    discount = mdp.discount[kernel]
    earned = mdp.reward[kernel]
    later_mean = discount * later.mean[successor]
    outcome = earned + later_mean
    later_variance = later.variance[successor]
    spread = discount**2 * later_variance
    law = _Law(
        mean=jnp.where(counted, outcome, 0.0),
        variance=jnp.where(counted, spread, 0.0),
    )
    return _mix(mdp.prob[kernel], law)


def _hidden(
    belief: Float[Array, " S"],
    state: Array,
    lost: Array | float,
) -> Float[Array, " S"]:
    """The law of the state in which a branch starts; restored where the history is impossible."""
    states = belief.shape[0]
    dtype = belief.dtype
    restored = jax.nn.one_hot(state, states, dtype=dtype)
    possible = jnp.sum(belief) > 0
    refed = jnp.where(possible, belief, restored)
    kept = 1.0 - lost
    of_restored = kept * restored
    return of_restored + lost * refed
