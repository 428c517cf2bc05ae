"""Critics of turns and of tokens, and ratios as weights, by plain loops in NumPy from the formulas.

Every function takes a log of `tests.methods.derived_log` and gives an array `[R, T]`, of which only
the policy's tokens mean anything. Nothing here uses casim.
"""

from __future__ import annotations

import numpy as np

from tests.methods.derived_log import by_turn, paid, to_go, tokens, whitened


def gae(deltas: list[float], factors: list[float]) -> list[float]:
    """A_k = delta_k + factor_k A_{k+1}."""
    out, ahead = [], 0.0
    for delta, factor in zip(reversed(deltas), reversed(factors), strict=True):
        ahead = delta + factor * ahead
        out.append(ahead)
    return out[::-1]


def turn_gae(log, discount: float = 1.0, lam: float = 0.95):
    """delta_k = r_k + gamma V(h_{k+1}) - V(h_k), V(h) before a turn's first token."""
    numbers = {}
    for i in range(len(log["mask"])):
        rewards = paid(log, i)
        value = [log["value"][i, where[0]] for where in tokens(log, i)]
        later = [*value[1:], 0.0]
        deltas = [r + discount * w - v for r, v, w in zip(rewards, value, later, strict=True)]
        numbers[i] = gae(deltas, [discount * lam] * len(deltas))
    return by_turn(log, numbers)


def token_gae(log, inside: float, across: float, lam: float, bootstrap: str = "first"):
    """GAE over the policy's tokens: `inside` discounts within a turn, `across` from turn to turn.

    A turn earns at its last token, and is followed by the value before the first (or the last)
    token of the next turn.
    """
    out = np.zeros(log["mask"].shape)
    for i in range(len(log["mask"])):
        turns, rewards = tokens(log, i), paid(log, i)
        value = log["value"][i]
        places, deltas, factors = [], [], []
        for k, where in enumerate(turns):
            for j, t in enumerate(where):
                places.append(t)
                if j + 1 < len(where):
                    deltas.append(inside * value[where[j + 1]] - value[t])
                    factors.append(inside * lam)
                    continue
                ahead = 0.0
                if k + 1 < len(turns):
                    following = turns[k + 1]
                    ahead = value[following[0 if bootstrap == "first" else -1]]
                deltas.append(rewards[k] + across * ahead - value[t])
                factors.append(across * lam)
        out[i, places] = gae(deltas, factors)
    return out


def gae_of_all(log, discount: float = 1.0, lam: float = 0.95):
    """GAE where the environment's tokens are steps like any other."""
    out = np.zeros(log["mask"].shape)
    for i in range(len(out)):
        n = int(log["live"][i].sum())
        value = np.append(log["value"][i, :n], 0.0)
        worth = log["reward"][i, :n] + discount * value[1:]
        deltas = list(worth - value[:-1])
        out[i, :n] = gae(deltas, [discount * lam] * n)
    return out


def adrl(x, log):
    """(A - mean) / (std + 1e-8) over the tokens, n in the variance, exact zeros left out."""
    each = x[log["mask"]]
    each = each[each != 0]
    return (x - each.mean()) / (each.std() + 1e-8)


def poad(log):
    return adrl(token_gae(log, 1.0, 0.95, 0.95), log)


def ntpo(log):
    return adrl(token_gae(log, 0.95, 0.95, 0.95), log)


def archer_tppo(log):
    return adrl(token_gae(log, 1.0, 0.95, 0.95, "last"), log)


def turn_ppo(log):
    return whitened(turn_gae(log), log["mask"])


def ragen(log, high=0.95, lam=1.0, low=1.0, every_turn: bool = False):
    """GAE over the ends of turns, then GAE of tokens that ends at each end; whitened.

    An end is a token that earned something, of the environment's too; the policy's last token has
    to be one. `every_turn` takes its last token of each turn, which earns what the turn does.
    """
    out = np.zeros(log["mask"].shape)
    for i in range(len(log["mask"])):
        value, reward = log["value"][i], log["reward"][i].copy()
        mine = np.nonzero(log["mask"][i])[0]
        ends = list(np.nonzero(reward)[0])
        if every_turn:
            ends = [where[-1] for where in tokens(log, i)]
            reward[:] = 0.0
            reward[ends] = paid(log, i)
        later = [*(value[e] for e in ends[1:]), 0.0]
        deltas = [reward[e] + high * v - value[e] for e, v in zip(ends, later, strict=True)]
        for e, above in zip(ends, gae(deltas, [high * lam] * len(ends)), strict=True):
            reward[e] = above + value[e]
        deltas, factors = [], []
        for n, t in enumerate(mine):
            over = t in ends
            ahead = 0.0 if over else low * value[mine[n + 1]]
            deltas.append(reward[t] + ahead - value[t])
            factors.append(0.0 if over else low * lam)
        out[i, mine] = gae(deltas, factors)
    return whitened(out, log["mask"])


