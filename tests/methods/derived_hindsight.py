"""HCA and COCOA with exact coefficients: all actions credited, by loops in NumPy over the process.

Every function takes a log of `tests.methods.derived_world`, the process and its values, and gives
`[R, T, A]`. Nothing here uses casim.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tests.methods.derived_world import ACTIONS, DECISION, END, STATES, STEPS


def transition(mdp) -> np.ndarray:
    """P(s' | t, s, a)."""
    out = np.zeros((STEPS, STATES, ACTIONS, STATES))
    for t, s, a, k in np.ndindex(mdp.prob.shape):
        then = mdp.successor[t, s, a, k]
        out[t, s, a, then] += mdp.prob[t, s, a, k]
    return out


def reached(mdp, known) -> np.ndarray:
    """P(s_k = y, live | s_t = s, a_t = a) at `[t, s, a, k, y]`, for k > t."""
    move = transition(mdp)
    out = np.zeros((STEPS, STATES, ACTIONS, STEPS, STATES))
    for t in range(STEPS - 1):
        out[t, :, :, t + 1] = move[t]
        out[t, :, :, t + 1, END] = 0.0
        for k in range(t + 1, STEPS - 1):
            step = (known.policy[k][..., None] * move[k]).sum(1)
            out[t, :, :, k + 1] = out[t, :, :, k] @ step
            out[t, :, :, k + 1, END] = 0.0
    return out


def mean_reward(mdp) -> np.ndarray:
    return (mdp.prob * mdp.reward).sum(-1)


def on_taken(log, known) -> np.ndarray:
    """1{a = a_t} r_t / pi(a_t | s_t)."""
    out = np.zeros((*log["mask"].shape, ACTIONS))
    for i, t in np.argwhere(log["mask"]):
        s, a = log["state"][i, t], log["action"][i, t]
        out[i, t, a] = log["reward"][i, t] / known.policy[t, s, a]
    return out


def hca_state(log, mdp, known) -> np.ndarray:
    """r(s, a) + sum_{k>t} P(s_k | s, a) / P(s_k | s) r_k."""
    ahead, now = reached(mdp, known), mean_reward(mdp)
    out = np.zeros((*log["mask"].shape, ACTIONS))
    for i, t in np.argwhere(log["mask"]):
        s = log["state"][i, t]
        out[i, t] = now[t, s]
        for k in range(t + 1, STEPS):
            if not log["live"][i, k]:
                break
            after = ahead[t, s, :, k, log["state"][i, k]]
            on_average = known.policy[t, s] @ after
            out[i, t] += after / on_average * log["reward"][i, k]
    return out


def chances_of_label(mdp, known, label) -> dict[float, np.ndarray]:
    """sum_{k>t} P(label of step k = u | s_t, a_t) of each u, `[t, s, a]`.

    `label` gives the labels that step k in state y with action b can have, and their chances.
    """
    ahead = reached(mdp, known)
    out = defaultdict(lambda: np.zeros((STEPS, STATES, ACTIONS)))
    for k in range(STEPS):
        for y, b in np.ndindex(END, ACTIONS):
            met = ahead[:, :, :, k, y] * known.policy[k, y, b]
            for u, chance in label(k, y, b):
                out[u] += met * chance
    return out


def cocoa(log, mdp, known, label, label_of) -> np.ndarray:
    """1{a = a_t} r_t / pi + sum_{k>t} (P(u_k | s, a) / P(u_k | s) - 1) r_k, u pooled over k."""
    chance = chances_of_label(mdp, known, label)
    out = on_taken(log, known)
    for i, t in np.argwhere(log["mask"]):
        s = log["state"][i, t]
        for k in range(t + 1, STEPS):
            if not log["live"][i, k]:
                break
            after = chance[label_of(i, k)][t, s]
            ratio = after / (known.policy[t, s] @ after)
            out[i, t] += (ratio - 1) * log["reward"][i, k]
    return out


def cocoa_reward(log, mdp, known) -> np.ndarray:
    def label(k, y, b):
        outcomes = zip(mdp.reward[k, y, b], mdp.prob[k, y, b], strict=True)
        return [(float(reward), chance) for reward, chance in outcomes]

    return cocoa(log, mdp, known, label, lambda i, k: float(log["reward"][i, k]))


def cocoa_feature(log, mdp, known) -> np.ndarray:
    """The label is the mean reward of what is done in the state."""
    mean = np.round(mean_reward(mdp), 9)

    def label(k, y, b):
        return [(float(mean[k, y, b]), 1.0)]

    def label_of(i, k):
        return float(mean[k, log["state"][i, k], log["action"][i, k]])

    return cocoa(log, mdp, known, label, label_of)


def supports(mdp) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """All rewards, and all mean rewards of what is decided or written, each in order."""
    possible = list(range(ACTIONS))
    mean = np.round(mean_reward(mdp), 9)
    means = {
        float(mean[t, s, a])
        for t in range(STEPS)
        for s in range(END)
        for a in (possible if DECISION[t] else [0])
    }
    return tuple(sorted({float(x) for x in mdp.reward.reshape(-1)})), tuple(sorted(means))
