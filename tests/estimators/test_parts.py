"""Parts on one log with everything awkward in it, against loops: peers, votes, masks, shares."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from casim.estimators import Baseline, Chain, OverLength, Part, ToGo, TopEntropy, Whole
from casim.estimators.base import begin, time_of
from casim.types import Batch

KEY = jax.random.key(0)
LIVE = np.array(
    [
        [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]],
        [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 1]],
    ],
    bool,
)
# Steps of the environment stand inside; trajectories of equal length have unequal decisions.
DECISION = np.array(
    [
        [[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
        [[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
    ],
    bool,
)
# The first two rows are alike, differ at step 1, and are alike again.
OBSERVATION = np.array(
    [
        [[1, 2, 3, 0], [1, 5, 3, 0], [1, 2, 0, 0]],
        [[4, 4, 2, 0], [4, 4, 2, 0], [4, 1, 1, 2]],
    ]
)
REWARD = np.array(
    [
        [[0.0, 1.0, 0.5, 2.0], [3.0, 0.0, 0.25, -1.0], [0.0, 4.0, 9.0, 9.0]],
        [[0.5, 0.0, -2.0, 9.0], [0.0, 7.0, 0.25, 9.0], [1.5, 0.0, 0.0, 5.0]],
    ]
)
ENTROPY = np.array(
    [
        [[0.1, 0.9, 0.8, 0.3], [0.6, 0.5, 0.05, 0.2], [0.7, 0.15, 9.0, 9.0]],
        [[0.4, 0.95, 0.35, 9.0], [0.45, 0.25, 0.55, 9.0], [0.65, 0.75, 0.02, 0.85]],
    ]
)


@pytest.fixture(scope="module")
def log():
    """2 prompts x 3 rollouts, of which the last cannot be scored."""
    zero = np.zeros(LIVE.shape, int)
    return Batch(
        state=zero,
        observation=OBSERVATION,
        action=zero,
        log_prob=np.zeros(LIVE.shape, np.float32),
        reward=REWARD.astype(np.float32),
        live=LIVE,
        decision=DECISION,
        turn=np.broadcast_to([0, 0, 1, 1], LIVE.shape),
        segment=zero,
        agent=zero,
        kind=zero,
        discount=np.ones(LIVE.shape, np.float32),
        prompt=np.arange(2),
        scorable=np.array([[True, True, True], [True, True, False]]),
        entropy=ENTROPY.astype(np.float32),
    )


run = jax.jit(lambda recipe, batch: recipe.credit(KEY, None, batch), static_argnums=0)


def togo(batch):
    """What is earned from each step on."""
    earned = np.where(batch.live & batch.scorable[..., None], batch.reward, 0.0)
    return np.where(batch.live, np.cumsum(earned[..., ::-1], axis=-1)[..., ::-1], 0.0)


def alike(kind, batch, one, other):
    """Whether the step `other` = (p, j, u) is compared with the step `one` = (p, i, t)."""
    (p, i, t), (q, j, u) = one, other
    if kind == "batch":
        return True
    if p != q:
        return False
    length = batch.live.sum(-1)
    seen = batch.observation
    return {
        "group": True,
        "step": t == u,
        "turn": batch.turn[p, i, t] == batch.turn[p, j, u],
        "anchor": seen[p, i, t] == seen[p, j, u],
        "length": length[p, i] == length[p, j],
        "prefix": t == u and (seen[p, i, : t + 1] == seen[p, j, : t + 1]).all(),
    }[kind]


def baseline(kind, votes, own, single, batch):
    """The credit by loops over steps."""
    value = togo(batch)
    voters = batch.live & batch.decision & batch.scorable[..., None]
    places = list(zip(*np.nonzero(voters), strict=True))
    out = np.zeros(value.shape)
    for one in zip(*np.nonzero(batch.live & batch.scorable[..., None]), strict=True):
        peers = [other for other in places if alike(kind, batch, one, other)]
        kept = [other for other in peers if own or other[:2] != one[:2]]
        by_row = {row: [v for v in kept if v[:2] == row] for row in {v[:2] for v in kept}}
        if votes == "step":
            said = [value[other] for other in kept]
            others = len(kept) - (1 if own else 0)
        else:
            said = [np.mean([value[v] for v in row]) for row in by_row.values()]
            others = len(by_row) - (1 if own else 0)
        alone = value[one] if single == "raw" else 0.0
        out[one] = value[one] - np.mean(said) if others > 0 else alone
    return out


VOTES = [
    ("trajectory", True, "zero"),
    ("trajectory", False, "raw"),
    ("step", True, "raw"),
    ("step", False, "raw"),
]
KINDS = ("group", "batch", "step", "turn", "anchor", "length", "prefix")


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_baseline_is_the_mean_of_the_votes_of_peers(kind, log):
    for votes, own, single in VOTES:
        recipe = Chain(ToGo(), Baseline(kind, votes, own, single=single))
        wanted = baseline(kind, votes, own, single, log)
        decided = log.live & log.decision
        got = np.where(decided, run(recipe, log).value, 0.0)
        wanted = np.where(decided, wanted, 0.0)
        np.testing.assert_allclose(got, wanted, atol=2e-6, err_msg=repr(recipe))


@pytest.mark.parametrize("ddof", [0, 1])
def test_the_deviation_divides_by_the_number_of_votes_less_ddof(ddof, log):
    returns = togo(log)[..., 0]
    recipe = Chain(Whole(), Baseline(scale=True, ddof=ddof, epsilon=0.0))
    given = run(recipe, log)
    first, second = returns[0], returns[1, :2]
    for group, own in ((0, first), (1, second)):
        wanted = (own - own.mean()) / own.std(ddof=ddof)
        np.testing.assert_allclose(given.value[group, : len(own), 0], wanted, rtol=1e-5)


@dataclasses.dataclass(frozen=True)
class Forget(Part):
    """Hands on the same credit as one that may differ from step to step."""

    def apply(self, world, batch, credit):
        return credit._replace(whole=None)


@dataclasses.dataclass(frozen=True)
class Grow(Part):
    """Makes credit differ from step to step."""

    def apply(self, world, batch, credit):
        return credit._replace(value=credit.value * (1.0 + time_of(batch)))


@pytest.mark.slow
def test_one_number_for_a_trajectory_has_the_baseline_that_all_its_steps_have(log):
    baselines = [
        Baseline(scale=True),
        Baseline(own=False, single="raw"),
        Baseline("batch", scale=True, epsilon_at="inside"),
        Baseline(scale=True, scale_over="batch", ddof=0),
        Baseline("length", scale=True, single="raw"),
    ]
    short = [Chain(Whole(), one, one) for one in baselines]
    long = [Chain(Whole(), Forget(), one, Forget(), one) for one in baselines]
    changed = [Chain(Whole(), Grow(), Baseline()), Chain(Whole(), Grow(), Forget(), Baseline())]
    programs = (*short, *long, *changed)
    every = jax.jit(lambda batch: [one.credit(KEY, None, batch).value for one in programs])(log)
    *pairs, once, again = every
    for i, recipe in enumerate(short):
        assert np.ptp(pairs[i]) > 0.1
        np.testing.assert_allclose(pairs[i], pairs[i + len(short)], atol=1e-6, err_msg=str(recipe))
    np.testing.assert_array_equal(once, again)


def test_what_cannot_be_scored_has_neither_reward_nor_weight(log):
    credit = begin(jax.tree.map(jnp.asarray, log))
    assert not np.asarray(credit.value)[1, 2].any()
    assert not np.asarray(credit.weight)[1, 2].any()
    assert np.asarray(credit.value)[1, 1].any()


@pytest.mark.parametrize("share", [0.1, 0.3, 0.45])
def test_the_mask_keeps_the_share_of_decisions_rounded_up(share, log):
    decided = log.live & log.decision & log.scorable[..., None]
    number = int(np.ceil(share * decided.sum()))
    assert number != share * decided.sum()
    ranked = np.sort(log.entropy[decided])[::-1]
    wanted = decided & (log.entropy >= ranked[number - 1])
    given = run(Chain(Whole(), TopEntropy(share)), log)
    np.testing.assert_array_equal(np.asarray(given.weight) > 0, wanted)
    assert wanted.sum() == number


def test_the_mean_length_is_that_of_trajectories_that_count(log):
    decided = log.live & log.decision & log.scorable[..., None]
    mean = decided.sum() / log.scorable.sum()
    given = run(Chain(Whole(), OverLength("mean")), log)
    np.testing.assert_allclose(given.weight, decided / mean, rtol=1e-6)
