"""`casim.ops` against loops over single numbers in float64."""

from __future__ import annotations

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import ops as ops_module
from tests.reference import EPS

ROWS, STEPS, DISCOUNT, LAMBDA = 3, 7, 0.875, 0.6
LIVE = np.array(
    [
        [True, True, True, True, True, True, True],
        [True, False, True, True, False, False, True],  # a tool's tokens masked in the interior
        [False, True, True, False, True, False, False],
    ]
)
CLOSE = {"rtol": 8 * STEPS * EPS, "atol": 8 * STEPS * EPS}  # sums of at most 7 numbers of order 1


class NumPyOps:
    """`casim.ops` with NumPy arrays in and out, each call compiled as one."""

    def __getattr__(self, name):
        def call(*args, **kwargs):
            leaves, tree = jax.tree.flatten((args, kwargs))
            arrays = [x for x in leaves if isinstance(x, np.ndarray | jax.Array)]
            settings = [None if isinstance(x, np.ndarray | jax.Array) else x for x in leaves]
            # The backend is read while tracing.
            return np.asarray(compiled(name, tree, jax.default_backend(), *settings)(arrays))

        return call


@functools.lru_cache(maxsize=None, typed=True)
def compiled(name, tree, backend, *settings):
    """The function of these settings, of the arrays where they are None."""

    def function(arrays):
        given = iter(arrays)
        leaves = [next(given) if x is None else x for x in settings]
        args, kwargs = tree.unflatten(leaves)
        return getattr(ops_module, name)(*args, **kwargs)

    return jax.jit(function)


ops = NumPyOps()


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def loop_returns(reward, live, discount):
    out = np.zeros(reward.shape)
    for row in range(len(reward)):
        steps = np.flatnonzero(live[row])
        for i, t in enumerate(steps):
            out[row, t] = sum(discount**j * float(reward[row, u]) for j, u in enumerate(steps[i:]))
    return out


def loop_gae(reward, value, live, discount, lambda_):
    """The sum over l of (discount lambda)^l delta_{t+l}, on the live steps alone."""
    out = np.zeros(reward.shape)
    for row in range(len(reward)):
        steps = np.flatnonzero(live[row])
        r, v = reward[row, steps].astype(float), np.append(value[row, steps].astype(float), 0.0)
        delta = [r[i] + discount * v[i + 1] - v[i] for i in range(len(steps))]
        for i, t in enumerate(steps):
            out[row, t] = sum(
                (discount * lambda_) ** (j - i) * delta[j] for j in range(i, len(steps))
            )
    return out


def test_expectation_is_the_weighted_mean():
    weight = np.random.default_rng(0).dirichlet(np.ones(5), (ROWS, 2)).astype(np.float32)
    value = draw(1, ROWS, 2, 5)
    wanted = (weight.astype(float) * value).sum(-1)
    np.testing.assert_allclose(
        ops.expectation(weight, value), wanted, atol=8 * EPS * abs(value).max()
    )


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e6 + 0.3])
def test_expectation_keeps_constants_to_the_last_bit(constant):
    weight = np.random.default_rng(0).dirichlet(np.ones(7), 100).astype(np.float32)
    assert np.any(weight.astype(float).sum(-1) != 1)  # otherwise this shows nothing
    value = np.full_like(weight, constant)
    np.testing.assert_array_equal(ops.expectation(weight, value), value[:, 0])


def test_returns_to_go_equal_the_loop():
    reward = draw(2, ROWS, STEPS)
    np.testing.assert_allclose(
        ops.returns_to_go(reward, DISCOUNT, LIVE), loop_returns(reward, LIVE, DISCOUNT), **CLOSE
    )


def test_returns_to_go_take_any_batch_shape():
    reward, live = draw(3, 2, ROWS, STEPS), np.stack([LIVE, ~LIVE])
    out = ops.returns_to_go(reward, np.asarray(DISCOUNT), live)
    np.testing.assert_array_equal(out[1], ops.returns_to_go(reward[1], DISCOUNT, ~LIVE))
    np.testing.assert_array_equal(out[0, 2], ops.returns_to_go(reward[0, 2], DISCOUNT, LIVE[2]))


EACH = np.array([0.875, 1.0, 0.5, 1.0, 0.0, 0.75, 0.625], np.float32)
"""A discount of each step."""


