"""Tasks in larger tables: the same law, the same trajectories, one shape."""

import jax
import numpy as np
import pytest

from casim.policies import Uniform
from casim.protocol.fitted import Fitted
from casim.protocol.metadata import solve_all
from casim.report import describe, rebuild
from casim.simulate import World
from casim.tasks import ToolChain
from casim.wellformed import check_mdp
from tests.protocol.worlds import FITTED, ONE, THREE, T


def test_all_have_one_shape_and_are_processes():
    shapes = [jax.tree.map(np.shape, task.build()) for task in FITTED.values()]
    assert all(shape == shapes[0] for shape in shapes)
    for task in FITTED.values():
        check_mdp(task.build())
        assert rebuild(describe(task)) == task


def test_the_law_is_that_of_the_task():
    for task, fitted in FITTED.items():
        mdp, larger = task.build(), fitted.build()
        states, kernels = len(mdp.start), len(mdp.decision)
        observations = mdp.emission.shape[2]
        wide = solve_all(larger, Uniform().table(larger)).truth
        own = jax.tree.map(np.asarray, (mdp, larger))
        for step in range(T):
            for state in range(states):
                for action in range(2):
                    one, other = (_row(each, step, state, action) for each in own)
                    assert one == other
        np.testing.assert_array_equal(wide.occupancy[:, states:], 0.0)
        np.testing.assert_allclose(wide.occupancy.sum(-1), 1.0, rtol=1e-6)
        np.testing.assert_array_equal(
            larger.emission[:kernels, :states, :observations], mdp.emission
        )
        believed = fitted.believed()
        assert believed.reward.shape == larger.reward.shape


def _row(mdp, step, state, action):
    """What can follow, as pairs of successor and reward with their probabilities."""
    kernel = int(mdp.schedule[step])
    row = {}
    for slot, p in enumerate(mdp.prob[kernel, state, action]):
        if p > 0:
            after = int(mdp.successor[kernel, state, action, slot])
            pay = float(mdp.reward[kernel, state, action, slot])
            row[after, pay] = row.get((after, pay), 0.0) + float(p)
    return row


@pytest.mark.slow
def test_trajectories_are_those_of_the_task_to_the_last_bit():
    key = jax.random.key(3)
    one, other = (_drawn(task, key) for task in (THREE, FITTED[THREE]))
    for name, x, y in zip(one._fields, one, other, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


def _drawn(task, key):
    mdp = task.build()
    return World.make(mdp, Uniform().table(mdp)).rollout(key, 7)


def test_turns_and_segments_are_equal_parts():
    mdp = Fitted(ONE, 9, 9, 9, 9, units=4).build()
    np.testing.assert_array_equal(mdp.turn, [0, 0, 1, 2, 2, 3])
    np.testing.assert_array_equal(mdp.segment, mdp.turn)


def test_what_goes_for_the_task_goes_for_the_fitted_one():
    task = ToolChain(num_turns=3, replay_noise=0.5, branching=False)
    fitted = Fitted(task, 20, 40, 9, 20)
    assert fitted.horizon == 3
    assert fitted.with_horizon(5).task.num_turns == 5
    assert fitted.replay == task.replay
    assert fitted.size().states == 40
    assert fitted.size().steps == task.size().steps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"states": 0}, r"states must be in \[1, inf\], got 0"),
        ({"states": 1}, r"states of a fitted Bifurcation must be in \[2, inf\], got 1"),
        ({"units": 7}, r"units must be in \[1, 6\], got 7"),
    ],
)
def test_tables_that_are_too_small_are_refused(settings, message):
    given = {"kernels": 5, "states": 5, "observations": 5, "outcomes": 5} | settings
    with pytest.raises(ValueError, match=message):
        Fitted(ONE, **given).build()
