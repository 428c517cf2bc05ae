"""Hindsight on states, rewards, features and returns: exact by enumeration, counts by loops."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.contributions import Contributed
from casim.estimators import Answers, Contribution, OnTaken, ReturnHindsight, Sum
from casim.estimators.sources.fitting import Fit
from casim.estimators.sources.models import Network
from casim.graders import Posterior
from casim.oracle.coefficients import reward_feature
from tests import reference
from tests.enumeration import case, cell_mean, run, solved
from tests.methods.every_action import (
    gradient_variance,
    judged,
    mean_gradient,
    mean_in_states,
)
from tests.methods.worlds import small
from tests.quick import QUICK

KEY = jax.random.key(5)
FEATURES = ("reward", "state", "prediction")


@functools.cache
def awkward(discount=0.75):
    """Rewards at every step, an environment's step, early ends, two start states."""
    return case(binary=False, actions=2, prompt=False, discount=discount)


@functools.cache
def binary():
    """One outcome of 0 or 1; nothing is earned before the end."""
    return case(actions=3, prompt=False, terminal=False)


def support(one, feature):
    """The values that a judge must know."""
    if feature == "reward":
        return tuple(float(x) for x in reward_feature(one.mdp)[1])
    if feature == "prediction":
        mean = (np.asarray(one.mdp.prob) * np.asarray(one.mdp.reward)).sum(-1)
        return tuple(np.unique(np.round(mean, 6)).tolist())
    return (0.0, 1.0)


@functools.cache
def given(one_of, feature, **settings):
    """The exact credit of every trajectory: what the step earns on the action taken, the rest."""
    one = one_of()
    grader = Contributed(feature, support(one, feature), **settings)
    immediate = () if settings.get("immediate") else (OnTaken(),)
    recipe = Sum(*immediate, Answers())
    return np.asarray(run(recipe, KEY, judged(one, judge=grader), one.all.batch).value, np.float64)


def centred(one, value):
    """Less its mean under the policy."""
    acting = np.asarray(one.policy, np.float64)[np.asarray(one.mdp.schedule)]
    return value - (acting * value).sum(-1, keepdims=True)


# With exact coefficients.


@pytest.mark.parametrize("feature", FEATURES)
def test_exact_coefficients_give_the_advantage_and_the_exact_gradient(feature):
    one = awkward()
    value = given(awkward, feature)
    mean, mass = mean_in_states(one, value)
    met = mass > 0
    assert met.sum() > 5
    np.testing.assert_allclose(centred(one, mean)[met], one.advantage[met], atol=1e-5)
    np.testing.assert_allclose(mean_gradient(one, value), one.exact.gradient, atol=1e-5)


def test_hca_on_states_gives_q_and_the_exact_gradient():
    one = awkward()
    value = given(awkward, "state", centred=False, immediate=True)
    mean, mass = mean_in_states(one, value)
    np.testing.assert_allclose(mean[mass > 0], one.exact.q_value[mass > 0], atol=1e-5)
    np.testing.assert_allclose(mean_gradient(one, value), one.exact.gradient, atol=1e-5)


def test_what_a_judge_does_not_trust_it_takes_for_chance():
    """At trust 1/4 a quarter of the contributions is left; at 0 none."""
    whole = given(awkward, "reward") - given(awkward, "reward", trust=0.0)
    quarter = given(awkward, "reward", trust=0.25) - given(awkward, "reward", trust=0.0)
    np.testing.assert_allclose(quarter, 0.25 * whole, atol=1e-5)
    one = awkward()
    taken = given(awkward, "reward", trust=0.0)
    earned = np.asarray(one.all.batch.reward) / np.exp(np.asarray(one.all.batch.log_prob))
    row = np.take_along_axis(taken, np.asarray(one.all.batch.action)[..., None], -1)[..., 0]
    np.testing.assert_allclose(row, earned, rtol=1e-5)


@functools.cache
def late():
    """Only the first action is free, and only the last step earns: one of a few rewards."""
    mdp, policy = reference.random_mdp(
        11, schedule=(0, 1, 2), actions=3, hidden=False, discount=1.0
    )
    reward = np.round(np.asarray(mdp.reward) * 2) / 2
    last = np.array([False, False, True])[:, None, None, None]
    return solved(
        mdp._replace(
            reward=reward * last,
            decision=np.array([True, False, False]),
            terminal=np.zeros(len(mdp.start), bool),
        ),
        policy,
    )


