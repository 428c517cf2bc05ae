"""Methods that ask a judge, against loops; what is known of them exactly; their controls."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim import methods
from casim.estimators import (
    Agreeing,
    Apportion,
    Baseline,
    ByValue,
    Chain,
    Emphasis,
    First,
    InformationGain,
    Intervention,
    Judged,
    Once,
    Plus,
    PoolByChange,
    PoolByEntropy,
    ProcessReward,
    Sum,
    Times,
    TimesOther,
    ToGo,
    Whole,
)
from casim.graders import Critic, Lexicon, Mistakes, Shuffled, Verdict
from casim.judges import Judge
from casim.methods import METHODS, judged
from casim.oracle.moments import group_moments
from casim.panel import PANEL
from casim.scores import group_gradient
from casim.simulate import World
from casim.testing import check_estimator
from casim.types import recorded
from tests import reference
from tests.enumeration import (
    FixedScores,
    assert_mean,
    case,
    cell_mean,
    expected_gradient,
    groups,
    solve,
    trajectories,
)
from tests.methods.tree import tree
from tests.methods.worlds import small
from tests.quick import QUICK

KEY = jax.random.key(4)
MINE = [x for x in vars(judged).values() if isinstance(x, methods.Method) and x.recipe.judges]
SCORE = Whole(1.0)
FREE = Chain(SCORE, Plus(-0.5))


@functools.cache
def logged():
    """Two groups of three episodes of a world of two turns, with set words of every judge."""
    given = case(binary=True, actions=3, prompt=False)
    every = jax.tree.map(np.asarray, given.all.batch)
    length = every.live.sum(axis=1)
    won = every.reward.sum(axis=1) > 0
    rng = np.random.default_rng(1)

    def one(steps, success):
        return rng.choice(np.flatnonzero((length == steps) & (won == success)))

    long = int(length.max())
    short = int(length.min())
    rows = [one(long, True), one(long, False), one(short, True)]
    rows += [one(long, False), one(short, True), one(long, True)]
    batch = jax.tree.map(lambda x: x[rows].reshape(2, 3, 4), every)
    live = batch.live.reshape(6, 4)
    turn = np.repeat(rng.integers(-1, 2, (6, 2)), 2, axis=1)
    either = np.repeat(rng.choice([-1, 1], (6, 2)), 2, axis=1)
    words = {
        "judge": rng.uniform(0.05, 0.95, (6, 4)),
        "mistakes": rng.integers(0, 2, (6, 4)),
        "verdicts": turn,
        "hindsight": either,
        "planning": rng.integers(0, 2, (6, 4)),
        "levels": rng.integers(1, 5, (6, 4)),
        "skills": rng.integers(0, 2, (6, 4)),
        "format": np.array([[1], [1], [0], [1], [1], [0]]) * np.ones((6, 4)),
        "best": rng.integers(0, 2, (6, 4, 3)),
        "verifier": rng.integers(0, 2, (6, 4, 3)),
        "expert": rng.normal(size=(6, 4, 3)),
        "discriminator": rng.uniform(0.1, 2, (6, 4)),
    }
    start = rng.uniform(0.2, 0.8, 6)
    said = {}
    for name, x in words.items():
        there = live if x.ndim == 2 else live[..., None]
        score = np.where(there, x, np.nan)
        said[name] = FixedScores(jnp.asarray(score, jnp.float32), jnp.asarray(start, jnp.float32))
    world = World.make(given.mdp, jnp.asarray(given.policy), judges=said)
    words = {name: x.reshape(2, 3, *x.shape[1:]).astype(float) for name, x in words.items()}
    words["start"] = start.reshape(2, 3)
    return world, batch, words


def altered():
    """What stands in for no judge: the same recipes with its share at 0, and others."""
    reward = Times(1.0)
    silent = Chain(Judged("verdicts", "turn"), Once("turn"), Times(0.0))
    return {
        "hicra": Chain(methods.GRPO_VERL.recipe, Emphasis(0.0)),
        "finepo": Chain(SCORE, Baseline("group"), Apportion(0.0, 1.0)),
        "finepo free": Chain(SCORE, Baseline("group"), Apportion(0.5, 1e6)),
        "finepo steps": Chain(SCORE, Baseline("group"), Apportion(0.5, 1e6, unit="step")),
        "finepo unlikely": Chain(
            SCORE, Baseline("group"), Apportion(0.5, 1e6, divergence=0.3, limit=0.4, unit="step")
        ),
        "tarl": Chain(Sum(reward, silent), ToGo(1.0), Baseline("turn", own=False)),
        "tarl outcome": Chain(ToGo(1.0), Baseline("turn", own=False)),
        "tarl grpo": Chain(Sum(reward, silent), SCORE, Baseline(scale=True, single="raw")),
        "criticsearch": Sum(
            methods.GRPO_VERL.recipe, Chain(Judged("hindsight", "trajectory"), Times(0.0))
        ),
        "adaptseg free": Chain(InformationGain(), PoolByChange(0.05)),
        "adaptseg steps": InformationGain(),
        "entropy": InformationGain("entropy"),
        "pooled": Chain(InformationGain("entropy"), PoolByEntropy(0.2)),
        "grpo": methods.GRPO_VERL.recipe,
        "dr grpo": methods.DR_GRPO.recipe,
    }


NAMED = {
    name: getattr(methods, name)
    for name in (
        "CAPO",
        "ACPO",
        "HICRA",
        "FINEPO",
        "TARL",
        "TARL_GRPO",
        "CRITICSEARCH",
        "PILOTRL",
        "PILOTRL_ADHERENCE",
        "PILOTRL_PLAN",
        "STEPAGENT",
        "STEPAGENT_INVERSE",
        "AGENT_LIGHTNING",
        "AGENT_LIGHTNING_ROLLOUT",
        "SCRIBE",
        "PRS",
        "VSPO",
        "ADAPTSEG",
        "VPR",
        "PURE_HARD",
        "PURE_OPENRLHF",
        "PURE_VERIFIABLE",
    )
}


@functools.cache
def given_credit():
    """The credit of every recipe on the logged batch, by one program."""
    world, batch, _ = logged()
    recipes = {name: m.recipe for name, m in NAMED.items()} | altered()

    def run(world):
        given = world.attach(jax.tree.map(jnp.asarray, batch))
        world = dataclasses.replace(world, reference=world.policy[:, :, ::-1])
        return {name: recipe.credit(KEY, world, given) for name, recipe in recipes.items()}

    return jax.tree.map(np.asarray, jax.jit(run, compiler_options=QUICK)(world))


class Log:
    """The batch in NumPy, in double precision."""

    def __init__(self):
        world, batch, self.words = logged()
        self.live = batch.live
        decision = np.asarray(world.decision)
        self.decided = batch.live & decision
        self.turn, self.segment = np.asarray(world.turn), np.asarray(world.segment)
        self.reward = batch.reward.astype(float)
        self.outcome = self.reward.sum(axis=-1)
        self.action, self.observation = batch.action, batch.observation
        self.policy = np.asarray(world.policy, float)[np.asarray(world.schedule)]
        self.length = self.live.sum(axis=-1)

    def taken(self, name):
        x = self.words[name]
        return np.take_along_axis(x, self.action[..., None], axis=-1)[..., 0]

    def on_steps(self, each):
        return np.where(self.live, each[..., None], 0.0)

    def whole(self, x):
        return np.where(self.decided, x, 0.0)


def grpo(each):
    """(x - mean) / (std + 1e-6) over the trajectories of each group."""
    out = np.zeros(each.shape)
    for p, row in enumerate(each):
        if np.ptp(row) > 0:
            out[p] = (row - row.mean()) / (row.std(ddof=1) + 1e-6)
    return out


def to_go(x):
    return x[..., ::-1].cumsum(axis=-1)[..., ::-1]


def others(log, x, label):
    """The mean over other trajectories of their mean over the decisions with the same label."""
    out = np.zeros(x.shape)
    for p, n, t in np.argwhere(log.decided):
        votes = []
        for k in range(3):
            alike = log.decided[p, k] & (label == label[t])
            if k != n and alike.any():
                votes.append(x[p, k][alike].mean())
        out[p, n, t] = x[p, n, t] - np.mean(votes) if votes else 0.0
    return out


def turn_ends(log):
    """The last live step of each turn."""
    ends = np.zeros(log.live.shape, bool)
    for p, n, t in np.argwhere(log.live):
        last = t + 1 == log.length[p, n] or log.turn[t + 1] != log.turn[t]
        ends[p, n, t] = last
    return ends


def gain_of(log, potential):
    """How a potential of the judge's scores changes; the reward banked is 0 before the end."""
    score, out = log.words["judge"], np.zeros(log.live.shape)
    for p, n, t in np.argwhere(log.live):
        before = (
            log.words["start"][p, n] if t == 0 else score[p, n, t - 1] - log.reward[p, n, t - 1]
        )
        out[p, n, t] = potential(score[p, n, t]) - potential(before)
    return out