def loop_backwards(reward, value, live, discount, lambda_):
    """Returns, GAE and lambda-returns, step by step from the end; masked steps are passed over."""
    out = np.zeros((3, *reward.shape))
    for row, t in itertools.product(range(len(reward)), reversed(range(reward.shape[1]))):
        if t == reward.shape[1] - 1:
            to_go = advantage = later = mixed = 0.0
        if not live[row, t]:
            continue
        r, v, d = (float(x) for x in (reward[row, t], value[row, t], discount[row, t]))
        to_go = r + d * to_go
        advantage = r + d * later - v + d * lambda_ * advantage
        target = r + d * mixed
        later, mixed = v, (1 - lambda_) * v + lambda_ * target
        out[:, row, t] = to_go, advantage, target
    return out


@pytest.mark.parametrize("of", ["step", "trajectory"])
def test_steps_may_have_discounts_of_their_own(of):
    reward, value = draw(20, ROWS, STEPS), draw(21, ROWS, STEPS)
    discount = EACH if of == "step" else np.stack([EACH, EACH[::-1], np.roll(EACH, 2)])
    every = np.broadcast_to(discount, reward.shape)
    returns, advantage, target = loop_backwards(reward, value, LIVE, every, LAMBDA)
    np.testing.assert_allclose(ops.returns_to_go(reward, discount, LIVE), returns, **CLOSE)
    got = ops.gae(reward, value, LIVE, discount, LAMBDA)
    np.testing.assert_allclose(got, advantage, **CLOSE)
    got = ops.lambda_returns(reward, value, LIVE, discount, LAMBDA)
    np.testing.assert_allclose(got, target, **CLOSE)
    # One discount at every step is that discount.
    got = ops.gae(reward, value, LIVE, np.full(STEPS, DISCOUNT, np.float32), LAMBDA)
    np.testing.assert_allclose(got, loop_gae(reward, value, LIVE, DISCOUNT, LAMBDA), **CLOSE)


def test_gae_equals_the_sum_of_td_errors():
    reward, value = draw(4, ROWS, STEPS), draw(5, ROWS, STEPS)
    out = ops.gae(reward, value, LIVE, DISCOUNT, LAMBDA)
    np.testing.assert_allclose(out, loop_gae(reward, value, LIVE, DISCOUNT, LAMBDA), **CLOSE)


@pytest.mark.parametrize("seed", range(3))
def test_gae_with_lambda_1_is_return_minus_value_whatever_the_value(seed):
    reward, value = draw(6, ROWS, STEPS), 3 * draw(10 + seed, ROWS, STEPS)
    out = ops.gae(reward, value, LIVE, DISCOUNT, 1.0)
    wanted = np.where(LIVE, loop_returns(reward, LIVE, DISCOUNT) - value, 0.0)
    np.testing.assert_allclose(out, wanted, atol=3 * CLOSE["atol"], rtol=CLOSE["rtol"])


def test_gae_with_lambda_0_is_the_td_error():
    reward, value = draw(7, 1, STEPS), draw(8, 1, STEPS)
    following = np.append(value[0, 1:], 0.0)
    wanted = reward[0].astype(float) + DISCOUNT * following - value[0]
    np.testing.assert_allclose(
        ops.gae(reward, value, np.ones((1, STEPS), bool), DISCOUNT, 0.0)[0], wanted, **CLOSE
    )


def test_lambda_returns_equal_the_recursion_of_the_definition():
    reward, value = draw(24, ROWS, STEPS), draw(25, ROWS, STEPS)
    wanted = np.zeros((ROWS, STEPS))
    for row in range(ROWS):
        target = following = 0.0
        for t in np.flatnonzero(LIVE[row])[::-1]:
            target = float(reward[row, t]) + DISCOUNT * ((1 - LAMBDA) * following + LAMBDA * target)
            wanted[row, t], following = target, float(value[row, t])
    np.testing.assert_allclose(
        ops.lambda_returns(reward, value, LIVE, DISCOUNT, LAMBDA), wanted, **CLOSE
    )