@pytest.mark.slow
def test_the_variance_falls_from_reinforce_over_states_to_rewards():
    """Theorem 3 of COCOA, for one decision and one reward, in ratios of plain returns."""
    one = late()
    plain = functools.partial(given, late, centred=False)
    everywhere = run(methods.REWARD_TO_GO, KEY, one.world, one.all.batch).value[..., None]
    taken = jax.nn.one_hot(one.all.batch.action, 3) / np.exp(one.all.batch.log_prob)[..., None]
    values = {
        "reinforce": np.asarray(everywhere * taken),
        "state": plain("state"),
        "prediction": plain("prediction"),
        "reward": plain("reward"),
    }
    variance = [gradient_variance(one, value) for value in values.values()]
    for value in values.values():
        np.testing.assert_allclose(mean_gradient(one, value), one.exact.gradient, atol=1e-5)
    assert variance[0] > 1.01 * variance[1] > 1.01 * variance[3]
    assert variance[1] > variance[2]


# Counted.


@pytest.mark.slow
@pytest.mark.parametrize("feature", ["reward", "state"])
def test_counts_on_all_trajectories_are_the_exact_coefficients(feature):
    one = awkward()
    world = judged(one, judge=Contributed(feature, support(one, feature)))
    classes = max(2, len(support(one, feature)))
    recipe = Contribution(feature, num_classes=classes, prior=1e-9)
    batch = one.world.attach(jax.tree.map(lambda x: x[None], one.all.batch))
    weight = jnp.asarray(one.all.weight, jnp.float32)
    count = jax.jit(recipe.on, compiler_options=QUICK)
    counted = count(one.world, batch, one.all.batch, weight)
    wanted = jnp.nan_to_num(world.judge(KEY, batch))
    decided = np.asarray(batch.decided)
    np.testing.assert_allclose(np.asarray(counted)[decided], wanted[decided], atol=2e-4)


@pytest.mark.slow
@pytest.mark.parametrize("discount", [1.0, 0.75])
def test_rewards_say_all_of_themselves_also_where_the_state_is_hidden(discount):
    one = solved(*small("hidden", discount))
    rewards = len(np.unique(np.asarray(one.mdp.reward)))
    recipe = Contribution("reward", num_classes=rewards, prior=1e-9)
    batch = one.world.attach(jax.tree.map(lambda x: x[None], one.all.batch))
    weight = jnp.asarray(one.all.weight, jnp.float32)
    later = jax.jit(recipe.on, compiler_options=QUICK)(one.world, batch, one.all.batch, weight)
    now = run(OnTaken(), KEY, one.world, one.all.batch).value
    value = np.asarray(later[0] + now, np.float64)
    np.testing.assert_allclose(mean_gradient(one, value), one.exact.gradient, atol=2e-5)


