"""What learns or remembers: a state from `init`, handed from call to call."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.estimators import Chain, Estimator, Sum, ToGo, Whole
from casim.estimators.base import begin
from casim.oracle.moments import group_moments
from tests.reference import groups

KEY = jax.random.key(2)


@dataclasses.dataclass(frozen=True)
class RunningMean(Estimator):
    """Credit less the mean of all returns that it has seen, from a random start."""

    def init(self, key, world):
        return jax.random.uniform(key, dtype=jnp.float32), jnp.float32(1.0)

    def __call__(self, key, world, batch, credit, state):
        mean, seen = state
        returns = jnp.sum(batch.reward, axis=-1)
        total = mean * seen + jnp.sum(returns)
        after = seen + returns.size
        value = jnp.where(batch.live, credit.value - mean, 0.0)
        return credit._replace(value=value), (total / after, after)


@pytest.fixture(scope="module")
def drawn():
    mdp = casim.Bifurcation(horizon=4, pivots=(1,), gap=0.6).build()
    world = casim.World.make(mdp, casim.Uniform().table(mdp))
    return world, groups(world, KEY, 2, 3)


def test_a_state_is_handed_on_through_chains_and_sums(drawn):
    world, batch = drawn
    recipe = Chain(Whole(), Sum(RunningMean(), ToGo()), RunningMean())
    assert recipe.stateful
    state = recipe.init(KEY, world)
    _, once = recipe(KEY, world, batch, begin(batch), state)
    credit, twice = recipe(KEY, world, batch, begin(batch), once)
    ((_, (first, _), last), (_, (first_once, _), last_once)) = (state, once)
    returns = np.asarray(batch.reward.sum(-1))
    for before, after in ((first, first_once), (last, last_once)):
        wanted = (float(before[0]) + returns.sum()) / (1 + returns.size)
        assert float(after[0]) == pytest.approx(wanted, rel=1e-6)
        assert float(after[1]) == 1 + returns.size
    assert float(first[0]) != float(last[0])  # keys of their own
    assert jax.tree.structure(once) == jax.tree.structure(twice)
    assert np.isfinite(credit.value).all()


def test_a_single_call_starts_from_init(drawn):
    world, batch = drawn
    recipe = Chain(Whole(), RunningMean())
    one, other = recipe.credit(KEY, world, batch), recipe.credit(KEY, world, batch)
    np.testing.assert_array_equal(one.value, other.value)
    fresh = recipe.credit(jax.random.key(3), world, batch)
    assert (np.asarray(fresh.value) != np.asarray(one.value)).any()


def test_moments_of_what_remembers_are_refused_by_name(drawn):
    mdp = casim.Bifurcation(horizon=2, pivots=(1,), gap=0.6).build()
    with pytest.raises(ValueError, match=r"remember nothing from call to call, got Chain.*Running"):
        group_moments(mdp, casim.Uniform().table(mdp), Chain(Whole(), RunningMean()), 2)


def test_no_estimator_reads_the_process_behind_its_world():
    """Doors and sizes only: no attribute `mdp`, in any file of the estimators."""
    folder = Path(inspect.getfile(casim.estimators)).parent
    files = list(folder.rglob("*.py"))
    assert len(files) > 10
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Attribute) and node.attr == "mdp"), path.name
