"""Credit of tokens in rollouts of one turn, by plain loops in NumPy from the formulas.

Every function takes a log of `tests.methods.derived_log` without tokens of the environment and
gives an array `[R, T]`. Nothing here uses casim.
"""

from __future__ import annotations

import numpy as np

from tests.methods.derived_groups import SMALL
from tests.methods.derived_implicit import log_ratio
from tests.methods.derived_log import deviation, groups, outcome, to_go


def whole(log):
    """The z-score of the outcome in the group, on every token; one alone has mean 0."""
    out = np.zeros(log["mask"].shape)
    for rows in groups(log):
        peers = [outcome(log, i) for i in rows]
        mean = sum(peers) / len(peers)
        for i, x in zip(rows, peers, strict=True):
            if len(peers) == 1:
                out[i] = x / (1 + SMALL)
            elif max(peers) > min(peers):
                out[i] = (x - mean) / (deviation(peers) + SMALL)
    return out


def tempo(log):
    """[(r_i - mean r) + V(B_{j+1}) - V(B_j)] / (std r + 1e-6); 0 where a group is of one."""
    out = np.zeros(log["mask"].shape)
    for rows in groups(log):
        returns = {i: outcome(log, i) for i in rows}
        if len(rows) == 1 or np.ptp(list(returns.values())) == 0:
            continue
        spread = deviation(list(returns.values())) + 1e-6
        length = {i: int(log["mask"][i].sum()) for i in rows}
        text = {i: tuple(log["action"][i, : length[i]]) for i in rows}
        mean = sum(returns.values()) / len(rows)
        for i in rows:
            for j in range(length[i]):
                now, then = (
                    [returns[k] for k in rows if text[k][:n] == text[i][:n] and length[k] >= n]
                    for n in (j, j + 1)
                )
                gain = sum(then) / len(then) - sum(now) / len(now)
                out[i, j] = (returns[i] - mean + gain) / spread
    return out


def divergence_ahead(log, eta: float):
    each = log_ratio(log)
    return to_go(each) / eta


def prl_token(log, eta: float = 100.0):
    """r - sum_{u >= t} log pi / pi_ref / eta."""
    return whole_return(log) - divergence_ahead(log, eta)


def whole_return(log):
    each = np.array([outcome(log, i) for i in range(len(log["mask"]))])
    return np.repeat(each[:, None], log["mask"].shape[1], axis=1)


def prl_segment(log, eta: float = 100.0):
    """A_i - D_t / eta of the end of each segment, on all of its tokens."""
    each = whole(log) - divergence_ahead(log, eta)
    out = np.zeros(each.shape)
    for i in range(len(out)):
        mine = np.nonzero(log["mask"][i])[0]
        for k in np.unique(log["segment"][i, mine]):
            where = mine[log["segment"][i, mine] == k]
            out[i, where] = each[i, where[-1]]
    return out


def spro(log):
    """A_i + R~_t - mean over those who still write at t; R~ the log-ratios so far."""
    so_far, out = np.cumsum(log_ratio(log), axis=1), whole(log)
    for rows in groups(log):
        for t in range(out.shape[1]):
            writing = [i for i in rows if log["mask"][i, t]]
            for i in writing:
                mean = np.mean([so_far[k, t] for k in writing])
                out[i, t] += so_far[i, t] - mean
    return out


def soft_minimum(log, temperature: float = 0.1):
    """softmax(-r / .1) r over the tokens of a row, all of them scored."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        mine = log["mask"][i]
        share = np.exp(-log["reward"][i, mine] / temperature)
        out[i, mine] = share / share.sum() * log["reward"][i, mine]
    return out


def pure_verl(log):
    """Suffix sums less sum_{j != i} sum_t returns_j / ((n - 1) T_pad)."""
    shared = soft_minimum(log)
    returns = to_go(shared) * log["mask"]
    out = returns.copy()
    for rows in groups(log):
        for i in rows:
            others = [returns[j].sum() for j in rows if j != i]
            if others:
                out[i] -= sum(others) / (len(others) * returns.shape[1])
    return out


def pure_token(log, temperature: float = 0.1):
    """Each reward less what a token of the others earns times those of its step; then suffix sums.

    A step ends with a token that has a score, which is not counted as one of it.
    """
    marked = log["mask"] & (log["reward"] != 0)
    reward = np.zeros(marked.shape)
    for i, where in enumerate(marked):
        share = np.exp(-log["reward"][i, where] / temperature)
        reward[i, where] = share / share.sum() * log["reward"][i, where]
    out = reward.copy()
    for rows in groups(log):
        for i in rows:
            others = [j for j in rows if j != i]
            length = log["mask"][others].sum()
            before = 0
            for t in np.nonzero(log["mask"][i])[0]:
                if marked[i, t] and others:
                    out[i, t] -= reward[others].sum() / length * before
                before = 0 if marked[i, t] else before + 1
    return to_go(out)


def pure_step(log):
    """Each reward less the mean of the others' mean rewards, then suffix sums; all are scored."""
    reward = soft_minimum(log)
    out = reward.copy()
    for rows in groups(log):
        for i in rows:
            others = [reward[j].sum() / log["mask"][j].sum() for j in rows if j != i]
            if others:
                out[i] = (reward[i] - sum(others) / len(others)) * log["mask"][i]
    return to_go(out)


def most_uncertain(log, share: float = 0.2):
    """1 on the k = int(n share + .9999) tokens of the batch that have the highest entropy."""
    where = np.argwhere(log["mask"])
    entropy = [log["entropy"][tuple(x)] for x in where]
    count = max(1, int(len(where) * share + 0.9999))
    out = np.zeros(log["mask"].shape)
    for n in np.argsort(entropy)[::-1][:count]:
        out[tuple(where[n])] = 1.0
    return out


def share_of_all(log):
    """1 over the mean number of tokens of a row: the loss divides by all tokens."""
    return len(log["mask"]) / log["mask"].sum()


def share_of(kept):
    """The same over the tokens that are kept."""
    return kept * len(kept) / kept.sum()


def above_quantile(log, share: float = 0.2):
    """1 on the tokens whose entropy reaches the quantile."""
    threshold = np.quantile(log["entropy"][log["mask"]], 1 - share)
    return 1.0 * (log["mask"] & (log["entropy"] >= threshold))


def traced(log, form: str, lam: float = 0.99):
    """W_j / L, W_j = sum_{t >= j} w(t, j)."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        length = int(log["mask"][i].sum())
        for j in range(length):
            each = {
                "recent": [lam ** (t - j) for t in range(j, length)],
                "both": [max(lam ** (t - j), lam**j) for t in range(j, length)],
                "late": [lam ** (length - 1 - j)],
            }
            out[i, j] = sum(each[form]) / length
    return out
