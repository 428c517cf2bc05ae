"""`casim.oracle.values` against all trajectories, closed forms, and a second differentiation."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casim.dynamics import absorb, observe
from casim.oracle import expected_return, optimal
from casim.simulate import World
from casim.tasks import Bifurcation, ToolChain
from tests import reference
from tests.enumeration import solve
from tests.precise import wide
from tests.reference import EPS

solve = jax.jit(solve)
optimal = jax.jit(optimal)
expected_return = jax.jit(expected_return)
examples = settings(max_examples=12, deadline=None, derandomize=True, database=None)
seeds = st.integers(0, 2**31 - 1)
inside = st.floats(0.05, 0.95)


def rounding(mdp, size):
    """Bound on the error of T backups in float32.

    Each sums K and A products of numbers up to `size`.
    """
    return mdp.schedule.shape[0] * (mdp.prob.shape[2] + mdp.prob.shape[3] + 4) * EPS * size


def assert_equals_enumeration(mdp, policy):
    truth, wanted = solve(mdp, jnp.asarray(policy)), reference.exact(mdp, policy)
    size = max(1.0, np.abs(wanted.q_value).max())
    within = {"rtol": 0, "atol": rounding(mdp, size)}
    np.testing.assert_allclose(truth.value, wanted.value, **within)
    np.testing.assert_allclose(truth.q_value, wanted.q_value, **within)
    np.testing.assert_allclose(truth.expected_return, wanted.expected_return, **within)
    np.testing.assert_allclose(truth.occupancy, wanted.occupancy, rtol=0, atol=rounding(mdp, 1.0))
    # A mean given a rare state divides rounding by its probability.
    rare = wanted.occupancy[wanted.occupancy > 0].min()
    np.testing.assert_allclose(
        truth.past_reward, wanted.past_reward, rtol=0, atol=rounding(mdp, size) / rare
    )
    # Summed over T steps, whose weights add up to T at most.
    steps = mdp.schedule.shape[0]
    np.testing.assert_allclose(
        truth.gradient, wanted.gradient, rtol=0, atol=steps * rounding(mdp, size)
    )


def test_the_enumeration_is_a_distribution_and_consistent():
    mdp, policy = reference.random_mdp(0, discount=reference.BY_KERNEL)
    paths = reference.enumerate_paths(mdp, policy)
    assert len(paths.probability) > 1000
    assert abs(paths.probability.sum() - 1) < 1e-6  # float32 rows of the policy
    rows = np.concatenate(
        [paths.state, paths.observation, paths.action, 100 * paths.reward], axis=1
    )
    assert len(np.unique(rows, axis=0)) > 1000
    wanted = reference.exact(mdp, policy)
    acting = np.einsum("mso,moa->msa", mdp.emission, policy)
    acting[1] = [1, 0]
    mean = (acting[np.asarray(mdp.schedule)] * wanted.q_value).sum(-1)
    np.testing.assert_allclose(mean, wanted.value[:-1], atol=1e-6)


@examples
@given(seed=seeds)
def test_solve_equals_the_enumeration_in_random_mdps(seed):
    assert_equals_enumeration(*reference.random_mdp(seed, discount=reference.BY_KERNEL))


@examples
@given(
    seed=seeds,
    gap=inside,
    middle=inside,
    recovery=inside,
    noise=inside,
    entropy=st.floats(0.05, 0.69),
    discount=inside,
)
def test_solve_equals_the_enumeration_in_bifurcation(
    seed, gap, middle, recovery, noise, entropy, discount
):
    mdp = Bifurcation(
        horizon=5,
        pivots=(1, 3),
        gap=gap,
        base=gap / 2 + middle * (1 - gap),
        recovery=recovery,
        noise=noise,
        filler_entropy=entropy,
        discount=discount,
    ).build()
    assert_equals_enumeration(mdp, reference.random_policy(seed, mdp))


@examples
@given(seed=seeds, knobs=st.tuples(inside, inside, inside, inside, inside, inside))
def test_solve_equals_the_enumeration_in_tool_chain(seed, knobs):
    names = ("reliability", "damage", "repair", "switch", "observation_noise", "discount")
    settings = dict(zip(names, knobs, strict=True))
    settings["observation_noise"] /= 2
    mdp = ToolChain(num_turns=2, tokens_per_turn=2, **settings).build()
    assert_equals_enumeration(mdp, reference.random_policy(seed, mdp))


@pytest.mark.parametrize("knob", ["gap", "recovery", "noise", "filler_entropy", "discount"])
def test_solve_equals_the_enumeration_with_a_bifurcation_knob_at_0(knob):
    mdp = dataclasses.replace(reference.small_tasks()["bifurcation"], **{knob: 0.0}).build()
    assert_equals_enumeration(mdp, reference.random_policy(1, mdp))


@pytest.mark.parametrize(
    "knob", ["reliability", "damage", "repair", "switch", "observation_noise", "discount"]
)
def test_solve_equals_the_enumeration_with_a_tool_chain_knob_at_0(knob):
    mdp = dataclasses.replace(reference.small_tasks()["tool_chain"], **{knob: 0.0}).build()
    assert_equals_enumeration(mdp, reference.random_policy(2, mdp))


def test_solve_equals_the_enumeration_on_a_horizon_of_1():
    assert_equals_enumeration(*reference.random_mdp(3, schedule=(2,), discount=reference.BY_KERNEL))


@pytest.fixture(scope="module", params=["random", "bifurcation", "tool_chain"])
def case(request):
    if request.param == "random":
        return reference.random_mdp(11, discount=reference.BY_KERNEL)
    mdp = reference.small_tasks()[request.param].build()
    return mdp, reference.random_policy(4, mdp)


def test_gradient_equals_automatic_differentiation_of_the_expected_return(case):
    mdp, policy = case
    truth = solve(mdp, jnp.asarray(policy))
    by_jax = jax.jit(jax.grad(lambda logits: expected_return(mdp, jax.nn.softmax(logits))))(
        jnp.log(policy)
    )
    size = max(1.0, float(jnp.abs(truth.q_value).max()))
    atol = mdp.schedule.shape[0] * rounding(mdp, size)
    assert np.abs(by_jax).max() > 100 * atol
    np.testing.assert_allclose(truth.gradient, by_jax, rtol=0, atol=atol)


def test_gradient_is_zero_where_nothing_is_decided():
    mdp, policy = reference.random_mdp(12, discount=reference.BY_KERNEL)
    gradient = np.asarray(solve(mdp, jnp.asarray(policy)).gradient)
    assert not gradient[1].any()
    assert gradient[0].any()
    assert gradient[2].any()


def test_expected_return_equals_the_one_of_solve(case):
    mdp, policy = case
    truth = solve(mdp, jnp.asarray(policy))
    assert abs(float(expected_return(mdp, jnp.asarray(policy)) - truth.expected_return)) <= 4 * EPS


def test_advantage_averages_to_0_over_the_policy(case):
    mdp, policy = case
    truth = solve(mdp, jnp.asarray(policy))
    acting = truth.state_policy[mdp.schedule]
    size = max(1.0, float(jnp.abs(truth.q_value).max()))
    assert np.abs(truth.advantage).max() > 0.1
    np.testing.assert_allclose((acting * truth.advantage).sum(-1), 0, atol=rounding(mdp, size))


def test_occupancy_sums_to_1_without_terminal_states():
    mdp, policy = reference.random_mdp(5, terminal=False, discount=reference.BY_KERNEL)
    occupancy = solve(mdp, jnp.asarray(policy)).occupancy
    np.testing.assert_allclose(occupancy.sum(-1), 1, atol=8 * EPS)


def test_occupancy_only_falls_with_terminal_states():
    mdp, policy = reference.random_mdp(6, discount=reference.BY_KERNEL)
    occupancy = np.asarray(solve(mdp, jnp.asarray(policy)).occupancy)
    alive = occupancy.sum(-1)
    assert np.all(np.diff(alive) <= 8 * EPS)
    assert alive[-1] < alive[0] - 0.1
    assert not occupancy[:, 2].any()


def test_terminal_states_are_worth_nothing_whatever_their_tables_say():
    mdp, policy = reference.random_mdp(7, discount=reference.BY_KERNEL)
    assert np.asarray(mdp.reward)[:, 2].any()
    truth = solve(mdp, jnp.asarray(policy))
    assert not np.asarray(truth.value)[:, 2].any()
    assert not np.asarray(truth.q_value)[:, 2].any()
    absorbed = solve(absorb(mdp), jnp.asarray(policy))
    jax.tree.map(np.testing.assert_array_equal, truth, absorbed)


@examples
@given(seed=seeds)
def test_optimal_equals_the_recursion_on_single_states(seed):
    mdp, _ = reference.random_mdp(seed, discount=reference.BY_KERNEL)
    best = optimal(mdp)
    wanted = reference.optimal_value(mdp)
    size = max(1.0, np.abs(wanted).max())
    np.testing.assert_allclose(best.value[:-1], wanted, rtol=0, atol=rounding(mdp, size))
    assert not np.asarray(best.value[-1]).any()
    # On kernel 1 nothing is decided: its value is that of action 0, even where another would
    # pay more.
    greedy = np.where(
        np.asarray(mdp.decision)[np.asarray(mdp.schedule), None],
        best.q_value.max(-1),
        best.q_value[..., 0],
    )
    np.testing.assert_array_equal(best.value[:-1], greedy)


def test_the_best_of_all_deterministic_policies_attains_the_optimal_value():
    mdp, _ = reference.random_mdp(
        13,
        schedule=(0, 1, 2),
        states=3,
        actions=2,
        terminal=False,
        hidden=False,
        discount=reference.BY_KERNEL,
    )
    # Kernels 0 and 2, one step each.
    tables = np.array(list(itertools.product(range(2), repeat=6))).reshape(-1, 2, 3)
    policies = np.eye(2, dtype=np.float32)[np.insert(tables, 1, 0, axis=1)]
    attained = jax.vmap(lambda policy: expected_return(mdp, policy))(jnp.asarray(policies))
    bound = float(optimal(mdp).value[0] @ mdp.start)
    assert abs(float(attained.max()) - bound) < rounding(mdp, 4.0)
    assert float(np.sort(attained)[len(attained) // 2]) < bound - 0.1


def test_optimal_is_the_same_for_the_observed_twin_and_bounds_every_policy():
    mdp, policy = reference.random_mdp(14, discount=reference.BY_KERNEL)
    best, twin = optimal(mdp), optimal(observe(mdp))
    np.testing.assert_array_equal(best.value, twin.value)
    value = solve(mdp, jnp.asarray(policy)).value
    assert np.all(value <= best.value + rounding(mdp, 8.0))


@pytest.mark.slow
def test_a_million_steps_equal_the_closed_form():
    """Bifurcation is a chain of two levels at its pivots: good or bad, in float64.

    A pivot's backup rounds at most 4 times at values below 1 (2 eps), and every later pivot shrinks
    an error by |1 - 2 noise| <= 0.8, so at most 2 / (1 - 0.8) = 10 eps remain. All other steps keep
    values exactly.
    """
    task = Bifurcation(
        horizon=1_000_000,
        pivots=40,
        recovery=0.3,
        noise=0.1,
        gap=0.6,
        base=0.45,
        num_actions=3,
        filler_entropy=0.5,
    )
    mdp = task.build()
    rng = np.random.default_rng(0)
    # Whatever the symbol.
    good, bad = rng.dirichlet(np.ones(3), (2, mdp.prob.shape[0])).astype(np.float32)
    policy = np.stack([good] * 3 + [bad] * 3, axis=1)
    level = 1.0
    for position in task.positions:
        m = int(mdp.schedule[position])
        right = level * float(good[m, 0]) + (1 - level) * float(bad[m, 0]) * 0.3
        level = right * 0.9 + (1 - right) * 0.1
    wanted = 0.15 + 0.6 * level
    truth = solve(mdp, jnp.asarray(policy))
    assert abs(float(truth.expected_return) - wanted) <= 10 * EPS
    # The filler symbols are summed over at every step here, so rounding is a walk of a million
    # steps of eps / 8.
    assert abs(float(truth.occupancy[-1, :3].sum()) - level) <= 1000 * EPS
    np.testing.assert_allclose(truth.occupancy.sum(-1), 1, atol=8 * EPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bifurcation", "tool_chain"])
def test_a_million_episodes_agree_with_the_exact_values(name):
    """Means over episodes are within 5 standard errors.

    For about 150 cells that is below 1 false alarm in 10,000 seeds.
    """
    mdp = reference.small_tasks()[name].build()
    policy = reference.random_policy(5, mdp)
    truth = solve(mdp, jnp.asarray(policy))
    num = 1_000_000
    batch = reference.rollout(World.make(mdp, jnp.asarray(policy)), jax.random.key(1), num)
    steps, states, actions = truth.q_value.shape
    scale = np.asarray(mdp.discount, float)[0] ** np.arange(steps)
    gain = np.cumsum((np.asarray(batch.reward) * scale)[:, ::-1], axis=1)[:, ::-1] / scale
    error = gain[:, 0].std() / num**0.5
    assert abs(gain[:, 0].mean() - float(truth.expected_return)) < 5 * error
    state, action = np.asarray(batch.state), np.asarray(batch.action)
    for t in range(steps):
        share = np.bincount(state[:, t], minlength=states) / num
        wanted = np.asarray(truth.occupancy[t], float)
        assert np.all(np.abs(share - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / num) + 8 * EPS)
        cell = state[:, t] * actions + action[:, t]
        count = np.bincount(cell, minlength=states * actions)
        mean = np.bincount(cell, gain[:, t], states * actions) / np.maximum(count, 1)
        square = np.bincount(cell, gain[:, t] ** 2, states * actions) / np.maximum(count, 1)
        error = np.sqrt(np.maximum(square - mean**2, 0) / np.maximum(count, 1))
        off = np.abs(mean - np.asarray(truth.q_value[t], float).ravel())
        assert np.all((off <= 5 * error + 8 * EPS) | (count < 1000))


@pytest.mark.parametrize("seed", [3, 8])
def test_in_double_precision_everything_equals_the_enumeration_to_10_digits(seed, float64):
    mdp, policy = wide(*reference.random_mdp(seed, discount=reference.BY_KERNEL))
    exact = reference.exact(mdp, policy)
    truth = jax.tree.map(np.asarray, solve(jax.tree.map(jnp.asarray, mdp), jnp.asarray(policy)))
    for name in ("value", "occupancy", "gradient", "expected_return"):
        np.testing.assert_allclose(
            getattr(truth, name), getattr(exact, name), rtol=0, atol=1e-10, err_msg=name
        )
    still = ~mdp.terminal
    advantage = exact.q_value - exact.value[:-1, :, None]
    decides = mdp.decision[mdp.schedule]
    np.testing.assert_allclose(
        truth.advantage[decides][:, still], advantage[decides][:, still], rtol=0, atol=1e-10
    )
    met = (exact.occupancy > 0) & still[None, :]
    np.testing.assert_allclose(truth.past_reward[met], exact.past_reward[met], rtol=0, atol=1e-10)
    best = np.asarray(optimal(jax.tree.map(jnp.asarray, mdp)).value)[:-1]
    np.testing.assert_allclose(best, reference.optimal_value(mdp), rtol=0, atol=1e-10)
