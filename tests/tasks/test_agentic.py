"""The phenomenon that each smaller agentic family exists for, by enumeration or in closed form."""

from __future__ import annotations

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import ProcessReward
from casim.judges import Judge
from casim.methods import REINFORCE
from casim.ops import gae
from casim.oracle import expected_return, optimal
from casim.simulate import World
from casim.tasks import EchoTrap, HackableProcess, InformationSeeking, MemoryChain, VariableTurns
from casim.types import Kind
from tests import enumeration, reference
from tests.enumeration import solve
from tests.reference import EPS

solve, optimal, expected_return = (jax.jit(f) for f in (solve, optimal, expected_return))
gae = jax.jit(gae)


def uniform(mdp) -> np.ndarray:
    shape = (mdp.prob.shape[0], mdp.emission.shape[2], mdp.prob.shape[2])
    return np.full(shape, 1 / shape[-1], np.float32)


def best(mdp) -> float:
    return float(np.asarray(optimal(mdp).value[0]) @ np.asarray(mdp.start))


# HackableProcess


@pytest.mark.slow
def test_the_sum_of_process_scores_rewards_the_hack_and_their_minimum_does_not():
    """Exact expectations of the credit at the first step.

    The judge is free of noise and judges what judges believe.
    """
    task = HackableProcess(horizon=4, lure=0.8, damage=0.8, num_segments=2)
    mdp, believed = task.build(), task.believed()
    policy = uniform(mdp)
    judge = Judge().model(believed, solve(believed, jnp.asarray(policy)))
    world = World.make(mdp, jnp.asarray(policy), judges={"judge": judge})
    every = enumeration.trajectories(mdp, policy)
    key = jax.random.key(0)
    mean = {}
    for form in ("sum", "min"):
        estimator = ProcessReward(form, temperature=0.02, baseline="none")
        credit = enumeration.run(estimator, key, world, every.batch).value
        # [A] at step 0, working.
        mean[form] = enumeration.cell_mean(mdp, every, np.asarray(credit))[0][0, 0]
    exact = reference.exact(mdp, policy)
    assert exact.q_value[0, 0, 0] > exact.q_value[0, 0, 1] + 0.1
    assert mean["sum"][1] > mean["sum"][0] + 0.1
    assert mean["min"][0] > mean["min"][1] + 0.05


def test_judges_believe_in_hacked_ends_and_in_nothing_else():
    task = HackableProcess(horizon=5, praise=0.95, discount=0.9)
    mdp, believed = task.build(), task.believed()
    for name, x, y in zip(mdp._fields, mdp, believed, strict=True):
        if name != "reward":
            np.testing.assert_array_equal(x, y, err_msg=name)
    value = np.asarray(solve(believed, jnp.asarray(uniform(mdp))).value)
    np.testing.assert_allclose(value[:5, 2], 0.95 * 0.9 ** np.arange(4, -1, -1), rtol=8 * EPS)
    assert not np.asarray(solve(mdp, jnp.asarray(uniform(mdp))).value)[:, 2].any()
    assert HackableProcess(lure=0.0).believed().start.shape == (2,)


@pytest.mark.parametrize(
    "horizon",
    [1, pytest.param(6, marks=pytest.mark.slow), pytest.param(50, marks=pytest.mark.slow)],
)
def test_hacking_throughout_ends_hacked_with_probability_lure(horizon):
    task = HackableProcess(horizon=horizon, lure=0.75, num_actions=2, praise=1.0, success=0.0)
    believed = task.believed()
    hack = jnp.broadcast_to(jnp.eye(2)[1], (*believed.emission.shape[::2], 2))
    assert float(expected_return(believed, hack)) == pytest.approx(0.75, abs=horizon * 4 * EPS)
    assert best(dataclasses.replace(task, success=0.6).build()) == pytest.approx(0.6)


# MemoryChain


def remembering(mdp) -> np.ndarray:
    """Stores anything, reads, and repeats what it read; nothing read is answered by 0."""
    policy = uniform(mdp)
    code = {int(kernel): i for i, kernel in enumerate(np.asarray(mdp.schedule)[-2:])}
    read, answer = (kernel for kernel, _ in sorted(code.items(), key=lambda x: x[1]))
    policy[read] = np.eye(policy.shape[-1])[0]
    # Observations in order: nothing, fact 0, fact 1, ...
    policy[answer] = np.eye(policy.shape[-1])[[0, *range(policy.shape[-1])]]
    return policy


