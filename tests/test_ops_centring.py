"""Centring in `casim.ops`: exactly 0 of equal entries, all digits of others, finite gradients."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import ops
from tests.reference import EPS

VALUES = (0.0, 0.9, 0.9**7, 2.3, -1000.1, 1e6 + 0.5, 1e20, 1e-30)
MOST = 64
SCALES = ("none", "group", "batch")


def normalisations(x, where):
    """Every way to centre a group [1, N] on others of it, by name."""
    credit = {scale: ops.group_advantage(x, scale, where=where) for scale in SCALES}
    credit["population"] = ops.group_advantage(x, "group", ddof=0, epsilon=0.0, where=where)
    credit["whiten"] = ops.whiten(x, where)
    credit["whiten, no epsilon"] = ops.whiten(x, where, ddof=0, epsilon=0.0)
    credit["mean"] = jnp.where(where, x - ops.mean(x, where=where), 0.0)
    alone = jnp.sum(where) == 1
    credit["leave one out"] = jnp.where(alone, 0.0, ops.leave_one_out(x, where))
    return credit


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "dtype"),
    [
        pytest.param(jax.jit, "float32", id="jit-float32"),
        pytest.param(jax.jit, "float64", id="jit-float64"),
        pytest.param(lambda function: function, "float32", id="eager-float32"),
        pytest.param(
            lambda function: function, "float64", id="eager-float64", marks=pytest.mark.slow
        ),
    ],
)
def test_equal_entries_get_exactly_0_in_groups_of_1_to_64(dtype, run):
    """Entries outside the group hold another number, so that they would show."""
    with jax.enable_x64(dtype == "float64"):
        inside = np.tri(MOST, dtype=bool)[:, None, :]  # groups of 1, 2, ... members
        value = np.array(VALUES, dtype)[:, None, None]
        x = np.where(inside[None], value[:, None], np.array(7.7, dtype))
        over_sizes = jax.vmap(normalisations)
        over_values = jax.vmap(over_sizes, in_axes=(0, None))
        for name, credit in run(over_values)(jnp.asarray(x), jnp.asarray(inside)).items():
            assert credit.dtype == dtype
            assert not np.asarray(credit).any(), name


@pytest.mark.parametrize("num", [4, 7])
def test_equal_entries_get_exactly_0_without_a_mask(num):
    def all_of(x):
        out = [ops.group_advantage(x, scale) for scale in SCALES]
        return [*out, ops.leave_one_out(x), x - ops.mean(x, axis=-1)]

    x = jnp.broadcast_to(jnp.asarray(VALUES)[:, None, None], (len(VALUES), 1, num))
    for credit in jax.jit(jax.vmap(all_of))(x):
        assert not np.asarray(credit).any()


@pytest.mark.parametrize("effort", [0, 1, 3])
def test_equal_entries_get_exactly_0_where_they_are_made_in_the_same_program(effort):
    """A compiler fuses products into later differences, and may round equal sums in two ways."""

    def of_products(a, b, c):
        x = a * b + c * a
        out = [ops.group_advantage(x, scale) for scale in ("none", "group")]
        return [*out, ops.leave_one_out(x), x - ops.mean(x, axis=-1)]

    rng = np.random.default_rng(0)
    given = [np.repeat(rng.normal(size=(200, 1)).astype(np.float32), 7, axis=1) for _ in range(3)]
    options = {"xla_backend_optimization_level": effort, "xla_cpu_use_fusion_emitters": effort != 1}
    for credit in jax.jit(of_products, compiler_options=known(options))(*given):
        assert not np.asarray(credit).any()


def known(options):
    """Those that this version of XLA has; JAX 0.11 on a CPU has no other way to fuse."""
    there = {}
    for name, value in options.items():
        with contextlib.suppress(jax.errors.JaxRuntimeError):
            jax.jit(lambda x: x, compiler_options={name: value})(0.0)
            there[name] = value
    return there


def by_numpy(x, where, ddof, epsilon):
    """The formulas, over the entries in `where`, in extended precision; NaN outside."""
    x = np.where(where, np.asarray(x, np.longdouble), np.nan)
    centred = x - np.nanmean(x, axis=-1, keepdims=True)
    own = np.nanstd(x, axis=-1, ddof=ddof, keepdims=True)
    count = where.sum(axis=-1, keepdims=True)
    return {
        "none": centred,
        "group": centred / (own + epsilon),
        "batch": centred / (np.nanstd(x, ddof=ddof) + epsilon),
        "whiten": (x - np.nanmean(x)) / np.sqrt(np.nanvar(x, ddof=ddof) + epsilon),
        "leave one out": count / (count - 1) * centred,
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_unequal_entries_follow_the_formulas(dtype, ddof):
    """Also near a large mean, and for numbers whose squares leave the range of the type."""
    rng = np.random.default_rng(1)
    where = rng.uniform(size=(3, 6)) < 0.7
    assert (where.sum(axis=-1) > 1).all()
    assert not where.all()
    noise = rng.normal(size=(3, 6))
    epsilon = 1e-6

    def all_of(x, where):
        out = {scale: ops.group_advantage(x, scale, ddof, epsilon, where) for scale in SCALES}
        out["whiten"] = ops.whiten(x, where, ddof, epsilon)
        return out | {"leave one out": ops.leave_one_out(x, where)}

    with jax.enable_x64(dtype == "float64"):
        run = jax.jit(all_of)
        for x in (noise, 1e6 + 100 * noise, 1e25 * noise, 1e-25 * noise):
            x = np.where(where, x, np.nan).astype(dtype)
            wanted = by_numpy(x, where, ddof, epsilon)
            for name, credit in run(x, where).items():
                credit = np.asarray(credit)
                assert not credit[~where].any()
                size = np.nanmax(np.abs(wanted[name]))
                error = np.abs(credit - wanted[name])[where] / size
                assert error.max() < 16 * np.finfo(dtype).eps, name


def test_small_differences_of_large_numbers_keep_their_digits():
    returns = jnp.asarray([1e6 + 0.5, 1e6, 1e6, 1e6 + 0.25])
    for run in (jax.jit, lambda function: function):
        credit = run(ops.leave_one_out)(returns)
        np.testing.assert_allclose(credit, [5 / 12, -1 / 4, -1 / 4, 1 / 12], rtol=1e-6)


def test_the_variance_of_large_numbers_does_not_overflow():
    returns = jnp.asarray([1e20, 0.0, 0.0, 0.0])
    wanted = [1.5, -0.5, -0.5, -0.5]
    for scale in ("group", "batch"):
        np.testing.assert_allclose(ops.group_advantage(returns, scale), wanted, rtol=1e-6)
    np.testing.assert_allclose(ops.whiten(returns, jnp.ones(4, bool)), wanted, rtol=1e-6)


def test_leave_one_out_leaves_out_who_is_outside():
    returns = jnp.asarray([[3.0, np.nan, 5.0, 10.0], [2.5, np.nan, np.nan, np.nan], [1.0] * 4])
    where = jnp.asarray([[True, False, True, True], [True, False, False, False], [False] * 4])
    wanted = [[-4.5, 0.0, -1.5, 6.0], [2.5, 0.0, 0.0, 0.0], [0.0] * 4]  # a lone one keeps its own
    np.testing.assert_allclose(ops.leave_one_out(returns, where), wanted, rtol=1e-6)


def stacked(x, where):
    credit = normalisations(x, where)
    return jnp.stack([credit[name][0] for name in ("group", "whiten", "leave one out")])


slope = jax.jit(jax.jacrev(stacked))
many = jax.jit(jax.vmap(stacked, in_axes=(0, None)))


@pytest.mark.usefixtures("float64")
def test_gradients_are_those_of_finite_differences_also_of_ties():
    where = np.array([[True, True, False, True, True, True]])
    step = 1e-6 * np.eye(6)[:, None, :]
    for entries in ([1.0, 1.0, 9.0, 2.5, -0.5, 2.5], [2.0, 1e-3, 0.0, 4e-3, 5e-3, 2.0]):
        x = np.array([entries])
        higher, lower = np.split(np.asarray(many(np.concatenate([x + step, x - step]), where)), 2)
        wanted = np.moveaxis(higher - lower, 0, -1) / 2e-6
        np.testing.assert_allclose(slope(x, where)[:, :, 0], wanted, rtol=1e-6, atol=1e-6)


def test_the_gradient_of_equal_entries_is_finite():
    """The sum of a centred group is 0 whatever its members are, so its gradient is 0."""
    where = np.arange(6)[None] < 5
    for value in (1.0, 0.9, 1e20):
        of_each = np.asarray(slope(np.full((1, 6), value, np.float32), where))[:, :, 0]
        assert np.isfinite(of_each).all()
        total = np.abs(of_each.sum(axis=1)).max(axis=1)
        assert (total <= 8 * EPS * np.abs(of_each).max(axis=(1, 2))).all()
        assert not of_each[:, 5].any()
        assert not of_each[:, :, 5].any()


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_means_of_classes_keep_constants_and_equal_loops(device, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: device)
    rng = np.random.default_rng(8)
    shape, classes = (11, 5), 3
    index = rng.integers(0, classes, shape)
    index[:, 2] = 1  # two classes of the step are empty
    where = rng.uniform(size=shape) < 0.8
    where[:, 4] = False
    constant = np.array(VALUES[1:7], np.float32)[index + 3 * (np.arange(5)[None, :] % 2)]
    run = jax.jit(ops.class_mean, static_argnums=3)
    table = np.asarray(run(np.where(where, constant, np.nan), index, where, classes))
    assert not (constant - table[np.arange(5)[None, :], index])[where].any()

    x = rng.normal(size=shape).astype(np.float32)
    table = np.asarray(run(x, index, where, classes))
    for t, c in np.ndindex(5, classes):
        members = where[:, t] & (index[:, t] == c)
        members = members if members.any() else where[:, t]
        wanted = x[members, t].astype(float).mean() if members.any() else 0.0
        assert table[t, c] == pytest.approx(wanted, abs=1e-6)
