"""RUDDER: exact and counted redistribution of the return."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from casim import methods
from casim.estimators import ReturnDifferences
from casim.judges import Judge
from casim.oracle import path_target
from casim.targets import Redistribution
from tests import reference
from tests.enumeration import QUICK, case, cell_mean, returns_to_go, run, solve
from tests.methods.every_action import judged

KEY = jax.random.key(8)


def test_with_the_exact_q_it_is_the_redistribution_and_its_mean_is_advantage_and_luck():
    one = case(binary=False, actions=2, prompt=False, discount=0.75)
    world = judged(one, q_value=Judge("q_value"))
    value = np.asarray(run(methods.RUDDER_EXACT, KEY, world, one.all.batch).value, np.float64)
    aim = jax.jit(path_target, static_argnums=0, compiler_options=QUICK)
    wanted = aim(Redistribution(), world, solve(one.mdp, one.policy), one.all.batch)
    np.testing.assert_allclose(value, wanted, atol=1e-5)
    np.testing.assert_allclose(value.sum(-1), returns_to_go(one.all.batch, 0.75)[:, 0], atol=1e-5)
    # By definition: Q, the past and the step before, trajectory by trajectory.
    batch = jax.tree.map(np.asarray, one.all.batch)
    for row in range(0, len(value), 7):
        length = int(batch.live[row].sum())
        past, before = 0.0, 0.0
        for t in range(length):
            q_value = one.exact.q_value[t, batch.state[row, t], batch.action[row, t]]
            now = past + 0.75**t * q_value
            past += 0.75**t * batch.reward[row, t]
            rest = past - now if t == length - 1 else 0.0
            assert value[row, t] == pytest.approx(now - before + rest, abs=1e-5)
            before = now


@pytest.mark.slow
def test_the_counted_one_adds_up_to_the_return_and_tends_to_the_exact_one():
    one = case(binary=False, actions=2, prompt=False)
    world = judged(one, q_value=Judge("q_value"))
    exact = np.asarray(run(methods.RUDDER_EXACT, KEY, world, one.all.batch).value, np.float64)
    returns = returns_to_go(one.all.batch, 1.0)[:, 0]
    errors = []
    for num in (200, 20_000):
        credit = run(ReturnDifferences(num_rollouts=num), KEY, one.world, one.all.batch)
        value = np.asarray(credit.value, np.float64)
        np.testing.assert_allclose(value.sum(-1), returns, atol=1e-4)
        errors.append(np.sqrt(one.all.weight @ ((value - exact) ** 2).sum(-1)))
        data = reference.rollout(one.world, KEY, num)
        used = float(np.asarray(data.live).sum())
        assert [float(x) for x in credit.cost] == [used, 0.0, used]
    # A hundred times the rollouts, a tenth of the error.
    assert errors[1] < 0.2 * errors[0]


@pytest.mark.slow
def test_the_mean_at_a_first_step_that_is_not_the_last_is_q():
    one = case(binary=False, actions=2, prompt=False, discount=0.75, terminal=False)
    world = judged(one, q_value=Judge("q_value"))
    value = np.asarray(run(methods.RUDDER_EXACT, KEY, world, one.all.batch).value)
    mean, mass = cell_mean(one.mdp, one.all, value)
    met = mass[0] > 0
    np.testing.assert_allclose(mean[0][met], one.exact.q_value[0][met], atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_rollouts": 0}, "num_rollouts must be in"), ({"discount": 2.0}, "discount must be in")],
)
def test_bad_settings_raise(settings, message, unhooked):
    with pytest.raises(ValueError, match=message):
        ReturnDifferences(**settings)
