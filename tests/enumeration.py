"""Expectations without sampling: every trajectory or every group of them, weighted, in float64."""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import stats

from casim import oracle
from casim.estimators.base import begin
from casim.simulate import World
from casim.types import MDP, Batch, Credit, Kind, Trajectory, Truth, recorded
from tests import reference
from tests.quick import QUICK
from tests.reference import Paths

# One compilation of each shape serves all tests.


def as_groups(world: World | None, batch: Trajectory) -> Batch:
    """Trajectories `[N, T]` as a batch of one prompt; without a world every step decides."""
    one = jax.tree.map(lambda x: jnp.asarray(x)[None], batch)
    return Batch.of(one) if world is None else world.attach(one)


def credit(estimator, key, world: World | None, batch: Trajectory) -> Credit:
    """The credit of one group `[N, T]`."""
    given = estimator.credit(key, world, as_groups(world, batch))
    return given._replace(value=given.value[0], weight=given.weight[0])


class Rule:
    """An estimator made of a function (key, world, trajectories `[N, T]`) -> values `[N, T]`."""

    def __init__(self, function):
        self.function = function

    def credit(self, key, world, batch: Batch) -> Credit:
        group = jax.tree.map(lambda x: x[0], recorded(batch))
        return begin(batch)._replace(value=self.function(key, world, group)[None])


run = jax.jit(credit, static_argnums=0, compiler_options=QUICK)
run_groups = jax.jit(
    lambda estimator, batch: jax.vmap(
        lambda group: credit(estimator, jax.random.key(0), None, group).value
    )(batch),
    static_argnums=0,
    compiler_options=QUICK,
)
run_keys = jax.jit(
    lambda estimator, keys, world, batch: jax.vmap(
        lambda key: credit(estimator, key, world, batch)
    )(keys),
    static_argnums=0,
    compiler_options=QUICK,
)
solve = jax.jit(oracle.solve)  # also within other programs, so without options of its own


class Case(NamedTuple):
    """A small world with everything exact about it."""

    mdp: MDP
    policy: np.ndarray
    exact: reference.Exact
    all: Weighted
    world: World

    @property
    def advantage(self) -> np.ndarray:
        return self.exact.q_value - self.exact.value[:-1, :, None]

    @property
    def discount(self) -> float:
        return float(self.mdp.discount[0])


class Weighted(NamedTuple):
    """Batches with their probabilities: trajectories `[P, T]`, or groups of them `[C, N, T]`."""

    weight: np.ndarray  # [P] or [C]
    batch: Trajectory


def trajectories(mdp: MDP, policy: np.ndarray, start: int | None = None) -> Weighted:
    """Every trajectory of positive probability, as one batch."""
    first = None if start is None else np.eye(mdp.start.shape[0])[start]
    paths = reference.enumerate_paths(mdp, policy, start=first)
    return Weighted(paths.probability / paths.probability.sum(), as_batch(mdp, policy, paths))


def as_batch(mdp: MDP, policy: np.ndarray, paths: Paths) -> Trajectory:
    """Enumerated paths in the form that the simulator records."""
    schedule, decision = np.asarray(mdp.schedule), np.asarray(mdp.decision)
    decided = paths.live & decision[schedule][None, :]
    action = np.where(decided, paths.action, 0)
    taken = np.asarray(policy)[schedule[None, :], paths.observation, action]
    batch = Trajectory(
        state=paths.state.astype(np.int32),
        observation=paths.observation.astype(np.int32),
        action=action.astype(np.int32),
        log_prob=np.where(decided, np.log(taken), 0.0).astype(np.float32),
        reward=paths.reward.astype(np.float32),
        live=paths.live,
    )
    return jax.device_put(batch)  # which compiles nothing, unlike `jnp.asarray`


def groups(single: Weighted, size: int) -> Weighted:
    """Every multiset of `size` trajectories, and how probably a group of independent ones is it."""
    members = np.array(
        list(itertools.combinations_with_replacement(range(len(single.weight)), size))
    )
    orders = np.full(len(members), float(math.factorial(size)))
    run = np.ones(len(members))
    for k in range(1, size):
        run = np.where(members[:, k] == members[:, k - 1], run + 1, 1)
        orders /= run
    weight = orders * single.weight[members].prod(axis=1)
    return Weighted(weight, jax.tree.map(lambda x: np.asarray(x)[members], single.batch))