def entropy(p):
    return -(p * np.log(p) + (1 - p) * np.log(1 - p))


def pool(log, x, cut):
    """Sums over the stretches that begin where there is a cut."""
    out = np.zeros(x.shape)
    for p in range(2):
        for n in range(3):
            length = log.length[p, n]
            starts = sorted({0, *np.flatnonzero(cut[p, n, :length])})
            for b, e in zip(starts, [*starts[1:], length], strict=True):
                out[p, n, b:e] = x[p, n, b:e].sum()
    return out


def by_capo(log):
    x = np.where(log.live, 2 * log.outcome[..., None] - log.words["mistakes"], 0.0)
    mean = [x[p][log.decided[p]].mean() for p in range(2)]
    return x - np.reshape(mean, (2, 1, 1))


def by_acpo(log):
    gain = gain_of(log, lambda p: -entropy(p))
    chance = np.array([log.policy[t, log.observation[..., t]] for t in range(4)])
    uncertain = -(chance * np.log(chance)).sum(-1).transpose(1, 2, 0)
    ranked = np.sort(uncertain[log.decided])[::-1]
    least = ranked[int(np.floor(0.2 * len(ranked) + 0.9999)) - 1]
    cut = log.decided & (uncertain >= least - 1e-6)
    return pool(log, gain, cut) * np.sign(log.outcome - 0.5)[..., None]