def in_loops(recipe, world, data, batch):
    """The credit by the definition: every pair of steps, every rollout."""
    data, batch = jax.tree.map(np.asarray, (data, batch))
    schedule, actions = np.asarray(world.schedule), world.num_actions
    policy = np.asarray(world.policy, np.float64)[schedule]
    policy = np.where(np.asarray(world.decision)[:, None, None], policy, np.arange(actions) == 0)
    discount = np.asarray(world.mdp.discount, np.float64)[schedule]
    mean = np.zeros(world.policy.shape)
    for m, o, a in np.ndindex(*mean.shape):
        here = data.live & (schedule == m) & (data.observation == o) & (data.action == a)
        mean[m, o, a] = data.reward[here].mean() if here.any() else 0.0
    met = [
        mean[schedule[t], data.observation[i, t], data.action[i, t]]
        for i, t in np.argwhere(data.live)
    ]

    def feature(x, i, t):
        if recipe.feature == "state":
            return schedule[t], x.observation[i, t]
        if recipe.feature == "reward":
            return round(float(x.reward[i, t]), 4)
        guess = mean[schedule[t], x.observation[i, t], x.action[i, t]]
        share = (guess - min(met)) / (max(met) - min(met)) * recipe.num_classes
        return min(int(np.floor(share + 1e-6)), recipe.num_classes - 1)

    out = np.zeros((*batch.action.shape, actions))
    for i, t in np.argwhere(batch.live):
        seen = batch.observation[i, t]
        alike = [j for j in np.flatnonzero(data.live[:, t]) if data.observation[j, t] == seen]
        for k in range(t + 1, int(batch.live[i].sum())):
            number = np.zeros(actions)
            for j in alike:
                for later in range(t + 1, int(data.live[j].sum())):
                    if feature(data, j, later) == feature(batch, i, k):
                        number[data.action[j, t]] += np.prod(discount[t:later])
            prior = policy[t, seen]
            known = (number + recipe.prior * prior) / (number.sum() + recipe.prior)
            ratio = np.divide(known, prior, out=np.ones(actions), where=prior > 0)
            out[i, t] += np.prod(discount[t:k]) * (ratio - recipe.centred) * batch.reward[i, k]
        if recipe.immediate:
            now = mean[schedule[t], seen]
            out[i, t] += now - recipe.centred * (policy[t, seen] @ now)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        Contribution("reward", 9, num_classes=40, prior=0.7),
        Contribution("state", 9, prior=2.0, centred=False, immediate=True),
        Contribution("prediction", 9, num_classes=3, prior=0.5, immediate=True),
    ],
    ids=lambda recipe: recipe.feature,
)
def test_counts_are_those_of_loops_over_all_pairs_of_steps(recipe):
    one = case(binary=False, actions=2, prompt=False, discount=(0.75, 1.0, 0.5))
    batch = reference.rollout(one.world, jax.random.key(3), 7)
    data = reference.rollout(one.world, KEY, 9)
    credit = run(recipe, KEY, one.world, batch)
    np.testing.assert_allclose(credit.value, in_loops(recipe, one.world, data, batch), atol=1e-4)
    used = float(np.asarray(data.live).sum())
    assert [float(x) for x in credit.cost] == [used, 0.0, used]


def test_a_judge_is_paid_for_every_step_that_it_is_asked_about():
    one = awkward()
    world = judged(one, judge=Contributed())
    credit = run(Answers(), KEY, world, one.all.batch)
    wanted = 2 * float(np.asarray(one.all.batch.live).sum())
    assert [float(x) for x in credit.cost] == [0.0, wanted, 0.0]


# Fitted.


@pytest.mark.slow
def test_a_table_that_is_fitted_says_what_counts_say_and_a_network_comes_near():
    one = awkward()
    world = judged(one, judge=Contributed("reward", support(one, "reward")))
    classes = len(support(one, "reward"))
    batch = one.world.attach(jax.tree.map(lambda x: x[None], one.all.batch))
    weight = jnp.asarray(one.all.weight, jnp.float32)
    wanted = np.asarray(jnp.nan_to_num(world.judge(KEY, batch)), np.float64)
    decided = np.asarray(batch.decided)

    def off(fit):
        recipe = Contribution("reward", num_classes=classes, fit=fit)
        given = jax.jit(recipe.on, compiler_options=QUICK)
        found = np.asarray(given(one.world, batch, one.all.batch, weight), np.float64)
        square = ((found - wanted) ** 2).sum(-1)[decided].mean()
        return square / (wanted**2).sum(-1)[decided].mean()

    assert off(Fit(num_updates=1500, learning_rate=0.1)) < 1e-3
    assert off(Fit(Network(24), num_updates=600, learning_rate=0.03)) < 0.1
    assert off(Fit(num_updates=1, learning_rate=1e-8)) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.slow
def test_a_fitted_posterior_of_returns_is_the_counted_one():
    """And is paid for each update of it."""
    one = binary()
    fit = Fit(num_updates=600, learning_rate=0.1)
    counted, fitted = (
        run(ReturnHindsight("ratio", "all", prior=1e-6, fit=x), KEY, one.world, one.all.batch)
        for x in (None, fit)
    )
    met = np.asarray(counted.value).min(-1) > 0.05
    assert met.sum() > 100
    np.testing.assert_allclose(fitted.value[met], counted.value[met], atol=0.02)
    rollouts = float(counted.cost.env_steps)
    assert [float(x) for x in fitted.cost] == [rollouts, 0.0, 600 * rollouts]


# Returns.


@functools.cache
def posterior(factor, actions, outcome=None):
    one = binary()
    world = judged(one, posterior=Posterior(outcome))
    recipe = ReturnHindsight(factor, actions, judge="posterior")
    return np.asarray(run(recipe, KEY, world, one.all.batch).value, np.float64)