def test_lambda_returns_less_the_value_are_gae():
    reward, value = draw(26, ROWS, STEPS), draw(27, ROWS, STEPS)
    target = np.asarray(ops.lambda_returns(reward, value, LIVE, DISCOUNT, LAMBDA), float)
    wanted = loop_gae(reward, value, LIVE, DISCOUNT, LAMBDA)
    np.testing.assert_allclose(np.where(LIVE, target - value, 0.0), wanted, **CLOSE)


def test_masked_steps_are_skipped_as_if_deleted():
    reward, value = draw(9, ROWS, STEPS), draw(10, ROWS, STEPS)
    returns = np.asarray(ops.returns_to_go(reward, DISCOUNT, LIVE))
    advantage = np.asarray(ops.gae(reward, value, LIVE, DISCOUNT, LAMBDA))
    for row, live in enumerate(LIVE):
        kept = np.ones(live.sum(), bool)
        short = ops.returns_to_go(reward[row, live], DISCOUNT, kept)
        np.testing.assert_allclose(returns[row, live], short, **CLOSE)
        short = ops.gae(reward[row, live], value[row, live], kept, DISCOUNT, LAMBDA)
        np.testing.assert_allclose(advantage[row, live], short, **CLOSE)
    assert not returns[~LIVE].any()
    assert not advantage[~LIVE].any()


def test_group_advantage_without_scale_is_the_centred_return():
    returns = draw(11, 4, 5)
    np.testing.assert_allclose(
        ops.group_advantage(returns), returns - returns.mean(-1, keepdims=True), **CLOSE
    )


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize(("scale", "axis"), [("group", -1), ("batch", None)])
def test_group_advantage_divides_by_the_standard_deviation(scale, axis, ddof):
    returns = draw(12, 4, 5) * np.array([[1.0], [2.0], [0.5], [4.0]], np.float32)
    wide = returns.astype(float)
    spread = wide.std(axis=axis, ddof=ddof, keepdims=True)
    wanted = (wide - wide.mean(-1, keepdims=True)) / (spread + 1e-3)
    out = ops.group_advantage(returns, scale, ddof=ddof, epsilon=1e-3)
    np.testing.assert_allclose(out, wanted, rtol=64 * EPS, atol=64 * EPS)


@pytest.mark.parametrize("num", [2, 5])
def test_population_and_bessel_scales_differ_by_a_known_factor(num):
    returns = draw(13, 3, num)
    population = ops.group_advantage(returns, "group", ddof=0, epsilon=0.0)
    bessel = ops.group_advantage(returns, "group", ddof=1, epsilon=0.0)
    np.testing.assert_allclose(
        bessel, population * math.sqrt((num - 1) / num), rtol=32 * EPS, atol=32 * EPS
    )


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_entries_outside_where_count_nowhere_and_get_0(scale):
    returns = draw(14, 2, 5)
    where = np.array([[True, False, True, True, False], [True, True, False, True, False]])
    poisoned = np.where(where, returns, np.nan).astype(np.float32)
    out = np.asarray(ops.group_advantage(poisoned, scale, where=where))
    kept = ops.group_advantage(returns[where].reshape(2, 3), scale)
    np.testing.assert_allclose(out[where].reshape(2, 3), kept, rtol=32 * EPS, atol=32 * EPS)
    assert not out[~where].any()


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_a_group_of_one_gets_0(scale, ddof):
    np.testing.assert_array_equal(
        ops.group_advantage(draw(15, 4, 1), scale, ddof=ddof), np.zeros((4, 1))
    )


def test_a_group_of_equal_returns_gets_0():
    returns = np.full((2, 4), 0.75, np.float32)
    np.testing.assert_array_equal(ops.group_advantage(returns, "group"), np.zeros((2, 4)))


def test_an_empty_group_gets_0():
    where = np.array([[True, True, True], [False, False, False]])
    assert not np.asarray(ops.group_advantage(draw(16, 2, 3), "group", where=where))[1].any()


def test_unknown_scale_raises(unhooked):
    with pytest.raises(
        ValueError, match=r"scale must be one of \('none', 'group', 'batch'\), got 'std'"
    ):
        ops_module.group_advantage(jnp.ones((2, 3)), "std")


def test_leave_one_out_equals_the_loop():
    returns = draw(17, 2, 5)
    wanted = [
        [row[i] - np.mean(np.delete(row, i)) for i in range(5)] for row in returns.astype(float)
    ]
    np.testing.assert_allclose(ops.leave_one_out(returns), wanted, **CLOSE)