def mt_ppo(log):
    """sum_{u >= t} (r^T + r^O) - V_t over the policy's tokens, whitened; lambda and gamma are 1."""
    earned = np.where(log["mask"], np.nansum(log["component"], axis=-1), 0.0)
    ahead = to_go(earned)
    return whitened(ahead - log["value"], log["mask"])


def vetta(log, alpha: float = 1.0):
    """A^turn + alpha (A^tok_j - mean_i A^tok_i), GAE at (.95, .95) and at (1, 1)."""
    turn, token = turn_gae(log, 0.95, 0.95), token_gae(log, 1.0, 1.0, 1.0)
    out = turn.copy()
    for i in range(len(turn)):
        for where in tokens(log, i):
            out[i, where] += alpha * (token[i, where] - token[i, where].mean())
    return out


def hygae(log, share: float = 0.5):
    """w A^turn + (1 - w) A^tok, both at lambda .95."""
    return share * turn_gae(log) + (1 - share) * token_gae(log, 1.0, 1.0, 0.95)


def ratios(log):
    return np.exp(np.where(log["mask"], log["policy_log_prob"] - log["log_prob"], 0.0))


def geometric(log, unit: str):
    """The geometric mean of the ratios of a turn or of the sequence, on each of its tokens."""
    rho, out = ratios(log), np.zeros(log["mask"].shape)
    for i in range(len(rho)):
        mine = np.nonzero(log["mask"][i])[0]
        for where in tokens(log, i) if unit == "turn" else [mine]:
            out[i, where] = np.prod(rho[i, where]) ** (1 / len(where))
    return out


def product(log, unit: str):
    rho, out = ratios(log), np.zeros(log["mask"].shape)
    for i in range(len(rho)):
        mine = np.nonzero(log["mask"][i])[0]
        for where in tokens(log, i) if unit == "turn" else [mine]:
            out[i, where] = np.prod(rho[i, where])
    return out


def ppo(rho, advantage, low: float, high: float):
    """rho, 0 where the clipped branch is the smaller one."""
    above = (rho > high) & (advantage > 0)
    below = (rho < low) & (advantage < 0)
    return np.where(above | below, 0.0, rho)


def over_length(log):
    """1 / L of each row on its tokens."""
    return log["mask"] / log["mask"].sum(axis=1, keepdims=True)


def v_trace(log, discount: float = 1.0):
    """r_t + gamma v_{t+1} - V_t, and min(1, rho_t), its weight; every live token is a step."""
    out = np.zeros(log["mask"].shape)
    rho = ratios(log)
    for i in range(len(out)):
        n = int(log["live"][i].sum())
        value = np.append(log["value"][i, :n], 0.0)
        v = value.copy()
        reward = log["reward"][i]
        for t in reversed(range(n)):
            bounded = min(1.0, rho[i, t])
            delta = reward[t] + discount * value[t + 1] - value[t]
            later = discount * (v[t + 1] - value[t + 1])
            v[t] = value[t] + bounded * (delta + later)
        for t in range(n):
            out[i, t] = reward[t] + discount * v[t + 1] - value[t]
    return out, np.minimum(1.0, rho)


def starpo_s(log, share: float = 0.25):
    """1 on the quarter of the groups whose returns deviate most, with n - 1."""
    labels = np.unique(log["prompt"])
    returns = (log["reward"] * log["live"]).sum(axis=1)
    spread = {}
    for label in labels:
        mine = returns[log["prompt"] == label]
        spread[label] = np.std(mine, ddof=1) if len(mine) > 1 else 0.0
    kept = sorted(labels, key=lambda label: -spread[label])[: max(1, int(share * len(labels)))]
    return log["mask"] * np.isin(log["prompt"], kept)[:, None]


def overlong(log, longest: float, buffer: float, factor: float = 1.0):
    """min(-(len - (Lmax - Lbuf)) / Lbuf factor, 0) of each row; the environment's tokens count."""
    exceeds = log["live"].sum(axis=1) - (longest - buffer)
    return np.minimum(-exceeds / buffer * factor, 0.0)


def surprised(log, advantage, up: float = 1.1, down: float = 1.0, share: float = 0.1):
    """The tenth of the tokens of each sign with the largest -log pi weighs another factor."""
    out = log["mask"].astype(float)
    for sign, factor in ((1, up), (-1, down)):
        where = np.argwhere(log["mask"] & (np.sign(advantage) == sign))
        surprise = [-log["policy_log_prob"][tuple(x)] for x in where]
        count = max(1, int(np.ceil(share * len(where))))
        for n in np.argsort(surprise)[::-1][:count]:
            out[tuple(where[n])] *= factor
    return out
