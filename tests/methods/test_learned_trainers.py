"""Learned rewards as public trainers use them, on one awkward log that brings its log-ratios."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from casim import methods
from casim.estimators import Chain, ImplicitReward, OutcomeShares
from tests.methods import reference_trainers as ref
from tests.methods.test_trainers import agree, rows


@pytest.fixture(scope="module")
def log():
    """Turns of the log begin wherever the environment has spoken, and some more."""
    log = ref.nasty(3)
    spoken = np.cumsum(np.diff(log["mask"].astype(int), axis=1, prepend=1) == 1, axis=1)
    later = np.arange(log["mask"].shape[1]) >= 5
    log["turn"] = spoken + later
    return log


def ratio(log, beta):
    """Beta times the log-ratio of every token, 0 on the environment's."""
    return beta * np.where(log["mask"], log["log_prob"] - log["reference_log_prob"], 0.0)


def last_token(log, i):
    return np.nonzero(log["mask"][i])[0][-1]


def batch_norm(reward):
    """Over the largest |suffix sum| of the batch."""
    suffix = [row[t:].sum() for row in reward for t in range(len(row))]
    return reward / (np.abs(suffix).max() + 1e-6)


def process_reward(log, beta=0.05):
    """PRIME's and ITPO's rewards of tokens: without the last one, normalised."""
    reward = ratio(log, beta)
    for i in range(len(reward)):
        reward[i, last_token(log, i)] = 0.0
    return batch_norm(reward)


def masked_rloo(log, reward, where):
    """The trainers' formula, entry by entry; a group of one keeps its rewards."""
    out = np.zeros(reward.shape)
    for group in ref.groups(log):
        n = len(group)
        total = sum(reward[j][where[j]].mean() for j in group)
        for i in group:
            for t in np.nonzero(where[i])[0]:
                alone = n == 1
                out[i, t] = reward[i, t] if alone else (reward[i, t] * n - total) / (n - 1)
    return out


def to_go(log, reward):
    """Suffix sums over the tokens of the policy, whitened."""
    masked = np.where(log["mask"], reward, 0.0)
    suffix = [[row[t:].sum() for t in range(len(row))] for row in masked]
    return ref.whiten(np.array(suffix), log["mask"])


def on_last(log, each):
    """A number of each row on its last token, and where that is."""
    reward, where = np.zeros(log["mask"].shape), np.zeros(log["mask"].shape, bool)
    for i, x in enumerate(each):
        reward[i, last_token(log, i)] = x
        where[i, last_token(log, i)] = True
    return reward, where


def prime(log):
    process = masked_rloo(log, process_reward(log), log["mask"])
    outcome = masked_rloo(log, *on_last(log, ref.scores(log)))
    return to_go(log, 5 * process + 5 * outcome)


def stretches(log, i):
    """The tokens of each run of the policy's tokens within a turn."""
    runs = []
    for t in np.nonzero(log["mask"][i])[0]:
        goes_on = runs and runs[-1][-1] == t - 1 and log["turn"][i, t] == log["turn"][i, t - 1]
        if goes_on:
            runs[-1].append(t)
        else:
            runs.append([t])
    return runs


def turn_rewards(log, norm, temperature=0.7):
    """The reward of each turn at its end, and where that is."""
    token = process_reward(log)
    runs = [stretches(log, i) for i in range(len(token))]
    average = np.mean([len(run) for row in runs for run in row])
    reward, where = np.zeros(token.shape), np.zeros(token.shape, bool)
    for i, row in enumerate(runs):
        means = np.array([token[i, run].mean() for run in row])
        share = np.exp(means * average / temperature)
        share = share / share.sum()
        for k, run in enumerate(row):
            where[i, run[-1]] = True
            summed = token[i, run].sum()
            reward[i, run[-1]] = ref.scores(log)[i] * share[k] if norm else summed
    return reward, where


def itpo(log, norm=False):
    return to_go(log, 5 * masked_rloo(log, *turn_rewards(log, norm)))


def turns(log, i):
    """The tokens of each turn."""
    labels = log["turn"][i][log["mask"][i]]
    return [np.nonzero(log["mask"][i] & (log["turn"][i] == k))[0] for k in np.unique(labels)]


