"""Recurrences in blocks against loops over single numbers in float64."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import ops, recurrence
from casim.recurrence import affine_scan, by_rows
from tests.enumeration import QUICK
from tests.reference import EPS
from tests.small import small_numbers

quick = functools.partial(jax.jit, compiler_options=QUICK)
LENGTHS = (1, 7, 16, 33, 83)
"""With blocks of 4 and sequences scanned step by step up to 6: one to three levels.

The blocks are whole or not.
"""


@pytest.fixture(autouse=True)
def _small_blocks(request, monkeypatch):
    if "long" not in request.fixturenames:
        monkeypatch.setattr(recurrence, "BLOCK", 4)
        small_numbers(monkeypatch, scanned=6, piece=100)


@pytest.fixture
def long():
    """Keeps the sizes of blocks as they are."""


def draw(seed, *shape):
    """Factors between -1 and 1, many of them 0 and 1, and terms of both signs."""
    rng = np.random.default_rng(seed)
    factor = rng.choice([0.0, 1.0, 0.875, np.nan], shape, p=[0.1, 0.4, 0.2, 0.3])
    factor = np.where(np.isnan(factor), rng.uniform(-1, 1, shape), factor)
    return factor.astype(np.float32), rng.normal(size=shape).astype(np.float32)


def loop(factor, term, live=None, reverse=False, exclusive=False):
    """The definition, and the sum of the absolute contributions to each number."""
    factor, live = (
        np.broadcast_to(factor, term.shape),
        np.ones(term.shape, bool) if live is None else live,
    )
    out, size = np.zeros((2, *term.shape))
    x = bound = np.zeros(term.shape[:-1])
    order = range(term.shape[-1])
    for t in reversed(order) if reverse else order:
        before, so_far = x, bound
        x = np.where(live[..., t], factor[..., t].astype(float) * x + term[..., t], x)
        bound = np.where(
            live[..., t], np.abs(factor[..., t].astype(float)) * bound + np.abs(term[..., t]), bound
        )
        out[..., t], size[..., t] = (before, so_far) if exclusive else (x, bound)
    return out, size


def assert_close(out, wanted, size):
    """Every contribution passes through fewer than 128 roundings, each of half an eps."""
    assert (np.abs(np.asarray(out, float) - wanted) <= 64 * EPS * size).all()


@functools.cache
def compiled(length, reverse, exclusive, masked):
    del length  # one program each: the sizes of blocks are read while tracing
    if masked:
        return quick(lambda f, c, live: affine_scan(f, c, live, reverse, exclusive))
    return quick(lambda f, c: affine_scan(f, c, reverse=reverse, exclusive=exclusive))


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize(("reverse", "exclusive"), [(False, True), (True, False)])
def test_it_equals_the_loop(length, reverse, exclusive):
    factor, term = draw(length, 2, 3, length)
    out = compiled(length, reverse, exclusive, False)(factor, term)
    assert_close(out, *loop(factor, term, None, reverse, exclusive))


@pytest.mark.parametrize(("reverse", "exclusive"), [(True, True), (False, False)])
def test_steps_that_are_not_live_are_passed_over_whatever_they_hold(reverse, exclusive):
    factor, term = draw(5, 3, 33)
    live = np.random.default_rng(6).uniform(size=term.shape) < 0.6
    poisoned = (np.where(live, x, np.nan).astype(np.float32) for x in (factor, term))
    out = compiled(33, reverse, exclusive, True)(*poisoned, live)
    assert_close(out, *loop(factor, term, live, reverse, exclusive))
    assert (np.diff(live, axis=1)).sum() > 20  # gaps inside


def test_one_factor_for_all_equals_the_same_factor_at_each_step():
    _, term = draw(7, 3, 33)
    live = np.random.default_rng(8).uniform(size=term.shape) < 0.7
    scan = compiled(33, True, True, True)
    np.testing.assert_array_equal(
        scan(0.875, term, live), scan(np.full(term.shape, 0.875, np.float32), term, live)
    )


def test_a_batch_axis_may_be_absent_or_mapped():
    factor, term = draw(9, 3, 33)
    scan = compiled(33, True, False, False)
    together = np.asarray(scan(factor, term))
    np.testing.assert_array_equal(np.asarray(scan(factor[1], term[1])), together[1])
    mapped = quick(jax.vmap(lambda f, c: affine_scan(f, c, reverse=True)))(factor, term)
    np.testing.assert_array_equal(mapped, together)


@pytest.mark.parametrize("rows", [3, 7])
def test_pieces_of_rows_give_what_all_rows_give_together(rows, monkeypatch):
    """Of 100 entries at a time, so 3 rows of 33: the last piece of 7 repeats two rows."""
    factor, term = draw(10, rows, 33)
    pieces = quick(lambda f, c: by_rows(lambda f, c: affine_scan(f, c) - c, f, c))(factor, term)
    small_numbers(monkeypatch, scanned=6, piece=10_000)
    whole = quick(lambda f, c: affine_scan(f, c) - c)(factor, term)
    np.testing.assert_allclose(pieces, whole, rtol=0, atol=4 * EPS * np.abs(whole).max())


def test_other_devices_start_blocks_at_shorter_sequences_and_take_all_rows_at_once(monkeypatch):
    factor, term = draw(15, 7, 33)
    small_numbers(monkeypatch, "gpu", scanned=2)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    out = quick(lambda f, c: affine_scan(f, c, exclusive=True))(factor, term)
    assert_close(out, *loop(factor, term, exclusive=True))


def test_a_factor_of_0_cuts_off_factors_whose_product_is_no_float():
    """1e30 to the power of 3 overflows; step by step nothing does, since the value there is 0."""
    factor = np.zeros((1, 33), np.float32)
    factor[0, 4:12], factor[0, 15] = 1e30, 0.5
    term = np.zeros((1, 33), np.float32)
    term[0, 14] = 3.0
    out = compiled(33, False, False, False)(factor, term)
    np.testing.assert_array_equal(out, loop(factor, term)[0])


def test_infinity_reaches_no_step_before_it():
    factor, term = draw(11, 1, 33)
    broken = term.copy()
    broken[0, 18] = np.inf
    scan = compiled(33, False, False, False)
    np.testing.assert_array_equal(
        np.asarray(scan(factor, broken))[:, :18], np.asarray(scan(factor, term))[:, :18]
    )


@pytest.mark.usefixtures("float64")
def test_its_gradient_is_that_of_the_definition():
    factor, term = (x.astype(float) for x in draw(12, 2, 19))
    weight = np.random.default_rng(13).normal(size=term.shape)

    def objective(factor, term):
        return jnp.sum(weight * affine_scan(factor, term))

    to_factor, to_term = quick(jax.grad(objective, (0, 1)))(factor, term)
    # The adjoint runs the other way: a_t = w_t + f_{t+1} a_{t+1}, and d/df_t = a_t x_{t-1}.
    later = np.concatenate([factor[:, 1:], np.zeros((2, 1))], axis=1)
    adjoint, _ = loop(later, weight, reverse=True)
    np.testing.assert_allclose(to_term, adjoint, atol=1e-12)
    np.testing.assert_allclose(
        to_factor, adjoint * loop(factor, term, exclusive=True)[0], atol=1e-12
    )


def worst(out, wanted, size):
    """The largest error over the largest sum of absolute contributions, in eps."""
    return np.abs(np.asarray(out, float) - wanted).max() / size.max() / EPS


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("factor", [pytest.param(0.99999, marks=pytest.mark.slow), 1.0])
def test_errors_do_not_grow_with_the_length(factor):
    """1e5 terms of both signs and of one, against float64.

    That is what the docstrings of `ops` and `recurrence` state.
    """
    rng, given = np.random.default_rng(14), np.float32(factor)
    term = rng.normal(size=(2, 100_000)).astype(np.float32)
    term[1] = np.abs(term[1])
    live = rng.uniform(size=term.shape) < 0.9
    both = np.concatenate([live, np.ones_like(live)])
    wanted, size = loop(
        np.full(both.shape, float(given)), np.concatenate([term, term]), both, reverse=True
    )
    masked, full = np.where(live, LONG_SCAN(given, term, live), wanted[:2]), SUM(given, term)
    for row, out in enumerate((*masked, *np.asarray(full))):
        assert worst(out, wanted[row], size[row]) <= 16
    one_by_one = np.cumsum(term[1, ::-1], dtype=np.float32)[::-1]
    assert factor < 1 or worst(one_by_one, wanted[3], size[3]) > 20


LONG_SCAN = quick(lambda factor, term, live: affine_scan(factor, term, live, reverse=True))
SUM = quick(functools.partial(affine_scan, reverse=True))


@pytest.mark.parametrize("factor", [0.99999, 0.9, -0.7, 1.0, 0.0])
def test_powers_are_good_to_twice_the_digits(factor):
    given = np.float32(factor)
    high, low = quick(recurrence.powers, static_argnums=2)(given, np.float32(0), 16)
    exact = float(given) ** np.arange(17)
    assert (np.asarray(high) == exact.astype(np.float32)).all()
    np.testing.assert_allclose(np.asarray(high, float) + np.asarray(low, float), exact, rtol=1e-12)


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("gaps", [False, True])
def test_small_advantages_beside_large_values_keep_their_digits(gaps):
    """Values of 1000 that differ by 0.01.

    Undiscounted, their differences are exact, and so nearly are advantages.
    """
    steps, rng = 2_000, np.random.default_rng(3)
    value = (1000 + 0.01 * rng.normal(size=(2, steps))).astype(np.float32)
    live = (
        rng.uniform(size=(2, steps)) < 0.8
        if gaps
        else np.arange(steps)[None, :] < np.array([[steps], [1_500]])
    )
    reward = np.zeros_like(value)
    out = np.asarray(GAE(reward, value, live, 1.0, 0.95))
    factor = np.full(live.shape, float(np.float32(1.0) * np.float32(0.95)))
    wanted, _ = loop(factor, td_error(reward, value, live, 1.0), live, reverse=True)
    # Far from the end, where the last value itself is the error.
    early = live & (np.arange(steps)[None, :] < 1_200)
    assert (
        np.abs(np.where(early, out - wanted, 0)).max()
        < 1e-6 * np.abs(np.where(early, wanted, 0)).max()
    )


@pytest.mark.slow
def test_powers_that_are_no_floats_do_not_reach_the_gradients_of_short_episodes():
    live = np.arange(400)[None, :] < 6
    reward, value = np.where(live, np.float32(1), 0), np.where(live, np.float32(0.5), 0)
    live = jnp.asarray(live)
    gradient = quick(
        jax.grad(lambda r, v, discount: jnp.sum(ops.gae(r, v, live, discount, 1.0)), (0, 2))
    )
    to_reward, to_discount = gradient(reward, value, 1.5)
    np.testing.assert_allclose(
        to_reward[0, :6], [sum(1.5**i for i in range(t + 1)) for t in range(6)], rtol=1e-5
    )
    # A_t is the sum of the 6 - t rewards to come, discounted, less v_t.
    np.testing.assert_allclose(
        to_discount, sum((6 - i) * i * 1.5 ** (i - 1) for i in range(6)), rtol=1e-5
    )


def test_no_steps_are_nothing():
    for steps in (0, 1):
        x, live = np.ones((2, steps), np.float32), np.ones((2, steps), bool)
        np.testing.assert_array_equal(GAE(x, x, live, 0.9, 0.9), np.zeros((2, steps)))


def steps_of(seed, ends, length=33, gaps_in=()):
    """Rewards, values and masks of rows that end at `ends`, some with gaps.

    NaN wherever a mask is False.
    """
    rng = np.random.default_rng(seed)
    live = np.arange(length)[None, :] < np.array(ends)[:, None]
    for row in gaps_in:
        live[row] &= rng.uniform(size=length) < 0.6
    reward, value = (
        np.where(live, rng.normal(size=live.shape), np.nan).astype(np.float32) for _ in range(2)
    )
    return reward, value, live


ENDS = (33, 20, 0, 1, 33, 32, 16)
"""Of 7 rows, in pieces of 3: the last piece repeats two rows."""


def assert_gae(out, reward, value, live, discount=0.97, lambda_=0.9):
    factor = np.full(live.shape, float(np.float32(discount) * np.float32(lambda_)))
    delta = td_error(reward, value, live, float(np.float32(discount)))
    wanted, size = loop(factor, delta, live, reverse=True)
    size += np.nanmax(np.abs(value)) / (1 - discount * lambda_)
    assert_close(out, np.where(live, wanted, 0), size)
    assert (np.asarray(out)[~live] == 0).all()


@pytest.mark.parametrize(
    "gaps_in",
    [
        pytest.param((), marks=pytest.mark.slow),
        pytest.param((1,), marks=pytest.mark.slow),
        (0, 4, 5),
    ],
)
def test_gae_equals_the_loop_in_pieces_with_gaps_and_without(gaps_in):
    steps = steps_of(18, ENDS, gaps_in=gaps_in)
    assert_gae(GAE(*steps, 0.97, 0.9), *steps)
    assert_gae(MAPPED_GAE(*steps, 0.97, 0.9), *steps)
    out = GAE(*(x[0] for x in steps), 0.97, 0.9)  # without a batch axis
    assert_gae(out[None], *(x[:1] for x in steps))


def test_gae_of_no_rows_is_empty():
    assert GAE(*(x[:0] for x in steps_of(18, ENDS)), 0.97, 0.9).shape == (0, 33)


def test_an_infinite_reward_reaches_only_advantages_up_to_its_step():
    reward, value, live = steps_of(19, ENDS)
    broken = reward.copy()
    broken[0, 18] = np.inf
    out, plain = (np.asarray(GAE(x, value, live, 0.97, 0.9)) for x in (broken, reward))
    assert (out[0, :19] == np.inf).all()
    np.testing.assert_allclose(out[0, 19:], plain[0, 19:], rtol=1e-5)
    np.testing.assert_allclose(out[1:], plain[1:], rtol=1e-4, atol=1e-6)


def test_a_discount_whose_powers_are_no_floats_hurts_only_where_it_is_applied():
    """30 to the power of 4, and that to the power of 16, is no float.

    Step by step nothing grows, all being 0.
    """
    reward = np.zeros((1, 83), np.float32)
    reward[0, 2] = 1.0
    out = GAE(reward, np.zeros_like(reward), np.ones(reward.shape, bool), 30.0, 1.0)
    np.testing.assert_array_equal(out[0, :4], [900.0, 30.0, 1.0, 0.0])
    assert (out[0, 3:] == 0).all()


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("gaps_in", [(), (1,)])
@pytest.mark.parametrize("mapped", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_gradient_of_gae_is_that_of_the_definition(gaps_in, mapped):
    reward, value, live = (
        x.astype(float) if x.dtype != bool else x for x in steps_of(20, (33, 20), gaps_in=gaps_in)
    )
    weight = np.random.default_rng(21).normal(size=live.shape)

    gradient = MAPPED_GRADIENT if mapped else GRADIENT
    slope = gradient(reward, value, 0.97, 0.9, live, weight)
    assert all(np.isfinite(x).all() for x in slope)

    def definition(reward, value, discount, lambda_):
        factor = np.full(live.shape, discount * lambda_)
        return np.sum(
            weight
            * live
            * loop(factor, td_error(reward, value, live, discount), live, reverse=True)[0]
        )

    def difference(which, by):
        point = reward, value, 0.97, 0.9
        ends = [
            definition(*(x + to if k == which else x for k, x in enumerate(point)))
            for to in (by, -by)
        ]
        return (ends[0] - ends[1]) / 2

    along = np.where(live, np.random.default_rng(22).normal(size=live.shape), 0)
    for which in (0, 1):
        # The result is linear in these two.
        np.testing.assert_allclose(
            np.sum(slope[which] * along), difference(which, along), rtol=1e-9
        )
    for which in (2, 3):
        np.testing.assert_allclose(slope[which], difference(which, 1e-6) / 1e-6, rtol=1e-6)


mapped_gae = jax.vmap(ops.gae, (0, 0, 0, None, None))
GAE, MAPPED_GAE = quick(ops.gae), quick(mapped_gae)


def gradient_of(gae):
    def objective(reward, value, discount, lambda_, live, weight):
        return jnp.sum(weight * gae(reward, value, live, discount, lambda_))

    return quick(jax.grad(objective, (0, 1, 2, 3)))


GRADIENT, MAPPED_GRADIENT = gradient_of(ops.gae), gradient_of(mapped_gae)


def td_error(reward, value, live, discount):
    """r_t + discount v_{t+1} - v_t over the live steps, in float64."""
    out = np.zeros(reward.shape)
    for row, steps in enumerate(map(np.flatnonzero, live)):
        ahead = np.append(value[row, steps[1:]].astype(float), 0.0)
        out[row, steps] = reward[row, steps] + discount * ahead - value[row, steps]
    return out


def test_a_condition_stays_one_under_vmap():
    """Otherwise both ways of computing GAE would run."""
    x, live = jnp.zeros((2, 3, 16)), jnp.ones((2, 3, 16), bool)
    text = str(jax.make_jaxpr(jax.vmap(lambda *x: ops.gae(*x, 0.9, 0.8)))(x, x, live))
    assert "cond[" in text
    flag = jnp.asarray([[False, True], [False, False]])
    np.testing.assert_array_equal(jax.vmap(recurrence.anywhere)(flag), [True, True])
    np.testing.assert_array_equal(jax.vmap(recurrence.anywhere)(flag[1:]), [False])
    assert not recurrence.anywhere(jnp.zeros((0,), bool))
