"""`casim.discounts` against products in double precision, one by one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.discounts import product, weights
from casim.dynamics import discounting, untie
from casim.tasks import ToolChain
from tests import reference
from tests.reference import EPS

weigh = jax.jit(weights, static_argnums=1)
between = jax.jit(product)
LONG = 10**6
TINY = float(np.finfo(np.float32).tiny)


def assert_weights(discount, got):
    exact = np.append(1.0, np.cumprod(discount.astype(np.float64))[:-1])
    assert (np.abs(np.asarray(got, np.float64) - exact) <= 2 * EPS * exact + TINY).all()


@pytest.mark.parametrize("near", [1e-6, 1e-5, 1e-4], ids=str)
def test_a_million_weights_are_within_two_eps(near):
    """With discounts near 1 the last weights are 0.5, near 0 and below the smallest float."""
    rng = np.random.default_rng(0)
    discount = np.float32(1 - near * rng.uniform(0.1, 1.3, LONG))
    assert_weights(discount, weigh(jnp.asarray(discount), LONG))


def test_turns_of_tokens_are_counted_a_million_steps_on():
    discount = np.ones(LONG, np.float32)
    discount[7::10] = 0.9999
    got = np.asarray(weigh(jnp.asarray(discount), LONG))
    assert_weights(discount, got)
    assert (np.diff(got)[:7] == 0).all()


def test_discounts_of_1_weigh_exactly_1_and_equal_ones_are_powers():
    mixed = jnp.ones(1000).at[-1].set(0.5)  # the last discount comes after the last step
    np.testing.assert_array_equal(weigh(mixed, 1000), 1.0)
    np.testing.assert_array_equal(weigh(jnp.ones(1000), 1000), 1.0)
    alone = jax.jit(lambda d: d ** jnp.arange(9))(jnp.float32(0.7))
    np.testing.assert_array_equal(weigh(jnp.full(9, 0.7), 9), alone)
    np.testing.assert_array_equal(weigh(jnp.float32(0.7), 9), alone)


def test_products_since_a_step_stand_where_those_since_the_start_are_gone():
    """Some discounts are 0, and the others take the weights below the smallest float."""
    rng = np.random.default_rng(1)
    discount = rng.choice([0.25, 0.5, 0.75, 1.0], 600).astype(np.float32)
    discount[[50, 400, 401]] = 0.0
    first = rng.integers(0, 600, 900)
    last = np.minimum(first + rng.integers(0, 40, 900), 600)
    got = np.asarray(between(jnp.asarray(discount), jnp.asarray(first), jnp.asarray(last)))
    steps = zip(first, last, strict=True)
    wanted = [np.prod(discount[one:two].astype(np.float64)) for one, two in steps]
    np.testing.assert_allclose(got, wanted, rtol=2 * EPS)
    assert (got[(last > 450) & (first > 401) & (last > first)] > 0).all()
    assert (got == 0).any()
    assert (got[last == first] == 1).all()


def test_what_ends_before_it_begins_is_empty():
    discount = jnp.asarray([0.5, 0.25, 0.75])
    np.testing.assert_array_equal(between(discount, 2, jnp.arange(4)), [1, 1, 1, 0.75])
    np.testing.assert_array_equal(between(jnp.float32(0.5), 2, jnp.arange(4)), [1, 1, 1, 0.5])


def test_double_precision_keeps_its_digits():
    with jax.enable_x64(True):
        discount = np.random.default_rng(2).uniform(0.4, 1, 3000)
        got = weights(jnp.asarray(discount), 3000)
        assert got.dtype == jnp.float64
    exact = np.append(1.0, np.cumprod(discount)[:-1])
    kept = exact > 1e-300
    np.testing.assert_allclose(np.asarray(got)[kept], exact[kept], rtol=1e-12)
    assert (np.asarray(got)[exact == 0] == 0).all()


def test_the_weights_of_a_process_follow_its_schedule():
    mdp = ToolChain(
        num_turns=3, tokens_per_turn=2, output_tokens=2, discount=0.5, discount_within=0.75
    ).build()
    turn = [0.75, 0.75, 0.75, 0.5]
    wanted = reference.weights(np.array(turn * 3), 12)
    np.testing.assert_allclose(discounting(mdp), wanted, rtol=2 * EPS)
    np.testing.assert_allclose(discounting(untie(mdp)), wanted, rtol=2 * EPS)