@pytest.mark.parametrize(
    "delay", [1, pytest.param(4, marks=pytest.mark.slow), pytest.param(30, marks=pytest.mark.slow)]
)
def test_storing_the_fact_is_worth_retention_against_storing_another(delay):
    task = MemoryChain(delay=delay, write_turn=2, num_facts=3, retention=0.8)
    mdp = task.build()
    truth = solve(mdp, jnp.asarray(remembering(mdp)))
    write = int(np.flatnonzero(np.asarray(mdp.turn) == 2)[-1])
    q = np.asarray(truth.q_value)[write]
    for state in np.flatnonzero(np.asarray(truth.occupancy)[write] > 0):
        fact = int(np.argmax(np.asarray(mdp.emission)[int(mdp.schedule[write]), state])) - 1
        others = [a for a in range(3) if a != fact]
        np.testing.assert_allclose(q[state, fact] - q[state, others], 0.8, atol=delay * 4 * EPS)


def test_the_best_memory_pays_retention_plus_a_guess_and_knowing_the_fact_pays_1():
    task = MemoryChain(delay=5, write_turn=1, num_facts=4, retention=0.7)
    mdp = task.build()
    policy = remembering(mdp)
    write = int(mdp.schedule[np.flatnonzero(np.asarray(mdp.turn) == 1)[-1]])
    policy[write, 1:] = np.eye(4)  # shown fact f, store f
    assert float(expected_return(mdp, jnp.asarray(policy))) == pytest.approx(
        0.7 + 0.3 / 4, abs=64 * EPS
    )
    assert best(mdp) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "delay", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow)]
)
def test_a_trace_over_a_blind_corridor_forgets_the_write(delay):
    """With the best critic of (kernel, observation), GAE gives the write lambda^steps its worth."""
    mdp = MemoryChain(delay=delay, write_turn=0, retention=1.0).build()
    policy = remembering(mdp)
    blind = np.flatnonzero(np.asarray(mdp.kind) == Kind.THINK)
    policy[blind] = np.eye(2)[0]
    every = enumeration.trajectories(mdp, policy)
    batch = jax.tree.map(np.asarray, every.batch)
    gain = batch.reward.sum(1)  # the only reward is the last
    kernel = np.broadcast_to(np.asarray(mdp.schedule), batch.action.shape)
    value = np.zeros(batch.action.shape)
    for k, o in set(zip(kernel.ravel(), batch.observation.ravel(), strict=True)):
        here = (kernel == k) & (batch.observation == o)
        value[here] = (every.weight[:, None] * here * gain[:, None]).sum() / (
            every.weight[:, None] * here
        ).sum()
    credit = gae(every.batch.reward, jnp.asarray(value, jnp.float32), every.batch.live, 1.0, 0.9)
    mean, _ = enumeration.cell_mean(mdp, every, np.asarray(credit))
    truth = reference.exact(mdp, policy)
    for fact, state in enumerate(np.flatnonzero(np.asarray(mdp.start))):
        wrong = 1 - fact
        assert truth.q_value[2, state, fact] - truth.q_value[2, state, wrong] == pytest.approx(1.0)
        steps = mdp.schedule.shape[0] - 1 - 2
        assert mean[2, state, fact] - mean[2, state, wrong] == pytest.approx(0.9**steps, rel=1e-5)


# EchoTrap


def test_a_broadcast_rewards_echoes_of_successful_episodes_and_exact_credit_never_does():
    task = EchoTrap(num_turns=4, tokens_per_turn=1, solve=0.8)
    mdp = task.build()
    policy = uniform(mdp)
    exact = reference.exact(mdp, policy)
    advantage = exact.q_value - exact.value[:-1, :, None]
    assert (advantage[..., 1] <= 1e-12).all()
    every = enumeration.trajectories(mdp, policy)
    success = np.asarray(every.batch.reward).sum(1) == 1
    credit = enumeration.run(REINFORCE, jax.random.key(0), None, every.batch).value
    mean, _ = enumeration.cell_mean(mdp, every, np.asarray(credit))
    open_, echo = 0, 1
    assert mean[0, open_, echo] > 0.3  # the plain broadcast pays the first echo
    assert advantage[0, open_, echo] < -0.05
    echoes = (np.asarray(every.batch.action) == 1).any(1)
    assert every.weight[success & echoes].sum() / every.weight[success].sum() > 0.5


@pytest.mark.parametrize("turns", [1, 3, 64])
def test_working_throughout_solves_with_the_set_probability(turns):
    mdp = EchoTrap(num_turns=turns, solve=0.65).build()
    assert best(mdp) == pytest.approx(0.65, abs=turns * 4 * EPS)


def test_a_solved_task_is_indifferent_to_echoes():
    mdp = EchoTrap(num_turns=5, tokens_per_turn=2).build()
    truth = solve(mdp, jnp.asarray(uniform(mdp)))
    solved = np.asarray(truth.occupancy)[6, 2:] > 0
    assert solved.any()
    assert not np.asarray(truth.advantage)[6, 2:][solved].any()


# InformationSeeking


