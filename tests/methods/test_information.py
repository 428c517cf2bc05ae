"""Information as credit: loops over one log, exact expectations, and what judges say."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import (
    ByDivergence,
    BySaliency,
    Chain,
    InformationGain,
    NearEnd,
    Pointwise,
    Surprised,
    Times,
    ToGo,
    Turns,
    TurnsToGo,
    TurnWindow,
)
from casim.graders import Belief, Posterior
from casim.judges import Judge
from casim.oracle import path_target
from casim.simulate import World
from casim.targets import LatentGain
from tests.enumeration import (
    QUICK,
    FixedScores,
    as_groups,
    assert_cells,
    case,
    cell_mean,
    expected_gradient,
    solve,
    td_error,
    trajectories,
)
from tests.methods import reference_information as ref
from tests.methods import reference_trainers as trainers
from tests.methods.test_trainers import agree, rows

KEY = jax.random.key(0)
give = jax.jit(
    lambda recipe, world, batch: recipe.credit(KEY, world, batch),
    static_argnums=0,
    compiler_options=QUICK,
)
aim = jax.jit(path_target, static_argnums=0, compiler_options=QUICK)
VALUES = {
    "IGPO": ref.igpo,
    "IGPO_REVERSED": functools.partial(ref.igpo, first="accumulate"),
    "IGPO_TOKEN": functools.partial(ref.igpo_token, mask="live"),
    "IGPO_LOCAL": functools.partial(ref.igpo_token, mask="mask"),
}
SLOW = ("IGPO_REVERSED", "IGPO_TOKEN", "IGPO_LOCAL")


@pytest.fixture(scope="module")
def log():
    return ref.turned()


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in VALUES]
)
def test_values_are_the_formula(log, name):
    agree(rows(name, log), VALUES[name](log), log, 1e-10, name)


@pytest.mark.slow
def test_the_weights_of_stare_are_the_formula(log):
    value = trainers.grpo_verl(log)
    for name, down in (("STARE", 1.0), ("STARE_BOTH", 0.9)):
        found = rows(name, log, "weight")
        np.testing.assert_allclose(found, ref.stare(log, value, down), atol=1e-12, err_msg=name)
        assert set(np.unique(found)) >= {0.0, 1.0, 1.1}
    loud = {**log, "entropy": log["entropy"] * 2}
    np.testing.assert_array_equal(rows("STARE", loud, "weight"), log["mask"])
    flat = Chain(methods.GRPO_VERL.recipe, Surprised(up=1.0))
    np.testing.assert_array_equal(rows(flat, log, "weight"), log["mask"])


@pytest.mark.slow
def test_padding_may_hold_anything(log):
    names = ("reward", "log_prob", "entropy")
    dirty = {**log, **{key: np.where(log["live"], log[key], np.nan) for key in names}}
    for name in ("IGPO", "IGPO_TOKEN", "TRACE", "A2TGPO"):
        np.testing.assert_array_equal(rows(name, dirty), rows(name, log), err_msg=name)


# What is expected of it, exactly.


def judged(given, **others):
    """The world of a case with an exact judge, and others by name."""
    truth = solve(given.mdp, given.policy)
    recipes = {"judge": Judge(), **others}
    judges = {name: recipe.model(given.mdp, truth) for name, recipe in recipes.items()}
    return World.make(given.mdp, jnp.asarray(given.policy), judges=judges)


def value_of(recipe, world, one):
    """The credit of every trajectory."""
    credit = give(recipe, world, as_groups(world, one.batch))
    return np.asarray(credit.value[0], np.float64)


def odd():
    return case(binary=False, actions=2, prompt=False)


@pytest.mark.slow
def test_gains_and_outcome_together_are_twice_q_less_v():
    """D1, on every step: 2 Q(h, a) - V(h), so the gradient times 2."""
    given = odd()
    value = value_of(methods.IGPO_KEPT.recipe, judged(given), given.all)
    q_value = given.exact.q_value
    wanted = 2 * q_value - (q_value - given.advantage)
    assert_cells(given.all, given.mdp, value, wanted)
    gradient = expected_gradient(given.mdp, given.policy, given.all, value)
    np.testing.assert_allclose(gradient, 2 * given.exact.gradient, atol=1e-5)


@pytest.mark.slow
def test_with_the_outcome_for_its_last_gain_the_last_turn_has_q_alone():
    """D1 of the code, where no episode ends before the last turn."""
    given = case(binary=False, actions=2, prompt=False, terminal=False)
    recipe = Chain(InformationGain(ends="outcome"), ToGo(1.0))
    value = value_of(recipe, judged(given), given.all)
    turn = np.asarray(given.mdp.turn)
    before = (turn < turn[-1])[:, None, None]
    assert 0 < before.sum() < len(turn)
    wanted = given.exact.q_value + np.where(before, given.advantage, 0.0)
    assert_cells(given.all, given.mdp, value, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("attempts", [1, 3])
def test_one_attempt_is_the_td_error_and_more_are_below_zero_on_average(attempts):
    given = case()
    recipe = InformationGain("attempts", attempts=attempts)
    value = value_of(recipe, judged(given), given.all)
    if attempts == 1:
        np.testing.assert_allclose(value, td_error(given), atol=1e-5)
        return
    mean, mass = cell_mean(given.mdp, given.all, value)
    of_state = np.nansum(mean * mass, axis=-1)[mass.sum(axis=-1) > 0]
    assert of_state.max() < 1e-6
    assert of_state.min() < -0.01


LATENT = (1, 0, 2, 1, 0)


@functools.cache
def constant():
    """What is hidden never changes: moves stay inside the classes {0, 3}, {1, 4} and {2}."""
    given = case(binary=False, actions=2, prompt=False, terminal=False)
    same = np.array([[0, 3], [1, 4], [2, 2], [0, 3], [1, 4]])
    old = np.asarray(given.mdp.successor)
    successor = same[np.arange(5)[:, None, None], old % 2]
    # Two things can be seen, each class of states with odds of its own.
    emission = np.zeros(given.mdp.emission.shape)
    emission[..., 0] = np.array([0.25, 0.5, 0.875])[np.array(LATENT)]
    emission[..., 1] = 1 - emission[..., 0]
    mdp = given.mdp._replace(successor=successor, emission=emission)
    return mdp, given.policy, trajectories(mdp, given.policy)


def believer(trust=1.0):
    mdp, policy, every = constant()
    truth = solve(mdp, policy)
    judge = Belief(LATENT, trust).model(mdp, truth)
    return World.make(mdp, jnp.asarray(policy), judges={"belief": judge}), truth, every


@pytest.mark.slow
def test_a_belief_is_that_of_the_oracle():
    world, truth, every = believer()
    recipe = InformationGain("log", floor=1e-6, judge="belief", of="belief")
    value = value_of(recipe, world, every)
    wanted = aim(LatentGain(LATENT, "log"), world, truth, every.batch)
    np.testing.assert_allclose(value, wanted, atol=1e-5)
    assert np.abs(value).max() > 0.1
    plain = InformationGain(judge="belief", of="belief")
    half = value_of(plain, believer(0.5)[0], every)
    np.testing.assert_allclose(half, 0.5 * value_of(plain, world, every), atol=1e-6)


def conditional(weight, *labels):
    """The group of each row, and the weight of its group."""
    _, group = np.unique(np.stack(labels, axis=1), axis=0, return_inverse=True)
    return group, np.bincount(group, weight)[group]


@pytest.mark.slow
def test_the_mean_change_of_belief_is_the_mutual_information_and_the_relu_adds():
    """E[dB | h, a] = I(z; o | h, a), from joint probabilities of what is hidden and seen next."""
    world, _, every = believer()
    recipe = InformationGain("log", floor=1e-6, judge="belief", of="belief")
    value = value_of(recipe, world, every)
    batch, weight = jax.tree.map(np.asarray, every.batch), every.weight
    z = np.array(LATENT)[batch.state[:, 0]]
    for t in range(batch.state.shape[1] - 1):
        known = [*batch.observation[:, : t + 1].T, *batch.action[:, : t + 1].T]
        then = batch.observation[:, t + 1]
        group, here = conditional(weight, *known)
        _, with_z = conditional(weight, *known, z)
        _, with_o = conditional(weight, *known, then)
        _, with_both = conditional(weight, *known, z, then)
        told = np.log(with_both * here / with_z / with_o)
        information = np.bincount(group, weight * told) / np.bincount(group, weight)
        mean = np.bincount(group, weight * value[:, t]) / np.bincount(group, weight)
        np.testing.assert_allclose(mean, information, atol=1e-5)
        kept = np.bincount(group, weight * np.maximum(value[:, t], 0)) / np.bincount(group, weight)
        assert (kept > mean - 1e-6).all()
        assert information.max() > 1e-3


@pytest.mark.slow
def test_an_observation_that_tells_nothing_changes_no_belief():
    mdp, policy, _ = constant()
    blank = np.zeros(mdp.emission.shape)
    blank[..., :2] = 0.5
    mdp = mdp._replace(emission=blank)
    truth, every = solve(mdp, policy), constant()[2]
    every = every._replace(batch=jax.tree.map(lambda x: x[::10], every.batch))
    judge = Belief(LATENT).model(mdp, truth)
    world = World.make(mdp, jnp.asarray(policy), judges={"belief": judge})
    value = value_of(methods.DELTA_BELIEF_GAIN.recipe, world, every)
    np.testing.assert_allclose(value, 0.0, atol=1e-5)


@pytest.mark.slow
def test_pointwise_information_is_log_q_over_v_and_its_mean_the_mutual_information():
    given = case(actions=2, prompt=False)
    world = judged(given, posterior=Posterior())
    value = value_of(methods.MUTUAL_INFORMATION.recipe, world, given.all)
    batch = given.all.batch
    state, action, live = (np.asarray(x) for x in (batch.state, batch.action, batch.live))
    reward = np.asarray(batch.reward, np.float64)
    decision = np.asarray(given.mdp.decision)[np.asarray(given.mdp.schedule)]
    told = 0
    for i, t in zip(*np.nonzero(live & decision), strict=True):
        q = given.exact.q_value[t, state[i, t], action[i, t]]
        v = given.exact.value[t, state[i, t]]
        won = reward[i, t:].sum() > 0.5
        wanted = np.log(q / v) if won else np.log((1 - q) / (1 - v))
        assert value[i, t] == pytest.approx(wanted, abs=2e-5)
        told += abs(wanted) > 0.05
    assert told > 10
    mean, mass = cell_mean(given.mdp, given.all, value)
    of_state = np.nansum(mean * mass, axis=-1)[mass.sum(axis=-1) > 0]
    assert of_state.min() > -1e-6


# Weights from judges.


@functools.cache
def fixed():
    """Trajectories, and scores between 0 and 1 with some missing."""
    given = odd()
    rng = np.random.default_rng(5)
    live = np.asarray(given.all.batch.live)
    score = rng.uniform(0.05, 0.95, live.shape)
    score[rng.uniform(size=live.shape) < 0.2] = np.nan
    return given, np.where(live, score, np.nan), rng.uniform(0.2, 0.8, len(live))


def weights(recipe, score, start):
    given, _, _ = fixed()
    scorer = FixedScores(jnp.asarray(score, jnp.float32), jnp.asarray(start, jnp.float32))
    world = World.make(given.mdp, jnp.asarray(given.policy), judges={"judge": scorer})
    credit = give(Chain(Times(1.0), recipe), world, as_groups(world, given.all.batch))
    decided = as_groups(world, given.all.batch).decided[0]
    return np.asarray(credit.weight[0], np.float64), np.asarray(decided), credit.cost


@pytest.mark.slow
def test_weights_by_divergence_are_the_formula():
    _, score, start = fixed()
    found, decided, cost = weights(ByDivergence(), score, start)
    for i in range(len(score)):
        last, each = start[i], {}
        for t in range(score.shape[1]):
            if np.isfinite(score[i, t]):
                p = score[i, t]
                kl = p * np.log(p / last) + (1 - p) * np.log((1 - p) / (1 - last))
                if decided[i, t]:
                    each[t] = kl
                last = p
        if len(each) > 1:
            low, high = min(each.values()), max(each.values())
            place = {t: (x - low) / (high - low) for t, x in each.items()}
            raw = {
                t: max(n / 0.25, 0.1) if n < 0.25 else 1 + (n - 0.25) / 0.75
                for t, n in place.items()
            }
            mean = sum(raw.values()) / len(raw)
            for t, w in raw.items():
                assert found[i, t] == pytest.approx(w / mean, rel=2e-3)
    assert float(cost.judge_calls) == np.isfinite(score).sum() + len(start)


@pytest.mark.slow
def test_where_nothing_differs_weights_by_judges_are_grpos():
    _, score, start = fixed()
    flat = np.where(np.isfinite(score), 0.5, np.nan)
    for recipe, said in (
        (ByDivergence(), flat),
        (BySaliency(), flat),
        (BySaliency(spread=0.0), score),
    ):
        found, decided, _ = weights(recipe, said, np.full(len(start), 0.5))
        np.testing.assert_allclose(found, decided, atol=1e-6)


@pytest.mark.slow
def test_weights_by_saliency_are_the_formula():
    _, score, start = fixed()
    found, decided, _ = weights(BySaliency(), score - 0.5, start)
    for i in range(len(score)):
        at = np.nonzero(decided[i] & np.isfinite(score[i]))[0]
        size = np.log(np.abs(score[i, at] - 0.5))
        if len(at) > 1:
            wanted = np.clip(1 + 0.5 * (size - size.mean()) / size.std(), 0.5, 5.0)
            np.testing.assert_allclose(found[i, at], wanted, rtol=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: InformationGain("ratio"), "form must be one of"),
        (lambda: InformationGain(of="prompt"), "of must be one of"),
        (lambda: InformationGain(ends="all"), "ends must be one of"),
        (lambda: InformationGain(offset=0.0), "offset must be in"),
        (lambda: InformationGain(attempts=0), "attempts must be in"),
        (lambda: Pointwise(floor=0.0), "floor must be in"),
        (lambda: TurnsToGo(1.5), "discount must be in"),
        (lambda: TurnsToGo(over="mean"), "over must be one of"),
        (lambda: TurnWindow(0), "length must be in"),
        (lambda: TurnWindow(discount=-1.0), "discount must be in"),
        (lambda: NearEnd(0), "length must be in"),
        (lambda: NearEnd(discount=2.0), "discount must be in"),
        (lambda: Turns(float("inf")), "factor must be in"),
        (lambda: Surprised(share=0.0), "share must be in"),
        (lambda: Surprised(up=-1.0), "up must be in"),
        (lambda: Surprised(down=-1.0), "down must be in"),
        (lambda: Surprised(gate=-1.0), "gate must be in"),
        (lambda: ByDivergence(low=0.0), "low must be in"),
        (lambda: ByDivergence(least=0.0), "least must be in"),
        (lambda: ByDivergence(beta=-1.0), "beta must be in"),
        (lambda: ByDivergence(floor=0.5), "floor must be in"),
        (lambda: BySaliency(spread=-1.0), "spread must be in"),
        (lambda: BySaliency(low=2.0), "low must be in"),
        (lambda: BySaliency(high=0.5), "high must be in"),
        (lambda: BySaliency(floor=0.0), "floor must be in"),
        (lambda: Belief((0, -1)), "classes must be"),
        (lambda: Belief(trust=2.0), "trust must be in"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()
