"""Implicit rewards and information gains in logs, by plain loops in NumPy from the formulas.

Every function takes a log of `tests.methods.derived_log` and gives an array `[R, T]`, of which only
the policy's tokens mean anything. The reward model's log-probabilities are the policy's in a log,
and gains of information are its rewards, the outcome on the last token. Nothing here uses casim.
"""

from __future__ import annotations

import numpy as np

from tests.methods.derived_log import (
    at_turn,
    by_turn,
    groups,
    outcome,
    paid,
    to_go,
    tokens,
    whitened,
)

SMALL = 1e-6


def log_ratio(log, start: str = "reference_log_prob"):
    return np.where(log["mask"], log["policy_log_prob"] - log[start], 0.0)


def without_last(x, log):
    """0 on the last token of the policy."""
    out = x.copy()
    for i in range(len(x)):
        out[i, np.nonzero(log["mask"][i])[0][-1]] = 0.0
    return out


def over_largest_suffix(x):
    """Divided by the largest |sum to go| of the batch + 1e-6."""
    return x / (np.abs(np.cumsum(x[:, ::-1], axis=1)).max() + SMALL)


def masked_rloo(x, where, log):
    """x n / (n - 1) - sum_j mean(x_j) / (n - 1) at the places; as it is where a group is of one."""
    out = np.zeros(x.shape)
    for rows in groups(log):
        n = len(rows)
        means = sum(x[j][where[j]].mean() for j in rows)
        for i in rows:
            own = x[i][where[i]]
            out[i][where[i]] = own if n == 1 else own * n / (n - 1) - means / (n - 1)
    return out


def at_last(log, numbers):
    """The number of each row at the policy's last token, and where that is."""
    out, where = np.zeros(log["mask"].shape), np.zeros(log["mask"].shape, bool)
    for i, number in enumerate(numbers):
        t = np.nonzero(log["mask"][i])[0][-1]
        out[i, t], where[i, t] = number, True
    return out, where


def own_to_go(x, log):
    """Sums from each step on, of the policy's tokens."""
    return to_go(np.where(log["mask"], x, 0.0))


def prime(log, beta: float = 0.05):
    process = over_largest_suffix(without_last(beta * log_ratio(log), log))
    final, where = at_last(log, [outcome(log, i) for i in range(len(log["mask"]))])
    reward = 5 * masked_rloo(process, log["mask"], log) + 5 * masked_rloo(final, where, log)
    return whitened(own_to_go(reward, log), log["mask"])


def stretches(log, i: int) -> list[np.ndarray]:
    """Runs of the policy's tokens: the environment ends one, and so does the next turn."""
    mine = np.nonzero(log["mask"][i])[0]
    over = (np.diff(mine) > 1) | (np.diff(log["turn"][i, mine]) > 0)
    return np.split(mine, np.nonzero(over)[0] + 1)


def itpo(log, beta: float = 0.05, norm: bool = False, temperature: float = 0.7):
    """Scores of turns at their ends: sums, or shares of the outcome by a softmax of means."""
    q = over_largest_suffix(without_last(beta * log_ratio(log), log))
    rows = range(len(q))
    lengths = [len(where) for i in rows for where in stretches(log, i)]
    longest = sum(lengths) / len(lengths)
    score, ends = np.zeros(q.shape), np.zeros(q.shape, bool)
    for i in rows:
        runs = stretches(log, i)
        means = np.array([q[i, where].mean() for where in runs])
        logits = means * longest / temperature
        share = np.exp(logits) / np.exp(logits).sum()
        for k, where in enumerate(runs):
            last = where[-1]
            ends[i, last] = True
            score[i, last] = outcome(log, i) * share[k] if norm else q[i, where].sum()
    return whitened(own_to_go(5 * masked_rloo(score, ends, log), log), log["mask"])


def istar(log, beta: float = 0.05, frozen: bool = False):
    """RLOO of the outcome, and the immediate reward of each turn less that of first turns.

    Where the reward model is frozen it is the reference, which policy and model began as.
    """
    old = dict(log, policy_log_prob=log["log_prob"])
    ratio = -log_ratio(old) if frozen else log_ratio(log)
    per_turn = {}
    for i in range(len(ratio)):
        per_turn[i] = [beta * ratio[i, w].sum() for w in tokens(log, i)]
    largest = max(abs(x) for each in per_turn.values() for x in each) + SMALL
    numbers = {}
    for rows in groups(log):
        n = len(rows)
        mean = sum(outcome(log, i) for i in rows) / n
        first = sum(per_turn[i][0] / largest for i in rows) / n
        for i in rows:
            step = [x / largest for x in per_turn[i]]
            if n == 1:
                numbers[i] = [outcome(log, i) + x for x in step]
                continue
            whole = (outcome(log, i) - mean) * n / (n - 1)
            numbers[i] = [whole + (x - first) * n / (n - 1) for x in step]
    return by_turn(log, numbers)


