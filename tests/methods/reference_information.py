"""Gains of information as credit, by plain loops in NumPy float64. Nothing is casim's.

The rewards of the log are the gains of its turns, and the outcome is their sum.
"""

from __future__ import annotations

import numpy as np

from tests.methods.reference_trainers import deviation, groups, nasty


def turned(seed=0):
    """The nasty log with turns: each ends with the environment's tokens, and the next begins."""
    log = nasty(seed)
    mask = log["mask"]
    begins = mask.copy()
    begins[:, 0] = False
    begins[:, 1:] &= ~mask[:, :-1]
    log["entropy"] = log["entropy"] / 2  # below STARE's gate on average
    return {**log, "turn": np.cumsum(begins, axis=1)}


def turns(log, i):
    """The turns of a rollout: the tokens of each, and what it earned in all."""
    live, turn = log["live"][i], log["turn"][i]
    every = [np.nonzero(live & (turn == k))[0] for k in np.unique(turn[live])]
    return [(tokens, log["reward"][i, tokens].sum()) for tokens in every]


def decides(log, i, tokens):
    return log["mask"][i, tokens].any()


def z(values, ddof, epsilon=1e-6):
    values = np.asarray(values, float)
    if len(values) < 2 or np.ptp(values) == 0:
        return np.zeros(len(values))
    return (values - values.mean()) / (deviation(values, ddof) + epsilon)


def igpo(log, first="normalise"):
    out = np.zeros(log["mask"].shape)
    for rows in groups(log):
        places = [(i, tokens, r) for i in rows for tokens, r in turns(log, i)]

        def accumulate(values, places=places):
            values = np.array(values, float)
            for n in reversed(range(len(values) - 1)):
                if places[n][0] == places[n + 1][0]:
                    values[n] += values[n + 1]
            return values

        def normalise(values, places=places):
            votes = [decides(log, i, tokens) for i, tokens, _ in places]
            given = np.zeros(len(places))
            given[votes] = z(np.asarray(values)[votes], 0)
            return given

        earned = [r for _, _, r in places]
        if first == "normalise":
            given = accumulate(normalise(earned))
        else:
            given = normalise(accumulate(earned))
        for (i, tokens, _), value in zip(places, given, strict=True):
            out[i, tokens] = value
    return out


def igpo_token(log, mask):
    """Sums with `next_return * mask`, less the mean over the group at the same token."""
    reward = np.where(log["live"], log["reward"], 0.0)
    future, after = np.zeros(reward.shape), np.zeros(len(reward))
    for t in reversed(range(reward.shape[1])):
        future[:, t] = reward[:, t] + after
        after = future[:, t] * log[mask][:, t]
    out = np.zeros(reward.shape)
    for rows in groups(log):
        out[rows] = future[rows] - future[rows].mean(axis=0)
    return out


def stare(log, value, down=1.0, gate=0.3):
    """Weights: 1.1 on the tenth of the positive tokens that surprises most."""
    mask = log["mask"]
    weight = mask.astype(float)
    if log["entropy"][mask].mean() >= gate:
        return weight
    for sign, factor in ((1, 1.1), (-1, down)):
        among = np.argwhere(mask & (np.sign(value) == sign))
        surprise = np.array([-log["log_prob"][i, t] for i, t in among])
        most = np.argsort(-surprise)[: max(1, int(np.ceil(0.1 * len(among))))]
        for i, t in among[most]:
            weight[i, t] = factor
    return weight
