"""What is known of the baselines exactly: by enumeration on small trees, or on every log."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim import methods
from casim.estimators import (
    Baseline,
    Chain,
    DynamicSampling,
    Gae,
    LogRatio,
    PerComponent,
    PrefixGain,
    Sum,
    ToGo,
    TokenBaseline,
    TopEntropy,
    Traces,
    Whole,
)
from casim.estimators.base import begin
from casim.estimators.chain import parts_of
from casim.estimators.energy import score_norm
from casim.methods import METHODS
from casim.oracle.moments import exact_scores, group_moments
from casim.simulate import World
from casim.testing import check_estimator
from tests import reference
from tests.methods import reference_trainers as ref
from tests.methods.test_trainers import agree, rows
from tests.methods.tree import STEPS, tree
from tests.methods.worlds import NARROW, WIDE, small
from tests.quick import QUICK

SCORE = Whole(1.0)
GAIN = Chain(SCORE, PrefixGain())
BOTH = Chain(SCORE, Sum(Baseline("group"), PrefixGain()))


def moments(recipe, given, num):
    return group_moments(given.mdp, given.policy, recipe, num)


def gradient_scores(recipe, given, num):
    return exact_scores(given.mdp, given.policy, moments(recipe, given, num))


def assert_cells(found, wanted, atol=1e-12):
    met = found.probability > 0
    assert met.sum() > 5
    np.testing.assert_allclose(found.expectation[met], wanted[met], rtol=0, atol=atol)


def drawn(given, recipe, groups, members):
    """A batch of a world, and the credit of it."""
    world = World.make(given.mdp, given.policy)

    def run(world):
        batch = world.groups(jax.random.key(1), groups, members)
        return batch, recipe.credit(jax.random.key(2), world, batch)

    return jax.jit(run, compiler_options=QUICK)(world)


class SquaredScore:
    """`score_norm` in the place of a recipe."""

    def credit(self, key, world, batch):
        return begin(batch)._replace(value=score_norm(world, batch))


def success(given):
    """P(success | the prompt of each state)."""
    return np.clip(given.start_value, 1e-9, 1 - 1e-9)


@pytest.mark.parametrize("binary", [True, False])
def test_dr_grpo_is_the_target_times_g_minus_1_over_g(binary):
    given = tree(binary, prompts=2)
    assert_cells(moments(methods.DR_GRPO, given, 3), 2 / 3 * given.target)


def test_grpo_of_binary_outcomes_weighs_prompts_by_their_difficulty():
    """c_p = (G - 1) / G E[std] / (p (1 - p)), std over Binomial(G, p) groups; epsilon is 1e-6."""
    given, num = tree(prompts=2), 4
    p = success(given)
    mean_std = 0.0
    for k in range(num + 1):
        chance = math.comb(num, k) * p**k * (1 - p) ** (num - k)
        mean_std = mean_std + chance * np.std([1.0] * k + [0.0] * (num - k), ddof=1)
    factor = (num - 1) / num * mean_std / (p * (1 - p))
    found = moments(methods.GRPO_VERL, given, num)
    assert_cells(found, factor[None, :, None] * given.target, atol=1e-5)
    assert abs(factor[0] / factor[4] - 1) > 1e-3


def test_maxrl_of_binary_outcomes_weighs_prompts_by_a_truncated_logarithm():
    """(1 - (1 - p)^(G - 1)) / p."""
    given, num = tree(prompts=2), 4
    p = success(given)
    factor = (1 - (1 - p) ** (num - 1)) / p
    found = moments(methods.MAXRL, given, num)
    assert_cells(found, factor[None, :, None] * given.target)


def test_opo_is_biased_where_the_length_depends_on_the_action():
    """At G = 2: sum_j pi_j L_j / (L_a + L_j) (Q_a - Q_j), over what the other does.

    One decision that pays and says how many idle ones follow; equal lengths are Dr. GRPO.
    """
    length, paid, chance = np.array([1, 3, 2]), np.array([0.2, 1.0, -0.5]), [0.5, 0.3, 0.2]
    given = tree(prompts=1)
    steps, ends = 3, 6
    successor = np.full((steps, 8, 3, 1), ends)
    successor[0, 0, :, 0] = [ends, 1, 2]
    successor[1, 1] = 3
    reward = np.zeros((steps, 8, 3, 1))
    reward[0, 0, :, 0] = paid
    policy = np.full((steps, 8, 3), 1 / 3)
    policy[0, 0] = chance
    mdp = given.mdp._replace(
        schedule=np.arange(steps),
        successor=successor,
        prob=np.ones(successor.shape),
        reward=reward,
        emission=np.broadcast_to(np.eye(8), (steps, 8, 8)),
        terminal=np.arange(8) == ends,
        **{name: np.zeros(steps, int) for name in ("segment", "turn", "agent", "kind")},
        decision=np.ones(steps, bool),
        discount=np.ones(steps),
    )
    found = group_moments(mdp, policy, methods.OPO, 2).expectation[0, 0]
    share = length / (length[:, None] + length)
    wanted = (chance * share * (paid[:, None] - paid)).sum(axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    factor = wanted / (paid - chance @ paid)
    assert np.ptp(factor) > 0.05
    flat = tree(False)
    same = [moments(recipe, flat, 2).gradient for recipe in (methods.OPO, methods.DR_GRPO)]
    np.testing.assert_allclose(*same, atol=1e-12)


def mixed(batch):
    """Groups in which outcomes differ."""
    earned = np.asarray(batch.reward).sum(axis=-1)
    return np.ptp(earned, axis=1) > 0


@pytest.mark.slow
def test_tempo_is_biased_at_finite_g_and_tends_to_twice_the_gradient():
    given = tree(False)
    found = [gradient_scores(GAIN, given, num) for num in (2, 4, 8)]
    slopes = [scores["gradient_slope"] for scores in found]
    assert slopes == sorted(slopes)
    assert slopes[-1] < 1
    assert slopes[-1] > 0.6
    total = [gradient_scores(BOTH, given, num)["gradient_slope"] for num in (2, 8)]
    assert total[0] < total[1] < 2
    np.testing.assert_allclose(total[1], 7 / 8 + slopes[-1], atol=1e-9)
    assert found[1]["gradient_cosine"] < 1 - 1e-5


def test_tempo_by_history_and_by_state_agree_in_a_tree():
    """Where every state has one history."""
    given = tree(False)
    state = Chain(SCORE, PrefixGain("state"))
    one, other = (moments(recipe, given, 3) for recipe in (GAIN, state))
    np.testing.assert_allclose(one.gradient, other.gradient, atol=1e-12)


def test_the_entropy_mask_keeps_a_block_of_the_gradient_exactly():
    """Half of the decisions are the first ones, whose entropy is the highest."""
    given = tree(False)
    exact = moments(methods.RLOO, given, 2).gradient
    found = moments(Chain(methods.RLOO.recipe, TopEntropy(0.5)), given, 2).gradient
    np.testing.assert_allclose(found[0], exact[0], atol=1e-12)
    assert np.abs(exact[1]).max() > 0.01
    assert not found[1].any()


class Referenced:
    """A recipe on batches that bring the log-probabilities of a reference."""

    def __init__(self, recipe, table):
        self.recipe, self.table = recipe, table

    def credit(self, key, world, batch):
        time = jnp.broadcast_to(jnp.arange(STEPS), batch.action.shape)
        log_prob = jnp.log(jnp.asarray(self.table))[time, batch.observation, batch.action]
        return self.recipe.credit(key, world, batch._replace(reference_log_prob=log_prob))


def test_prl_by_token_is_the_gradient_of_the_regularised_return():
    """Against differences of E[R] - KL / eta over all paths."""
    given, eta = tree(False), 3.0
    rng = np.random.default_rng(2)
    table = rng.uniform(0.2, 1.0, given.policy.shape)
    table = table / table.sum(axis=-1, keepdims=True)
    divergence = Chain(LogRatio(-1 / eta), ToGo(1.0, gaps="skipped"))
    recipe = Sum(Chain(SCORE), divergence)
    found = group_moments(given.mdp, given.policy, Referenced(recipe, table), 1).gradient

    def objective(logits):
        policy = np.exp(logits)
        policy = policy / policy.sum(axis=-1, keepdims=True)
        paths = reference.enumerate_paths(given.mdp, policy)
        at = (np.arange(STEPS), paths.observation, paths.action)
        ratio = np.log(policy[at] / table[at]).sum(axis=1)
        return paths.probability @ (paths.returns(1.0) - ratio / eta)

    logits, step = np.log(given.policy), 1e-5
    for index in ((0, 0, 1), (0, 0, 2), (1, 1, 0), (1, 3, 2)):
        moved = np.zeros(logits.shape)
        moved[index] = step
        wanted = (objective(logits + moved) - objective(logits - moved)) / 2 / step
        np.testing.assert_allclose(found[index], wanted, atol=1e-8)


@pytest.mark.slow
def test_remax_has_the_exact_gradient_and_pays_for_the_greedy_rollout():
    given = tree(False)
    assert gradient_scores(methods.REMAX, given, 1)["gradient_bias"] < 1e-12
    batch, credit = drawn(given, methods.REMAX, 3, 5)
    assert float(credit.cost.env_steps) == 3 * STEPS
    first = int(given.policy[0, 0].argmax())
    second = int(given.policy[1, 1 + first].argmax())
    baseline = given.q_value[1, 1 + first, second]
    earned = np.asarray(batch.reward).sum(axis=-1)
    np.testing.assert_allclose(credit.value[..., 0], earned - baseline, atol=1e-6)


@pytest.mark.slow
def test_dynamic_sampling_pays_for_every_batch_that_it_draws():
    """Until there are as many mixed groups as the batch has, or ten batches."""
    task = casim.Bifurcation(horizon=4, pivots=(1,))
    mdp = task.build()
    world = World.make(mdp, casim.Softmax(seed=1).table(mdp))
    groups, members = 3, 2
    fast = {"compiler_options": QUICK}
    draw = jax.jit(lambda key, world: world.groups(key, groups, members), **fast)
    run = jax.jit(DynamicSampling().credit, **fast)
    numbers = []
    for seed in range(8):
        key = jax.random.key(seed)
        batch = draw(jax.random.fold_in(key, 99), world)

        credit = run(key, world, batch)
        kept = mixed(batch)
        assert (np.asarray(credit.weight).any(axis=(1, 2)) == kept).all()
        count, found, steps = 1, kept.sum(), 0
        while found < groups and count < 10:
            more = draw(jax.random.fold_in(key, count), world)
            count, found = count + 1, found + mixed(more).sum()
            steps += int(np.asarray(more.live).sum())
        assert float(credit.cost.env_steps) == steps
        numbers.append(count)
    assert max(numbers) > 2
    assert len(set(numbers)) > 2


def test_the_token_baseline_is_best_for_the_variance_of_a_bandit():
    """B = sum pi w Q / sum pi w, and sum pi w = 1 - sum pi^2, with actions as often as drawn."""
    often, paid = np.array([5, 3, 2]), np.array([0.2, 1.0, -0.5])
    chance = often / 10
    action = np.repeat(np.arange(3), often)[:, None]
    log = {
        "reward": paid[action],
        "mask": np.ones(action.shape, bool),
        "prompt": np.zeros(10, int),
        "action": action,
        "log_prob": np.log(chance[action]),
        "sum_pi_squared": np.full(action.shape, (chance**2).sum()),
    }
    found = paid[action] - rows(Chain(ToGo(), TokenBaseline()), log)
    norm = 1 - 2 * chance + (chance**2).sum()
    best = (chance * norm * paid).sum() / (chance * norm).sum()
    np.testing.assert_allclose(found, best, atol=1e-7)
    np.testing.assert_allclose((chance * norm).sum(), 1 - (chance**2).sum(), atol=1e-12)
    variance = [(chance * norm * (paid - b) ** 2).sum() for b in (best - 0.01, best, best + 0.01)]
    assert variance[1] < min(variance[0], variance[2])


def test_squared_scores_of_a_world_are_those_of_its_policy():
    given = tree(False)
    batch, credit = drawn(given, SquaredScore(), 3, 5)
    chance = given.policy[np.arange(STEPS), np.asarray(batch.observation)]
    taken = np.eye(3)[np.asarray(batch.action)]
    wanted = ((taken - chance) ** 2).sum(axis=-1)
    np.testing.assert_allclose(credit.value, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("recipe", "formula"),
    [
        (Sum(methods.GRPO_VERL.recipe, Chain(LogRatio(1e-13), ToGo(1.0))), ref.grpo_verl),
        (Chain(PerComponent(SCORE, (1.0, 0.0)), Baseline("group", single="raw")), ref.dr_grpo_verl),
        (
            Chain(PerComponent(methods.GRPO_VERL.recipe, (1.0, 0.0)), methods.whitening.VERL),
            lambda log: ref.whiten(ref.grpo_verl(log), log["mask"]),
        ),
    ],
    ids=["PRL without divergence", "one component", "GDPO of one component"],
)
def test_degenerate_cases_are_grpo(recipe, formula):
    log = ref.nasty()
    agree(rows(recipe, log), formula(log), log, 1e-7, "")


def test_spro_at_the_reference_is_grpo():
    log = ref.nasty()
    log["reference_log_prob"] = log["log_prob"]
    agree(rows("SPRO", log), ref.grpo_verl(log), log, 1e-12, "SPRO")


def test_prl_ends_steps_where_it_says():
    log = ref.nasty(5)
    recipe = methods.PRL.recipe
    short = Chain(*recipe.parts[:-1], dataclasses.replace(recipe.parts[-1], length=3))
    agree(rows(short, log), ref.prl(log, length=3), log, 1e-12, "PRL")


@pytest.mark.parametrize("form", ["recent", "both", "late"])
@pytest.mark.parametrize("decay", [0.0, 0.6, 1.0])
def test_traces_add_up(form, decay):
    """Lambda 0 is GRPO by "recent"; the first decision weighs L by "both"."""
    log = ref.nasty()
    found = rows(Chain(SCORE, Traces(form, decay)), log, "weight")
    length = log["mask"].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, ref.traces(log, form, decay) * length, atol=1e-12)
    if form == "recent" and decay == 0:
        np.testing.assert_array_equal(found, log["mask"])
    if form == "both":
        first = [row[np.argmax(mask)] for row, mask in zip(found, log["mask"], strict=True)]
        np.testing.assert_allclose(first, length[:, 0], atol=1e-12)


@pytest.mark.parametrize("gaps", ["count", "skipped"])
def test_n_step_td_looks_n_steps_ahead(gaps):
    """r_t + ... + gamma^(n-1) r_{t+n-1} + gamma^n V_{t+n} - V_t over the steps that count."""
    log, gamma, n = ref.nasty(), 0.9, 3
    found = rows(Chain(Gae(lambda_=1.0, steps=n, gaps=gaps)), log, discount=gamma)
    wanted = np.zeros(found.shape)
    for i, row in enumerate(log["live"] if gaps == "count" else log["mask"]):
        where = np.nonzero(row)[0]
        for j, t in enumerate(where):
            ahead = where[j : j + n]
            wanted[i, t] = gamma ** np.arange(len(ahead)) @ log["reward"][i, ahead]
            if j + n < len(where):
                wanted[i, t] += gamma**n * log["value"][i, where[j + n]]
            wanted[i, t] -= log["value"][i, t]
    agree(found, wanted, log, 1e-12, gaps)


@pytest.mark.slow
def test_td_lambda_learns_by_traces():
    """Against loops over the rollouts of the batch itself, one after the other."""
    mdp, policy = small("lengths", 0.9)
    world = World.make(mdp, policy)
    batch = world.groups(jax.random.key(4), 1, 7)
    recipe = Gae(lambda_=0.0, fit="traces", num_rollouts=0, critic_lambda=0.7, learning_rate=0.3)
    run = jax.jit(lambda: recipe.credit(jax.random.key(0), world, batch), compiler_options=QUICK)
    names = ("reward", "observation", "live")
    reward, seen, live = (np.asarray(getattr(batch, name))[0] for name in names)
    steps = reward.shape[1]
    table = np.zeros((steps, policy.shape[1]))

    def error(i, t):
        goes_on = t + 1 < steps and live[i, t + 1]
        after = table[t + 1, seen[i, t + 1]] if goes_on else 0.0
        return reward[i, t] + 0.9 * after - table[t, seen[i, t]]

    for i in range(len(reward)):
        trace = np.zeros(table.shape)
        for t in range(live[i].sum()):
            trace[t, seen[i, t]] += 1
            table += 0.3 * error(i, t) * trace
            trace *= 0.9 * 0.7
    wanted = [[error(i, t) if live[i, t] else 0.0 for t in range(steps)] for i in range(7)]
    assert np.abs(wanted).max() > 0.1
    credit = run()
    np.testing.assert_allclose(credit.value[0], wanted, atol=1e-5)
    assert float(credit.cost.critic_updates) == live.sum()


def one_of_each_make():
    """Of the methods made of the same kinds of parts, whatever their settings, the first."""
    first = {}
    for method in METHODS:
        kinds = tuple(type(part) for part in parts_of(method.recipe))
        first.setdefault((method.enumerable, kinds), method)
    first["margin"] = methods.CCPO_MARGIN
    return sorted(set(first.values()), key=METHODS.index)


@pytest.mark.slow
@pytest.mark.parametrize("method", one_of_each_make(), ids=lambda m: m.name)
def test_group_moments_enumerate_a_method_exactly_if_it_says_so(method, unhooked):
    # What draws is found out by drawing: the narrow world is too small to tell.
    mdp, policy = small("hidden", 1.0, successors=NARROW if method.enumerable else WIDE)
    if method.enumerable:
        found = group_moments(mdp, policy, method, 2)
        assert np.isfinite(found.gradient).all()
    elif method is methods.CCPO_MARGIN:
        # Its margin is wider than any effect here: what it draws changes nothing.
        assert np.isfinite(group_moments(mdp, policy, method, 2).gradient).all()
    else:
        with pytest.raises(ValueError, match="must"):
            group_moments(mdp, policy, method, 2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["REMAX", "DAPO", "TEMPO", "TEMPO_STATE", "SPRO", "PRL_TOKEN", "GAE_VERL", "TD_LAMBDA"],
)
def test_the_doors_that_a_recipe_opens_are_named_in_its_needs(name):
    check_estimator(methods.named_methods()[name].recipe, num_groups=200)