def spa_released(log):
    """c_k of turn k times T - 1 - k, at its last token; 0 at the others."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        turns = tokens(log, i)
        for k, where in enumerate(turns):
            left = len(turns) - 1 - k
            out[i, where[-1]] = log["reward"][i, where].sum() * left
    return out


def igpo(log, discount: float = 1.0, accumulate_first: bool = False):
    """z-scores of the rewards of all turns of the group, n in the variance, then summed on."""
    numbers = {}

    def ahead(rewards):
        return [
            sum(discount ** (k - t) * rewards[k] for k in range(t, len(rewards)))
            for t in range(len(rewards))
        ]

    for rows in groups(log):
        first = {i: ahead(paid(log, i)) if accumulate_first else paid(log, i) for i in rows}
        every = np.array([x for i in rows for x in first[i]])
        spread = 1.0 if len(every) == 1 else every.std() + SMALL
        for i in rows:
            score = [(x - every.mean()) / spread for x in first[i]]
            numbers[i] = score if accumulate_first else ahead(score)
    return by_turn(log, numbers)


def igpo_first_code(log, local: bool):
    """Rewards to go less the mean of the group at the same token; those that ended count as 0.

    `local` stops the sum where the environment writes: what is ahead counts if it is the policy's.
    """
    returns = np.zeros(log["mask"].shape)
    for i in range(len(returns)):
        ahead = 0.0
        for t in reversed(range(returns.shape[1])):
            reward = log["reward"][i, t] if log["live"][i, t] else 0.0
            returns[i, t] = reward + ahead
            others = log["live"][i, t] and not local
            ahead = returns[i, t] if log["mask"][i, t] or others else 0.0
    out = np.zeros(returns.shape)
    for rows in groups(log):
        out[rows] = returns[rows] - returns[rows].mean(axis=0)
    return out


def last_of(log, i: int) -> float:
    """What the last turn of a row did: in a log of gains the outcome."""
    return float(paid(log, i)[-1])


def z_last(log, ddof: int, small: float) -> dict[int, float]:
    """The z-score of the outcome in the group; 0 where all are equal, or alone."""
    out = {}
    for rows in groups(log):
        each = np.array([last_of(log, i) for i in rows])
        for i in rows:
            away = last_of(log, i) - each.mean()
            out[i] = away / (each.std(ddof=ddof) + small) if np.ptp(each) > 0 else 0.0
    return out


def a2tgpo(log, alpha: float = 0.3):
    """A^O + alpha sum_{j >= t} z_j / sqrt(n_t), z by turn over turns that are not a row's last."""
    whole, numbers = z_last(log, 1, SMALL), {}
    for rows in groups(log):
        gain = {i: paid(log, i)[:-1] for i in rows}
        score = {i: [] for i in rows}
        for i in rows:
            for t, x in enumerate(gain[i]):
                peers = np.array(at_turn(gain, rows, t))
                if np.ptp(peers) == 0:
                    score[i].append(0.0)
                    continue
                size = peers.std(ddof=1) + SMALL
                score[i].append((x - peers.mean()) / size)
            n = len(score[i])
            ahead = [sum(score[i][t:]) for t in range(n)]
            later = [alpha * x / (n - t) ** 0.5 for t, x in enumerate(ahead)]
            numbers[i] = [whole[i] + x for x in [*later, 0.0]]
    return by_turn(log, numbers)


def trace(log, window: int = 3, g: float = 0.8):
    """A^O + .2 r_k before the last turn, r_k a weighed mean of gains and 2 g^(T - k) A^O."""
    whole, numbers = z_last(log, 0, 0.0), {}
    for i, outcome_score in whole.items():
        gain, numbers[i] = paid(log, i)[:-1], []
        for k in range(len(gain)):
            near = gain[k : k + window]
            weights = [g**j for j in range(len(near))]
            r = np.average(near, weights=weights)
            if k + window >= len(gain):
                r += 2 * g ** (len(gain) - k) * outcome_score
            numbers[i].append(outcome_score + 0.2 * r)
        numbers[i].append(outcome_score)
    return by_turn(log, numbers)


def delta_belief(log):
    """z by turn of 2 R - .05 turns + .1 relu(gain), 0 in the last turn; who has ended says 0."""
    reward, numbers = {}, {}
    for i in range(len(log["mask"])):
        gain = [*paid(log, i)[:-1], 0.0]
        every = 2 * last_of(log, i) - 0.05 * len(gain)
        reward[i] = [every + 0.1 * max(x, 0.0) for x in gain]
    for rows in groups(log):
        for i in rows:
            numbers[i] = []
            for t, x in enumerate(reward[i]):
                peers = np.array([reward[j][t] if len(reward[j]) > t else 0.0 for j in rows])
                alone, alike = len(rows) == 1, np.ptp(peers) == 0
                mean, spread = (0.0, 1.0) if alone else (peers.mean(), peers.std(ddof=1))
                numbers[i].append(0.0 if alike and not alone else (x - mean) / (spread + SMALL))
    return by_turn(log, numbers)


def igpo_kept(log):
    """Gains of all turns, with the outcome, summed from each token on."""
    return to_go(np.where(log["live"], log["reward"], 0.0))


def mt_grpo(log, cumulative: bool = False):
    """Streams of turn and outcome apart: both before the tool's answer, the outcome after it."""
    result = first_answers(log)
    turn, final = (np.nansum(log["component"][:, :, k], axis=1) for k in range(2))

    def stream(x):
        out = np.zeros(len(x))
        for rows in groups(log):
            each = x[rows]
            if len(rows) > 1 and each.max() > each.min():
                out[rows] = (each - each.mean()) / (each.std(ddof=1) + 1e-4)
        return out

    of_turn, of_final, of_both = stream(turn), stream(final), stream(turn + final)
    out = np.zeros(log["mask"].shape)
    place = np.arange(out.shape[1])
    for i in range(len(out)):
        if result[i] is None:
            out[i] = of_both[i]
        elif cumulative:
            out[i] = np.where(place < result[i], of_both[i], of_final[i])
        else:
            out[i] = of_final[i] + np.where(place < result[i], of_turn[i], 0.0)
    return out


def first_answers(log) -> list[int | None]:
    """Where the environment first writes between tokens of the policy."""
    out = []
    for i in range(len(log["mask"])):
        mine = np.nonzero(log["mask"][i])[0]
        others = np.nonzero(log["live"][i] & ~log["mask"][i])[0]
        holes = [t for t in others if mine[0] < t]
        out.append(int(holes[0]) if holes else None)
    return out