def by_hicra(log):
    a = log.on_steps(grpo(log.outcome))
    return a + 0.2 * np.abs(a) * log.words["planning"]


def by_finepo(log, alpha=0.5, beta=2.0, extra=None, label=None):
    whole = log.outcome - log.outcome.mean(axis=1, keepdims=True)
    out = np.zeros(log.live.shape)
    label = log.segment if label is None else label
    for p in range(2):
        for n in range(3):
            where = log.decided[p, n]
            score = np.zeros(4)
            for g in set(label):
                unit = where & (label == g)
                if unit.any():
                    score[label == g] = log.words["levels"][p, n][unit].mean()
                    if extra is not None:
                        score[label == g] += extra(p, n, unit)
            above = score - score[where].mean()
            k = abs(whole[p, n]) / (max(0.0, above[where].max()) + 1e-6)
            moved = whole[p, n] + alpha * k * above
            low, high = sorted((0.0, beta * whole[p, n]))
            out[p, n] = np.clip(moved, low, high)
    return out


def unlikely(log):
    """FinePO's term of policy and reference for a unit."""

    def extra(p, n, unit):
        logs = []
        for table in (log.policy, log.policy[:, :, ::-1]):
            steps = np.flatnonzero(unit)
            taken = [table[t, log.observation[p, n, t], log.action[p, n, t]] for t in steps]
            logs.append(np.prod(taken) + 1e-6)
        return np.clip(-0.3 * np.log(logs[0] / logs[1]), -0.4, 0.4)

    return extra


def by_tarl(log):
    r = log.reward + 0.2 * np.where(turn_ends(log), log.words["verdicts"], 0.0)
    return others(log, to_go(r), log.turn)


def by_tarl_grpo(log):
    r = log.reward + 0.2 * np.where(turn_ends(log), log.words["verdicts"], 0.0)
    return log.on_steps(grpo(r.sum(axis=-1)))


def by_criticsearch(log):
    return log.on_steps(grpo(log.outcome)) + 0.25 * log.words["hindsight"]


def by_scribe(log):
    r = np.where(log.live, log.reward + 0.2 * log.words["skills"], 0.0)
    return others(log, to_go(r), np.arange(4))


def adherence(log):
    marks = log.whole(log.taken("best"))
    return marks.sum(axis=-1) / log.decided.sum(axis=-1)


def by_pilotrl(log):
    overlong = np.where(log.length == 4, 1.0, 0.0)  # L = 4, B = 0.8
    total = adherence(log) + log.words["judge"][..., 0] + log.outcome - overlong
    return log.on_steps(grpo(total))


def by_agent_lightning(log):
    out = np.zeros(log.live.shape)
    for p in range(2):
        rows = np.repeat(log.outcome[p], log.decided[p].sum(axis=-1))
        out[p] = ((log.outcome[p] - rows.mean()) / (rows.std(ddof=1) + 1e-6))[:, None]
    return out


def prs_reward(log):
    return log.words["format"][..., 0] * (0.2 + 0.8 * log.outcome)


def by_adaptseg(log):
    gain = gain_of(log, lambda p: p)
    cut = np.zeros(log.live.shape, bool)
    for p in range(2):
        for n in range(3):
            steps = np.flatnonzero(log.decided[p, n])
            for before, t in itertools.pairwise(steps):
                cut[p, n, t] = abs(gain[p, n, t] - gain[p, n, before]) > 0.05
    return pool(log, gain, cut)


def by_vpr(log):
    marks, out = log.taken("verifier"), np.zeros(log.live.shape)
    for p in range(2):
        for k in range(2):
            here = log.decided[p] & (log.turn == k)
            x = marks[p][here]
            if np.ptp(x) > 0:
                out[p][here] = (x - x.mean()) / (x.std(ddof=1) + 1e-6)
    return out


def by_pure_hard(log):
    """G_t = min(r_t, ...) up to the lowest score; the baseline counts tokens before each."""
    score, out = log.words["judge"], np.zeros(log.live.shape)
    for p in range(2):
        lowest = [score[p, n][log.decided[p, n]].min() for n in range(3)]
        number = log.decided[p].sum(axis=-1)
        for n in range(3):
            steps = np.flatnonzero(log.decided[p, n])
            w = steps[score[p, n][steps].argmin()]
            # Every decision is scored, so no token stands before a scored one.
            for t in range(log.length[p, n]):
                left = [score[p, n, u] for u in steps if u >= t]
                out[p, n, t] = min(left) if t <= w else 0.0
                assert t > w or out[p, n, t] == lowest[n]
        assert number.min() > 0
    return out


def by_stepagent_inverse(log):
    x = np.where(log.live, log.words["discriminator"], 0.0)
    return others(log, to_go(x), np.arange(4))


