"""Return and reward-to-go: means in every cell and gradients, over all trajectories."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import ToGo, Whole
from casim.methods import REINFORCE, REWARD_TO_GO
from tests import reference
from tests.enumeration import assert_cells, case, credit, expected_gradient, run, solved


def value_of(estimator, batch):
    return np.asarray(run(estimator, jax.random.key(0), None, batch).value)


@pytest.fixture(scope="module")
def hidden():
    """A POMDP with rewards at every step, a terminal state and a discount below 1."""
    return solved(*reference.random_mdp(4, schedule=(0, 1, 2), observations=3, successors=4))


@pytest.fixture(scope="module")
def undiscounted(hidden):
    return solved(hidden.mdp._replace(discount=jnp.ones_like(hidden.mdp.discount)), hidden.policy)


def test_both_are_what_they_say_on_every_trajectory(hidden):
    batch, discount = hidden.all.batch, hidden.discount
    to_go, whole = value_of(ToGo(discount), batch), value_of(Whole(discount), batch)
    for row in range(0, len(hidden.all.weight), 29):
        reward, live = np.asarray(batch.reward, np.float64)[row], np.asarray(batch.live)[row]
        later = [
            sum(discount ** (u - t) * reward[u] for u in range(t, len(reward)))
            for t in range(len(reward))
        ]
        np.testing.assert_allclose(to_go[row], later * live, atol=1e-5)
        np.testing.assert_allclose(whole[row], later[0] * live, atol=1e-5)


def test_return_has_the_advantage_plus_a_function_of_the_state_as_its_mean_at_discount_1():
    given = case(binary=False, actions=2, prompt=False)
    offset = given.exact.value[:-1] + given.exact.past_reward
    assert_cells(
        given.all,
        given.mdp,
        value_of(REINFORCE, given.all.batch),
        given.advantage + offset[:, :, None],
    )


def test_return_has_the_exact_gradient_at_discount_1(undiscounted):
    gradient = expected_gradient(
        undiscounted.mdp,
        undiscounted.policy,
        undiscounted.all,
        value_of(REINFORCE, undiscounted.all.batch),
    )
    np.testing.assert_allclose(gradient, undiscounted.exact.gradient, atol=1e-5)


def test_return_is_biased_at_a_discount_below_1(hidden):
    value = value_of(Whole(hidden.discount), hidden.all.batch)
    gradient = expected_gradient(hidden.mdp, hidden.policy, hidden.all, value)
    wanted = hidden.exact.gradient
    assert np.linalg.norm(gradient - wanted) > 0.01 * np.linalg.norm(wanted)
    # The step weight counts twice: discount^t from the gradient and discount^t inside the return.
    assert np.vdot(gradient, wanted) < np.vdot(wanted, wanted)


def test_reward_to_go_has_q_as_its_mean():
    given = case(binary=False, actions=2, prompt=False, discount=0.875)
    assert_cells(given.all, given.mdp, value_of(ToGo(0.875), given.all.batch), given.exact.q_value)


def test_reward_to_go_has_the_exact_gradient_at_any_discount(hidden, undiscounted):
    for given in (hidden, undiscounted):
        value = value_of(ToGo(given.discount), given.all.batch)
        gradient = expected_gradient(given.mdp, given.policy, given.all, value)
        np.testing.assert_allclose(gradient, given.exact.gradient, atol=1e-5)


def test_both_are_free_of_cost(hidden):
    for estimator in (REINFORCE, REWARD_TO_GO):
        assert all(
            float(x) == 0.0
            for x in credit(estimator, jax.random.key(0), None, hidden.all.batch).cost
        )
