"""Group baselines where turn counts differ: the exact bias of each.

The tables of docs/group-bias.md are tested too.
"""

from __future__ import annotations

import functools
import math
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import casim
from casim.ops import returns_to_go
from casim.oracle.closed_forms import binary_group_scale
from casim.oracle.moments import (
    by_anchor,
    by_return,
    by_reward,
    enumerate_trajectories,
    exact_scores,
    group_moments,
    precise_truth,
)
from casim.oracle.moments.group import multisets
from casim.scores import group_gradient
from casim.tasks.variable_turns import VariableTurns
from tests import enumeration
from tests.chains import grpo
from tests.enumeration import Rule

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "group-bias.md"
KEY = jax.random.key(0)
SIZES = range(2, 9)
FEW = [3, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 4, 5, 6, 7, 8))]
"""Every estimator compiles anew for every size: most of them run with the slow tests."""


def rule(credit):
    """An estimator from a function of the batch."""
    return Rule(lambda key, world, batch: jnp.where(batch.live, credit(batch), 0.0))


def turn_leave_one_out(alone):
    """G_t less the mean G_t of the peers that are live at t.

    Without any: G_t ("return"), 0 ("zero"), or peers that ended count as 0 all along ("padded").
    """

    def credit(batch):
        future = returns_to_go(batch.reward, 1.0, batch.live)
        others = jnp.sum(future, axis=0, keepdims=True) - future
        peers = jnp.sum(batch.live, axis=0, keepdims=True) - 1
        if alone == "padded":
            return future - others / (future.shape[0] - 1)
        kept = future if alone == "return" else jnp.zeros_like(future)
        return jnp.where(peers > 0, future - others / jnp.maximum(peers, 1), kept)

    return rule(credit)


def turn_mean(scaled):
    """G_t less the mean G_t of all that are live at t, oneself included.

    It is divided by their deviation (ddof = 1) if scaled.
    """

    def credit(batch):
        future = returns_to_go(batch.reward, 1.0, batch.live)
        num = jnp.sum(batch.live, axis=0, keepdims=True)
        off = jnp.where(
            batch.live, future - jnp.sum(future, axis=0, keepdims=True) / jnp.maximum(num, 1), 0.0
        )
        spread = jnp.sqrt(jnp.sum(off**2, axis=0, keepdims=True) / jnp.maximum(num - 1, 1))
        return off / (spread + 1e-6) if scaled else off

    return rule(credit)


def anchor_mean(leave_out, size=3):
    """G_t less the mean over the group's steps of the same observation, at any turn.

    One's own steps are not among them if left out.
    """

    def credit(batch):
        future = returns_to_go(batch.reward, 1.0, batch.live)
        here = jax.nn.one_hot(batch.observation, size, dtype=future.dtype) * batch.live[..., None]
        total, num = jnp.einsum("nto,nt->no", here, future), jnp.sum(here, axis=1)
        all_total, all_num = (
            jnp.sum(x, axis=0, keepdims=True) - (x if leave_out else 0.0) for x in (total, num)
        )
        mean = all_total / jnp.maximum(all_num, 1.0)
        return future - jnp.einsum("nto,no->nt", here, jnp.broadcast_to(mean, total.shape))

    return rule(credit)


def row_mean(leave_out):
    """R less the mean return of the group weighted by length, with or without oneself."""

    def credit(batch):
        length, gain = jnp.sum(batch.live, axis=1), jnp.sum(batch.reward, axis=1)
        own = length * gain if leave_out else 0.0
        rows = jnp.sum(length) - (length if leave_out else 0)
        return jnp.broadcast_to(
            (gain - (jnp.sum(length * gain) - own) / rows)[:, None], batch.reward.shape
        )

    return rule(credit)


def length_mean(group):
    """RLOO averaged over the steps of each trajectory or of the group (times N), not summed."""

    def credit(batch):
        gain, length = jnp.sum(batch.reward, axis=1), jnp.sum(batch.live, axis=1)
        off = gain - (jnp.sum(gain) - gain) / (len(gain) - 1)
        return jnp.broadcast_to(
            (off / (jnp.mean(length) if group else length))[:, None], batch.reward.shape
        )

    return rule(credit)