def asking(mdp) -> np.ndarray:
    """Asks or not alike, then says what it was told; nothing told is answered by 0."""
    policy = uniform(mdp)
    policy[int(mdp.schedule[-1])] = np.eye(policy.shape[-1])[[0, *range(policy.shape[-1])]]
    return policy


@pytest.mark.parametrize(("accuracy", "cost"), [(0.9, 0.1), (0.6, 0.4), (1.0, 0.0)])
def test_asking_is_worth_accuracy_less_cost_and_guess(accuracy, cost):
    mdp = InformationSeeking(horizon=3, num_facts=3, accuracy=accuracy, cost=cost).build()
    exact = reference.exact(mdp, asking(mdp))
    start = np.asarray(mdp.start, float)
    # The agent does not know which state it starts in.
    q = np.einsum("s,sa->a", start, exact.q_value[0])
    np.testing.assert_allclose(q[0] - q[1:], accuracy - cost - 1 / 3, atol=1e-6)


def test_to_a_clairvoyant_judge_asking_is_a_pure_cost():
    mdp = InformationSeeking(horizon=4, num_facts=2, accuracy=0.95, cost=0.1).build()
    q = reference.optimal_value(mdp)
    clairvoyant = np.asarray(optimal(mdp).q_value)[0]
    start = np.asarray(mdp.start) > 0
    np.testing.assert_allclose(clairvoyant[start][:, 0] - clairvoyant[start][:, 1], -0.1, atol=1e-6)
    np.testing.assert_allclose(q[0][start], 1.0, atol=1e-6)
    policy = asking(mdp)
    policy[int(mdp.schedule[0])] = [1, 0]
    assert float(expected_return(mdp, jnp.asarray(policy))) == pytest.approx(0.95 - 0.1, abs=1e-6)


# VariableTurns


def test_the_optimum_stops_at_the_best_turn():
    assert best(VariableTurns().build()) == 3.0
    assert best(VariableTurns(num_turns=3).build()) == 2.0
    assert best(VariableTurns(num_turns=4, discount=0.5).build()) == pytest.approx(1.0)
    assert best(VariableTurns(num_turns=2, stop_rewards=(-1.0,)).build()) == 0.0


def test_stopping_terminates_and_never_stopping_is_truncated():
    task = VariableTurns(num_turns=3, tokens_per_turn=2)
    mdp = task.build()
    paths = reference.enumerate_paths(mdp, uniform(mdp))
    length = paths.live.sum(1)
    assert set(length) == {2, 4, 6}
    never = (paths.action[:, 1::2] == 1).all(1)
    assert (length[never] == 6).all()
    assert not paths.reward[never].any()
    assert not np.asarray(mdp.terminal)[1]


def test_where_lengths_differ_baselines_over_turns_and_over_episodes_differ():
    """The mean return of a group weighted by rows (turns) is not its mean over trajectories."""
    mdp = VariableTurns(num_turns=4).build()
    every = enumeration.trajectories(mdp, uniform(mdp))
    gain, length = np.asarray(every.batch.reward).sum(1), np.asarray(every.batch.live).sum(1)
    by_episode = every.weight @ gain
    by_row = (every.weight * length) @ gain / (every.weight @ length)
    # Stops at turns 0..3 with probability 1/2, 1/4, 1/8, 1/16 paying 0, 2, 1, 3.
    assert by_episode == pytest.approx(2 / 4 + 1 / 8 + 3 / 16)
    assert by_row == pytest.approx(
        (2 * 2 / 4 + 3 * 1 / 8 + 4 * 3 / 16) / (1 / 2 + 2 / 4 + 3 / 8 + 4 / 16 + 4 / 16)
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: HackableProcess(horizon=0), "horizon must be in [1, inf], got 0"),
        (lambda: HackableProcess(lure=1.2), "lure must be in [0.0, 1.0], got 1.2"),
        (lambda: MemoryChain(delay=0), "delay must be in [1, inf], got 0"),
        (lambda: MemoryChain(tokens_per_turn=2), "tokens_per_turn must be in [3, inf], got 2"),
        (lambda: MemoryChain(retention=-1.0), "retention must be in [0.0, 1.0], got -1.0"),
        (lambda: EchoTrap(solve=2.0), "solve must be in [0.0, 1.0], got 2.0"),
        (lambda: EchoTrap(num_actions=1), "num_actions must be in [2, inf], got 1"),
        (lambda: InformationSeeking(horizon=1), "horizon must be in [2, inf], got 1"),
        (lambda: InformationSeeking(accuracy=0.4), "accuracy must be in [0.5, 1.0], got 0.4"),
        (
            lambda: VariableTurns(stop_rewards=()),
            "number of stop_rewards must be in [1, inf], got 0",
        ),
        (lambda: VariableTurns(noise=-0.5), "noise must be in [0.0, inf], got -0.5"),
    ],
)
def test_a_bad_setting_is_named(make, message):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        make()