LOOPS = {
    "CAPO": by_capo,
    "ACPO": by_acpo,
    "HICRA": by_hicra,
    "FINEPO": by_finepo,
    "finepo free": functools.partial(by_finepo, beta=1e6),
    "finepo steps": lambda log: by_finepo(log, beta=1e6, label=np.arange(4)),
    "TARL": by_tarl,
    "TARL_GRPO": by_tarl_grpo,
    "CRITICSEARCH": by_criticsearch,
    "PILOTRL": by_pilotrl,
    "PILOTRL_ADHERENCE": lambda log: log.on_steps(grpo(adherence(log))),
    "PILOTRL_PLAN": lambda log: log.on_steps(grpo(log.words["judge"][..., 0])),
    "STEPAGENT": lambda log: 0.1 * log.taken("expert"),
    "STEPAGENT_INVERSE": by_stepagent_inverse,
    "AGENT_LIGHTNING": by_agent_lightning,
    "AGENT_LIGHTNING_ROLLOUT": lambda log: log.on_steps(grpo(log.outcome)),
    "SCRIBE": by_scribe,
    "PRS": lambda log: log.on_steps(grpo(prs_reward(log))),
    "ADAPTSEG": by_adaptseg,
    "VPR": by_vpr,
    "PURE_HARD": by_pure_hard,
}


@pytest.mark.parametrize("name", LOOPS)
def test_a_recipe_equals_its_formula_by_loops(name):
    log = Log()
    wanted = LOOPS[name](log)
    found = given_credit()[name].value
    np.testing.assert_allclose(found[log.decided], wanted[log.decided], atol=2e-5)
    assert np.abs(wanted[log.decided]).max() > 0.05
    assert not found[~log.live].any()


def test_finepo_reads_a_reference_where_it_is_asked_to():
    log = Log()
    wanted = by_finepo(log, beta=1e6, extra=unlikely(log), label=np.arange(4))
    found = given_credit()["finepo unlikely"].value
    np.testing.assert_allclose(found[log.decided], wanted[log.decided], atol=2e-5)
    plain = given_credit()["finepo steps"].value
    assert np.abs(found - plain).max() > 0.01
    assert "reference" in Apportion(divergence=0.3).needs
    assert "reference" not in Apportion().needs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("hicra", "grpo"),
        ("finepo", "dr grpo"),
        ("tarl", "tarl outcome"),
        ("tarl grpo", "grpo"),
        ("criticsearch", "grpo"),
    ],
)
def test_without_its_judge_each_is_what_it_was_made_of(name, plain):
    """HICRA at alpha 0 and CriticSearch at alpha 0 are GRPO, FinePO Dr. GRPO, TARL the outcome."""
    found = given_credit()
    np.testing.assert_allclose(found[name].value, found[plain].value, atol=1e-5)


def test_capo_without_marks_is_a_group_mean_that_counts_tokens():
    log = Log()
    score = np.where(log.live, 2 * log.outcome[..., None], 0.0)
    found = given_credit()["CAPO"].value
    for p in range(2):
        tokens = np.repeat(2 * log.outcome[p], log.decided[p].sum(axis=-1))
        marks = log.words["mistakes"][p][log.decided[p]]
        # Marks are taken off both.
        plain = score[p] - tokens.mean()
        unmarked = found[p] + log.words["mistakes"][p] - marks.mean()
        np.testing.assert_allclose(unmarked[log.decided[p]], plain[log.decided[p]], atol=1e-5)
    # Right and clean 2, right and wrong step 1, wrong and clean 0, wrong and wrong step -1.
    before = 2 * log.outcome[..., None] - log.words["mistakes"]
    assert set(np.unique(before[log.decided])) == {-1.0, 0.0, 1.0, 2.0}


def test_finepo_keeps_the_length_weighted_sum_until_it_is_held_and_then_the_sign():
    log = Log()
    whole = log.outcome - log.outcome.mean(axis=1, keepdims=True)
    length = log.decided.sum(axis=-1)
    held = log.whole(given_credit()["FINEPO"].value)
    assert (np.sign(held) * np.sign(whole)[..., None] >= 0).all()
    assert (np.abs(held) <= 2 * np.abs(whole)[..., None] + 1e-5).all()
    # Nothing is held at alpha 1/2 where no step is three times as far below as one above.
    moved = by_finepo(log, alpha=0.5, beta=np.inf)
    inside = (np.sign(moved) == np.sign(whole)[..., None]).all(axis=-1)
    total = held.sum(axis=-1)
    np.testing.assert_allclose(total[inside], (length * whole)[inside], atol=1e-4)
    assert inside.sum() >= 3