@pytest.mark.parametrize("num", [2, 3, 8])
def test_leave_one_out_is_n_over_n_minus_1_times_the_centred_return(num):
    returns = draw(18, 3, num)
    wanted = num / (num - 1) * np.asarray(ops.group_advantage(returns), float)
    np.testing.assert_allclose(ops.leave_one_out(returns), wanted, rtol=32 * EPS, atol=32 * EPS)


def test_leave_one_out_of_a_group_of_one_is_the_raw_return():
    returns = draw(19, 4, 1)
    np.testing.assert_array_equal(ops.leave_one_out(returns), returns)


@pytest.mark.parametrize("ddof", [0, 1])
def test_whiten_gives_mean_0_and_variance_1_on_the_mask(ddof):
    x = 5 + 3 * draw(20, ROWS, STEPS)
    out = np.asarray(
        ops.whiten(np.where(LIVE, x, np.nan).astype(np.float32), LIVE, ddof=ddof), float
    )
    inside = x[LIVE].astype(float)
    # The mean of numbers near 5 rounds at 5 eps, and is divided by a standard deviation near 3.
    assert abs(out[LIVE].mean()) < 32 * EPS
    assert abs(out[LIVE].var(ddof=ddof) - 1) < 32 * EPS + 1e-8
    np.testing.assert_allclose(
        out[LIVE], (inside - inside.mean()) / inside.std(ddof=ddof), atol=64 * EPS
    )
    assert not out[~LIVE].any()


def test_whiten_of_a_single_entry_is_0():
    where = np.arange(STEPS) == 3
    np.testing.assert_array_equal(ops.whiten(draw(21, STEPS), where), np.zeros(STEPS))


def test_segment_sum_and_broadcast_equal_the_loop():
    x, segment = draw(22, ROWS, STEPS), np.array([0, 0, 1, 2, 2, 2, 3])
    total = np.asarray(ops.segment_sum(x, segment, 5))
    wanted = [
        [sum(float(x[n, t]) for t in range(STEPS) if segment[t] == g) for g in range(5)]
        for n in range(ROWS)
    ]
    np.testing.assert_allclose(total, wanted, **CLOSE)
    spread = np.asarray(ops.segment_broadcast(total, segment))
    assert all(spread[n, t] == total[n, segment[t]] for n in range(ROWS) for t in range(STEPS))


def test_run_sum_is_the_segment_sum_of_segments_in_order_of_time():
    x, segment = draw(28, 2, ROWS, STEPS), np.array([0, 0, 1, 2, 2, 2, 4])
    total = np.asarray(ops.run_sum(x, segment, 6))
    np.testing.assert_allclose(total, ops.segment_sum(x, segment, 6), **CLOSE)
    assert not total[..., [3, 5]].any()  # they have no steps
    assert total[..., [0, 1, 2, 4]].all()


def test_last_live_takes_the_entry_at_the_last_live_step():
    x = draw(23, ROWS, STEPS)
    np.testing.assert_array_equal(ops.last_live(x, LIVE), [x[0, 6], x[1, 6], x[2, 4]])


def test_shifts_move_one_step_and_fill():
    x = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(ops.shift_left(x, 9.0), [[1, 2, 9], [4, 5, 9]])
    np.testing.assert_array_equal(ops.shift_right(x, 9.0), [[9, 0, 1], [9, 3, 4]])
    np.testing.assert_array_equal(ops.shift_left(x)[:, -1], [0, 0])
    np.testing.assert_array_equal(ops.shift_right(x)[:, 0], [0, 0])


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_class_sums_and_values_equal_loops(device, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    rng = np.random.default_rng(8)
    x, index = rng.normal(size=(5, 7)).astype(np.float32), rng.integers(0, 3, (5, 7))
    wanted = np.zeros((7, 3))
    for n, t in np.ndindex(5, 7):
        wanted[t, index[n, t]] += x[n, t]
    total = ops.class_sum(jnp.asarray(x), jnp.asarray(index), 3)
    np.testing.assert_allclose(total, wanted, atol=1e-6)
    picked = ops.class_value(total, jnp.asarray(index))
    np.testing.assert_array_equal(picked, np.asarray(total)[np.arange(7), index])