RULES = {
    "RLOO": casim.methods.RLOO,
    "turn leave-one-out, raw return if alone": turn_leave_one_out("return"),
    "turn leave-one-out, ended peers count 0": turn_leave_one_out("padded"),
    "row-weighted leave-one-out": row_mean(True),
    "anchor leave-one-out": anchor_mean(True),
    "Dr. GRPO": casim.methods.DR_GRPO,
    "GRPO, ddof 1": casim.methods.GRPO,
    "GRPO, ddof 0": grpo(ddof=0),
    "turn leave-one-out, 0 if alone": turn_leave_one_out("zero"),
    "turn mean": turn_mean(False),
    "turn mean and std": turn_mean(True),
    "row-weighted mean": row_mean(False),
    "anchor mean": anchor_mean(False),
    "RLOO, mean over own steps": length_mean(False),
    "RLOO, mean over the group's steps": length_mean(True),
}
UNBIASED = list(RULES)[:5]


def stopping(stop, **settings):
    """VariableTurns in double precision, under a policy that stops with probability `stop`.

    The probability is that of every turn.
    """
    with jax.enable_x64(True):
        mdp = jax.tree.map(np.asarray, VariableTurns(**settings).build())
    policy = np.broadcast_to([stop, 1 - stop], (*mdp.emission.shape[::2], 2))
    return mdp, policy


TURNS = stopping(0.3)


@functools.cache
def moments(name, n):
    """Exact moments of a rule on the default world."""
    return group_moments(*TURNS, RULES[name], n, by_anchor)


def score(name, n):
    return exact_scores(*TURNS, moments(name, n))


