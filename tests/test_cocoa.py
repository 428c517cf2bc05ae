"""`experiments/cocoa.py`: its layouts, its counts against an estimator's, the laws of growth."""

import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import casim
from casim.estimators import Contribution
from casim.oracle import moments
from casim.tasks import KeyToDoor, Tree
from tests import reference
from tests.enumeration import run

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "cocoa.py"


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("cocoa", EXPERIMENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_layouts_are_those_of_the_source(experiment):
    for length in (3, 13, 23):
        assert experiment.distinct_states(KeyToDoor(length)) == 2 * length + 3
    for overlap in (3, 6):
        assert experiment.distinct_states(Tree(overlap=overlap)) == experiment.STATES[overlap]


def test_a_polynomial_is_found_and_what_is_none_is_told(experiment):
    apples = [0, 1, 2, 4, 8, 16, 100]
    n = np.array(apples, float)
    *found, off = experiment.polynomial(apples, list(3 + 0.5 * n + 0.01 * n**2))
    np.testing.assert_allclose(found, [3, 0.5, 0.01], rtol=1e-8)
    assert off < 1e-10
    *_, off = experiment.polynomial(apples, [1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])
    assert off > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("feature", ["reward", "state"])
def test_counts_are_those_of_the_estimator(experiment, feature):
    """Credit by its coefficients, pair by pair of steps, is that of `Contribution`.

    The rollouts meet every reward, so that both have the same classes.
    """
    mdp = casim.dynamics.untie(KeyToDoor(4, num_apples=1, scale=1.0).build())
    policy = reference.random_policy(2, mdp)
    world = casim.World.make(mdp, policy)
    key = jax.random.key(3)
    batch = reference.rollout(world, jax.random.key(4), 6)
    wanted = run(Contribution(feature, 300, num_classes=4), key, world, batch).value
    data = jax.tree.map(np.asarray, reference.rollout(world, key, 300))
    assert len(np.unique(data.reward)) == 4
    features = moments.contribution_features(mdp, policy, feature)
    table = experiment.coefficients(mdp, policy, features, data)
    found = np.zeros((6, 4, 4))
    for i, t in np.ndindex(6, 4):
        for k in range(t + 1, 4):
            label = features.label[k, batch.state[i, k], 0, 0]
            if feature == "reward":
                label = np.abs(features.values - float(batch.reward[i, k])).argmin()
            found[i, t] += table[t, batch.state[i, t], :, label] * float(batch.reward[i, k])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert np.abs(found).max() > 0.1


@pytest.mark.slow
def test_the_variance_at_the_key_grows_as_the_laws_say(experiment):
    size = experiment.QUICK._replace(
        lengths=(3,), overlaps=(), rollouts=(16,), draws=1, apples=(0, 1, 2, 3), corridor=6
    )
    found = json.loads(json.dumps(experiment.measure(size)))
    growth = {
        name: experiment.polynomial(found["apples"], found["growth"][name])
        for name in experiment.LAWS
    }
    assert max(off for *_, off in growth.values()) < 1e-9
    _, linear, square, _ = growth["REINFORCE"]
    assert min(linear, square) > 0.1
    _, linear, square, _ = growth["value baseline"]
    assert linear > 0.1
    assert abs(square) < 1e-9
    np.testing.assert_allclose(growth["COCOA, reward"][1:3], 0.0, atol=1e-9)
    first = found["corridors"]["3"]["found"]["uniform"]["first"]
    assert first["COCOA, reward"]["bias"] == 0.0
    assert first["COCOA, reward, 16 rollouts"]["bias"] > 1e-3
    assert first["all actions, exact Q"]["snr"] == np.inf
    one = first["COCOA, reward, 16 rollouts"]
    assert one["snr"] == pytest.approx(1 / (one["bias"] + one["variance"]))
