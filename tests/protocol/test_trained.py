"""A policy in training against one that is stale by as many updates, and against its own return."""

import numpy as np
import pytest

from casim.policies import Softmax, Stale
from casim.protocol.trained import Trained
from casim.report import describe, rebuild
from tests.protocol.worlds import FITTED, THREE

START = Softmax(scale=0.5, seed=2)


@pytest.mark.slow
def test_it_is_what_updates_make_of_its_start():
    mdp = FITTED[THREE].build()
    policy = Trained(START, steps=3, step_size=2.0)
    start = START.table(mdp)
    stale = Stale(steps=3, step_size=2.0).beside(mdp, start)
    table = np.asarray(policy.table(mdp))
    np.testing.assert_allclose(table, stale.policy, atol=1e-6)
    assert np.abs(table - start).max() > 0.01
    np.testing.assert_allclose(table.sum(-1), 1.0, rtol=1e-6)
    assert rebuild(describe(policy)) == policy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": -1}, r"steps must be in \[0, inf\], got -1"),
        ({"step_size": 0.0}, r"step_size must be in \[1e-12, inf\], got 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Trained(**settings)