def table(title):
    """The rows of a table of the page, by the first column; the heading names the table."""
    text = PAGE.read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [
        [x.strip() for x in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    return {row[0]: row[1:] for row in rows[2:]}


@pytest.mark.slow
def test_the_page_states_the_exact_slope_and_cosine_of_every_rule():
    rows = table("Every group rule, exactly")
    assert list(rows) == list(RULES)
    for name, cells in rows.items():
        scores = [score(name, n) for n in SIZES]
        assert cells == [
            f"{x['gradient_slope']:.3f} / {x['gradient_cosine']:.4f}" for x in scores
        ], name


@pytest.mark.parametrize("n", FEW)
@pytest.mark.parametrize("name", UNBIASED)
def test_baselines_of_other_trajectories_are_unbiased_when_turn_counts_differ(name, n):
    assert score(name, n)["gradient_bias"] < 1e-20
    assert score(name, n)["centred_bias"] < 1e-20


@pytest.mark.slow
@pytest.mark.parametrize("n", FEW)
@pytest.mark.parametrize("name", sorted(set(RULES) - {*UNBIASED, "Dr. GRPO"}))
def test_the_others_have_not_even_the_right_direction(name, n):
    assert score(name, n)["gradient_cosine"] < 0.9999


@pytest.mark.parametrize("n", FEW)
def test_dr_grpo_has_the_right_direction_and_the_length_of_its_factor(n):
    np.testing.assert_allclose(score("Dr. GRPO", n)["gradient_cosine"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(score("Dr. GRPO", n)["gradient_slope"], (n - 1) / n, rtol=1e-12)


def test_the_deviation_of_a_turn_is_not_mended_by_large_groups():
    """In a large group each turn's gradient is divided by a deviation of its own.

    That is the deviation of the returns of those that are live.
    """
    paths, truth = enumerate_trajectories(*TURNS), precise_truth(*TURNS)
    weight = paths.probability[:, None] * paths.trajectory.live
    weight, gain = weight / weight.sum(axis=0), paths.trajectory.reward.sum(axis=1)
    spread = np.sqrt((gain**2) @ weight - (gain @ weight) ** 2)
    # Turn t has kernel t.
    limit = truth.gradient / np.where(spread > 1e-9, spread, 1.0)[:, None, None]
    cosine = np.sum(limit * truth.gradient) / np.sqrt(np.sum(limit**2) * np.sum(truth.gradient**2))
    assert f"rises to {cosine:.4f}" in PAGE.read_text()


def centred(exact):
    """E[c | t, s, a] less its mean over the actions, where the policy goes."""
    weight = exact.probability
    state = weight.sum(axis=-1, keepdims=True)
    mean = np.where(weight > 0, exact.expectation, 0.0)
    off = mean - (weight * mean).sum(axis=-1, keepdims=True) / np.where(state > 0, state, 1.0)
    return np.where(weight > 0, off, 0.0)


@pytest.mark.parametrize("n", FEW)
def test_the_factors_of_a_turn(n):
    """The advantage is scaled by a factor of each turn.

    With p_t = P(live at t) and K_t - 1 ~ Binomial(n - 1, p_t) live peers, it is
    1 - E[1 / K_t] = 1 - (1 - (1 - p_t)^n) / (n p_t) under the turn mean, and
    P(K_t > 1) = 1 - (1 - p_t)^(n - 1) if a step without peers gets 0.
    """
    truth = precise_truth(*TURNS)
    live = truth.occupancy.sum(axis=1)
    np.testing.assert_allclose(live, 0.7 ** np.arange(5), rtol=1e-12)
    advantage = np.where(
        truth.occupancy[..., None] > 0, truth.q_value - truth.value[:-1, :, None], 0.0
    )
    by_count = {
        k: [math.comb(n - 1, k) * p**k * (1 - p) ** (n - 1 - k) for p in live] for k in range(n)
    }
    mean_inverse = sum(np.array(by_count[k]) / (k + 1) for k in range(n))
    factors = {"turn mean": 1 - (1 - (1 - live) ** n) / (n * live)}
    np.testing.assert_allclose(factors["turn mean"], 1 - mean_inverse, rtol=1e-12)
    factors["turn leave-one-out, 0 if alone"] = 1 - (1 - live) ** (n - 1)
    for name, factor in factors.items():
        off = centred(moments(name, n))
        np.testing.assert_allclose(
            off, factor[:, None, None] * advantage, rtol=0, atol=1e-12, err_msg=name
        )


def test_the_page_states_the_factors_of_each_turn():
    rows = table("Why: each turn has a factor of its own")
    live = 0.7 ** np.arange(5)
    for n in (2, 4, 8):
        assert rows[f"turn mean, n = {n}"] == [
            f"{x:.3f}" for x in 1 - (1 - (1 - live) ** n) / (n * live)
        ]
        assert rows[f"0 if alone, n = {n}"] == [f"{x:.3f}" for x in 1 - (1 - live) ** (n - 1)]
    assert rows["P(live)"] == [f"{x:.3f}" for x in live]


def test_with_equal_turn_counts_the_turn_mean_only_loses_length():
    """Three steps of the default world, in which no action ends the episode."""
    mdp, policy = TURNS
    equal = mdp._replace(
        successor=np.broadcast_to(mdp.start.argmax(), mdp.successor.shape),
        reward=mdp.reward * np.array([0.0, 0.3, 1.0, 1.0, 1.0])[:, None, None, None],
        schedule=mdp.schedule[:3],
        segment=mdp.segment[:3],
        turn=mdp.turn[:3],
        agent=mdp.agent[:3],
    )
    score = exact_scores(
        equal, policy, group_moments(equal, policy, RULES["turn mean"], 3, by_reward)
    )
    np.testing.assert_allclose(score["gradient_cosine"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(score["gradient_slope"], 2 / 3, rtol=1e-12)


def test_the_page_states_the_binary_factors_of_grpo():
    """Returns in {0, 1}, unequal turn counts: the direction is exact, the length is c_p(n)."""
    rows = table("GRPO and its standard deviation")
    world = stopping(0.3, stop_rewards=(0.0, 1.0, 0.0, 1.0, 0.0))
    success = float(precise_truth(*world).expected_return)
    for ddof in (1, 0):
        cells = []
        for n in SIZES:
            estimator = grpo(ddof=ddof, epsilon=1e-12)
            wanted = binary_group_scale(success, n) * (1.0 if ddof else math.sqrt(n / (n - 1)))
            cells.append(f"{wanted:.4f}")
            if n in (3, 8):
                exact = exact_scores(*world, group_moments(*world, estimator, n, by_return()))
                np.testing.assert_allclose(exact["gradient_cosine"], 1.0, rtol=1e-10)
                np.testing.assert_allclose(exact["gradient_slope"], wanted, rtol=1e-10)
        assert rows[f"ddof {ddof}"] == cells


REVERSAL = stopping(0.65, num_turns=8)
PAIR = ("RLOO", "turn leave-one-out, raw return if alone")
TRIALS = 200


def squared_errors(batch, credit, world):
    """|g - g*|^2 of each group `[B]`."""
    mdp, policy = world
    gradient = jax.vmap(group_gradient, in_axes=(None, None, 0, 0))(
        mdp, jnp.asarray(policy), batch, credit
    )
    truth = precise_truth(*world).gradient
    return np.sum((np.asarray(gradient) - truth[None]) ** 2, axis=(1, 2, 3)) / np.sum(truth**2)


@pytest.mark.slow
def test_a_ranking_by_200_samples_reverses():
    """RLOO has the smaller variance, and many samples say otherwise.

    That is at horizon 8, stop probability 0.65 and groups of 4.
    """
    rows = table("A ranking that sampling reverses")
    exact = {}
    for n in (4, 8):
        for name in PAIR:
            found = group_moments(*REVERSAL, RULES[name], n, by_anchor)
            exact[name, n] = exact_scores(*REVERSAL, found)["gradient_variance"]
        assert rows[f"exact, n = {n}"][:2] == [f"{exact[name, n]:.4f}" for name in PAIR]
    assert exact[PAIR[0], 4] < exact[PAIR[1], 4]
    assert exact[PAIR[0], 8] > exact[PAIR[1], 8]
    paths = enumerate_trajectories(*REVERSAL)
    groups, weight = multisets(paths.probability, 4, 10_000)
    with jax.enable_x64(True):
        batch = jax.tree.map(lambda x: jnp.asarray(x[groups]), paths.trajectory)
        error = {
            name: squared_errors(
                batch,
                jax.vmap(lambda b, n=name: enumeration.credit(RULES[n], KEY, None, b).value)(batch),
                REVERSAL,
            )
            for name in PAIR
        }
    for name in PAIR:
        np.testing.assert_allclose(weight @ error[name], exact[name, 4], rtol=1e-10)
    gap = error[PAIR[1]] - error[PAIR[0]]
    draws = np.random.default_rng(0).multinomial(TRIALS, weight / weight.sum(), size=20_000) @ gap
    reversed_share = float(np.mean(draws < 0))
    stated = float(re.search(r"in (\d+)% of", PAGE.read_text()).group(1)) / 100
    # 0.005 of rounding and 3 standard errors of 20,000 draws.
    assert abs(reversed_share - stated) < 0.015


@pytest.mark.slow
def test_the_samples_on_the_page_are_what_200_seeds_give():
    """Groups rolled out by the simulator and scored in single precision."""
    rows = table("A ranking that sampling reverses")
    mdp = VariableTurns(num_turns=8).build()
    world = casim.World.make(mdp, jnp.asarray(REVERSAL[1], jnp.float32))
    groups = jax.jit(jax.vmap(lambda seed: world.rollout(jax.random.key(seed), 4)))(
        jnp.arange(10 * TRIALS)
    )
    error = [
        squared_errors(
            groups,
            jax.vmap(lambda b, n=name: enumeration.credit(RULES[n], KEY, None, b).value)(groups),
            (mdp, world.policy),
        )
        for name in PAIR
    ]
    mean = np.reshape(error, (2, 10, TRIALS)).mean(axis=2)
    for begin, block in ((0, 0), (400, 2)):
        stated = rows[f"sampled, n = 4, keys {begin} to {begin + TRIALS - 1}"]
        assert stated[:2] == [f"{x:.3f}" for x in mean[:, block]]
        assert stated[2] == ("RLOO" if mean[0, block] < mean[1, block] else "turn leave-one-out")
    assert f"{np.sum(mean[1] < mean[0])} of the 10" in PAGE.read_text()


def test_the_example_on_the_page_runs(capsys):
    section = PAGE.read_text().split("## How to reproduce")[1]
    _, code, *_ = re.split(r"```(?:python\n)?", section)
    exec(code, {})
    assert "0.664" in capsys.readouterr().out  # the slope of GRPO, n = 4, in the first table