def cell_mean(mdp: MDP, given: Weighted, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E[value | t, s, a] `[T, S, A]` over live decision steps, and the visits' weight.

    NaN where never visited.
    """
    num_steps, num_states, num_actions = (
        mdp.schedule.shape[0],
        mdp.start.shape[0],
        mdp.prob.shape[2],
    )
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, num_steps), given.batch)
    value = np.asarray(value, np.float64).reshape(-1, num_steps)
    weight = np.repeat(given.weight, len(value) // len(given.weight))[:, None]
    weight = weight * flat.live * np.asarray(mdp.decision)[np.asarray(mdp.schedule)][None, :]
    time = np.broadcast_to(np.arange(num_steps), flat.state.shape)
    total, mass = np.zeros((2, num_steps, num_states, num_actions))
    np.add.at(total, (time, flat.state, flat.action), weight * value)
    np.add.at(mass, (time, flat.state, flat.action), weight)
    return np.divide(total, mass, out=np.full(mass.shape, np.nan), where=mass > 0), mass


def expected_gradient(
    mdp: MDP, policy: np.ndarray, given: Weighted, value: np.ndarray
) -> np.ndarray:
    """E[(1/N) sum_i sum_t discount^t c_it grad log pi(a_it | o_it)] `[M, O, A]`."""
    schedule, decision = np.asarray(mdp.schedule), np.asarray(mdp.decision)
    flat = jax.tree.map(lambda x: np.asarray(x).reshape(-1, len(schedule)), given.batch)
    value = np.asarray(value, np.float64).reshape(flat.state.shape)
    members = len(value) // len(given.weight)
    weight = np.repeat(given.weight / members, members)
    out = np.zeros(np.shape(policy))
    for t, m in enumerate(schedule):
        if decision[m]:
            o, a = flat.observation[:, t], flat.action[:, t]
            score = (np.arange(out.shape[-1]) == a[:, None]) - np.asarray(policy, np.float64)[m, o]
            size = weight * flat.live[:, t] * reference.discounting(mdp)[t] * value[:, t]
            np.add.at(out[m], o, size[:, None] * score)
    return out


def td_error(given: Case) -> np.ndarray:
    """The error r_t + discount V_{t+1}(s_{t+1}) - V_t(s_t) along every trajectory.

    The values are the enumerated ones.
    """
    state, live = np.asarray(given.all.batch.state), np.asarray(given.all.batch.live)
    out = np.zeros(state.shape)
    reward = np.asarray(given.all.batch.reward, np.float64)
    for i, t in zip(*np.nonzero(live), strict=True):
        after = (
            given.exact.value[t + 1, state[i, t + 1]]
            if t + 1 < state.shape[1] and live[i, t + 1]
            else 0.0
        )
        out[i, t] = reward[i, t] + given.discount * after - given.exact.value[t, state[i, t]]
    return out


def returns_to_go(batch: Trajectory, discount: float) -> np.ndarray:
    """G_t of every live step, for batches whose live steps come first."""
    reward = np.asarray(batch.reward, np.float64)
    steps = np.arange(reward.shape[1])
    weight = np.where(steps >= steps[:, None], discount ** np.abs(steps - steps[:, None]), 0.0)
    return reward @ weight.T * np.asarray(batch.live)


def assert_cells(
    given: Weighted, mdp: MDP, value: np.ndarray, wanted: np.ndarray, atol: float = 1e-5
) -> None:
    """Tests that E[value | t, s, a] is `wanted` `[T, S, A]` in every cell that is visited."""
    mean, mass = cell_mean(mdp, given, value)
    assert (mass > 0).sum() > 10
    np.testing.assert_allclose(mean[mass > 0], wanted[mass > 0], rtol=0, atol=atol)


def centre(state_policy: np.ndarray, schedule: np.ndarray, value: np.ndarray) -> np.ndarray:
    """value `[T, S, A]` less its mean under the policy, where every action has a value."""
    acting = np.asarray(state_policy, np.float64)[np.asarray(schedule)]
    return value - (acting * value).sum(-1, keepdims=True)


def assert_mean(
    sample: np.ndarray, wanted: np.ndarray, false_alarm: float = 1e-6, rounding: float = 1e-5
) -> None:
    """Tests that the mean of independent rows of `sample` is `wanted`, in all entries at once.

    `sample` is `[R, ...]`.

    Student's t with Bonferroni's correction: right code fails with chance `false_alarm`. Entries
    without any spread must agree to `rounding`, which is also forgiven elsewhere.
    """
    sample = np.asarray(sample, np.float64)
    count = len(sample)
    error = np.abs(sample.mean(axis=0) - wanted)
    spread = sample.std(axis=0, ddof=1) / np.sqrt(count)
    limit = stats.t.isf(false_alarm / error.size / 2, count - 1) * spread + rounding
    assert np.all(error <= limit), (
        f"largest excess {np.max(error - limit):.3g}, off by {np.max(error):.3g}"
    )


def exam(
    *,
    binary: bool = True,
    discount: float | tuple[float, ...] = 1.0,
    actions: int = 3,
    prompt: bool = True,
    terminal: bool = True,
) -> tuple[MDP, np.ndarray]:
    """Four steps in five states, of which state 4 ends the episode, and a policy.

    Step 1 is the environment's. Transitions and outcomes are random, kernel 0 governs steps 0 and
    2, and all states are shown.

    Args:
        binary: the return is 0 or 1, paid when the episode ends; otherwise rewards come at
            every step.
        discount, actions: of the process.
        prompt: one start state; otherwise two.
        terminal: whether state 4 ends the episode.
    """
    rng = np.random.default_rng(3)
    kernels, states, successors = 3, 5, 2
    shape = (kernels, states, actions, successors)
    successor = np.stack(
        [rng.permutation(states)[:successors] for _ in range(np.prod(shape[:-1]))]
    ).reshape(shape)
    first = rng.integers(2, 15, shape[:-1]) / 16.0
    reward = rng.integers(-8, 9, shape) / 4.0
    if binary:
        reward = np.zeros(shape)
        reward[0] = (successor[0] == 4) & terminal  # the episode ends there
        reward[2, ..., 0] = 1.0
    policy = rng.integers(2, 9, (kernels, states, actions)).astype(float)
    mdp = MDP(
        start=np.array([0.0, 1.0, 0.0, 0.0, 0.0] if prompt else [0.0, 0.625, 0.375, 0.0, 0.0]),
        schedule=np.array([0, 1, 0, 2]),
        successor=np.asarray(successor, int),
        prob=np.stack([first, 1 - first], axis=-1),
        reward=np.asarray(reward, np.float32),
        emission=np.broadcast_to(np.eye(states), (kernels, states, states)),
        terminal=(np.arange(states) == 4) & terminal,
        decision=np.array([True, False, True]),
        kind=np.array([Kind.THINK, Kind.OUTPUT, Kind.ANSWER], int),
        segment=np.array([0, 0, 1, 1]),
        turn=np.array([0, 0, 1, 1]),
        agent=np.zeros(4, int),
        discount=np.full(kernels, discount, np.float32),
        prompt=np.zeros(states, int),
    )
    return jax.device_put(mdp), np.asarray(policy / policy.sum(-1, keepdims=True), np.float32)


@functools.cache
def case(**settings) -> Case:
    """The `exam` of these settings, solved by enumeration."""
    return solved(*exam(**settings))


@functools.cache
def truth(**settings) -> Truth:
    """The oracle's answer for the `exam` of these settings."""
    return solve(*exam(**settings))


def solved(mdp: MDP, policy: np.ndarray) -> Case:
    """Everything exact about a small world."""
    world = World.make(mdp, jnp.asarray(policy))
    return Case(mdp, policy, reference.exact(mdp, policy), trajectories(mdp, policy), world)


@jax.tree_util.register_pytree_node_class
class FixedScores:
    """A scorer that answers what it was given."""

    def __init__(self, score: Float[Array, "N T"], start: Float[Array, " N"]):
        self.score, self.start = score, start

    def __call__(self, key, batch):
        return self.score

    def prompt(self, key, batch):
        return self.start

    def tree_flatten(self):
        return (self.score, self.start), None

    @classmethod
    def tree_unflatten(cls, _, children):
        return cls(*children)