def istar(log, sign=1.0):
    """Episodes: leave one out. Steps: less the first steps of all, times n / (n - 1)."""
    token = sign * ratio(log, 0.05)
    step = [[token[i, run].sum() for run in turns(log, i)] for i in range(len(token))]
    largest = max(abs(x) for row in step for x in row) + 1e-6
    out = ref.rloo(log).copy()
    for group in ref.groups(log):
        n = len(group)
        first = np.mean([step[j][0] / largest for j in group])
        for i in group:
            for run, x in zip(turns(log, i), step[i], strict=True):
                x = x / largest
                out[i, run] += x if n == 1 else (x - first) * n / (n - 1)
    return out


def released(log):
    """Rewards are the scores of steps: their sum over turn k times T - 1 - k, on its last token."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        own = turns(log, i)
        for k, run in enumerate(own):
            out[i, run[-1]] = log["reward"][i, run].sum() * (len(own) - 1 - k)
    return out


FORMULAS = {
    "PRIME": prime,
    "ITPO": itpo,
    "ITPO_NORM": lambda log: itpo(log, norm=True),
    "ISTAR": istar,
    "ISTAR_FROZEN": lambda log: istar(log, sign=-1.0),
    "SPA_RL_RELEASED": released,
    "SPA_RL": lambda log: log["reward"],
    "R_TO_Q": lambda log: ratio(log, 0.1),
    "PROGRESS_ADVANTAGE": lambda log: ratio(log, 1.0),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_values_are_the_formula(log, name):
    share = 1e-7 if name in ("PRIME", "ITPO", "ITPO_NORM") else 1e-12  # verl's mean has an epsilon
    agree(rows(name, log), FORMULAS[name](log), log, share, name)


def test_turns_of_a_log_without_turns_are_runs_of_its_tokens(log):
    bare = {**log, "turn": np.zeros(log["mask"].shape, int)}
    agree(rows("ITPO", bare), itpo(bare), bare, 1e-7, "ITPO")
    assert np.abs(itpo(bare) - itpo(log))[log["mask"]].max() > 0.01


def test_the_old_policy_is_who_acted_where_a_log_has_no_other_reference(log):
    """The reward model's own log-probabilities are in `policy_log_prob`."""
    named = {key: x for key, x in log.items() if key != "reference_log_prob"}
    named["policy_log_prob"], named["log_prob"] = log["log_prob"], log["reference_log_prob"]
    agree(rows("ISTAR", named), istar(log), log, 1e-12, "iStar")


def test_shares_of_the_outcome_add_up_to_it(log):
    """And are equal where the reward model is its reference."""
    each = Chain(methods.ITPO_NORM.recipe.parts[0], OutcomeShares(0.7, "stretch"))
    same = {**log, "reference_log_prob": log["log_prob"]}
    for given, equal in ((log, False), (same, True)):
        found = rows(each, given)
        for i in range(len(found)):
            ends = [run[-1] for run in stretches(log, i)]
            np.testing.assert_allclose(found[i, ends].sum(), ref.scores(log)[i], atol=1e-12)
            nothing_to_share = len(ends) == 1 or ref.scores(log)[i] == 0
            assert (np.ptp(found[i, ends]) < 1e-12) == (equal or nothing_to_share)


def test_a_reward_model_that_is_its_reference_rewards_nothing(log):
    same = {**log, "reference_log_prob": log["log_prob"]}
    assert not rows(Chain(ImplicitReward()), same).any()
    assert not rows("ITPO", same).any()
    agree(rows("ISTAR", same), ref.rloo(same), log, 1e-12, "iStar")


def test_beta_does_not_matter_once_rewards_are_normalised(log):
    """But for epsilon: 1e-6 of a largest sum of about 1."""
    recipe = methods.ITPO.recipe
    stronger = dataclasses.replace(recipe.parts[0], beta=7.0)
    found = rows(Chain(stronger, *recipe.parts[1:]), log)
    np.testing.assert_allclose(found, rows("ITPO", log), atol=1e-4)
