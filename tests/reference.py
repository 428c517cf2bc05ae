"""A second, independent account of an MDP: every trajectory written out, in NumPy float64.

Written from the definitions in `casim.types.MDP` alone: an observation is drawn from the emission
of the state, an action from the policy's row of that observation, a successor from the row of
(state, action). Nothing happens after a terminal state. On kernels that are no decision, action 0
is played.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import jax
import numpy as np
from scipy.special import chdtri

from casim.simulate import World
from casim.tasks import Bifurcation, ToolChain
from casim.types import MDP, Kind

BY_KERNEL = (29 / 32, 27 / 32, 1.0)
"""Discounts that differ between the kernels of `random_mdp`."""
EPS = float(np.finfo(np.float32).eps)

# One compilation of each shape serves the whole suite.
rollout = jax.jit(World.rollout, static_argnames="num")
groups = jax.jit(World.groups, static_argnames=("num_prompts", "num"))
branch = jax.jit(World.branch, static_argnames=("num", "replay", "follow"))
intervene = jax.jit(World.intervene, static_argnames=("num", "follow"))


class Paths(NamedTuple):
    """All trajectories of positive probability: one row each, arrays `[P, T]`."""

    probability: np.ndarray  # [P]
    state: np.ndarray
    observation: np.ndarray
    action: np.ndarray
    reward: np.ndarray
    live: np.ndarray

    def returns(self, discount: float | np.ndarray, first: int = 0) -> np.ndarray:
        """Discounted sum of rewards from step `first` on, discounted to that step.

        Args:
            discount: of each of these steps, or one for all.
            first: a step.
        """
        reward = self.reward[:, first:]
        return reward @ weights(discount, reward.shape[1])


def weights(discount: float | np.ndarray, number: int) -> np.ndarray:
    """What each of some steps weighs: the discounts of those before it, multiplied one by one.

    Args:
        discount: of each step, or one for all.
        number: of steps.
    """
    each = np.broadcast_to(np.asarray(discount, np.float64), number)
    return np.array([math.prod(each[:t]) for t in range(number)])


def by_step(mdp: MDP, first: int = 0) -> np.ndarray:
    """The discount of every step from `first` on."""
    return np.asarray(mdp.discount, np.float64)[np.asarray(mdp.schedule)][first:]


def discounting(mdp: MDP) -> np.ndarray:
    """The weight of every step."""
    return weights(by_step(mdp), len(mdp.schedule))


def as_float64(mdp: MDP) -> MDP:
    """The same arrays in NumPy, with 64 bits."""
    wide = {"f": np.float64, "i": np.int64, "b": bool}
    return MDP(*(np.asarray(x).astype(wide[np.asarray(x).dtype.kind]) for x in mdp))


def enumerate_paths(
    mdp: MDP,
    policy: np.ndarray,
    *,
    first: int = 0,
    start: np.ndarray | None = None,
    free_first_action: bool = False,
    imposed: np.ndarray | None = None,
    first_observation: int | None = None,
) -> Paths:
    """Every trajectory from step `first` to the horizon, with its probability.

    Args:
        mdp, policy: the process and the table [M, O, A].
        first: the step to begin at.
        start: distribution of the first state; the MDP's own if None.
        free_first_action: draw the first action uniformly from all A, to reach every Q(s, a).
        imposed: `[T]` actions played whatever the policy says; -1 leaves the choice to the policy.
        first_observation: the observation at step `first`, if it is given.
    """
    mdp, policy = as_float64(mdp), np.asarray(policy, np.float64)
    actions = policy.shape[-1]
    state = np.arange(mdp.start.shape[0])
    weight = mdp.start if start is None else np.asarray(start, np.float64)
    weight, state = weight[weight > 0], state[weight > 0]
    history: list[list[np.ndarray]] = []
    for t in range(first, mdp.schedule.shape[0]):
        m = mdp.schedule[t]
        live = ~mdp.terminal[state]
        see = mdp.emission[m, state]  # [P, O]
        if t == first and first_observation is not None:
            see = np.broadcast_to(np.arange(see.shape[1]) == first_observation, see.shape).astype(
                float
            )
        act = (
            policy[m][None].repeat(len(state), 0)
            if mdp.decision[m]
            else np.zeros((len(state), *policy.shape[1:]))
        )
        if not mdp.decision[m]:
            act[..., 0] = 1.0
        if t == first and free_first_action:
            act[:] = 1.0 / actions
        if imposed is not None and imposed[t] >= 0:
            act[:] = np.arange(actions) == imposed[t]
        act[~live] = np.arange(actions) == 0
        move = mdp.prob[m, state].copy()  # [P, A, K]
        move[~live] = np.arange(move.shape[-1]) == 0
        joint = (
            weight[:, None, None, None] * see[:, :, None, None] * act[:, :, :, None] * move[:, None]
        )
        path, o, a, k = np.nonzero(joint)
        s = state[path]
        now = [s, o, a, np.where(live[path], mdp.reward[m, s, a, k], 0.0), live[path]]
        history = [[column[path] for column in row] for row in history] + [now]
        weight = joint[path, o, a, k]
        state = np.where(live[path], mdp.successor[m, s, a, k], s)
    return Paths(weight, *(np.stack(columns, axis=1) for columns in zip(*history, strict=True)))


class Exact(NamedTuple):
    """What the enumeration says about a policy; fields as in `casim.types.Truth`."""

    value: np.ndarray
    q_value: np.ndarray
    occupancy: np.ndarray
    past_reward: np.ndarray
    gradient: np.ndarray
    expected_return: float


def exact(mdp: MDP, policy: np.ndarray) -> Exact:
    """Expected return, values, occupancy, past reward and policy gradient, by enumeration.

    The gradient uses the score function of whole trajectories,
    dJ = E[G_0 sum_t d log pi(a_t | o_t)], which shares nothing with the policy gradient theorem.
    """
    mdp, policy = as_float64(mdp), np.asarray(policy, np.float64)
    num_steps, num_states = mdp.schedule.shape[0], mdp.start.shape[0]
    paths = enumerate_paths(mdp, policy)
    occupancy, past = np.zeros((2, num_steps, num_states))
    scale = discounting(mdp)
    earned = np.cumsum(paths.reward * scale, axis=1) - paths.reward * scale
    for t in range(num_steps):
        weight = paths.probability * paths.live[:, t]
        occupancy[t] = np.bincount(paths.state[:, t], weight, num_states)
        total = np.bincount(paths.state[:, t], weight * earned[:, t], num_states)
        past[t] = np.divide(total, occupancy[t], out=np.zeros(num_states), where=occupancy[t] > 0)
    gain = paths.returns(by_step(mdp))
    gradient = np.zeros(policy.shape)
    for t in range(num_steps):
        m = mdp.schedule[t]
        if mdp.decision[m]:
            o, a = paths.observation[:, t], paths.action[:, t]
            score = (np.arange(policy.shape[-1]) == a[:, None]) - policy[m, o]
            weight = paths.probability * gain * paths.live[:, t]
            np.add.at(gradient[m], o, weight[:, None] * score)
    value = np.zeros((num_steps + 1, num_states))
    q_value = np.zeros((num_steps, num_states, policy.shape[-1]))
    anywhere = np.full(num_states, 1.0 / num_states)
    for t in range(num_steps):
        tail = enumerate_paths(mdp, policy, first=t, start=anywhere)
        gains = tail.returns(by_step(mdp, t))
        value[t] = _mean(gains, tail.probability, tail.state[:, 0], num_states)
        tail = enumerate_paths(mdp, policy, first=t, start=anywhere, free_first_action=True)
        cell = tail.state[:, 0] * policy.shape[-1] + tail.action[:, 0]
        gains = tail.returns(by_step(mdp, t))
        mean = _mean(gains, tail.probability, cell, q_value[t].size)
        q_value[t] = mean.reshape(q_value[t].shape)
    return Exact(value, q_value, occupancy, past, gradient, float(paths.probability @ gain))


def _mean(x: np.ndarray, weight: np.ndarray, cell: np.ndarray, size: int) -> np.ndarray:
    total = np.bincount(cell, weight, size)
    return np.bincount(cell, weight * x, size) / np.where(total > 0, total, 1.0)


def mean_and_error(paths: Paths, discount: float | np.ndarray, num: int) -> tuple[float, float]:
    """The expected return of these trajectories, and the error of its mean over `num` episodes.

    The error is the standard error.
    """
    weight, gain = paths.probability / paths.probability.sum(), paths.returns(discount)
    mean = float(weight @ gain)
    return mean, float(np.sqrt(weight @ (gain - mean) ** 2 / num))


def assert_frequencies(
    count: np.ndarray, probability: np.ndarray, false_alarm: float = 1e-7
) -> None:
    """Chi-square test of counts against probabilities.

    Outcomes of probability 0 must not occur at all. Outcomes expected fewer than 10 times are
    pooled. A right simulator fails with chance `false_alarm`.
    """
    count, probability = np.ravel(count), np.ravel(probability)
    assert not count[probability == 0].any()
    expected = count.sum() * probability / probability.sum()
    common = expected >= 10
    count = np.append(count[common], count[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    count, expected = count[expected > 0], expected[expected > 0]
    assert len(count) > 1, "too few outcomes for a test"
    assert np.sum((count - expected) ** 2 / expected) < chdtri(len(count) - 1, false_alarm)


def optimal_value(mdp: MDP) -> np.ndarray:
    """V*_t(s) `[T, S]` of the best policy that sees state and step.

    It is found by recursion on single states.
    """
    mdp = as_float64(mdp)
    num_steps, num_states, num_actions, width = mdp.schedule.shape[0], *mdp.prob.shape[1:]

    @functools.cache
    def best(t: int, s: int) -> float:
        if t == num_steps or mdp.terminal[s]:
            return 0.0
        m = mdp.schedule[t]
        return max(
            sum(
                mdp.prob[m, s, a, k]
                * (
                    mdp.reward[m, s, a, k]
                    + mdp.discount[m] * best(t + 1, mdp.successor[m, s, a, k])
                )
                for k in range(width)
            )
            for a in range(num_actions if mdp.decision[m] else 1)
        )

    return np.array([[best(t, s) for s in range(num_states)] for t in range(num_steps)])


def belief(
    mdp: MDP, policy: np.ndarray, observation: np.ndarray, action: np.ndarray, step: int
) -> np.ndarray:
    """The belief after one prefix, by counting trajectories.

    In maths: P(s_step | o_0..o_step, a_0..a_{step-1}, still live).
    """
    paths = enumerate_paths(mdp, policy)
    same = np.all(paths.observation[:, : step + 1] == observation[: step + 1], axis=1)
    same &= np.all(paths.action[:, :step] == action[:step], axis=1) & paths.live[:, step]
    weight = np.bincount(paths.state[:, step], paths.probability * same, mdp.start.shape[0])
    return weight / weight.sum()


def random_mdp(
    seed: int,
    *,
    schedule: tuple[int, ...] = (0, 2, 1, 2),
    states: int = 5,
    actions: int = 2,
    observations: int = 7,
    successors: int = 6,
    terminal: bool = True,
    hidden: bool = True,
    discount: float | tuple[float, ...] = 29 / 32,
) -> tuple[MDP, np.ndarray]:
    """An awkward little MDP with 3 kernels, and a policy table for it.

    All its numbers are exact in float32. Successors repeat with different rewards, several have
    probability 0 (always the last, sometimes the first) and rewards of their own, kernel 1 is no
    decision though the policy has an opinion there, state 2 is terminal, can be a start, and
    pretends to move and to pay.

    Args:
        seed: draws everything.
        schedule: which of the kernels governs each step.
        states, actions, observations, successors: sizes.
        terminal: whether state 2 is terminal.
        discount: of every kernel, or of each.
        hidden: a stochastic emission; otherwise the state is shown, and `observations` is not used.
    """
    rng = np.random.default_rng(seed)
    kernels, steps = 3, len(schedule)
    prob = _rows(rng, (kernels, states, actions, successors), support=3, grid=64)
    prob[..., -1], prob[..., 1] = 0.0, prob[..., 1] + prob[..., -1]
    emission = _rows(rng, (kernels, states, observations), support=2, grid=16)
    if not hidden:
        emission = np.broadcast_to(np.eye(states), (kernels, states, states))
    rises = np.arange(steps) * min(3, steps) // steps
    mdp = MDP(
        start=_rows(rng, (states,), support=4, grid=8),
        schedule=np.asarray(schedule, int),
        successor=rng.integers(0, states, prob.shape),
        prob=prob,
        reward=rng.integers(-16, 17, prob.shape) / 8.0,
        emission=emission,
        terminal=(np.arange(states) == 2) & terminal,
        decision=np.array([True, False, True]),
        kind=np.array([Kind.THINK, Kind.OUTPUT, Kind.ANSWER], int),
        segment=rises,
        turn=rises // 2,
        agent=np.zeros(steps, int),
        discount=np.full(kernels, discount),
        prompt=np.zeros(states, int),
    )
    policy = rng.integers(1, 8, (kernels, emission.shape[-1], actions)).astype(float)
    policy[..., -1] = 16 - policy[..., :-1].sum(-1)
    return jax.device_put(mdp), np.asarray(
        np.maximum(policy, 1) / np.maximum(policy, 1).sum(-1, keepdims=True), np.float32
    )


def _rows(rng: np.random.Generator, shape: tuple[int, ...], support: int, grid: int) -> np.ndarray:
    """Probability rows in multiples of 1 / grid, positive on at most `support` drawn entries.

    The entries are drawn for each row.
    """
    size = shape[-1]
    out = np.zeros((int(np.prod(shape[:-1])), size))
    for row in out:
        where = rng.choice(size, min(support, size), replace=False)
        row[where] = rng.multinomial(grid, rng.dirichlet(np.ones(len(where)))) / grid
    return out.reshape(shape)


def random_policy(seed: int, mdp: MDP) -> np.ndarray:
    """A policy table with every probability positive, in multiples of 1/16 for two actions."""
    rng = np.random.default_rng(seed)
    shape = (mdp.emission.shape[0], mdp.emission.shape[2], mdp.prob.shape[2])
    weight = rng.integers(1, 9, shape).astype(float)
    return np.asarray(weight / weight.sum(-1, keepdims=True), np.float32)


def small_tasks() -> dict[str, Bifurcation | ToolChain]:
    """Both families with every knob off its default and its ends, short enough to enumerate."""
    return {
        "bifurcation": Bifurcation(
            horizon=6,
            pivots=(1, 4),
            gap=0.7,
            base=0.4,
            recovery=0.35,
            noise=0.15,
            filler_entropy=0.5,
            discount=0.9,
        ),
        "tool_chain": ToolChain(
            num_turns=2,
            tokens_per_turn=2,
            output_tokens=1,
            reliability=0.8,
            damage=0.7,
            repair=0.25,
            switch=0.35,
            observation_noise=0.2,
            unverified=0.3,
            discount=0.9,
        ),
    }
