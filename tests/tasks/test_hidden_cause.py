"""HiddenCause: the same logs from two worlds whose effects have opposite signs."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.methods import GIGPO, GRPO, REINFORCE, REWARD_TO_GO, RLOO
from casim.oracle import expected_return
from casim.simulate import World
from casim.tasks import HiddenCause
from tests import reference
from tests.enumeration import credit, solve

WORLDS = (1, -1)
solve = jax.jit(solve)


@pytest.fixture(scope="module")
def logs():
    out = []
    for sign in WORLDS:
        task = HiddenCause(world=sign, horizon=3)
        world = World.make(task.build(), task.confounded())
        out.append((world, reference.rollout(world, jax.random.key(4), 300)))
    return out


def test_both_worlds_log_the_same(logs):
    one, two = (HiddenCause.logged(batch) for _, batch in logs)
    for name, x, y in zip(one._fields, one, two, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)
    np.testing.assert_array_equal(np.asarray(one.reward).sum(1), 1)
    share = np.mean(np.asarray(one.action)[:, 0])
    assert abs(share - 0.5) < 5 * 0.5 / 300**0.5


def test_what_a_log_holds_says_nothing_of_the_hidden_cause(logs):
    for _, batch in logs:
        log = HiddenCause.logged(batch)
        assert not np.asarray(log.observation).any()
        assert not np.asarray(log.state).any()
        assert not np.asarray(log.log_prob).any()
        np.testing.assert_array_equal(
            np.asarray(batch.action)[:, 0], np.asarray(batch.observation)[:, 0] - 1
        )


@pytest.mark.parametrize("sign", WORLDS)
@pytest.mark.parametrize("horizon", [1, pytest.param(2, marks=pytest.mark.slow), 5])
def test_the_effect_of_the_action_is_half_the_sign(sign, horizon):
    task = HiddenCause(world=sign, horizon=horizon)
    mdp = task.build()
    start = np.asarray(mdp.start)
    q = np.asarray(solve(mdp, task.confounded()).q_value)[0]
    np.testing.assert_allclose(start @ (q[:, 1] - q[:, 0]), sign / 2)
    # Restored states: the action that does not always work, works only for the cause that plays it.
    effects = (q[:, 1] - q[:, 0])[start > 0]
    np.testing.assert_array_equal(sorted(effects), sorted([0.0, float(sign)]))


@pytest.mark.parametrize("sign", WORLDS)
def test_a_coin_that_ignores_the_cause_restores_the_effect(sign):
    task = HiddenCause(world=sign, horizon=2)
    mdp = task.build()
    fair = jnp.full(task.confounded().shape, 0.5)
    value = {}
    for action in (0, 1):
        value[action] = float(
            expected_return(mdp, fair.at[int(mdp.schedule[0])].set(jnp.eye(2)[action]))
        )
    assert value[1] - value[0] == sign / 2


@pytest.mark.parametrize(
    "method",
    [
        REINFORCE,
        GRPO,
        *(pytest.param(x, marks=pytest.mark.slow) for x in (REWARD_TO_GO, RLOO, GIGPO)),
    ],
    ids=lambda method: method.name,
)
def test_an_estimator_of_logs_gives_the_same_credit_in_both_worlds(method, logs):
    one, two = (
        credit(method, jax.random.key(0), None, HiddenCause.logged(batch)).value
        for _, batch in logs
    )
    np.testing.assert_array_equal(one, two)


def test_bad_settings_raise(unhooked):
    with pytest.raises(ValueError, match=r"world must be one of \(1, -1\), got 0"):
        HiddenCause(world=0)
    with pytest.raises(ValueError, match=r"horizon must be in \[1, inf\], got 0"):
        HiddenCause(horizon=0)
