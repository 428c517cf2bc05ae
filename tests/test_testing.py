"""The public contracts: casim's own recipes pass them, and broken ones do not."""

import dataclasses
from typing import ClassVar, final

import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.estimators.base import cost
from casim.testing import check_estimator, check_task, enumerate_trajectories
from tests import reference

SMALL = {
    casim.Bifurcation: (
        casim.Bifurcation(horizon=9, pivots=2, noise=0.1, recovery=0.3, num_actions=3, filler_entropy=0.4),
        casim.Bifurcation(
            horizon=4, pivots=2, noise=0.1, recovery=0.3, num_actions=3, filler_entropy=0.4, discount=0.9
        ),
    ),
    casim.ToolChain: (
        casim.ToolChain(repair=0.2),
        casim.ToolChain(num_turns=2, tokens_per_turn=2, repair=0.2, discount=0.9),
    ),
}


@pytest.mark.parametrize("task", casim.TASKS)
def test_every_task_passes_its_contract(task):
    check_task(*SMALL[task])


@pytest.mark.slow
@pytest.mark.parametrize("estimator", casim.ESTIMATORS)
def test_every_estimator_passes_its_contract(estimator):
    check_estimator(estimator())


@final
@dataclasses.dataclass(frozen=True)
class Liar(casim.Estimator):
    """Half the return, which claims to give the exact gradient."""

    granularity: ClassVar[str] = "trajectory"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[str] = "trajectory_advantage"
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset({"gradient"})

    def __call__(self, key, world, batch):
        total = jnp.sum(batch.reward, axis=1, keepdims=True)
        return casim.Credit(jnp.where(batch.live, total / 2, 0.0), cost())


@final
@dataclasses.dataclass(frozen=True)
class Peeker(casim.Estimator):
    """Reads the latent state without saying so."""

    granularity: ClassVar[str] = "step"
    methodology: ClassVar[str] = "monte_carlo"
    target: ClassVar[str] = "advantage"
    needs: ClassVar[frozenset[str]] = frozenset()
    unbiased: ClassVar[frozenset[str]] = frozenset()

    def __call__(self, key, world, batch):
        return casim.Credit(jnp.where(batch.live, batch.state.astype(float), 0.0), cost())


def test_a_false_claim_fails_the_contract():
    with pytest.raises(AssertionError, match="policy gradient must be unbiased"):
        check_estimator(Liar())


def test_reading_the_latent_state_fails_the_contract():
    with pytest.raises(AssertionError, match="must not read the latent state"):
        check_estimator(Peeker(), num_groups=200)


def test_the_enumeration_equals_the_independent_one_of_the_tests():
    mdp, policy = reference.random_mdp(3)
    weight, paths = enumerate_trajectories(mdp, np.asarray(policy))
    scaling = float(mdp.discount) ** np.arange(paths.reward.shape[1])
    truth = casim.solve(mdp, jnp.asarray(policy))
    assert weight.sum() == pytest.approx(1.0, abs=1e-6)
    assert weight @ (paths.reward @ scaling) == pytest.approx(float(truth.expected_return), abs=1e-5)
    assert not paths.reward[~paths.live].any()


def test_an_enumeration_that_is_too_large_raises():
    mdp = casim.Bifurcation(horizon=12).build()
    with pytest.raises(ValueError, match=r"number of trajectories must be in \[1, 1000\]"):
        enumerate_trajectories(mdp, np.asarray(casim.Uniform().table(mdp)), limit=1000)