@pytest.mark.slow
def test_votes_are_counted_in_four_ways_and_paid_for_once_a_rollout():
    world, batch, _ = logged()
    given, truth = case(binary=True, actions=3, prompt=False), None
    truth = solve(given.mdp, given.policy)
    judge = Mistakes(miss=0.4, false_alarm=0.4).model(given.mdp, truth)
    world = World.make(given.mdp, jnp.asarray(given.policy), judges={"mistakes": judge})
    batch = world.attach(jax.tree.map(jnp.asarray, batch))
    rules = ("average", "majority", "union", "intersection")

    def run(world):
        keys = jax.random.split(KEY, 4)
        each = jnp.stack([world.judge(key, batch, "mistakes") for key in keys])
        counted = [
            Judged("mistakes", "trajectory", 4, rule).give(KEY, world, batch) for rule in rules
        ]
        return each, counted

    each, counted = jax.jit(run, compiler_options=QUICK)(world)
    live = np.asarray(batch.live)
    mean = np.nan_to_num(np.asarray(each)).mean(axis=0)
    wanted = [mean, mean >= 0.5, mean > 0, mean == 1]
    for (value, cost), right in zip(counted, wanted, strict=True):
        np.testing.assert_array_equal(np.asarray(value)[live], right[live])
        assert float(cost.judge_calls) == 4 * 6
    assert len({float(value.sum()) for value, _ in counted}) > 2


@pytest.mark.slow
def test_each_is_charged_for_what_it_asks():
    log, found = Log(), given_credit()
    turns = sum(len(set(log.turn[row])) for row in log.live.reshape(6, 4))
    steps = int(log.live.sum())
    calls = {
        "CAPO": 4 * 6,
        "ACPO": steps + 6,
        "HICRA": 0,
        "FINEPO": sum(len(set(log.segment[row])) for row in log.decided.reshape(6, 4)),
        "TARL": turns,
        "CRITICSEARCH": 6,
        "SCRIBE": steps,
        "STEPAGENT": steps,
        "PILOTRL": steps + 6,
        "PRS": 6,
        "AGENT_LIGHTNING": 0,
        "PURE_VERIFIABLE": steps,
    }
    assert {name: int(found[name].cost.judge_calls) for name in calls} == calls


def test_the_verifiable_reward_of_pure_is_the_outcome_less_the_others():
    log, found = Log(), given_credit()
    extra = found["PURE_VERIFIABLE"].value - found["PURE_OPENRLHF"].value
    total = log.outcome.sum(axis=1, keepdims=True)
    wanted = log.on_steps(log.outcome - (total - log.outcome) / 2)
    np.testing.assert_allclose(extra, wanted, atol=1e-5)


@pytest.mark.slow
def test_rows_and_rollouts_have_one_mean_where_lengths_are_equal():
    """Agent Lightning's two baselines; their deviations, of rows and of rollouts, stay apart."""
    given = tree(prompts=1)
    row, rollout = (
        group_moments(given.mdp, given.policy, Chain(SCORE, Baseline(votes=votes)), 3)
        for votes in ("step", "trajectory")
    )
    np.testing.assert_allclose(row.gradient, rollout.gradient, atol=1e-12)
    mine, other = (
        group_moments(given.mdp, given.policy, method, 3).gradient
        for method in (methods.AGENT_LIGHTNING, methods.AGENT_LIGHTNING_ROLLOUT)
    )
    # Of 2 n rows instead of n rollouts: sqrt(2 (n - 1) / (2 n - 1)) is the ratio of deviations.
    np.testing.assert_allclose(mine, other * np.sqrt(5 / 4), rtol=1e-4, atol=1e-9)


def test_segments_without_noise_and_mask_add_up_to_the_outcome_less_the_prompt():
    log, found = Log(), given_credit()
    steps = found["adaptseg steps"].value.sum(axis=-1)
    pooled = found["adaptseg free"].value
    for p in range(2):
        for n in range(3):
            length = log.length[p, n]
            x = pooled[p, n, :length]
            cut = [0, *(np.flatnonzero(np.abs(np.diff(x)) > 1e-6) + 1)]
            np.testing.assert_allclose(x[cut].sum(), steps[p, n], atol=1e-5)
    score, start = log.words["judge"], log.words["start"]
    last = np.take_along_axis(score, log.length[..., None] - 1, axis=-1)[..., 0]
    np.testing.assert_allclose(steps, last - start, atol=1e-5)
    # Only what has the sign of the outcome weighs anything.
    weight = found["ADAPTSEG"].weight
    agrees = np.sign(found["ADAPTSEG"].value) == np.sign(log.outcome - 0.5)[..., None]
    np.testing.assert_array_equal(weight, log.decided & agrees)
    assert 0 < weight.sum() < log.decided.sum()