@pytest.mark.slow
def test_the_exact_posterior_gives_q_for_every_action():
    """Fact A1: E[h(a | s, z) / pi(a | s) z | s] = Q(s, a), whatever was done."""
    one = binary()
    mean, mass = mean_in_states(one, posterior("ratio", "all"))
    np.testing.assert_allclose(mean[mass > 0], one.exact.q_value[mass > 0], atol=1e-5)
    np.testing.assert_allclose(
        mean_gradient(one, posterior("ratio", "all")), one.exact.gradient, atol=1e-5
    )
    mean, _ = mean_in_states(one, posterior("gain", "all"))
    np.testing.assert_allclose(mean[mass > 0], one.advantage[mass > 0], atol=1e-5)


def test_on_the_action_taken_it_gives_q_squared_over_v():
    """Fact A2: E[rho z | s, a] = Q^2 / V."""
    one = binary()
    mean, mass = cell_mean(one.mdp, one.all, posterior("ratio", "taken"))
    met = mass > 0
    value = one.exact.value[:-1, :, None]
    wanted = one.exact.q_value**2 / np.where(value > 0, value, 1.0)
    np.testing.assert_allclose(mean[met], wanted[met], atol=1e-5)
    assert np.abs(wanted - one.exact.q_value)[met].max() > 0.01


def test_of_a_success_the_ratio_less_1_is_the_advantage_over_the_value():
    """Fact A3, on every success and for every action: rho - 1 = A / V."""
    one = binary()
    gain = posterior("gain", "all")
    state, reward = np.asarray(one.all.batch.state), np.asarray(one.all.batch.reward)
    success = reward.sum(-1) > 0
    assert success.any()
    for t in (0, 2, 3):
        here = state[success, t]
        wanted = one.advantage[t, here] / one.exact.value[t, here][:, None]
        np.testing.assert_allclose(gain[success, t], wanted, atol=1e-5)


def test_the_inverse_on_the_action_taken_is_the_advantage():
    one = binary()
    mean, mass = cell_mean(one.mdp, one.all, posterior("inverse", "taken"))
    possible = (mass > 0) & (one.exact.q_value > 1e-6)
    assert possible.sum() > 10
    np.testing.assert_allclose(mean[possible], one.advantage[possible], atol=1e-5)


@pytest.mark.slow
def test_the_counted_inverse_is_the_hindsight_of_returns():
    one = awkward()
    found, wanted = (
        run(recipe, KEY, one.world, one.all.batch)
        for recipe in (methods.HCA_RETURN, methods.HINDSIGHT_RETURN)
    )
    np.testing.assert_array_equal(found.value, wanted.value)
    assert [float(x) for x in found.cost] == [float(x) for x in wanted.cost]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Contribution("action"), "feature must be one of"),
        (lambda: Contribution(num_rollouts=0), "num_rollouts must be in"),
        (lambda: Contribution(num_classes=1), "num_classes must be in"),
        (lambda: Contribution(prior=0.0), "prior must be in"),
        (lambda: Contribution(discount=1.5), "discount must be in"),
        (lambda: Contribution(fit="network"), "fit must be a recipe of Fit"),
        (lambda: ReturnHindsight(fit=1), "fit must be a recipe of Fit"),
        (lambda: Contributed("action"), "feature must be one of"),
        (lambda: Contributed(support=(1.0, 0.0)), "support must be two or more rising numbers"),
        (lambda: Contributed(support=(1.0,)), "support must be two or more rising numbers"),
        (lambda: Contributed(trust=1.5), "trust must be in"),
        (lambda: ReturnHindsight("sum"), "factor must be one of"),
        (lambda: ReturnHindsight(actions="some"), "actions must be one of"),
        (lambda: ReturnHindsight("inverse"), "actions .of an inverse. must be one of"),
        (lambda: ReturnHindsight(num_rollouts=0), "num_rollouts must be in"),
        (lambda: ReturnHindsight(num_bins=1), "num_bins must be in"),
        (lambda: ReturnHindsight(prior=0.0), "prior must be in"),
        (lambda: ReturnHindsight(discount=-1.0), "discount must be in"),
    ],
)
def test_bad_settings_raise(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
