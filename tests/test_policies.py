"""Recipes of behaviour: tables that are policies, and what each promises."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.oracle import expected_return, optimal
from casim.policies import POLICIES, EntropyControlled, EpsilonOptimal, Softmax, Uniform
from casim.tasks import Bifurcation
from casim.wellformed import check_policy
from tests import reference
from tests.enumeration import QUICK

expected_return = jax.jit(expected_return)
optimal = jax.jit(optimal)
table = jax.jit(lambda recipe, mdp: recipe.table(mdp), static_argnums=0, compiler_options=QUICK)
CHAIN = Bifurcation(
    horizon=5, pivots=(1, 3), recovery=0.4, noise=0.1, num_actions=3, num_segments=2, discount=0.9
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [Uniform(), Softmax(2.0, 3), EpsilonOptimal(0.2), EntropyControlled(0.2, 0.5)]
)
@pytest.mark.parametrize("name", ["bifurcation", "tool_chain", "random"])
def test_rows_sum_to_1_and_fit_the_world(recipe, name):
    mdp = reference.random_mdp(3)[0] if name == "random" else reference.small_tasks()[name].build()
    check_policy(np.asarray(table(recipe, mdp)), mdp)


def test_every_recipe_is_hashable_frozen_and_prints_what_makes_it():
    for kind in POLICIES:
        recipe = kind()
        assert hash(recipe) == hash(kind())
        assert eval(repr(recipe)) == recipe
        for field in dataclasses.fields(recipe):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(recipe, field.name, 1)


def test_uniform_is_uniform_and_so_is_softmax_of_scale_0():
    mdp = CHAIN.build()
    np.testing.assert_allclose(table(Uniform(), mdp), 1 / 3, atol=1e-7)
    np.testing.assert_allclose(table(Softmax(0.0, 4), mdp), 1 / 3, atol=1e-7)


def test_softmax_is_the_softmax_of_normal_logits_drawn_by_its_seed():
    mdp = reference.random_mdp(0)[0]
    got = np.asarray(table(Softmax(0.7, 5), mdp), np.float64)
    logits = np.log(got) / 0.7
    again = np.log(np.asarray(table(Softmax(1.4, 5), mdp), np.float64)) / 1.4
    gap = logits[..., 1] - logits[..., 0]
    np.testing.assert_allclose(gap, again[..., 1] - again[..., 0], atol=1e-5)
    other = np.log(np.asarray(table(Softmax(0.7, 6), mdp), np.float64)) / 0.7
    assert np.abs(gap - (other[..., 1] - other[..., 0])).min() > 0
    # A difference of two standard normals has variance 2; five standard errors of it over 21 rows.
    assert abs(np.mean(gap**2) - 2) < 5 * 2 * np.sqrt(2 / gap.size)


def test_epsilon_optimal_at_0_attains_the_optimum_of_a_bifurcation():
    mdp = CHAIN.build()
    attained = float(expected_return(mdp, table(EpsilonOptimal(0.0), mdp)))
    assert attained == pytest.approx(float(reference.optimal_value(mdp)[0, 0]), abs=1e-5)
    assert attained > float(expected_return(mdp, table(Uniform(), mdp))) + 0.05


def test_epsilon_mixes_with_uniform():
    mdp = CHAIN.build()
    tables = [np.asarray(table(EpsilonOptimal(epsilon), mdp)) for epsilon in (0.0, 0.3, 1.0)]
    np.testing.assert_allclose(tables[1], 0.7 * tables[0] + 0.1, atol=1e-6)
    np.testing.assert_allclose(tables[2], 1 / 3, atol=1e-6)


def test_equal_actions_share_the_probability():
    mdp = CHAIN.build()
    got = np.asarray(table(EpsilonOptimal(0.0), mdp))
    fillers = [m for m in range(len(got)) if m not in np.asarray(mdp.schedule)[[1, 3]]]
    np.testing.assert_allclose(got[fillers], 1 / 3, atol=1e-6)
    pivot = int(mdp.schedule[1])
    # Recovery makes the right action best in both.
    np.testing.assert_allclose(got[pivot], [[1, 0, 0]] * 2, atol=1e-6)


def test_a_state_without_recovery_stays_uniform_at_the_pivot():
    mdp = Bifurcation(horizon=4, pivots=(1, 2), num_actions=3, num_segments=2).build()
    got = np.asarray(table(EpsilonOptimal(0.0), mdp))
    np.testing.assert_allclose(got[int(mdp.schedule[1])], [[1, 0, 0], [1 / 3] * 3], atol=1e-6)


def test_under_partial_observability_it_is_greedy_on_the_averaged_optimal_values():
    mdp = reference.small_tasks()["tool_chain"].build()
    q_value = np.asarray(optimal(mdp).q_value, np.float64)
    uniform = np.full((mdp.prob.shape[0], 4, 2), 0.5)
    occupancy = reference.exact(mdp, uniform).occupancy
    got = np.asarray(table(EpsilonOptimal(0.0), mdp))
    for m in np.flatnonzero(np.asarray(mdp.decision)):
        steps = np.flatnonzero(np.asarray(mdp.schedule) == m)
        score = np.einsum(
            "ts,so,tsa->oa", occupancy[steps], np.asarray(mdp.emission)[m], q_value[steps]
        )
        gap = score[:, 0] - score[:, 1]
        wanted = np.where(np.abs(gap) < 1e-6, 0.5, gap > 0)
        np.testing.assert_allclose(got[m, :, 0], wanted, atol=1e-6)
    assert expected_return(mdp, jnp.asarray(got)) < (mdp.start * optimal(mdp).value[0]).sum()


@pytest.mark.parametrize(("pivot", "filler"), [(0.1, 1.0), (0.9, 0.0), (0.0, math.log(3))])
def test_rows_have_the_entropy_set_for_pivots_and_for_fillers(pivot, filler):
    """A low-entropy pivot among high-entropy fillers, and the reverse.

    The right action is the likely one.
    """
    mdp = CHAIN.build()
    got = np.asarray(table(EntropyControlled(pivot, filler), mdp), np.float64)
    entropy = -np.sum(np.where(got > 0, got * np.log(np.where(got > 0, got, 1.0)), 0.0), axis=-1)
    is_pivot = np.isin(np.arange(len(got)), np.asarray(mdp.schedule)[[1, 3]])
    # d entropy / d x is at most |ln x| < 20 where x > 0, at the float32 spacing of probabilities.
    np.testing.assert_allclose(entropy[is_pivot], pivot, atol=20 * reference.EPS)
    np.testing.assert_allclose(entropy[~is_pivot], filler, atol=20 * reference.EPS)
    np.testing.assert_array_equal(got[is_pivot].argmax(-1), 0)


def test_an_entropy_above_that_of_the_uniform_row_raises():
    with pytest.raises(ValueError, match=r"pivot must be in \[0.0, 1.0986.*\], got 1.2"):
        EntropyControlled(pivot=1.2).table(CHAIN.build())


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Softmax(-0.1), "scale"),
        (lambda: Softmax(seed=-1), "seed"),
        (lambda: EpsilonOptimal(1.5), "epsilon"),
        (lambda: EpsilonOptimal(float("nan")), "epsilon"),
        (lambda: EntropyControlled(pivot=-0.1), "pivot"),
        (lambda: EntropyControlled(filler=float("inf")), "filler"),
    ],
)
def test_bad_settings_raise(make, field):
    with pytest.raises(ValueError, match=f"{field} must be"):
        make()


def test_a_drawn_policy_is_the_same_in_both_precisions():
    mdp = Bifurcation(horizon=4, pivots=(1,)).build()
    single = np.asarray(Softmax(scale=0.5, seed=0).table(mdp))
    with jax.enable_x64(True):
        double = np.asarray(Softmax(scale=0.5, seed=0).table(mdp))
    assert double.dtype == np.float64
    np.testing.assert_allclose(single, double, rtol=1e-6)