@pytest.mark.slow
def test_prompts_without_credit_are_replaced_by_those_of_even_odds():
    world, batch, _ = logged()
    rng = np.random.default_rng(0)
    outcome = np.array([[1, 1, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1], [1, 1, 0]])
    live = np.asarray(batch.live)[[0, 1, 0, 1, 0]]
    last = live & ~np.pad(live[..., 1:], ((0, 0), (0, 0), (0, 1)))
    some = jax.tree.map(lambda x: jnp.asarray(x[[0, 1, 0, 1, 0]]), batch)
    some = world.attach(some._replace(reward=jnp.asarray(outcome[..., None] * last, jnp.float32)))
    value = rng.normal(size=live.shape)
    value[[0, 2]] = 0.0
    credit = Whole(1.0).credit(KEY, world, some)._replace(value=jnp.asarray(value, jnp.float32))
    after, _ = ByValue(0.23)(KEY, world, some, credit, ())
    mean = outcome.mean(axis=1)
    worth = np.maximum(mean * (1 - mean), 0.23) * [0, 1, 0, 1, 1]
    extra = 2 * worth / worth.sum()
    weight = np.asarray(after.weight)
    decided = np.asarray(some.decided)
    wanted = np.add([0, 1, 0, 1, 1], extra)[:, None, None] * decided
    np.testing.assert_allclose(weight, wanted, atol=1e-5)
    assert wanted.sum(axis=(1, 2))[1] > 0
    steps = live.sum(axis=(1, 2))
    np.testing.assert_allclose(float(after.cost.env_steps), extra @ steps, rtol=1e-5)
    nothing, _ = ByValue()(KEY, world, some, credit._replace(value=0 * credit.value), ())
    assert not np.asarray(nothing.weight).any()
    assert float(nothing.cost.env_steps) == 0


# What is exact.


@functools.cache
def enumerated(name, size, **settings):
    """A small world with judges, and every group of so many trajectories of it."""
    if name == "tree":
        given = tree(**settings)
        mdp, policy = given.mdp, given.policy
    else:
        mdp, policy = small(name, **settings)
    policy = jnp.asarray(policy, jnp.float32)
    truth = solve(mdp, policy)
    return mdp, policy, truth, groups(trajectories(mdp, policy), size)


def expected(recipe, judges, name, size, **settings):
    """Mean credit in every cell, and its gradient, over all groups."""
    mdp, policy, truth, every = enumerated(name, size, **settings)
    made = {key: judge.informed(mdp, truth, policy) for key, judge in judges.items()}
    world = World.make(mdp, policy, judges=made)

    def one(world, group):
        batch = world.attach(jax.tree.map(lambda x: x[None], group))
        credit = recipe.credit(KEY, world, batch)
        return credit.value[0], (credit.value * credit.weight)[0]

    run = jax.jit(jax.vmap(one, in_axes=(None, 0)), compiler_options=QUICK)
    value, product = run(world, jax.tree.map(jnp.asarray, every.batch))
    gradient = expected_gradient(mdp, policy, every, product)
    return cell_mean(mdp, every, value), gradient


@pytest.mark.slow
def test_a_lexicon_of_states_rescales_planning_states_and_one_of_actions_pushes():
    """E[A' | s, a] = (1 + alpha) E[A 1{r = 1}] + (1 - alpha) E[A 1{r = 0}], so the action-centred
    part is (f1 (1 + alpha) - f0 (1 - alpha)) (Q - V), with f the mean GRPO score of an outcome;
    in large groups 1 + alpha (1 - 2 p) times that of others."""
    alpha, size = 0.5, 3
    given = tree(prompts=1)
    p = float(given.start_value[0])
    binomial = [1.0 * (1 - p) ** 2, 2 * p * (1 - p), p**2]  # successes of the two others

    def score(own, others):
        x = np.array([own] + [1.0] * others + [0.0] * (2 - others))
        return 0.0 if np.ptp(x) == 0 else (own - x.mean()) / (x.std(ddof=1) + 1e-6)

    high, low = (sum(b * score(own, k) for k, b in enumerate(binomial)) for own in (1.0, 0.0))
    recipe = Chain(methods.GRPO_VERL.recipe, Emphasis(alpha))
    policy = np.asarray(given.policy, float)
    advantage = given.q_value - (policy * given.q_value).sum(-1, keepdims=True)
    for words in ((), (2,)):
        judge = {"planning": Lexicon(words=words, margin=0.0)}
        (mean, mass), _ = expected(recipe, judge, "tree", size, prompts=1)
        gap = np.ptp(given.q_value, axis=-1)
        marked = (gap > 0)[..., None] & (np.isin(np.arange(3), words) if words else True)
        q_value = given.q_value
        wanted = np.where(
            marked,
            (1 + alpha) * q_value * high + (1 - alpha) * (1 - q_value) * low,
            q_value * high + (1 - q_value) * low,
        )
        np.testing.assert_allclose(mean[mass > 0], wanted[mass > 0], atol=1e-5)
        centred = mean - np.nansum(policy * mean, axis=-1, keepdims=True)
        critical = (mass > 0) & (gap > 0)[..., None]
        factor = (1 + alpha) * high - (1 - alpha) * low
        if not words:
            np.testing.assert_allclose(centred[critical], (factor * advantage)[critical], atol=1e-5)
        else:
            off = np.abs(centred - (high - low) * advantage)[critical]
            push = centred[0, 0, 2] - (high - low) * advantage[0, 0, 2]
            assert off.max() > 0.02
            assert push > 0.02
    # Large groups: the scores of the two outcomes are (1 - p) / s and -p / s.
    large = ((1 + alpha) * (1 - p) + (1 - alpha) * p) / 1.0
    np.testing.assert_allclose(large, 1 + alpha * (1 - 2 * p), atol=1e-12)


