"""Exact moments of credit of all actions for later rewards: COCOA and hindsight on states.

In maths, with u_k the feature of step k, d(t, k) the product of the discounts of the steps t to
k - 1, X_t = sum_{k>t} d(t, k) r_k e(u_k) in R^U and W_t(s) = w_t(s, a, u) as a matrix `[A, U]`, the
credit of the actions at t is C = W_t(s) X_t + e(a_t) r_t / pi(a_t | o). With J = diag(pi) - pi pi'
of what is seen, the gradient in the logits of (t, o) is

    g = J C = J W X + (e(a_t) - pi) r_t,
    E[g_b^2 | s, o] = (J W)_b E[X X' | s, o] (J W)_b' + E[2 (e(a_t) - pi)_b r_t (J W)_b X
                      + (e(a_t) - pi)_b^2 r_t^2 | s, o].

The mean and the second moment of X_t given s_t come from those of the next step, backwards from 0,
and so do the exact coefficients w. Every step has logits of its own: no two steps share a block.

Cost: O(S A K U^2) a step, O(S U^2) carried.

References:
    Meulemans et al. 2023, arXiv:2306.16803 (contribution coefficients; bias, variance and SNR of
    the gradient by exact expectations); Sobel 1982 (second moments by recursion). The recursion for
    X is derived for casim; `tests/oracle/test_moments_contributions.py` checks it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from casim.checks import check_choice, check_integer
from casim.dynamics import absorb, force
from casim.oracle.moments.group import Moments
from casim.oracle.moments.paths import discounting, precise, precise_truth
from casim.types import MDP

Feature = Literal["state", "reward", "prediction"]
"""What hindsight knows of a later step: time and state, the reward, or its mean."""
FEATURES = ("state", "reward", "prediction")
DIGITS = 9
"""Rewards, and mean rewards, that agree to so many decimals are one."""


class Features(NamedTuple):
    """The feature of every transition of every step."""

    label: Int[np.ndarray, "T S A K"]
    size: int
    """U."""
    values: Float[np.ndarray, " U"] | None = None
    """The reward or mean reward of each class, ascending; None of states."""


def contribution_features(
    mdp: MDP,
    policy: Any,
    feature: Feature,
) -> Features:
    """The classes that `contribution_moments` tells apart, numbered from 0.

    Raises:
        ValueError: an unknown feature, or an invalid MDP or policy.
    """
    check_choice("feature", feature, FEATURES)
    truth = precise_truth(mdp, policy)
    mdp, _ = precise(mdp, policy)
    if feature == "state":
        steps = len(mdp.schedule)
        met = truth.occupancy > 0
        number = np.cumsum(met)
        number = number.reshape(met.shape)
        label = np.where(met, number - 1, 0)
        shape = (steps, *mdp.prob.shape[1:])
        of_state = label[..., None, None]
        each = np.broadcast_to(of_state, shape)
        size = int(met.sum())
        return Features(each, size)
    value = mdp.reward
    if feature == "prediction":
        earned = mdp.prob * mdp.reward
        mean = np.sum(earned, axis=-1, keepdims=True)
        value = np.broadcast_to(mean, mdp.reward.shape)
    rounded = np.round(value, DIGITS)
    every, number = np.unique(rounded, return_inverse=True)
    label = number.reshape(value.shape)
    size = len(every)
    return Features(label[mdp.schedule], size, every)


def contribution_moments(
    mdp: MDP,
    policy: Any,
    feature: Feature,
    num: int = 1,
    coefficient: Float[np.ndarray, "T S A U"] | None = None,
) -> Moments:
    """Moments over groups of `num` independent trajectories, every step with logits of its own.

    In cells they are of the credit C_t(a) of each action in a state, whatever was done there.

    Args:
        mdp: the process.
        policy: the table `[M, O, A]`.
        feature: see `Feature`.
        num: N, at least 1.
        coefficient: w_t(s, a, u), of classes as `contribution_features` numbers them; None takes
            the exact ones.

    Raises:
        ValueError: a setting out of its range, coefficients of another shape, or an invalid MDP or
            policy.
    """
    check_integer("num", num, 1)
    features = contribution_features(mdp, policy, feature)
    truth = precise_truth(mdp, policy)
    mdp, policy = precise(mdp, policy)
    shape = truth.q_value.shape
    _check_shape(coefficient, (*shape, features.size))
    process, acting = _still(mdp, policy)
    observations = policy.shape[1]
    found = _Found.zero(shape, observations)
    states = len(mdp.start)
    carried = _Carried.nothing(states, features.size)
    steps = len(mdp.schedule)
    for t in reversed(range(steps)):
        step = _Step.of(process, truth.state_policy, features.label, t)
        given = coefficient
        if coefficient is not None:
            given = coefficient[t]
        kernel = mdp.schedule[t]
        table = acting[kernel]
        here = truth.occupancy[t]
        _add(found, t, step, carried, given, table, here)
        carried = _back(step, carried, here > 0)

    decided = mdp.decision[mdp.schedule]
    weight_of_step = discounting(mdp)
    scale = np.where(decided, weight_of_step, 0.0)
    scale = scale[:, None, None]
    mean = scale * found.gradient
    square = scale**2 * found.square
    variance = square - mean**2
    variance = np.maximum(variance, 0.0)
    decision = decided[:, None]
    visits = np.where(decision, truth.occupancy, 0.0)
    acting = truth.state_policy[mdp.schedule]
    of_state = visits[..., None]
    weight = of_state * acting
    usual = found.credit**2
    spread = found.credit_square - usual
    spread = np.maximum(spread, 0.0)
    happens = weight > 0
    return Moments(
        probability=weight,
        expectation=np.where(happens, found.credit, np.nan),
        variance=np.where(happens, spread, np.nan),
        gradient=mean,
        gradient_variance=variance / num,
    )


def _check_shape(
    coefficient: np.ndarray | None,
    wanted: tuple[int, ...],
) -> None:
    if coefficient is None:
        return
    got = np.shape(coefficient)
    if got != wanted:
        raise ValueError(f"coefficient must have shape {wanted}, got {got}")


class _Found(NamedTuple):
    """What is summed up, in place."""

    credit: Float[np.ndarray, "T S A"]
    """E[C_t(a) | s_t]; and of its square."""
    credit_square: Float[np.ndarray, "T S A"]
    gradient: Float[np.ndarray, "T O A"]
    """E[g], without the weight of the step; and of its square."""
    square: Float[np.ndarray, "T O A"]

    @classmethod
    def zero(
        cls,
        cells: tuple[int, ...],
        observations: int,
    ) -> _Found:
        steps, _, actions = cells
        blocks = (steps, observations, actions)
        credit, credit_square = np.zeros((2, *cells))
        gradient, square = np.zeros((2, *blocks))
        return cls(credit, credit_square, gradient, square)


class _Carried(NamedTuple):
    """Of what is still to come, from each state."""

    count: Float[np.ndarray, "S U"]
    """sum_k d P(u_k = u)."""
    mean: Float[np.ndarray, "S U"]
    """E[X]."""
    square: Float[np.ndarray, "S U U"]
    """E[X X']."""

    @classmethod
    def nothing(
        cls,
        states: int,
        size: int,
    ) -> _Carried:
        count, mean = np.zeros((2, states, size))
        square = np.zeros((states, size, size))
        return cls(count, mean, square)


class _Step(NamedTuple):
    """One step of a process."""

    successor: Int[np.ndarray, "S A K"]
    prob: Float[np.ndarray, "S A K"]
    reward: Float[np.ndarray, "S A K"]
    label: Int[np.ndarray, "S A K"]
    acting: Float[np.ndarray, "S A"]
    emission: Float[np.ndarray, "S O"]
    discount: float
    live: np.ndarray

    @classmethod
    def of(
        cls,
        mdp: Any,
        state_policy: np.ndarray,
        label: np.ndarray,
        t: int,
    ) -> _Step:
        kernel = mdp.schedule[t]
        return cls(
            successor=mdp.successor[kernel],
            prob=mdp.prob[kernel],
            reward=mdp.reward[kernel],
            label=label[t],
            acting=state_policy[kernel],
            emission=mdp.emission[kernel],
            discount=float(mdp.discount[kernel]),
            live=~mdp.terminal,
        )


def _still(
    mdp: Any,
    policy: np.ndarray,
) -> tuple[Any, np.ndarray]:
    """The process with terminal states at rest, and the policy as it acts."""
    with jax.enable_x64(True):
        given = (mdp, policy)
        arrays = jax.tree.map(jnp.asarray, given)
        process, table = arrays
        still = absorb(process)
        acting = force(process, table)
        return jax.tree.map(np.asarray, (still, acting))


class _Ahead(NamedTuple):
    """What a step and its future hold, from one state and under one observation."""

    later: Float[np.ndarray, " U"]
    """E[X_t]."""
    later_square: Float[np.ndarray, "U U"]
    """E[X_t X_t']."""
    paid: Float[np.ndarray, " A"]
    """E[1{a_t = a} r_t]; and of its square."""
    paid_square: Float[np.ndarray, " A"]
    both: Float[np.ndarray, "A U"]
    """E[1{a_t = a} r_t X_t]."""

    @classmethod
    def of(
        cls,
        step: _Step,
        carried: _Carried,
        s: int,
        chance: Float[np.ndarray, " A"],
    ) -> _Ahead:
        """From state s, where actions have these probabilities."""
        prob = step.prob[s]
        acts = chance[:, None]
        joint = acts * prob
        target = step.successor[s]
        reward = step.reward[s]
        earned = joint * reward
        later = carried.mean[target]
        mean = step.discount * later
        square = _mixed(joint, target, carried.square)
        return cls(
            later=np.einsum("ak,aku->u", joint, mean),
            later_square=step.discount**2 * square,
            paid=np.sum(earned, axis=1),
            paid_square=np.sum(earned * reward, axis=1),
            both=np.einsum("ak,aku->au", earned, mean),
        )

    def moments(
        self,
        linear: Float[np.ndarray, "B U"],
        now: Float[np.ndarray, "A B"],
    ) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
        """Mean and mean square of each linear_b X_t + now[a_t, b] r_t."""
        mean_later = linear @ self.later
        mean_now = self.paid @ now
        spread = linear @ self.later_square
        weighed = spread * linear
        of_later = np.sum(weighed, axis=1)
        products = self.both @ linear.T
        weighed = now * products
        of_both = np.sum(weighed, axis=0)
        squares = now**2
        of_now = self.paid_square @ squares
        twice = 2 * of_both
        square = of_later + twice + of_now
        return mean_later + mean_now, square


def _add(
    found: _Found,
    t: int,
    step: _Step,
    carried: _Carried,
    coefficient: np.ndarray | None,
    policy: Float[np.ndarray, "O A"],
    occupancy: Float[np.ndarray, " S"],
) -> None:
    """Adds what is known of step t, in place."""
    known = _exact(step, carried) if coefficient is None else coefficient
    visits = occupancy[:, None]
    joint = visits * step.emission
    pairs = np.argwhere(joint > 0)
    for s, o in pairs.tolist():
        weight = known[s]
        chance = policy[o]
        ahead = _Ahead.of(step, carried, s, chance)

        share = step.emission[s, o]
        ones = np.ones_like(chance)
        over = _ratio(ones, chance)
        scaled = np.diag(over)
        mean, square = ahead.moments(weight, scaled)
        found.credit[t, s] += share * mean
        found.credit_square[t, s] += share * square

        average = chance @ weight
        centred = weight - average
        itself = np.eye(len(chance))
        score = itself - chance
        weight = chance[:, None] * centred
        mean, square = ahead.moments(weight, score)
        share = joint[s, o]
        found.gradient[t, o] += share * mean
        found.square[t, o] += share * square


def _exact(
    step: _Step,
    later: _Carried,
) -> Float[np.ndarray, "S A U"]:
    """w(s, a, u) = N(s, a, u) / sum_b pi(b | s) N(s, b, u) - 1, and 0 of what is impossible."""
    counts = later.count[step.successor]
    ahead = np.einsum("sak,saku->sau", step.prob, counts)
    on_average = np.einsum("sa,sau->su", step.acting, ahead)
    on_average = on_average[:, None]
    return _ratio(ahead - on_average, on_average)


def _ratio(
    x: np.ndarray,
    y: np.ndarray,
) -> np.ndarray:
    """X / y, and 0 where y is 0."""
    nothing = np.zeros_like(x)
    return np.divide(x, y, out=nothing, where=y > 0)


def _back(
    step: _Step,
    later: _Carried,
    met: np.ndarray,
) -> _Carried:
    """The same with this step before it, for the states that are met."""
    carried = _Carried.nothing(*later.count.shape)
    (states,) = np.nonzero(met & step.live)
    for s in states.tolist():
        chance = step.acting[s]
        prob = step.prob[s]
        acts = chance[:, None]
        joint = acts * prob
        target = step.successor[s]
        label = step.label[s]
        reward = step.reward[s]
        earned = joint * reward
        ahead = _Ahead.of(step, later, s, chance)

        later_counts = later.count[target]
        counts = step.discount * later_counts
        count = np.einsum("ak,aku->u", joint, counts)
        np.add.at(count, label, joint)
        carried.count[s] = count

        carried.mean[s] = ahead.later
        np.add.at(carried.mean[s], label, earned)

        square = ahead.later_square
        cross = np.zeros_like(square)
        mean_after = later.mean[target]
        later_mean = step.discount * mean_after
        pair = (label, label)
        squares = earned * reward
        np.add.at(square, pair, squares)
        earning = earned[..., None]
        both = earning * later_mean
        np.add.at(cross, label, both)
        both = cross + cross.T
        carried.square[s] = square + both
    return carried


def _mixed(
    joint: Float[np.ndarray, "A K"],
    target: Int[np.ndarray, "A K"],
    square: Float[np.ndarray, "S U U"],
) -> Float[np.ndarray, "U U"]:
    """Second moments of the next states, weighed by how probable they are."""
    states = len(square)
    targets, weights = target.ravel(), joint.ravel()
    chance = np.bincount(targets, weights, minlength=states)
    (there,) = np.nonzero(chance)
    return np.einsum("s,suv->uv", chance[there], square[there])
