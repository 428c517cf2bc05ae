"""The contract of tasks: casim's own pass it, and broken ones do not."""

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.tasks import Forced
from casim.tasks.classics import CLASSICS
from casim.testing import check_task, enumerate_trajectories
from tests import reference

SMALL = {
    casim.Bifurcation: (
        casim.Bifurcation(
            horizon=9, pivots=2, noise=0.1, recovery=0.3, num_actions=3, filler_entropy=0.4
        ),
        casim.Bifurcation(
            horizon=4,
            pivots=2,
            noise=0.1,
            recovery=0.3,
            num_actions=3,
            filler_entropy=0.4,
            discount=0.9,
        ),
    ),
    casim.ReasoningChain: (
        casim.ReasoningChain(num_steps=3, tokens_per_step=4),
        casim.ReasoningChain(
            num_steps=2, tokens_per_step=3, num_actions=2, difficulty=(0.4, 0.9), discount=0.9
        ),
    ),
    casim.HackableProcess: (
        casim.HackableProcess(horizon=7),
        casim.HackableProcess(horizon=5, discount=0.9),
    ),
    casim.ToolChain: (
        casim.ToolChain(
            repair=0.2,
            non_closure=0.1,
            observation_noise=0.2,
            heterogeneity=0.5,
            unverified=0.4,
            coupling=0.3,
        ),
        casim.ToolChain(
            num_turns=2, tokens_per_turn=1, repair=0.2, observation_noise=0.1, discount=0.9
        ),
    ),
    casim.MemoryChain: (
        casim.MemoryChain(delay=3, write_turn=2),
        casim.MemoryChain(delay=2, write_turn=0, discount=0.9),
    ),
    casim.EchoTrap: (
        casim.EchoTrap(num_turns=6),
        casim.EchoTrap(num_turns=3, tokens_per_turn=2, discount=0.9),
    ),
    casim.InformationSeeking: (
        casim.InformationSeeking(horizon=5),
        casim.InformationSeeking(horizon=3, num_facts=3, accuracy=0.8, discount=0.9),
    ),
    casim.VariableTurns: (
        casim.VariableTurns(num_turns=6, noise=0.5),
        casim.VariableTurns(num_turns=4, tokens_per_turn=2, num_actions=3, discount=0.9),
    ),
    casim.Team: (
        casim.Team(null_agent=1, message_noise=0.2),
        casim.Team(tokens_per_agent=2, num_agents=3, message_noise=0.1, discount=0.9),
    ),
    casim.HiddenCause: (
        casim.HiddenCause(horizon=4),
        casim.HiddenCause(world=-1, horizon=3, discount=0.9),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "task",
    [
        task if task is casim.Bifurcation else pytest.param(task, marks=pytest.mark.slow)
        for task in casim.TASKS
        if task not in CLASSICS
    ],
)
def test_every_task_passes_its_contract(task):
    check_task(*SMALL[task], num=5000)


@pytest.mark.slow
def test_a_team_with_a_router_passes_the_contract():
    team = casim.Team(num_agents=3, joint="any", router=True, null_agent=1)
    check_task(team, dataclasses.replace(team, null_agent=None, discount=0.9), num=5000)


@pytest.mark.slow
def test_a_task_with_forced_steps_passes_the_contract():
    check_task(
        Forced(
            casim.ToolChain(num_turns=2, tokens_per_turn=1, observation_noise=0.2, discount=0.9)
        ),
        num=5000,
    )


@final
@dataclasses.dataclass(frozen=True)
class Unreachable(casim.Task):
    """A bifurcation chain with one more state, where nothing leads."""

    horizon_: int = 3
    knob: ClassVar[str] = "horizon_"

    def build(self):
        mdp = casim.Bifurcation(horizon=self.horizon_, num_segments=1).build()
        pad = lambda x: jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0)))  # noqa: E731
        return mdp._replace(
            start=jnp.pad(mdp.start, (0, 1)),
            successor=pad(mdp.successor),
            prob=pad(mdp.prob).at[:, -1, :, 0].set(1.0),
            reward=pad(mdp.reward),
            emission=jnp.pad(mdp.emission, ((0, 0), (0, 1), (0, 0))).at[:, -1, 0].set(1.0),
            terminal=jnp.pad(mdp.terminal, (0, 1)),
            prompt=jnp.pad(mdp.prompt, (0, 1)),
        )


@pytest.mark.slow
def test_a_state_that_cannot_be_reached_fails_the_contract():
    with pytest.raises(AssertionError, match=r"states \[2\] cannot be reached"):
        check_task(Unreachable())


def test_the_enumeration_equals_the_independent_one_of_the_tests():
    mdp, policy = reference.random_mdp(3)
    weight, paths = enumerate_trajectories(mdp, np.asarray(policy))
    scaling = reference.discounting(mdp)
    truth = casim.solve(mdp, jnp.asarray(policy))
    assert weight.sum() == pytest.approx(1.0, abs=1e-6)
    assert weight @ (paths.reward @ scaling) == pytest.approx(
        float(truth.expected_return), abs=1e-5
    )
    assert not paths.reward[~paths.live].any()


def test_an_enumeration_that_is_too_large_raises():
    mdp = casim.Bifurcation(horizon=12).build()
    with pytest.raises(ValueError, match=r"number of trajectories must be in \[1, 1000\]"):
        enumerate_trajectories(mdp, np.asarray(casim.Uniform().table(mdp)), limit=1000)