@pytest.mark.slow
def test_pure_is_biased_for_the_smallest_score_and_for_the_return():
    """And differences of a right process reward 2 V - 1 are twice the TD error."""
    recipe = ProcessReward("min", baseline="none")
    judges = {"judge": Judge()}
    _, _, truth, _ = enumerated("chain", 1, discount=1.0)
    _, gradient = expected(recipe, judges, "chain", 1, discount=1.0)
    exact = np.asarray(truth.gradient, np.float64)
    # What the first step has is the whole soft minimum, whose gradient REINFORCE has exactly.
    _, objective = expected(Chain(recipe, First()), judges, "chain", 1, discount=1.0)
    for wanted in (exact, objective):
        cosine = np.vdot(gradient, wanted) / np.linalg.norm(gradient) / np.linalg.norm(wanted)
        assert cosine < 1 - 1e-3
    double = Chain(InformationGain(), Times(2.0))
    (mean, mass), _ = expected(double, judges, "chain", 1, discount=1.0)
    wanted = 2 * np.asarray(truth.advantage, np.float64)
    np.testing.assert_allclose(mean[mass > 0], wanted[mass > 0], atol=1e-5)


CRITICS = {
    "critic": Critic("latent_history"),
    "latent_critic": Critic("latent", (0, 1, 0, 1, 0)),
    "clairvoyant": Critic("clairvoyant"),
}


@pytest.mark.slow
@pytest.mark.parametrize("discount", [1.0, 0.75])
def test_of_three_privileged_critics_only_that_of_latent_and_history_has_the_gradient(discount):
    _, _, truth, _ = enumerated("hidden", 1, discount=discount)
    exact = np.asarray(truth.gradient, np.float64)
    off = {}
    for name in CRITICS:
        _, gradient = expected(Judged(name), CRITICS, "hidden", 1, discount=discount)
        off[name] = np.abs(gradient - exact).max()
    assert off["critic"] < 1e-6
    # Far above rounding.
    assert off["latent_critic"] > 1e-3
    assert off["clairvoyant"] > 1e-3


@functools.cache
def failing():
    """A world of binary outcomes with judges that are right, and many of its episodes."""
    given = case(binary=True, actions=3, prompt=False)
    truth = solve(given.mdp, given.policy)
    names = ("first_mistake", "best")
    right = {
        "first_mistake": dataclasses.replace(PANEL["first_mistake"], miss=0, false_alarm=0, shift=0)
    }
    right["best"] = dataclasses.replace(PANEL["best"], accuracy=1.0)
    made = {name: right[name].model(given.mdp, truth) for name in names}
    world = World.make(given.mdp, jnp.asarray(given.policy), judges=made)
    batch = reference.rollout(world, jax.random.key(8), 12)
    return world, world.attach(jax.tree.map(lambda x: x.reshape(2, 6, 4), batch))


