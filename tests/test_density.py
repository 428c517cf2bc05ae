"""`experiments/density.py`: what it thins out, and the exponents that it fits."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

EXPERIMENT = Path(__file__).parent.parent / "experiments" / "density.py"


@pytest.fixture(scope="module")
def experiment():
    spec = importlib.util.spec_from_file_location("density", EXPERIMENT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def hazard(task):
    """How likely a call that fails for certain breaks the task, where it does anything."""
    mdp = task.build()
    before, after = np.asarray(mdp.successor), np.asarray(mdp.prob)
    # States are in order, and the intact ones with a live session come first of each mode.
    moved = np.where(before != np.arange(before.shape[1])[:, None, None], after, 0.0)
    return moved[np.asarray(mdp.decision)].sum(axis=-1).max() / task.reliability


def test_calls_keep_their_hazard_or_share_out_that_of_all(experiment):
    size = experiment.FULL
    each = [
        hazard(experiment.world(size, experiment.EACH, density, 0.7)) for density in size.densities
    ]
    np.testing.assert_allclose(each, each[0], rtol=1e-5)
    for density in size.densities:
        task = experiment.world(size, experiment.TOTAL, density, 0.7)
        assert task.num_deciding == size.num_turns * density
        assert 1 - (1 - hazard(task)) ** task.num_deciding == pytest.approx(0.9, abs=1e-4)


def test_the_exponent_of_a_power_law_is_its_exponent(experiment):
    densities = experiment.FULL.densities
    law = np.array([3.0 * np.array(densities) ** power for power in (-1.0, -0.5, 0.25)])
    np.testing.assert_allclose(experiment.slopes(densities, law), [-1.0, -0.5, 0.25])
    mean, low, high = experiment.interval(np.array([0.0, 1.0, 2.0]))
    # Student's t with 2 degrees of freedom is 4.3027, the standard error 1 / sqrt(3).
    assert (mean, high - mean) == pytest.approx((1.0, 4.302653 / 3**0.5), rel=1e-5)
    assert mean - low == pytest.approx(high - mean)


@pytest.mark.slow
def test_luck_of_the_tool_takes_the_gain_and_without_it_the_law_has_both_signs(experiment):
    """Derived in its docstring: -1 where calls keep their effect, above 0 where they share one."""
    size = experiment.QUICK._replace(num_turns=8, densities=(0.25, 0.5, 1.0))
    found = json.loads(json.dumps(experiment.measure(size)))
    power = {
        (thinned, name): numbers["power"][0]
        for thinned, by_credit in found["found"].items()
        for name, numbers in by_credit.items()
    }
    assert power[experiment.EACH, "advantage"] < -0.3
    assert power[experiment.TOTAL, "advantage"] > 0
    assert abs(power[experiment.TOTAL, "TD error"]) < 0.4
    figure = experiment.draw(found)
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        experiment.TOTAL,
        experiment.EACH,
    ]