@pytest.mark.slow
def test_int_imitates_the_prefix_and_the_better_action_where_a_failure_first_went_wrong():
    """Its gradient is sum grad log pi over what is imitated, and 0 after it."""
    world, batch = failing()

    def run(world):
        free = Intervention(num_checks=0).credit(KEY, world, batch)
        checked = Intervention(num_checks=4).credit(KEY, world, batch)
        said = [world.judge(KEY, batch, name) for name in ("first_mistake", "best")]
        rows = jax.tree.map(lambda x: x[0], recorded(batch))
        gradient = group_gradient(world.mdp, world.policy, rows, free.value[0])
        return free, checked, said, gradient

    free, checked, said, gradient = jax.jit(run, compiler_options=QUICK)(world)
    mark, best = (np.nan_to_num(np.asarray(x)) for x in said)
    policy = np.asarray(world.policy, np.float64)
    schedule = np.asarray(world.schedule)
    live, decided = np.asarray(batch.live), np.asarray(batch.decided)
    failed = np.asarray(batch.reward).sum(axis=-1) == 0
    wanted = np.zeros(free.value.shape)
    log_gradient = np.zeros(policy.shape)
    for p, n in np.argwhere(failed & (mark > 0).any(axis=-1)):
        wrong = mark[p, n].argmax()
        for t in range(wrong + 1):
            if not decided[p, n, t]:
                continue
            action = best[p, n, t].argmax() if t == wrong else int(batch.action[p, n, t])
            kernel, seen = schedule[t], int(batch.observation[p, n, t])
            wanted[p, n, t, action] = 1 / policy[kernel, seen, action]
            if p == 0:
                log_gradient[kernel, seen] += (np.arange(3) == action) - policy[kernel, seen]
    np.testing.assert_allclose(free.value, wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(gradient, log_gradient / 6, atol=1e-5)
    accused = failed & (mark > 0).any(axis=-1)
    assert 2 <= accused.sum() < live.shape[0] * live.shape[1]
    assert float(free.cost.judge_calls) == failed.sum() + accused.sum()
    assert float(free.cost.env_steps) == 0 < float(checked.cost.env_steps)
    # What is kept after the checks is what it was, and the rest is 0.
    kept = np.asarray(checked.value).any(axis=(2, 3))
    assert (kept <= np.asarray(free.value).any(axis=(2, 3))).all()
    np.testing.assert_array_equal(np.asarray(checked.value)[kept], np.asarray(free.value)[kept])


def test_a_policy_that_is_always_right_gets_nothing_from_vpr():
    world, batch, _ = logged()
    every = FixedScores(jnp.ones((6, 4, 3)), jnp.zeros(6))
    world = dataclasses.replace(world, judges={"verifier": every})
    given = world.attach(jax.tree.map(jnp.asarray, batch))
    run = jax.jit(lambda world: methods.VPR.credit(KEY, world, given).value, compiler_options=QUICK)
    assert not np.asarray(run(world)).any()


# What they have in common.


def test_each_number_is_on_one_recipe_and_every_judge_that_is_asked_is_in_the_panel():
    mine = (8, 10, 11, 12, 14, 15, 21, 26, 30, 34, 35, 39, 40, 41)
    for number in mine:
        assert sum(m.number == number for m in METHODS) == 1, number
    for method in MINE:
        assert method.recipe.judges <= set(PANEL), method.name
        assert method.stands_for, method.name


@pytest.mark.slow
def test_every_judge_can_be_shuffled_under_every_method():
    """The control: the same words at the wrong places, under the same recipe."""
    mdp, policy = small("hidden", 1.0)
    policy = jnp.asarray(policy, jnp.float32)
    truth = solve(mdp, policy)
    judges = {name: Shuffled(judge).informed(mdp, truth, policy) for name, judge in PANEL.items()}
    world = World.make(mdp, policy, reference=policy, judges=judges)

    def run(world):
        batch = world.groups(KEY, 4, 8)
        return [m.credit(KEY, world, batch) for m in MINE]

    for method, credit in zip(MINE, jax.jit(run, compiler_options=QUICK)(world), strict=True):
        assert np.isfinite(np.asarray(credit.value)).all(), method.name
        assert np.isfinite(np.asarray(credit.weight)).all(), method.name
        # Shuffled or not, every member of a group may follow the plan equally often.
        assert np.abs(credit.value).max() > 0 or method is methods.PILOTRL_ADHERENCE, method.name


@pytest.mark.slow
def test_shuffled_verdicts_say_how_many_there_are_and_not_where():
    """On average every step has the mean verdict of its trajectory."""
    mdp, _, truth, every = enumerated("chain", 1, discount=1.0)
    batch = jax.tree.map(lambda x: jnp.asarray(x)[:, 0], every.batch)
    judge = Verdict(unit="step")
    keys = jax.random.split(KEY, 400)
    ask = jax.jit(jax.vmap(Shuffled(judge).model(mdp, truth), (0, None)), compiler_options=QUICK)
    plain = np.asarray(judge.model(mdp, truth)(KEY, batch), np.float64)
    mean = np.broadcast_to(plain.mean(axis=1, keepdims=True), plain.shape)
    assert np.abs(plain - mean).max() > 0.5
    assert_mean(np.asarray(ask(keys, batch)), mean)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe",
    [
        methods.CAPO.recipe,
        methods.ADAPTSEG.recipe,
        methods.VSPO.recipe,
        Intervention(num_checks=2),
        Chain(SCORE, Baseline("group"), Apportion(divergence=0.5), Emphasis()),
    ],
    ids=["CAPO", "ADAPTSEG", "VSPO", "INT", "FINEPO and HICRA"],
)
def test_each_passes_the_contract(recipe):
    check_estimator(recipe, num_groups=100)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Judged(unit="agent"), "unit must be one of"),
        (lambda: Judged(votes=0), "votes must be"),
        (lambda: Judged(rule="veto"), "rule must be one of"),
        (lambda: Intervention(num_checks=-1), "num_checks must be"),
        (lambda: Intervention(success=float("nan")), "success must be"),
        (lambda: Emphasis(-0.1), "alpha must be in"),
        (lambda: Apportion(alpha=-1.0), "alpha must be in"),
        (lambda: Apportion(beta=-1.0), "beta must be in"),
        (lambda: Apportion(divergence=-1.0), "divergence must be in"),
        (lambda: Apportion(limit=-1.0), "limit must be in"),
        (lambda: Apportion(epsilon=0.0), "epsilon must be in"),
        (lambda: Apportion(unit="agent"), "unit must be one of"),
        (lambda: PoolByEntropy(0.0), "share must be in"),
        (lambda: PoolByChange(-1.0), "threshold must be in"),
        (lambda: TimesOther(FREE, by="size"), "by must be one of"),
        (lambda: ByValue(2.0), "floor must be in"),
        (lambda: Plus(float("inf")), "constant must be in"),
        (lambda: ProcessReward("max"), "form must be one of"),
        (lambda: InformationGain("square"), "form must be one of"),
    ],
)
def test_nonsense_is_refused(make, message, unhooked):
    with pytest.raises(ValueError, match=message):
        make()


def test_what_stands_beside_says_what_it_needs():
    asks = Chain(Judged("format"))
    for beside in (TimesOther(asks), Agreeing(asks)):
        assert beside.needs == {"judge"}
        assert beside.judges == {"format"}
        assert not beside.stateful
